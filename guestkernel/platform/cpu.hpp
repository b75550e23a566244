#pragma once
// vCPUs: the one that the caller runs on and its stack, what interrupts a vCPU, its timer, and how it waits.
#include <cstddef>
#include <cstdint>
#include <span>

#include "common/abi/cpu_area.hpp"
#include "common/abi/layout.hpp"

namespace kvmsbx::sched {
class Thread;
}

namespace kvmsbx::platform {

using abi::CpuArea;
// A vCPU. Who is not of platform/ reads its cpu_id and leaves the rest to the functions here.
using Cpu = CpuArea;

// Every stack on which the Sentry runs has this size in bytes and alignment; its lowest bytes are a StackHeader.
inline constexpr size_t kStackSize = 32 * 1024;

struct StackHeader {
    sched::Thread* thread;  // the thread whose stack this is
    Cpu* cpu;               // the vCPU that runs on it now
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
inline Cpu& cpu() { return *stack_header().cpu; }

// Where a stack that the Sentry has left goes on: return addresses, innermost first, and how many. `context`: as
// sched/fcontext.hpp has it.
size_t return_addresses(const void* context, std::span<uint64_t> out);

// Told of a stack that is about to be used, perhaps again (what its last thread left on it means nothing).
void prepare_stack(void* stack);

// What interrupts a vCPU. The bits of wait_for_interrupts() are in this order.
enum class Event : uint8_t { kTimer, kOtherCpu, kChannel, kHostEvent, kCount };

// One-shot timer interrupt of this vCPU in `ns` nanoseconds (0: never).
void set_timer(uint64_t ns);
// Interrupts another vCPU (Event::kOtherCpu): it enters the Sentry, or ends its wait.
void kick(const Cpu& target);
// Ends the service of an interrupt that came while an application ran.
void end_of_interrupt();
// Whether wait_for_interrupts() would return at once.
bool interrupt_waits();
// Waits for interrupts; returns the set that came, a bit for each Event. Their service is ended already.
uint64_t wait_for_interrupts();

// Each vCPU counts when it enters the Sentry and when it leaves it for an application, so that others can tell where it
// is and wait for its next entry. Needs no lock. init counts the start as an entry.
inline void count_crossing(Cpu& cpu) { __atomic_fetch_add(&cpu.entries, 1, __ATOMIC_ACQ_REL); }
inline uint64_t crossings(const Cpu& cpu) { return __atomic_load_n(&cpu.entries, __ATOMIC_ACQUIRE); }
// Where a vCPU is with that count: in the Sentry, or in an application.
inline bool is_in_sentry(uint64_t crossings) { return crossings & 1; }

// In a loop that waits for another vCPU.
inline void relax() { __builtin_ia32_pause(); }
// For one that has waited for another vCPU for long: lets the host run that.
void yield();

}  // namespace kvmsbx::platform
