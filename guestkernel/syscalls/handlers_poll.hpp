#pragma once
// poll(2), select(2), epoll(7), eventfd(2), timerfd_create(2), signalfd(2), inotify(7).
#include "guestkernel/ipc/aio.hpp"
#include "guestkernel/ipc/epoll.hpp"
#include "guestkernel/syscalls/syscall.hpp"

namespace kvmsbx::syscalls {

struct PollFd {  // struct pollfd
    int32_t fd;
    int16_t events, revents;
};
struct PollTimespec {  // struct timespec
    int64_t seconds, nanoseconds;
};
struct PollTimeval {  // struct timeval
    int64_t seconds, microseconds;
};
struct PollItimerspec {  // struct itimerspec
    PollTimespec interval, value;
};
struct SelectMask {  // pselect6's last argument
    uint64_t set, size;
};

Result<int64_t> sys_poll(Task& task, UserInOut<PollFd> fds, uint32_t count, int32_t timeout);
Result<int64_t> sys_ppoll(Task& task, UserInOut<PollFd> fds, uint32_t count, UserInOut<PollTimespec> timeout,
                          UserIn<uint64_t> mask, size_t mask_size);
Result<int64_t> sys_select(Task& task, int32_t count, UserInOut<uint64_t> in, UserInOut<uint64_t> out,
                           UserInOut<uint64_t> except, UserInOut<PollTimeval> timeout);
Result<int64_t> sys_pselect6(Task& task, int32_t count, UserInOut<uint64_t> in, UserInOut<uint64_t> out,
                             UserInOut<uint64_t> except, UserInOut<PollTimespec> timeout, UserIn<SelectMask> mask);

Result<int64_t> sys_epoll_create(Task& task, int32_t size);
Result<int64_t> sys_epoll_create1(Task& task, OpenFlags flags);
Result<int64_t> sys_epoll_ctl(Task& task, Fd epoll, int32_t operation, Fd fd, UserIn<ipc::EpollEvent> event);
Result<int64_t> sys_epoll_wait(Task& task, Fd epoll, UserOut<ipc::EpollEvent> events, int32_t maximum, int32_t timeout);
Result<int64_t> sys_epoll_pwait(Task& task, Fd epoll, UserOut<ipc::EpollEvent> events, int32_t maximum, int32_t timeout,
                                UserIn<uint64_t> mask, size_t mask_size);
Result<int64_t> sys_epoll_pwait2(Task& task, Fd epoll, UserOut<ipc::EpollEvent> events, int32_t maximum,
                                 UserIn<PollTimespec> timeout, UserIn<uint64_t> mask, size_t mask_size);

Result<int64_t> sys_eventfd(Task& task, uint32_t count);
Result<int64_t> sys_eventfd2(Task& task, uint32_t count, OpenFlags flags);
Result<int64_t> sys_signalfd(Task& task, Fd fd, UserIn<uint64_t> mask, size_t mask_size);
Result<int64_t> sys_signalfd4(Task& task, Fd fd, UserIn<uint64_t> mask, size_t mask_size, OpenFlags flags);
Result<int64_t> sys_timerfd_create(Task& task, int32_t clock, OpenFlags flags);
Result<int64_t> sys_timerfd_settime(Task& task, Fd fd, Flags flags, UserIn<PollItimerspec> setting,
                                    UserOut<PollItimerspec> old);
Result<int64_t> sys_timerfd_gettime(Task& task, Fd fd, UserOut<PollItimerspec> setting);

Result<int64_t> sys_io_getevents(Task& task, uint64_t context, int64_t least, int64_t most,
                                 UserOut<ipc::AioEvent> events, UserIn<PollTimespec> timeout);
Result<int64_t> sys_io_pgetevents(Task& task, uint64_t context, int64_t least, int64_t most,
                                  UserOut<ipc::AioEvent> events, UserIn<PollTimespec> timeout, UserIn<SelectMask> mask);

Result<int64_t> sys_inotify_init(Task& task);
Result<int64_t> sys_inotify_init1(Task& task, OpenFlags flags);
Result<int64_t> sys_inotify_add_watch(Task& task, Fd fd, UserString path, Flags mask);
Result<int64_t> sys_inotify_rm_watch(Task& task, Fd fd, int32_t descriptor);

}  // namespace kvmsbx::syscalls
