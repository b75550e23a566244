#include "vmm/kvm/machine.hpp"

#include <cstring>

#include "common/abi/mailbox.hpp"
#include "vmm/host_cpu.hpp"
#include "vmm/kvm/page_tables.hpp"
#include "vmm/machine_parts.hpp"

namespace kvmsbx::vmm {
namespace {

using abi::BootInfo;
using abi::CpuArea;
using abi::PrivilegeMode;

uint64_t direct(GuestPhys address) { return abi::kDirectMap + address.value; }

class MachineBuilder {
  public:
    MachineBuilder(BootMemory& memory, const MachineInput& input, PageTableBuilder sentry, PageTableBuilder application)
        : memory_(memory),
          input_(input),
          sentry_(sentry),
          application_(application),
          ring3_(input.privilege.mode == PrivilegeMode::kRing3) {}

    Result<Machine> build(uint64_t ram_size) {
        machine_.sentry_pml4 = sentry_.root();
        TRY(map_direct(ram_size));
        TRY(map_image());
        for (unsigned cpu = 0; cpu < input_.cpus; cpu++) TRY(add_cpu(cpu));
        TRY(add_application_template());
        TRY(write_boot_info(ram_size));
        machine_.entry = input_.sentry->entry;
        return std::move(machine_);
    }

  private:
    uint64_t sentry_user() const { return ring3_ ? kLeafUser : 0; }

    Result<> map_direct(uint64_t ram_size) {
        uint64_t data = kLeafWrite | kLeafNoExecute | sentry_user();
        TRY(sentry_.map_huge(abi::kDirectMap + abi::kRamGpa, {abi::kRamGpa}, ram_size, data));
        TRY(sentry_.map_huge(abi::kDirectMap + abi::kChannelGpa, {abi::kChannelGpa}, input_.channel_size, data));
        TRY(sentry_.map(abi::kDirectMap + abi::kDeviceGpa, {abi::kDeviceGpa}, abi::kPageSize, data | kLeafUncached));
        TRY(sentry_.map(abi::kDirectMap + abi::kLapicGpa, {abi::kLapicGpa}, abi::kPageSize, data | kLeafUncached));
        return {};
    }

    Result<> map_image() {
        for (const SentrySegment& segment : input_.sentry->segments) {
            PlacedSegment placed = TRY(place_segment(memory_, segment));
            uint64_t flags =
                (segment.writable ? kLeafWrite : 0) | (segment.executable ? 0 : kLeafNoExecute) | sentry_user();
            TRY(sentry_.map(placed.start, placed.at, placed.size, flags));
        }
        return {};
    }

    Result<> add_cpu(unsigned cpu) {
        MachineCpu made;
        CpuParts parts = TRY(add_cpu_parts(memory_, cpu, abi::kDirectMap));
        made.area = parts.area;
        made.entry_stack = parts.entry_stack;

        FpuMethod fpu = input_.privilege.xcr0 == 0  ? FpuMethod::kFxsave
                        : input_.privilege.xsaveopt ? FpuMethod::kXsaveopt
                                                    : FpuMethod::kXsave;
        EntryCodeInput wanted{cpu,
                              input_.privilege.mode,
                              sentry_.root().value,
                              direct(made.area),
                              direct(parts.early_panic),
                              parts.early_panic.value,
                              fpu,
                              input_.privilege.xcr0};
        EntryCode code = TRY(generate_entry_code(wanted));
        made.points = code.points;
        TRY(map_gate(cpu, *code.image, made.area));

        CpuArea& area = *memory_.as<CpuArea>(made.area);
        area.resume_user = made.points.resume_user;
        area.wait_for_interrupt = made.points.wait_for_interrupt;
        area.fpu_save = made.points.fpu_save;
        area.fpu_restore = made.points.fpu_restore;
        area.drop_user_space = made.points.drop_user_space;
        if (ring3_) area.syscall_target = direct(TRY(add_stub(cpu))) + abi::kStubTarget;
        area.loaded_cr3 = sentry_.root().value;
        machine_.cpus.push_back(made);
        return {};
    }

