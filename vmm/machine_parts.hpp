#pragma once
// What a machine has on both platforms: the Sentry's image, CpuAreas and stacks, boot info and the blobs that it names.
// Everything is written before a vCPU runs; afterwards the VMM touches RAM only through GuestMemory's copies.
#include <cstdint>
#include <span>

#include "common/abi/boot_info.hpp"
#include "common/abi/cpu_area.hpp"
#include "common/abi/hypercall.hpp"
#include "vmm/guest_memory.hpp"
#include "vmm/sentry_elf.hpp"
#include "vmm/vdso.hpp"

namespace kvmsbx::vmm {

inline constexpr uint64_t kEntryStackSize = 32 * 1024, kEmergencyStackSize = 16 * 1024;
// One tick is one nanosecond: KVM's APIC bus clock (KVM_CAP_X86_APIC_BUS_CYCLES_NS, default), and that of ProcessHost.
inline constexpr uint64_t kLapicTimerHz = 1'000'000'000;

// Pages of a segment with their contents: `start` and `size` (bytes) are whole pages.
struct PlacedSegment {
    uint64_t start, size;
    GuestPhys at;
};
Result<PlacedSegment> place_segment(BootMemory& memory, const SentrySegment& segment);

Result<GuestPhys> copy_pages(BootMemory& memory, const void* from, uint64_t size);

// A zeroed CpuArea with its number and its stacks; the PanicInfo is what is shown of an exception that fault_entry
// cannot take. `direct_map`: where the Sentry sees guest-physical address 0.
struct CpuParts {
    GuestPhys area, early_panic;
    uint64_t entry_stack;  // Sentry-virtual, top
};
Result<CpuParts> add_cpu_parts(BootMemory& memory, unsigned cpu, uint64_t direct_map);

// Boot info with all that does not depend on the platform: the rest is zero. ram_first_free is written last, by
// finish_boot_info.
struct BootInfoParts {
    uint64_t ram_size, ram_backed, channel_size;  // bytes
    std::span<const std::byte> app_spec;
    CpuNumberSource cpu_number;
};
Result<GuestPhys> add_boot_info(BootMemory& memory, const BootInfoParts& parts);
void finish_boot_info(BootMemory& memory, GuestPhys boot_info);

}  // namespace kvmsbx::vmm
