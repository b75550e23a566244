#pragma once
// Sockets: socket(2) and its family.
#include "guestkernel/syscalls/handlers_poll.hpp"
#include "guestkernel/syscalls/syscall.hpp"

namespace kvmsbx::syscalls {

struct SocketMessage {  // struct msghdr
    uint64_t name;
    int32_t name_length, pad;
    uint64_t iovecs, iovec_count;
    uint64_t control, control_length;
    uint32_t flags, pad2;
};
static_assert(sizeof(SocketMessage) == 56);
struct SocketMessages {  // struct mmsghdr
    SocketMessage message;
    uint32_t length, pad;
};
static_assert(sizeof(SocketMessages) == 64);
struct SocketPair {
    int32_t first, second;
};

Result<int64_t> sys_socket(Task& task, int32_t domain, uint32_t type, int32_t protocol);
Result<int64_t> sys_socketpair(Task& task, int32_t domain, uint32_t type, int32_t protocol, UserOut<SocketPair> fds);
Result<int64_t> sys_bind(Task& task, Fd fd, UserBuffer address, int32_t length);
Result<int64_t> sys_connect(Task& task, Fd fd, UserBuffer address, int32_t length);
Result<int64_t> sys_listen(Task& task, Fd fd, int32_t backlog);
Result<int64_t> sys_accept(Task& task, Fd fd, UserBuffer address, UserInOut<int32_t> length);
Result<int64_t> sys_accept4(Task& task, Fd fd, UserBuffer address, UserInOut<int32_t> length, Flags flags);
Result<int64_t> sys_getsockname(Task& task, Fd fd, UserBuffer address, UserInOut<int32_t> length);
Result<int64_t> sys_getpeername(Task& task, Fd fd, UserBuffer address, UserInOut<int32_t> length);
Result<int64_t> sys_shutdown(Task& task, Fd fd, int32_t how);
Result<int64_t> sys_setsockopt(Task& task, Fd fd, int32_t level, int32_t name, UserBuffer value, int32_t length);
Result<int64_t> sys_getsockopt(Task& task, Fd fd, int32_t level, int32_t name, UserBuffer value,
                               UserInOut<int32_t> length);

Result<int64_t> sys_sendto(Task& task, Fd fd, UserBuffer data, size_t size, Flags flags, UserBuffer address,
                           int32_t length);
Result<int64_t> sys_recvfrom(Task& task, Fd fd, UserBuffer data, size_t size, Flags flags, UserBuffer address,
                             UserInOut<int32_t> length);
Result<int64_t> sys_sendmsg(Task& task, Fd fd, UserIn<SocketMessage> message, Flags flags);
Result<int64_t> sys_recvmsg(Task& task, Fd fd, UserInOut<SocketMessage> message, Flags flags);
Result<int64_t> sys_sendmmsg(Task& task, Fd fd, UserInOut<SocketMessages> messages, uint32_t count, Flags flags);
Result<int64_t> sys_recvmmsg(Task& task, Fd fd, UserInOut<SocketMessages> messages, uint32_t count, Flags flags,
                             UserInOut<PollTimespec> timeout);

}  // namespace kvmsbx::syscalls
