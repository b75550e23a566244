#pragma once
// Processes and threads: clone(2), execve(2), exit(2), wait4(2), process groups and sessions.
#include "guestkernel/syscalls/syscall.hpp"
#include "guestkernel/task/signal.hpp"

namespace kvmsbx::syscalls {

using CloneFlags = Named<struct CloneFlagsTag, uint64_t>;
void print_argument(TextSink& sink, Task& task, CloneFlags value);

struct CloneArguments {  // struct clone_args
    uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup;
};
struct ResourceUsage;  // handlers_time.hpp

Result<int64_t> sys_clone(Task&, CloneFlags flags, uint64_t stack, UserOut<int32_t> parent_tid,
                          UserOut<int32_t> child_tid, uint64_t tls);
Result<int64_t> sys_clone3(Task&, UserIn<CloneArguments> arguments, size_t size);
Result<int64_t> sys_fork(Task&);
Result<int64_t> sys_vfork(Task&);
Result<int64_t> sys_execve(Task&, UserString path, UserIn<uint64_t> arguments, UserIn<uint64_t> environment);
Result<int64_t> sys_execveat(Task&, DirFd directory, UserString path, UserIn<uint64_t> arguments,
                             UserIn<uint64_t> environment, Flags flags);
Result<int64_t> sys_exit(Task&, int32_t code);
Result<int64_t> sys_exit_group(Task&, int32_t code);
Result<int64_t> sys_wait4(Task&, Pid pid, UserOut<int32_t> status, Flags options, UserOut<ResourceUsage> usage);
Result<int64_t> sys_waitid(Task&, int32_t which, Pid id, UserOut<char> info, Flags options,
                           UserOut<ResourceUsage> usage);
Result<int64_t> sys_getpid(Task&);
Result<int64_t> sys_getppid(Task&);
Result<int64_t> sys_gettid(Task&);
Result<int64_t> sys_getpgid(Task&, Pid pid);
Result<int64_t> sys_getpgrp(Task&);
Result<int64_t> sys_setpgid(Task&, Pid pid, Pid group);
Result<int64_t> sys_getsid(Task&, Pid pid);
Result<int64_t> sys_setsid(Task&);

Result<int64_t> sys_pidfd_open(Task&, Pid pid, OpenFlags flags);
Result<int64_t> sys_pidfd_send_signal(Task&, Fd fd, SignalNumber signal, UserIn<task::SigInfo> info, Flags flags);
Result<int64_t> sys_pidfd_getfd(Task&, Fd fd, Fd theirs, uint32_t flags);

}  // namespace kvmsbx::syscalls
