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
