#include "guestkernel/syscalls/dispatch.hpp"

#include "guestkernel/platform/user_context.hpp"
#include "guestkernel/syscalls/strace.hpp"
#include "guestkernel/syscalls/syscall.hpp"
#include "guestkernel/task/seccomp.hpp"
#include "guestkernel/task/task.hpp"
#include "guestkernel/task/trace.hpp"

namespace kvmsbx::syscalls {
namespace {

uint64_t to_register(const Result<int64_t>& result) {
    return result.is_ok() ? static_cast<uint64_t>(result.value())
                          : -static_cast<uint64_t>(static_cast<int64_t>(result.error()));
}

// Says once per number that a call is missing.
[[gnu::noinline]] void report_missing(Task& task, uint64_t number) {
    static uint64_t reported[kMaxSyscall / 64];
    if (number >= kMaxSyscall || reported[number / 64] >> (number % 64) & 1) return;
    reported[number / 64] |= 1ULL << (number % 64);
    debug("[{}] {}: system call {} is not implemented (ENOSYS)", task.tid, static_cast<const char*>(task.name), number);
}

// The result for rax. A filter may have a tracer change the call.
uint64_t filter_and_call(Task& task) {
    if (task.call_watchers & task::kWatchSeccomp && !task::seccomp_allows(task)) return task.regs.rax;
    const Entry* entry = find(task.in_syscall);
    if (!entry) report_missing(task, task.in_syscall);
    return to_register(entry ? entry->invoke(task, task.regs) : Errno::kNOSYS);
}

void call_with_strace(Task& task) {
    if (!strace_enabled) {
        task.regs.rax = filter_and_call(task);
        return;
    }
    const abi::UserRegs& regs = task.regs;
    const uint64_t arguments[6] = {regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8, regs.r9};
    StraceLine line(task, task.in_syscall, arguments);
    const uint64_t result = filter_and_call(task);
    line.finish(result);
    task.regs.rax = result;
}

// --strace, a filter, a tracer, or a call that does not exist.
[[gnu::noinline]] void dispatch_slowly(Task& task) {
    if (!task.trace || task::trace_syscall_entry(task)) call_with_strace(task);
    if (task.trace) task::trace_syscall_exit(task);
}

}  // namespace

void dispatch(Task& task) {
    abi::UserRegs& regs = task.regs;
    const auto number = static_cast<uint64_t>(int64_t{static_cast<int32_t>(regs.rax)});  // Linux takes eax
    task.in_syscall = number;
    const Entry* entry = find(number);
    if (!entry || task.call_watchers) [[unlikely]]
        return dispatch_slowly(task);
    regs.rax = to_register(entry->invoke(task, regs));
    if (task.trace) [[unlikely]]  // since the call began; an event may have stopped it (exec, clone)
        task::trace_syscall_exit(task);
}

}  // namespace kvmsbx::syscalls
