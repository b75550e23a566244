#pragma once
// seccomp(2). A task has a mode and, in filter mode, a chain of filters, newest first; chains are shared by fork and
// never change, so a chain is a tree's path to its root. Tasks in a mode carry kWatchSeccomp in their call_watchers,
// which sends their calls the slow way through dispatch; others pay nothing. SECCOMP_RET_TRACE asks a tracer that
// set PTRACE_O_TRACESECCOMP. There are no listeners: SECCOMP_RET_USER_NOTIF without one is ENOSYS, as on Linux.
#include "guestkernel/task/task.hpp"

namespace kvmsbx::task {

// SECCOMP_RET_*: the upper half of an answer.
enum SeccompAction : uint32_t {
    kSeccompKillProcess = 0x8000'0000,
    kSeccompKillThread = 0,
    kSeccompTrap = 0x0003'0000,
    kSeccompErrno = 0x0005'0000,
    kSeccompNotify = 0x7fc0'0000,
    kSeccompTrace = 0x7ff0'0000,
    kSeccompLog = 0x7ffc'0000,
    kSeccompAllow = 0x7fff'0000,
};

// SECCOMP_FILTER_FLAG_*, but SECCOMP_FILTER_FLAG_NEW_LISTENER and what needs it.
enum SeccompFlag : uint32_t {
    kSeccompFlagTsync = 1,
    kSeccompFlagLog = 2,
    kSeccompFlagSpecAllow = 4,
    kSeccompFlagTsyncEsrch = 16,
    kSeccompFlags = kSeccompFlagTsync | kSeccompFlagLog | kSeccompFlagSpecAllow | kSeccompFlagTsyncEsrch,
};

enum class AllThreads : bool { kNo, kYes };

// EINVAL: in filter mode already.
Result<> enter_strict_mode(Task& task);
// EINVAL (program, strict mode), ENOMEM. With kYes all threads get the filter, unless one has filters of its own: then
// its number is the result, which is 0 otherwise.
Result<int32_t> add_seccomp_filter(Task& task, Vector<bpf::Instruction> program, AllThreads all);
// linux.seccomp: the filter of a process that the host starts, right before its program, as its only thread. EINVAL
// (program, flags), ENOMEM.
Result<> install_profile(Task& task, Vector<bpf::Instruction> program, uint32_t flags);
// What the task's filters make of execve(2), which the Sentry is about to do for it: the errno that they answer, or
// EPERM where they would end the process.
Result<> seccomp_allows_program(const Task& task);
void inherit_seccomp(const Task& parent, Task& child);
unsigned seccomp_filter_count(const Task& task);

// Asks the task's filters about the call in its registers. True: go on. Else regs.rax is settled (or a signal is on its
// way), and the call must not be made. May end the thread.
bool seccomp_allows(Task& task);

}  // namespace kvmsbx::task
