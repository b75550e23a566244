#include "guestkernel/task/seccomp.hpp"

#include <algorithm>

#include "guestkernel/platform/user_context.hpp"
#include "guestkernel/task/exit.hpp"
#include "guestkernel/task/registry.hpp"
#include "guestkernel/task/trace.hpp"

namespace kvmsbx::task {
namespace {

constexpr uint32_t kArchitecture = 0xc000'003e;  // AUDIT_ARCH_X86_64
constexpr size_t kMostInstructionsPerPath = (1 << 18) / sizeof(bpf::Instruction), kFilterPenalty = 4;
constexpr uint32_t kMostErrno = 4095;
constexpr int kSysSeccomp = 1;  // si_code

// Newest first; the first of equal severity counts. KILL_PROCESS is the most severe, as a signed number.
uint32_t ask_filters(const SeccompFilter* filter, const bpf::CallRecord& record) {
    uint32_t worst = kSeccompAllow;
    for (; filter; filter = filter->older.get()) {
        const uint32_t answer = bpf::run(filter->program.span(), record);
        if (static_cast<int32_t>(answer & 0xffff'0000) < static_cast<int32_t>(worst & 0xffff'0000)) worst = answer;
    }
    return worst;
}

SigInfo trap_info(const Task& task, uint32_t data) {
    SigInfo info;
    info.signo = kSigSys;
    info.code = kSysSeccomp;
    info.error = static_cast<int32_t>(data);
    info.call.address = task.regs.rip;
    info.call.number = static_cast<int32_t>(task.in_syscall);
    info.call.architecture = kArchitecture;
    return info;
}

void kill(Task& task, uint32_t action) {
    if (action != kSeccompKillThread || task.process().threads.size() == 1)
        return exit_group_by_signal(task, kSigSys, false);
    exit_thread(task, kSigSys);
}

bool strict_mode_allows(Task& task) {
    constexpr uint64_t kRead = 0, kWrite = 1, kSigreturn = 15, kExit = 60;
    const uint64_t number = task.in_syscall;
    if (number == kRead || number == kWrite || number == kSigreturn || number == kExit) return true;
    exit_thread(task, kSigKill);
}

bool refuse(Task& task, Errno error) {
    task.regs.rax = -static_cast<uint64_t>(error);
    return false;
}

bool is_ancestor(const SeccompFilter* wanted, const SeccompFilter* of) {
    if (!wanted) return true;
    for (; of; of = of->older.get())
        if (of == wanted) return true;
    return false;
}

// A thread whose filters are not a part of the caller's; null if there is none.
Task* thread_with_other_filters(Task& task) {
    for (Task& other : task.process().threads) {
        if (&other == &task || other.exiting || other.seccomp_mode == SeccompMode::kDisabled) continue;
        const bool part = other.seccomp_mode == SeccompMode::kFilter &&
                          is_ancestor(other.seccomp_filter.get(), task.seccomp_filter.get());
        if (!part) return &other;
    }
    return nullptr;
}

void put_under_filter(Task& task, const RefPtr<SeccompFilter>& filter) {
    task.seccomp_filter = filter;
    task.seccomp_mode = SeccompMode::kFilter;
    task.call_watchers |= kWatchSeccomp;
}

enum class Asked : uint8_t { kFirst, kAfterTracer };

bool ask(Task& task, Asked asked) {
    const abi::UserRegs& r = task.regs;
    const bpf::CallRecord record{
        static_cast<int32_t>(task.in_syscall), kArchitecture, r.rip, {r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9}};
    const uint32_t answer = ask_filters(task.seccomp_filter.get(), record);
    const uint32_t data = answer & 0xffff;
    switch (answer & 0xffff'0000) {
        case kSeccompAllow:
        case kSeccompLog: return true;
        case kSeccompErrno: task.regs.rax = -static_cast<uint64_t>(data < kMostErrno ? data : kMostErrno); return false;
        case kSeccompTrap: {
            const SigInfo info = trap_info(task, data);
            task.regs.rax = task.in_syscall;  // as before the call, for a handler that makes it itself
            task.regs.trap = abi::kTrapNone;
            force_signal(task, info);
            return false;
        }
        case kSeccompTrace: {
            if (asked == Asked::kAfterTracer) return true;
            const auto goes_on = trace_seccomp(task, data);
            if (goes_on.is_error()) return refuse(task, goes_on.error());
            // What the tracer made of the call is filtered again, without stopping for the tracer again.
            return goes_on.value() && ask(task, Asked::kAfterTracer);
        }
        case kSeccompNotify: return refuse(task, Errno::kNOSYS);
        default: kill(task, answer & 0xffff'0000); return false;
    }
}

}  // namespace

// Iteratively: a chain is as long as the application likes.
SeccompFilter::~SeccompFilter() {
    RefPtr<SeccompFilter> next = std::move(older);
    while (next && next->reference_count() == 1) {
        RefPtr<SeccompFilter> after = std::move(next->older);
        next = std::move(after);
    }
}

Result<> enter_strict_mode(Task& task) {
    if (task.seccomp_mode == SeccompMode::kFilter) return Errno::kINVAL;
    task.seccomp_mode = SeccompMode::kStrict;
    task.call_watchers |= kWatchSeccomp;
    return {};
}

Result<int32_t> add_seccomp_filter(Task& task, Vector<bpf::Instruction> program, AllThreads all) {
    TRY(bpf::check(program.span()));
    if (task.seccomp_mode == SeccompMode::kStrict) return Errno::kINVAL;
    if (all == AllThreads::kYes)
        if (const Task* other = thread_with_other_filters(task)) return other->tid;
    size_t total = program.size();
    for (const SeccompFilter* at = task.seccomp_filter.get(); at; at = at->older.get())
        total += at->program.size() + kFilterPenalty;
    if (total > kMostInstructionsPerPath) return Errno::kNOMEM;
    const auto filter = TRY(make_ref<SeccompFilter>(std::move(program), task.seccomp_filter));
    put_under_filter(task, filter);
    if (all == AllThreads::kNo) return 0;
    for (Task& other : task.process().threads) {
        put_under_filter(other, filter);
        // A thread must not escape by an exec that gives it rights.
        if (!task.credentials().no_new_privileges || other.credentials().no_new_privileges) continue;
        auto credentials = other.credentials().clone();
        if (credentials.is_error()) continue;
        credentials.value()->no_new_privileges = true;
        other.credentials_ = credentials.release_value();
    }
    return 0;
}

Result<> install_profile(Task& task, Vector<bpf::Instruction> program, uint32_t flags) {
    if (flags & ~kSeccompFlags) return Errno::kINVAL;
    TRY(add_seccomp_filter(task, std::move(program), AllThreads::kNo));
    return {};
}

Result<> seccomp_allows_program(const Task& task) {
    constexpr int32_t kExecve = 59;
    const bpf::CallRecord record{kExecve, kArchitecture, 0, {}};
    const uint32_t answer = ask_filters(task.seccomp_filter.get(), record), data = answer & 0xffff;
    switch (answer & 0xffff'0000) {
        case kSeccompAllow:
        case kSeccompLog: return {};
        case kSeccompErrno: return data ? Result<>(static_cast<Errno>(std::min(data, kMostErrno))) : Result<>();
        case kSeccompTrace:
        case kSeccompNotify: return Errno::kNOSYS;  // nobody listens
        default: return Errno::kPERM;
    }
}

void inherit_seccomp(const Task& parent, Task& child) {
    child.seccomp_filter = parent.seccomp_filter;
    child.seccomp_mode = parent.seccomp_mode;
    if (parent.seccomp_mode != SeccompMode::kDisabled) child.call_watchers |= kWatchSeccomp;
}

unsigned seccomp_filter_count(const Task& task) {
    unsigned count = 0;
    for (const SeccompFilter* at = task.seccomp_filter.get(); at; at = at->older.get()) ++count;
    return count;
}

bool seccomp_allows(Task& task) {
    if (task.seccomp_mode == SeccompMode::kStrict) return strict_mode_allows(task);
    return ask(task, Asked::kFirst);
}

}  // namespace kvmsbx::task
