#include "vmm/machine_parts.hpp"

#include <sys/random.h>

#include <cstring>

#include "vmm/host_cpu.hpp"

namespace kvmsbx::vmm {

using abi::BootInfo;
using abi::CpuArea;

Result<PlacedSegment> place_segment(BootMemory& memory, const SentrySegment& segment) {
    uint64_t start = segment.address & ~(abi::kPageSize - 1);
    uint64_t end = (segment.address + segment.memory_size + abi::kPageSize - 1) & ~(abi::kPageSize - 1);
    GuestPhys at = TRY(memory.allocate(end - start));
    memcpy(memory.at(at + (segment.address - start)), segment.contents.data(), segment.contents.size());
    return PlacedSegment{start, end - start, at};
}

Result<GuestPhys> copy_pages(BootMemory& memory, const void* from, uint64_t size) {
    GuestPhys at = TRY(memory.allocate(size));
    if (size != 0) memcpy(memory.at(at), from, size);
    return at;
}

Result<CpuParts> add_cpu_parts(BootMemory& memory, unsigned cpu, uint64_t direct_map) {
    CpuParts made;
    made.area = TRY(memory.allocate(sizeof(CpuArea)));
    GuestPhys entry_stack = TRY(memory.allocate(kEntryStackSize, kEntryStackSize));
    GuestPhys emergency_stack = TRY(memory.allocate(kEmergencyStackSize));
    made.early_panic = TRY(memory.allocate(sizeof(abi::PanicInfo)));
    made.entry_stack = direct_map + entry_stack.value + kEntryStackSize;
    strcpy(memory.as<abi::PanicInfo>(made.early_panic)->message, "exception that the Sentry could not handle itself");
    CpuArea& area = *memory.as<CpuArea>(made.area);
    area.cpu_id = area.apic_id = cpu;
    area.entry_stack = made.entry_stack;
    area.emergency_stack = direct_map + emergency_stack.value + kEmergencyStackSize;
    return made;
}

Result<GuestPhys> add_boot_info(BootMemory& memory, const BootInfoParts& parts) {
    GuestPhys boot_info = TRY(memory.allocate(sizeof(BootInfo)));
    GuestPhys spec = TRY(copy_pages(memory, parts.app_spec.data(), parts.app_spec.size()));
    VdsoImage vdso = TRY(build_vdso(parts.cpu_number));
    // VdsoData lies in the page just before the image.
    GuestPhys vdso_data = TRY(memory.allocate(abi::kPageSize + vdso.bytes.size()));
    GuestPhys vdso_at = vdso_data + abi::kPageSize;
    memcpy(memory.at(vdso_at), vdso.bytes.data(), vdso.bytes.size());

    BootInfo& info = *memory.as<BootInfo>(boot_info);
    info.magic = abi::kBootInfoMagic;
    info.version = abi::kBootInfoVersion;
    info.size = sizeof info;
    info.ram_gpa = abi::kRamGpa;
    info.ram_size = parts.ram_size;
    info.ram_backed = parts.ram_backed;
    info.channel_size = parts.channel_size;
    info.app_spec_gpa = spec.value;
    info.app_spec_size = parts.app_spec.size();
    info.vdso_gpa = vdso_at.value;
    info.vdso_size = vdso.bytes.size();
    info.vdso_sigreturn = vdso.sigreturn;
    info.lapic_timer_hz = kLapicTimerHz;
    read_cpu_model(info.cpu_model);
    if (getrandom(info.random_seed, sizeof info.random_seed, 0) != sizeof info.random_seed) return Errno::kIO;
    return boot_info;
}

void finish_boot_info(BootMemory& memory, GuestPhys boot_info) {
    memory.as<BootInfo>(boot_info)->ram_first_free = memory.first_free().value;
}

}  // namespace kvmsbx::vmm
