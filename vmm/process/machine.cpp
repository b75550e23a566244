#include "vmm/process/machine.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>

#include "common/host/errno.hpp"
#include "vmm/machine_parts.hpp"

namespace kvmsbx::vmm {
namespace {

using abi::BootInfo;

int protection(const SentrySegment& segment) {
    return PROT_READ | (segment.writable ? PROT_WRITE : 0) | (segment.executable ? PROT_EXEC : 0);
}

// MAP_FIXED_NOREPLACE: this executable's own heap may have come there.
Result<> map_segment(const host::Log& log, int ram_fd, const SentrySegment& segment, const PlacedSegment& placed) {
    void* at = reinterpret_cast<void*>(placed.start);
    void* got = mmap(at, placed.size, protection(segment), MAP_SHARED | MAP_FIXED_NOREPLACE, ram_fd,
                     static_cast<off_t>(placed.at.value - abi::kRamGpa));
    if (got == at) return {};
    if (got != MAP_FAILED) munmap(got, placed.size);
    return log.fail(host::last_errno(), "cannot map the Sentry at %#llx: %m",
                    static_cast<unsigned long long>(placed.start));
}

void fill_process_info(BootInfo& info, const ProcessMachineInput& input) {
    const HostFacts& facts = *input.facts;
    info.privilege = abi::PrivilegeMode::kProcess;
    info.cpu_count = input.cpus;
    info.tsc_khz = facts.tsc_khz;
    info.fpu_area_size = facts.frame_xstate_size;
    info.xcr0 = facts.frame_xfeatures;
    info.hwcap = facts.hwcap;
    info.hwcap2 = facts.hwcap2;
    info.process_host = input.calls;
    info.stub_base = input.stub_base;
    info.stub_mappings = input.stub_mappings;
    info.runner_area_size = facts.runner_area_size;
    info.frame_xstate_size = facts.frame_xstate_size;
    info.frame_xfeatures = facts.frame_xfeatures;
    info.fsgsbase = facts.fsgsbase;
}

}  // namespace

Result<ProcessMachine> build_process_machine(const host::Log& log, BootMemory& memory, uint64_t ram_size, int ram_fd,
                                             const ProcessMachineInput& input) {
    ProcessMachine made{};
    made.entry = input.sentry->entry;
    made.image_start = ~uint64_t{0};
    auto build = [&]() -> Result<> {
        for (const SentrySegment& segment : input.sentry->segments) {
            PlacedSegment placed = TRY(place_segment(memory, segment));
            TRY(map_segment(log, ram_fd, segment, placed));
            made.image_start = std::min(made.image_start, placed.start);
            made.image_end = std::max(made.image_end, placed.start + placed.size);
        }
        for (unsigned cpu = 0; cpu < input.cpus; cpu++)
            made.cpu_areas.push_back(TRY(add_cpu_parts(memory, cpu, abi::kProcessDirectMap)).area);
        GuestPhys no_tables = TRY(memory.allocate(abi::kPageSize));
        made.zygote_orders = TRY(memory.allocate(sizeof(abi::OrderPage)));
        made.boot_info = TRY(add_boot_info(
            memory, {ram_size, ram_size, input.channel_size, input.app_spec, CpuNumberSource::kSystemCall}));
        BootInfo& info = *memory.as<BootInfo>(made.boot_info);
        fill_process_info(info, input);
        info.sentry_pml4 = info.user_pml4_template = no_tables.value;
        for (unsigned cpu = 0; cpu < input.cpus; cpu++)
            info.cpu_areas[cpu] = abi::kProcessDirectMap + made.cpu_areas[cpu].value;
        finish_boot_info(memory, made.boot_info);
        return {};
    };
    auto built = build();
    if (built.is_error())
        return log.fail(built.error(), "cannot lay out the Sentry's memory (%s); set a larger --memory",
                        strerror(static_cast<int>(built.error())));
    return made;
}

}  // namespace kvmsbx::vmm
