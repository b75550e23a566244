#pragma once
// The channel's completions, for the hooks of sched/cpu.hpp. None of these blocks.
namespace kvmsbx::fs::ninep {

// kVectorGofer came, or an idle vCPU polls: wakes whose reply has come.
void handle_completion_interrupt();
// Requests are under way: polling may pay.
bool requests_pending();
// Before a vCPU halts or runs an application: asks for an interrupt at the next completion. False: replies have come,
// and their waiters run again.
bool arm_completion_interrupt();

}  // namespace kvmsbx::fs::ninep
