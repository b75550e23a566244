#pragma once
// AF_NETLINK.
#include "guestkernel/net/socket.hpp"

namespace kvmsbx::net {

// As create_socket().
Result<RefPtr<Socket>> create_netlink(task::Task& task, int type, int protocol, uint32_t file_flags);

}  // namespace kvmsbx::net
