#pragma once
// NETLINK_ROUTE (rtnetlink(7)): what there is to be told of lo, its addresses, routes and rules. Nothing can be
// changed: EPERM without CAP_NET_ADMIN, EOPNOTSUPP with it.
#include "guestkernel/net/netlink_message.hpp"

namespace kvmsbx::net {

struct RouteAsker {
    uint32_t port;  // the socket's, to which the answers go
    bool privileged;
    bool strict;      // NETLINK_GET_STRICT_CHK
    bool capped_ack;  // NETLINK_CAP_ACK
};

// Where answers go, one datagram each.
class NetlinkSink {
  public:
    virtual void datagram(Result<Vector<std::byte>> bytes) = 0;

  protected:
    ~NetlinkSink() = default;
};

// Answers every request in the bytes; hostile ones too.
void answer_route_requests(std::span<const std::byte> bytes, const RouteAsker& asker, NetlinkSink& sink);

}  // namespace kvmsbx::net
