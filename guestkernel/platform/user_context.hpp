#pragma once
// An application on a vCPU: its registers, why it trapped, how it goes on, and what of its state stays in the CPU while
// the Sentry runs (FPU, segment bases).
#include <cstdint>

#include "common/abi/cpu_area.hpp"
#include "common/abi/layout.hpp"
#include "guestkernel/platform/cpu.hpp"

namespace kvmsbx::platform {

using abi::UserRegs;

// UserRegs::trap of an application that was interrupted.
inline bool is_event(uint64_t trap) { return trap >= abi::kVectorFirst && trap <= abi::kVectorLast; }
inline Event event_of(uint64_t trap) { return static_cast<Event>(trap - abi::kVectorFirst); }
static_assert(abi::kVectorTimer == abi::kVectorFirst && abi::kVectorIpi == abi::kVectorTimer + 1 &&
              abi::kVectorGofer == abi::kVectorIpi + 1 && abi::kVectorHostEvent == abi::kVectorGofer + 1 &&
              abi::kVectorHostEvent == abi::kVectorLast);
// An interrupt that needs no service.
inline bool is_spurious(uint64_t trap) { return trap == abi::kVectorSpurious; }

// Where an application comes in when it traps. On this vCPU's stack for traps; must not return.
using TrapEntry = void(UserRegs* regs, Cpu* cpu);
// Where an exception of the Sentry itself comes in. Must not return.
using FaultEntry = void(abi::SentryFault* fault, Cpu* cpu);
// SAFETY of the casts to numbers: as the entry code wants addresses.
inline void set_trap_entry(Cpu& cpu, TrapEntry* entry) { cpu.trap_entry = reinterpret_cast<uint64_t>(entry); }
inline void set_fault_entry(Cpu& cpu, FaultEntry* entry) { cpu.fault_entry = reinterpret_cast<uint64_t>(entry); }
// From now on resume_user() loads `regs` on this vCPU, and its next trap saves them there and comes in on the stack
// that ends at `stack_end`.
inline void set_user_context(Cpu& cpu, UserRegs& regs, const void* stack_end) {
    cpu.user_regs = reinterpret_cast<uint64_t>(&regs);
    cpu.kernel_stack = reinterpret_cast<uint64_t>(stack_end);
}

// Runs the application of this vCPU. The kernel lock is not held.
#if __STDC_HOSTED__
[[noreturn]] void resume_user();
#else
[[noreturn]] inline void resume_user() {
    // SAFETY: the VMM put the address of generated code there.
    reinterpret_cast<void (*)()>(cpu().resume_user)();
    __builtin_unreachable();
}
#endif

// The FPU, SSE and AVX registers. area: 64-byte aligned, boot_info().fpu_area_size bytes.
void save_fpu(void* area);
void restore_fpu(const void* area);
void init_fpu_area(void* area);  // the state of a new program
uint64_t read_fs_base();
uint64_t read_gs_base();
void write_fs_base(uint64_t base);
void write_gs_base(uint64_t base);

}  // namespace kvmsbx::platform
