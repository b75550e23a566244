#pragma once
// What trap handling and init need of the scheduler: the vCPU's side.
#include "guestkernel/platform/address_space.hpp"
#include "guestkernel/platform/cpu.hpp"
#include "guestkernel/sched/sched.hpp"

namespace kvmsbx::sched {

using platform::Cpu;

// Set by the layers above at start; called with the kernel lock held.
struct Hooks {
    // A channel to another process, whose completions are events.
    void (*channel_collect)() = nullptr;               // takes what has been completed; never blocks
    bool (*channel_pending)() = [] { return false; };  // requests are under way: polling a little may pay
    bool (*channel_arm)() =
        nullptr;  // asks for an interrupt at the next completion; false: one is there (and collected)
    void (*host_event_interrupt)() = nullptr;
    void (*serve_calls)() = nullptr;  // an idle vCPU's chance to work for others; may give the kernel lock up meanwhile
};
extern Hooks hooks;

// Makes the calling stack, whose header is `header`, that of the vCPU's idle thread.
void prepare_idle(Cpu& area, platform::StackHeader& header);
// Runs the scheduler on the idle thread, forever. Kernel lock held.
[[noreturn]] void run_idle(Cpu& area);
// Serves an interrupt that came while an application ran (already counted; the EOI is done here).
void serve_interrupt(platform::Event event);
// On the way to ring 3, kernel lock held: gives idle vCPUs the threads that wait, arms the slice timer.
inline void before_resume();
// Makes every other vCPU that runs an application in this address space enter the Sentry once, and forget what it knows
// of it before it resumes. Kernel lock held.
void interrupt_users_of(const platform::UserSpace& space);

// Makes every other vCPU that runs an application enter the Sentry once: a memory barrier for all of them. Kernel lock
// held.
void interrupt_applications();

// Threads away from home. While an application waits in ring 3 on its vCPU ("home") for the answer to a system call,
// another vCPU that is idle runs its thread's Sentry side. What traps at home meanwhile comes in on home's standby
// thread, with its stack.
Result<> create_standby(Cpu& home);  // if there is none yet. ENOMEM
const void* standby_stack_end(const Cpu& home);
// On an idle or Sentry thread: runs body(thread) on the thread's stack, which must be empty. Returns after
// return_home(), or when the thread has blocked. body must not return.
void run_away_from_home(Thread& thread, void (*body)(Thread&));
// Leaves the thread's stack for good: the thread runs at home again, in ring 3, as if it had never been away.
[[noreturn]] void return_home(Thread& thread, Cpu& home);
// On home's standby thread: this vCPU is the next thread's.
[[noreturn]] void leave_standby();
// On any stack of this vCPU: starts again at the empty stack of `thread`, which runs here.
[[noreturn]] void restart_on_own_stack(Thread& thread, void (*body)(Thread&));
// Has one halted vCPU go through its idle loop; false: there is none.
bool wake_idle_cpu();
// Makes a new or blocked Sentry thread run at once on another vCPU that runs a thread of no real-time priority; that
// one comes next there. False: there is none.
bool run_beside(Thread& thread);
// What runs on that vCPU has had its time: the next thread that waits takes over.
void end_slice(const Cpu& area);
// Whether this vCPU's timer should have interrupted it by now. Needs no lock.
bool timer_is_due(const Cpu& area);
bool thread_waits();      // for this vCPU
void announce_waiting();  // Tells other vCPUs of the threads that wait, where they do not know
Nanoseconds time_slice(const Thread& thread);
uint32_t nice_weight(int nice);  // Linux's, 1024 for 0
// The thread has used so much CPU time.
void charge(Thread& thread, Nanoseconds time);

// The rare part of before_resume, and whether threads wait for a vCPU.
void share_work_before_resume();
extern uint32_t waiting_threads;
[[gnu::always_inline]] inline void before_resume() {
    if (waiting_threads != 0 || hooks.channel_pending()) [[unlikely]]
        share_work_before_resume();
}

}  // namespace kvmsbx::sched
