#pragma once
// The signal frames of the host's kernel in a runner's area: where an application's registers are while it does not run. A stub's threads
// can write all of it, at any time: what is read is copied once and checked, and nothing in it is believed to be an address of ours.
#include "guestkernel/platform/cpu.hpp"
#include "guestkernel/platform/process/stub.hpp"
#include "guestkernel/platform/user_context.hpp"

namespace kvmsbx::platform::process {

// Writes the frame for a new runner, whose area is at `address` in the stub; gives the ucontext's offset.
uint64_t make_first_frame(abi::RunnerControl& control, uint64_t address);
// After a trap: where the frame is. EFAULT: it is not in the area (hostile).
Result<> locate_frame(Runner& runner);
// After locate_frame: the registers and the cause as a trap; `regs.fs_base` and gs_base are left alone. Gives the host's signal.
int read_frame(const Runner& runner, UserRegs& regs);
void write_frame(const Runner& runner, const UserRegs& regs);
// The FPU state, in the standard XSAVE format.
void read_fpu(const Runner& runner, void* area);
void write_fpu(const Runner& runner, const void* area);

}  // namespace kvmsbx::platform::process
