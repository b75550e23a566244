#pragma once
// System calls without a trap, in ring 3 mode (common/abi/mailbox.hpp; why: a trap there costs as much as tens of
// thousands of instructions). Model:
// - A vCPU is "home" of the task whose registers it holds. While the application runs, traps come in on home's standby
//   stack, since another vCPU may be running the task's Sentry side on the task's own stack.
// - One idle vCPU at a time polls the mailboxes of the others (serve_calls). It takes a posted call, runs the task away
//   from home (sched/cpu.hpp), and answers; the application goes on. When the call cannot be answered so (a signal
//   waits, say), home is made to trap, hands the registers over, and the task returns to ring 3 wherever it then runs.
// - A call that blocks leaves the application waiting in the stub for a while; then home traps and hands over, too.
// - Polling is for those who call often: it begins after kCallsPerLook calls in quick succession, and ends when none
//   came for kQuietTicks, when a thread wants the vCPU, or when the host took the CPU away. What did not pay is not
//   tried again soon.
// - Where no vCPU is idle, a Sentry thread, the paid poller, takes another vCPU from its thread at once and serves the
//   caller there; its time is the caller's, whose slice ends when the two have used it up.
// All with the kernel lock held.
#include "guestkernel/platform/cpu.hpp"

namespace kvmsbx::task {

class Task;

// Once per vCPU, at start.
void install_mailbox(platform::Cpu& area);
// On the way to ring 3: decides how the next trap and the next system call of this vCPU come in.
void prepare_entry(Task& task, platform::Cpu& area);
// Of an idle vCPU: sched::Hooks::serve_calls.
void serve_calls();
// A task that is away from home leaves this vCPU: the poller that served it may not get the vCPU back for long, so
// another may poll.
void left_poller();
// The task's registers are on this vCPU or in task.regs afterwards. May block.
void fetch_registers(Task& task);

}  // namespace kvmsbx::task
