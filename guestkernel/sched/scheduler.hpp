#pragma once
// What the scheduler's own files share: sched.cpp, and away.cpp for threads away from home (cpu.hpp).
#include "common/abi/layout.hpp"
#include "guestkernel/platform/cpu.hpp"
#include "guestkernel/sched/cpu.hpp"
#include "guestkernel/sched/fcontext.hpp"
#include "guestkernel/sched/load.hpp"

namespace kvmsbx::sched {

class IdleThread final : public Thread {
  public:
    void run() override {}
};

// What the scheduler knows of one vCPU.
struct CpuState {
    Cpu* area = nullptr;
    IdleThread idle;
    IdleThread standby;
    Thread* running = &idle;
    Thread* carrier = nullptr;  // ran another away from home, and goes on when that has ended or blocks; null: idle
    List<Thread, &Thread::run_hook> queue;  // who waits for this vCPU, but for real-time threads
    uint32_t queued = 0;                    // its length
    Nanoseconds up_since = 0;
    bool halted = false;
    bool preempted = false;  // what runs here makes way for run_beside's thread, and comes next
    uint64_t interrupts[static_cast<size_t>(platform::Event::kCount)] = {};
    Nanoseconds timer = kNever;      // when this vCPU's LAPIC timer will fire
    Nanoseconds slice_end = kNever;  // of what runs here; kNever: it may run on, as far as is known
};
extern CpuState cpus[abi::kMaxCpus];
extern Nanoseconds quota_time;  // that threads which share the quota have run, without their present runs

inline CpuState& this_cpu() { return cpus[platform::cpu().cpu_id]; }

struct Switching {
    // First on the new stack.
    static void finish_switch(Transfer from) {
        Thread* previous = static_cast<Thread*>(from.data);
        previous->context_ = from.context;
        if (previous->state_ == Thread::State::kDead) previous->unref();
    }
    // The caller's state says already whether it is blocked, runnable or dead.
    static void switch_away();
};

}  // namespace kvmsbx::sched