    // The table in entry_code.hpp.
    Result<> map_gate(unsigned cpu, const GateImage& image, GuestPhys area) {
        uint64_t region = gate_region(cpu), data_flags = kLeafWrite | kLeafNoExecute;
        GuestPhys idt = TRY(copy_pages(memory_, &image.idt_sentry, abi::kPageSize));
        GuestPhys gate = TRY(copy_pages(memory_, &image.gate, abi::kPageSize));
        GuestPhys data = TRY(copy_pages(memory_, &image.data_page, abi::kPageSize));
        GuestPhys code = TRY(copy_pages(memory_, &image.code, sizeof image.code));
        TRY(sentry_.map(region + kIdtOffset, idt, abi::kPageSize, kLeafNoExecute));
        TRY(sentry_.map(region + kGateOffset, gate, abi::kPageSize, kLeafRead));
        TRY(sentry_.map(region + kDataOffset, data, abi::kPageSize, data_flags | sentry_user()));
        TRY(sentry_.map(region + kCodeOffset, code, sizeof image.code, sentry_user()));
        TRY(sentry_.map(region + kAreaOffset, area, abi::kPageSize, data_flags | sentry_user()));
        GuestPhys stacks = TRY(copy_pages(memory_, &image.stacks_page, abi::kPageSize));
        GuestPhys application_stacks =
            ring3_ ? TRY(copy_pages(memory_, &image.application_stacks_page, abi::kPageSize)) : stacks;
        TRY(sentry_.map(region + kStacksOffset, stacks, abi::kPageSize, data_flags | sentry_user()));
        TRY(sentry_.map(region + kApplicationStacksOffset, application_stacks, abi::kPageSize,
                        data_flags | sentry_user()));
        if (!ring3_) return {};
        TRY(application_.map(region + kStacksOffset, application_stacks, abi::kPageSize, data_flags));
        GuestPhys application_idt = TRY(copy_pages(memory_, &image.idt_application, abi::kPageSize));
        TRY(application_.map(region + kIdtOffset, application_idt, abi::kPageSize, kLeafNoExecute));
        TRY(application_.map(region + kGateOffset, gate, abi::kPageSize, kLeafRead));
        TRY(application_.map(region + kDataOffset, data, abi::kPageSize, data_flags));
        return {};
    }

    Result<GuestPhys> add_stub(unsigned cpu) {
        const auto page = syscall_stub_page(cpu);
        GuestPhys stub = TRY(copy_pages(memory_, page.data(), page.size()));
        TRY(application_.map(abi::syscall_stub(cpu), stub, abi::kPageSize, kLeafUser));
        return stub;
    }

    Result<> add_application_template() {
        if (!ring3_)
            for (unsigned i = 256; i < 512; i++) application_.set_root_entry(i, sentry_.root_entry(i));
        return {};
    }

    Result<> write_boot_info(uint64_t ram_size) {
        CpuNumberSource cpu_number =
            input_.privilege.tsc_aux_works ? CpuNumberSource::kTscAux : CpuNumberSource::kSystemCall;
        machine_.boot_info = TRY(
            add_boot_info(memory_, {ram_size, input_.ram_backed, input_.channel_size, input_.app_spec, cpu_number}));
        BootInfo& info = *memory_.as<BootInfo>(machine_.boot_info);
        info.privilege = input_.privilege.mode;
        info.cpu_count = input_.cpus;
        info.sentry_pml4 = sentry_.root().value;
        info.user_pml4_template = application_.root().value;
        for (unsigned cpu = 0; cpu < input_.cpus; cpu++) info.cpu_areas[cpu] = direct(machine_.cpus[cpu].area);
        info.tsc_khz = input_.tsc_khz;
        info.fpu_area_size = fpu_area_size(input_.privilege.xcr0);
        info.xcr0 = input_.privilege.xcr0;
        info.hwcap = input_.features->hwcap;
        info.hwcap2 = input_.privilege.fsgsbase_works ? 1 << 1 : 0;  // HWCAP2_FSGSBASE
        finish_boot_info(memory_, machine_.boot_info);
        return {};
    }

    BootMemory& memory_;
    const MachineInput& input_;
    PageTableBuilder sentry_, application_;
    bool ring3_;
    Machine machine_{};
};

}  // namespace

Result<Machine> build_machine(const host::Log& log, BootMemory& memory, uint64_t ram_size, const MachineInput& input) {
    bool ring3 = input.privilege.mode == PrivilegeMode::kRing3;
    auto build = [&]() -> Result<Machine> {
        auto sentry = TRY(PageTableBuilder::create(memory, ring3));
        auto application = TRY(PageTableBuilder::create(memory, ring3));
        return MachineBuilder(memory, input, sentry, application).build(ram_size);
    };
    auto machine = build();
    if (machine.is_error())
        return log.fail(machine.error(), "cannot lay out guest memory (%s); set a larger --memory",
                        strerror(static_cast<int>(machine.error())));
    return machine;
}

}  // namespace kvmsbx::vmm
