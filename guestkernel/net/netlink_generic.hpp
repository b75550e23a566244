#pragma once
// NETLINK_GENERIC: the controller, which tells of the families, and TASKSTATS (Linux: net/netlink/genetlink.c).
#include "guestkernel/net/netlink_answer.hpp"

namespace kvmsbx::net {

// Answers every request in the bytes; hostile ones too.
void answer_generic_requests(std::span<const std::byte> bytes, const NetlinkAsker& asker, NetlinkSink& sink);

}  // namespace kvmsbx::net
