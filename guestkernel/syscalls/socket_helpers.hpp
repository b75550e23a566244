#pragma once
// What the socket calls share: descriptors to sockets, addresses and ancillary data from and to user memory. Inside
// syscalls/ only.
#include "guestkernel/net/socket.hpp"
#include "guestkernel/syscalls/file_helpers.hpp"
#include "guestkernel/syscalls/handlers_net.hpp"

namespace kvmsbx::syscalls {

// EBADF, ENOTSOCK.
Result<RefPtr<net::Socket>> socket_of(Task& task, int fd);
// A new descriptor for the socket. EMFILE, ENOMEM.
Result<int64_t> install_socket(Task& task, net::Socket& socket, bool close_on_exec);
// A new process descriptor, closed on exec: SO_PEERPIDFD, SCM_PIDFD. EMFILE, ENOMEM.
Result<int64_t> install_process(Task& task, task::Process& process);

// EINVAL (length), EFAULT.
Result<net::Address> load_address(Task& task, UserBuffer from, int32_t length);
// As much as *length allows; *length becomes the whole length. EINVAL, EFAULT.
Result<> store_address(Task& task, const net::Address& address, UserBuffer to, UserInOut<int32_t> length);

// The control buffer of sendmsg(2): files and credentials where the family knows them (checked here: EINVAL, EBADF,
// EPERM, ESRCH), everything else as raw messages. ENOBUFS beyond net.core.optmem_max, EFAULT.
Result<> load_ancillary(Task& task, const net::Socket& socket, uint64_t control, uint64_t length, net::Ancillary& out);
// Puts it into the control buffer of recvmsg(2), installing files. What finds no room is dropped: MSG_CTRUNC in
// `flags`. Gives the bytes used.
uint64_t store_ancillary(Task& task, net::Ancillary& ancillary, uint64_t control, uint64_t room, bool close_on_exec,
                         uint32_t& flags);

}  // namespace kvmsbx::syscalls
