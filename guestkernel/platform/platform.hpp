#pragma once
// What the Sentry needs from the machine. kvm/ implements the functions below in a KVM guest, of either privilege mode: by the CpuArea's
// generated code, LAPIC registers in memory, and unprivileged instructions. process/ implements them in a process of the host, by the
// VMM's functions (common/abi/stub.hpp). test/ is the machine of unit tests.
#include <cstddef>
#include <cstdint>

#include "common/abi/boot_info.hpp"
#include "common/abi/cpu_area.hpp"
#include "common/abi/hypercall.hpp"

namespace kvmsbx::sched {
class Thread;
}

namespace kvmsbx::platform {

using abi::CpuArea;
using Cpu = CpuArea;  // a vCPU, for those who need not know what is in it
using abi::UserRegs;
using Phys = uint64_t;  // guest-physical address in bytes

inline constexpr size_t kPageSize = abi::kPageSize;
inline constexpr size_t kHugePageSize = abi::kHugePageSize;
// Every stack on which the Sentry runs has this size and alignment; its lowest bytes are a StackHeader.
inline constexpr size_t kStackSize = 32 * 1024;

struct StackHeader {
    sched::Thread* thread;  // the thread whose stack this is
    CpuArea* cpu;           // the vCPU that runs on it now
    uint64_t canary;
};
inline constexpr uint64_t kStackCanary = 0x5a5a'c0de'57ac'ca4eULL;

// The header of the stack that the caller runs on.
#if __STDC_HOSTED__
StackHeader& stack_header();
#else
inline StackHeader& stack_header() {
    // SAFETY: every Sentry stack is kStackSize bytes, aligned to its size, and starts with a StackHeader.
    uint64_t sp;
    asm("mov %%rsp, %0" : "=r"(sp));
    return *reinterpret_cast<StackHeader*>(sp & ~(kStackSize - 1));
}
#endif
inline CpuArea& cpu() { return *stack_header().cpu; }

// Told of a stack that is about to be used, perhaps again (what its last thread left on it means nothing).
void prepare_stack(void* stack);

// RAM through the direct map. phys must lie in RAM, the channel or the device page.
void* phys_to_virt(Phys phys);
Phys virt_to_phys(const void* address);

// Applications' memory ends here: the first address that none can map.
extern const uint64_t user_end;

const abi::BootInfo& boot_info();

// Has the VMM look at this vCPU's CpuArea::hypercall.
void make_hypercall(CpuArea& area);
// Runs a VMM call on this vCPU; the result is >= 0 or -errno.
int64_t hypercall(abi::HypercallNumber number, uint64_t a0 = 0, uint64_t a1 = 0, uint64_t a2 = 0);

#if __STDC_HOSTED__
uint64_t read_tsc();
#else
inline uint64_t read_tsc() { return __builtin_ia32_rdtsc(); }
#endif
// One-shot timer interrupt of this vCPU in `ns` nanoseconds (0: never).
void set_timer(uint64_t ns);
void send_ipi(const CpuArea& target);
// Ends the service of an interrupt that the LAPIC of this vCPU delivered.
void end_of_interrupt();
// Whether wait_for_interrupts() would return at once.
bool interrupt_waits();
// Waits for interrupts; returns the set that came, a bit for each Event. They are acknowledged already.
uint64_t wait_for_interrupts();
// What interrupts a vCPU. The bits of wait_for_interrupts() are in this order.
enum class Event : uint8_t { kTimer, kOtherCpu, kChannel, kHostEvent, kCount };
// UserRegs::trap of an application that was interrupted.
inline bool is_event(uint64_t trap) { return trap >= abi::kVectorFirst && trap <= abi::kVectorLast; }
inline Event event_of(uint64_t trap) { return static_cast<Event>(trap - abi::kVectorFirst); }
static_assert(abi::kVectorTimer == abi::kVectorFirst && abi::kVectorIpi == abi::kVectorTimer + 1 &&
              abi::kVectorGofer == abi::kVectorIpi + 1 && abi::kVectorHostEvent == abi::kVectorGofer + 1 &&
              abi::kVectorHostEvent == abi::kVectorLast);
// An interrupt that needs no service.
inline bool is_spurious(uint64_t trap) { return trap == abi::kVectorSpurious; }
// The vCPU's next resume loads its address space again, without what it remembers of it.
inline void forget_space(Cpu& cpu) { cpu.loaded_cr3 = 0; }
#if __STDC_HOSTED__
[[noreturn]] void resume_user();
#else
[[noreturn]] inline void resume_user() {
    // SAFETY: the VMM put the address of generated code there.
    reinterpret_cast<void (*)()>(cpu().resume_user)();
    __builtin_unreachable();
}
#endif
inline void relax() { __builtin_ia32_pause(); }
// For one that has waited for another vCPU for long: lets the host run that.
void yield();
// Makes sure that this vCPU no longer uses an application's page table (which can then be freed).
void drop_user_space();
// Ends the sandbox after an exception in the Sentry itself.
[[noreturn]] void panic_with_fault(const abi::SentryFault& fault, CpuArea& area);
// Rings the gofer's doorbell.
void ring_gofer();

// The FPU, SSE and AVX registers. area: 64-byte aligned, boot_info().fpu_area_size bytes.
void save_fpu(void* area);
void restore_fpu(const void* area);
void init_fpu_area(void* area);  // the state of a new program
uint64_t read_fs_base();
uint64_t read_gs_base();
void write_fs_base(uint64_t base);
void write_gs_base(uint64_t base);

}  // namespace kvmsbx::platform
