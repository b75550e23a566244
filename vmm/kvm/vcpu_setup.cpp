// A vCPU's first registers: sentry_start(const BootInfo*, CpuArea*) in the Sentry's page table, IF off.
#include <cstring>

#include "vmm/kvm/machine.hpp"

namespace kvmsbx::vmm {
namespace {

constexpr uint32_t kMsrStar = 0xc0000081, kMsrLstar = 0xc0000082, kMsrFlagMask = 0xc0000084, kMsrTscAux = 0xc0000103;
constexpr uint32_t kMsrPvEoi = 0x4b564d04;  // Documentation/virt/kvm/x86/msr.rst
constexpr uint64_t kEferSce = 1;
constexpr uint64_t kCr4Umip = 1 << 11, kCr4Fsgsbase = 1 << 16, kCr4Osxsave = 1 << 18, kCr4Smep = 1 << 20,
                   kCr4Smap = 1 << 21;

// What this CPU and mode may have; each is dropped again if KVM refuses it.
uint64_t wanted_cr4(const MachineInput& input) {
    const CpuFeatures& f = *input.features;
    bool ring0 = input.privilege.mode == abi::PrivilegeMode::kRing0;
    uint64_t cr4 = (input.privilege.fsgsbase_accepted ? kCr4Fsgsbase : 0) | (f.umip ? kCr4Umip : 0) |
                   (input.privilege.osxsave_accepted ? kCr4Osxsave : 0);
    // In ring 3 mode the syscall stub, a page of ring 3, is entered in ring 0 by hardware KVM: no SMEP.
    if (ring0) cr4 |= (f.smep ? kCr4Smep : 0) | (f.smap ? kCr4Smap : 0);
    return cr4;
}

Result<> set_system_registers(const host::Log& log, Vcpu& vcpu, kvm_sregs system, uint64_t optional_cr4) {
    uint64_t base_cr4 = system.cr4;
    const struct {
        uint64_t drop;
        const char* name;
    } steps[] = {{0, ""}, {kCr4Umip, "UMIP"}, {kCr4Smap, "SMAP"}, {kCr4Smep, "SMEP"}};
    Errno why{};
    for (const auto& step : steps) {
        optional_cr4 &= ~step.drop;
        system.cr4 = base_cr4 | optional_cr4;
        auto set = vcpu.set_system_registers(system);
        if (set.is_ok()) {
            log.debug("vCPU %u: CR4 %#llx%s%s", vcpu.id(), static_cast<unsigned long long>(system.cr4),
                      *step.name ? ", without " : "", step.name);
            return {};
        }
        why = set.error();
    }
    return why;
}

Result<> set_msrs(Vcpu& vcpu, const MachineCpu& cpu, const MachineInput& input) {
    uint64_t sysret_base = abi::kUserCs - 16;  // SYSRETQ loads base + 16 as CS and base + 8 as SS
    TRY(vcpu.set_msr(kMsrStar, sysret_base << 48 | uint64_t{abi::kKernelCs} << 32));
    TRY(vcpu.set_msr(kMsrLstar, cpu.points.lstar));
    TRY(vcpu.set_msr(kMsrFlagMask, cpu.points.flag_mask));
    if (input.features->rdtscp) TRY(vcpu.set_msr(kMsrTscAux, vcpu.id()));
    if (input.features->pv_eoi) TRY(vcpu.set_msr(kMsrPvEoi, (cpu.area.value + offsetof(abi::CpuArea, pv_eoi)) | 1));
    return {};
}

}  // namespace

Result<> prepare_vcpu(const host::Log& log, Vcpu& vcpu, const Machine& machine, const MachineInput& input) {
    const MachineCpu& cpu = machine.cpus[vcpu.id()];
    unsigned ring = input.privilege.mode == abi::PrivilegeMode::kRing0 ? 0 : 3;
    auto prepare = [&]() -> Result<> {
        kvm_sregs system = long_mode_registers(TRY(vcpu.system_registers()), machine.sentry_pml4.value, ring);
        system.idt.base = cpu.points.idt;
        system.idt.limit = abi::kPageSize - 1;
        system.gdt.base = cpu.points.gdt;
        system.gdt.limit = sizeof(GateData::gdt) - 1;
        system.tr.base = cpu.points.tss;
        // Where KVM has no VMX or SVM and interprets an application for a while (platform.md, section 3, 15), SYSCALL
        // would enter ring 0; without SCE it is #UD there, and the Sentry sees to it. Native SYSCALL does not ask.
        if (ring == 3 && !input.privilege.syscall_needs_sce) system.efer &= ~kEferSce;
        TRY(set_system_registers(log, vcpu, system, wanted_cr4(input)));
        if (input.privilege.osxsave_accepted) TRY(vcpu.set_xcr0(input.privilege.xcr0));
        TRY(set_msrs(vcpu, cpu, input));
        TRY(vcpu.enable_lapic());
        TRY(vcpu.set_runnable());
        kvm_regs registers{};
        registers.rip = machine.entry;
        registers.rsp = cpu.entry_stack - 8;  // as after a call
        registers.rflags = 2;
        registers.rdi = abi::kDirectMap + machine.boot_info.value;
        registers.rsi = abi::kDirectMap + cpu.area.value;
        return vcpu.set_registers(registers);
    };
    auto prepared = prepare();
    if (prepared.is_error())
        return log.fail(prepared.error(), "KVM does not take the start state of vCPU %u (%s)", vcpu.id(),
                        strerror(static_cast<int>(prepared.error())));
    return {};
}

}  // namespace kvmsbx::vmm
