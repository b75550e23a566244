#pragma once
// AF_NETLINK.
#include "guestkernel/net/socket.hpp"

namespace kvmsbx::net {

// As create_socket().
Result<RefPtr<Socket>> create_netlink(task::Task& task, int type, int protocol, uint32_t file_flags);

// A datagram of the kernel's to a socket of AF_NETLINK; lost where its queue is full.
void send_to_netlink(Socket& socket, std::span<const std::byte> bytes);

}  // namespace kvmsbx::net
