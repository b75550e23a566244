#pragma once
// What the host does for the Sentry, and what the Sentry knows of the machine as a whole: boot information, RAM, time,
// the gofer's doorbell, and the end after a defect.
//
// platform/ is what the Sentry needs from a machine: host.hpp, cpu.hpp (a vCPU), user_context.hpp (an application that
// runs or has trapped) and address_space.hpp (its memory). kvm/ implements these headers in a KVM guest, of either
// privilege mode: by the generated code of the CpuArea, LAPIC registers in memory, and unprivileged instructions.
// process/ implements them in a process of the host, by the VMM's functions (common/abi/stub.hpp). test/ is the machine
// of unit tests. freestanding/ is what kvm/ and process/ share.
#include <cstddef>
#include <cstdint>

#include "common/abi/boot_info.hpp"
#include "common/abi/cpu_area.hpp"
#include "common/abi/layout.hpp"

namespace kvmsbx::platform {

using Phys = uint64_t;  // guest-physical address in bytes

inline constexpr size_t kPageSize = abi::kPageSize;
inline constexpr size_t kHugePageSize = abi::kHugePageSize;

const abi::BootInfo& boot_info();

// RAM through the direct map. phys must lie in RAM, the channel or the device page.
void* phys_to_virt(Phys phys);
Phys virt_to_phys(const void* address);

// Applications' memory ends here: the first address that none can map.
extern const uint64_t user_end;

#if __STDC_HOSTED__
uint64_t read_tsc();
#else
inline uint64_t read_tsc() { return __builtin_ia32_rdtsc(); }
#endif

// Rings the gofer's doorbell.
void ring_gofer();
// Ends the sandbox after an exception in the Sentry itself. `cpu` is the vCPU that had it.
[[noreturn]] void panic_with_fault(const abi::SentryFault& fault, abi::CpuArea& cpu);

}  // namespace kvmsbx::platform
