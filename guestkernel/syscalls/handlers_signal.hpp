#pragma once
// Signals (signal.cpp).
#include "guestkernel/syscalls/syscall.hpp"
#include "guestkernel/task/clocks.hpp"
#include "guestkernel/task/signal_frame.hpp"

namespace kvmsbx::syscalls {

using task::SigAction;
using task::SigAltStack;
using task::SigInfo;
using task::TimeSpec;

// kill(2) and tgkill(2) of targets that are found already: EINVAL (number), EPERM, ESRCH (empty group), EAGAIN.
Result<> signal_process(Task& sender, task::Process& target, const SigInfo& info);
Result<> signal_thread(Task& sender, Task& target, const SigInfo& info);
Result<> signal_group(Task& sender, int32_t group, const SigInfo& info);

Result<int64_t> sys_rt_sigaction(Task& task, SignalNumber signal, UserIn<SigAction> action, UserOut<SigAction> old,
                                 size_t set_size);
Result<int64_t> sys_rt_sigprocmask(Task& task, int32_t how, UserIn<uint64_t> set, UserOut<uint64_t> old,
                                   size_t set_size);
Result<int64_t> sys_rt_sigreturn(Task& task);
Result<int64_t> sys_pause(Task& task);
Result<int64_t> sys_kill(Task& task, Pid pid, SignalNumber signal);
Result<int64_t> sys_rt_sigpending(Task& task, UserOut<uint64_t> set, size_t set_size);
Result<int64_t> sys_rt_sigtimedwait(Task& task, UserIn<uint64_t> set, UserOut<SigInfo> info, UserIn<TimeSpec> timeout,
                                    size_t set_size);
Result<int64_t> sys_rt_sigqueueinfo(Task& task, Pid pid, SignalNumber signal, UserIn<SigInfo> info);
Result<int64_t> sys_rt_sigsuspend(Task& task, UserIn<uint64_t> set, size_t set_size);
Result<int64_t> sys_sigaltstack(Task& task, UserIn<SigAltStack> stack, UserOut<SigAltStack> old);
Result<int64_t> sys_tkill(Task& task, Pid tid, SignalNumber signal);
Result<int64_t> sys_restart_syscall(Task& task);
Result<int64_t> sys_tgkill(Task& task, Pid group, Pid tid, SignalNumber signal);
Result<int64_t> sys_rt_tgsigqueueinfo(Task& task, Pid group, Pid tid, SignalNumber signal, UserIn<SigInfo> info);

}  // namespace kvmsbx::syscalls
