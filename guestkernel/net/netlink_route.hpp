#pragma once
// NETLINK_ROUTE (rtnetlink(7)): what there is to be told of lo, its addresses, routes and rules. Nothing can be
// changed: EPERM without CAP_NET_ADMIN, EOPNOTSUPP with it.
#include "guestkernel/net/netlink_answer.hpp"

namespace kvmsbx::net {

// Answers every request in the bytes; hostile ones too.
void answer_route_requests(std::span<const std::byte> bytes, const NetlinkAsker& asker, NetlinkSink& sink);

}  // namespace kvmsbx::net
