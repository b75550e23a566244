#include "guestkernel/syscalls/dispatch.hpp"

#include "guestkernel/syscalls/strace.hpp"
#include "guestkernel/syscalls/syscall.hpp"
#include "guestkernel/task/task.hpp"

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

[[gnu::noinline]] void dispatch_slowly(Task& task, uint64_t number) {
    const abi::UserRegs& regs = task.regs;
    const uint64_t arguments[6] = {regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8, regs.r9};
    const Entry* entry = find(number);
    if (!entry) report_missing(task, number);
    if (!strace_enabled) {
        task.regs.rax = to_register(entry ? entry->invoke(task, regs) : Errno::kNOSYS);
        return;
    }
    StraceLine line(task, number, arguments);
    const uint64_t result = to_register(entry ? entry->invoke(task, regs) : Errno::kNOSYS);
    line.finish(result);
    task.regs.rax = result;
}

}  // namespace

void dispatch(Task& task) {
    abi::UserRegs& regs = task.regs;
    const uint64_t number = regs.rax;
    task.in_syscall = number;
    const Entry* entry = find(number);
    if (!entry || strace_enabled) [[unlikely]]
        return dispatch_slowly(task, number);
    regs.rax = to_register(entry->invoke(task, regs));
}

}  // namespace kvmsbx::syscalls
