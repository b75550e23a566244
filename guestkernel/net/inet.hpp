#pragma once
// AF_INET and AF_INET6.
#include "guestkernel/net/socket.hpp"

namespace kvmsbx::net {

// domain: kAfInet or kAfInet6; the rest as create_socket().
Result<RefPtr<Socket>> create_inet(task::Task& task, int domain, int type, int protocol, uint32_t file_flags);

}  // namespace kvmsbx::net
