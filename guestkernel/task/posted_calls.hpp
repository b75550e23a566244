#pragma once
// System calls that an application posts (platform/call_post.hpp): which vCPU serves them, and when. It is worth the
// trouble where a trap costs as much as tens of thousands of instructions. What the machine has of it is in platform/;
// here is what concerns tasks and their scheduling. Model:
// - A vCPU is "home" of the task whose registers it holds. While the application runs, traps come in on home's standby
//   stack, since another vCPU may be running the task's Sentry side on the task's own stack.
// - One idle vCPU at a time polls the posts of the others (sched::Hooks::serve_calls). It takes a posted call, runs the
//   task away from home (sched/cpu.hpp), and answers; the application goes on. When the call cannot be answered so (a
//   signal waits, say), home is made to trap, hands the registers over, and the task returns to ring 3 wherever it then
//   runs.
// - A call that blocks leaves the application waiting in its code for a while; then home traps and hands over, too.
// - Polling is for those who call often: it begins after kCallsPerLook calls in quick succession, and ends when none
//   came for kQuiet, when a thread wants the vCPU, or when the host took the CPU away. What did not pay is not tried
//   again soon.
// - Where no vCPU is idle, a Sentry thread, the paid poller, takes another vCPU from its thread at once and serves the
//   caller there; its time is the caller's, whose slice ends when the two have used it up.
// All with the kernel lock held.
#include "guestkernel/platform/cpu.hpp"

namespace kvmsbx::task {

class Task;

// Once per vCPU, at start.
void install_posted_calls(platform::Cpu& area);
// On some vCPU.
extern bool calls_can_be_posted;
// On the way to ring 3 where that is so: decides how the next trap and the next system call of this vCPU come in.
void prepare_entry(Task& task, platform::Cpu& area);
// A task that is away from home leaves this vCPU: the poller that served it may not get the vCPU back for long, so
// another may poll.
void left_poller();

}  // namespace kvmsbx::task
