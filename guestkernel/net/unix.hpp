#pragma once
// AF_UNIX (unix(7)).
#include "guestkernel/lib/format.hpp"
#include "guestkernel/net/socket.hpp"

namespace kvmsbx::net {

// As create_socket() and create_socket_pair().
Result<RefPtr<Socket>> create_unix(task::Task& task, int type, int protocol, uint32_t file_flags);
Result<> create_unix_pair(task::Task& task, int type, int protocol, uint32_t file_flags, RefPtr<Socket> (&pair)[2]);
// The text of /proc/net/unix.
void put_unix_sockets(TextSink& sink);

}  // namespace kvmsbx::net
