#pragma once
// Restartable sequences (rseq(2)): an area of each thread in which it reads its vCPU's number, and a critical section
// that starts over if the thread was preempted, moved or interrupted by a signal in it. Work is marked in
// Task::rseq_pending, which is part of return_work, and done before ring 3.
#include "guestkernel/platform/cpu.hpp"
#include "guestkernel/platform/user_context.hpp"
#include "guestkernel/task/task.hpp"

namespace kvmsbx::task {

struct RseqArea {  // struct rseq, its first version
    uint32_t cpu_id_start, cpu_id;
    uint64_t critical_section;
    uint32_t flags;
    uint32_t pad[3];
};
static_assert(sizeof(RseqArea) == 32);
inline constexpr uint32_t kRseqUninitialized = ~0U;  // RSEQ_CPU_ID_UNINITIALIZED, as a number

// The thread is about to run application code on this vCPU after it was away from one.
inline void rseq_note_switch(Task& task) {
    const bool moved = task.rseq_cpu != platform::cpu().cpu_id, preempted = task.regs.trap != abi::kTrapSyscall;
    task.rseq_pending = moved || preempted;
}
// Does what is pending. SIGSEGV for a bad area. May block.
void rseq_resume(Task& task);
// Before a signal's frame is made: leaves a critical section by its abort handler.
void rseq_before_handler(Task& task);

}  // namespace kvmsbx::task
