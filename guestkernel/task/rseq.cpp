#include "guestkernel/task/rseq.hpp"

#include <cstddef>

#include "guestkernel/platform/cpu.hpp"
#include "guestkernel/platform/host.hpp"
#include "guestkernel/platform/user_context.hpp"
#include "guestkernel/task/registry.hpp"

namespace kvmsbx::task {
namespace {

struct CriticalSection {  // struct rseq_cs
    uint32_t version, flags;
    uint64_t start, length, abort;
};
static_assert(sizeof(CriticalSection) == 32);

// rseq_ip_fixup. EFAULT, EINVAL: the application's descriptor is bad.
Result<> leave_critical_section(Task& task) {
    const uint64_t pointer = task.rseq_address + offsetof(RseqArea, critical_section);
    const uint64_t at = TRY(mm::UserIn<uint64_t>{pointer}.load(task.space()));
    if (!at) return {};
    const auto section = TRY(mm::UserIn<CriticalSection>{at}.load(task.space()));
    const bool sane = section.start < platform::user_end && section.start + section.length < platform::user_end &&
                      section.abort < platform::user_end && section.version == 0 &&
                      section.abort - section.start >= section.length;
    if (!sane) return Errno::kINVAL;
    const auto signature = TRY(mm::UserIn<uint32_t>{section.abort - sizeof(uint32_t)}.load(task.space()));
    if (signature != task.rseq_signature) return Errno::kINVAL;
    const bool inside = task.regs.rip - section.start < section.length;
    TRY(mm::UserOut<uint64_t>{pointer}.store(task.space(), 0));
    if (!inside) return {};
    task.regs.rip = section.abort;
    task.regs.trap = abi::kTrapNone;
    return {};
}

Result<> update(Task& task) {
    // A system call is no part of a critical section.
    if (task.regs.trap != abi::kTrapSyscall) TRY(leave_critical_section(task));
    const uint32_t cpu = platform::cpu().cpu_id;
    if (task.rseq_cpu == cpu) return {};
    const uint32_t numbers[2] = {cpu, cpu};
    TRY(mm::copy_to_user(task.space(), task.rseq_address, numbers, sizeof numbers));
    if (platform::cpu().cpu_id == cpu) task.rseq_cpu = cpu;
    return {};
}

}  // namespace

void rseq_resume(Task& task) {
    task.rseq_pending = false;
    if (!task.rseq_address) return;
    if (update(task).is_ok()) return;
    task.rseq_address = 0;  // once is enough
    force_signal(task, kernel_signal(kSigSegv));
}

void rseq_before_handler(Task& task) {
    if (!task.rseq_address || task.regs.trap == abi::kTrapSyscall) return;
    if (leave_critical_section(task).is_ok()) return;
    task.rseq_address = 0;
    force_signal(task, kernel_signal(kSigSegv));
}

}  // namespace kvmsbx::task
