#pragma once
// The machine before its first instruction: what lies where in guest RAM, and the vCPUs' registers.
//
// RAM from its start: measurement tables, page tables, per vCPU (gate pages, CpuArea, stacks), the syscall stub, the
// Sentry's image, boot info, the app spec, the vDSO; then BootInfo::ram_first_free. Everything is written before a vCPU
// runs; afterwards the VMM touches RAM only through GuestMemory's copies.
#include <cstdint>
#include <span>
#include <vector>

#include "vmm/kvm/entry_code.hpp"
#include "vmm/kvm/kvm.hpp"
#include "vmm/kvm/privilege.hpp"
#include "vmm/sentry_elf.hpp"

namespace kvmsbx::vmm {

struct MachineInput {
    const SentryElf* sentry;
    PrivilegeDecision privilege;
    unsigned cpus;
    uint64_t channel_size;
    uint64_t ram_backed;  // bytes
    std::span<const std::byte> app_spec;
    uint64_t tsc_khz;
    const CpuFeatures* features;
};

struct MachineCpu {
    GuestPhys area;
    EntryPoints points;
    uint64_t entry_stack;  // Sentry-virtual, top
};

struct Machine {
    GuestPhys boot_info;
    GuestPhys sentry_pml4;
    uint64_t entry;
    std::vector<MachineCpu> cpus;
};

// ENOMEM if RAM is too small; with a line in the log.
Result<Machine> build_machine(const host::Log& log, BootMemory& memory, uint64_t ram_size, const MachineInput& input);

// Registers of one vCPU, so that KVM_RUN calls sentry_start() on it.
Result<> prepare_vcpu(const host::Log& log, Vcpu& vcpu, const Machine& machine, const MachineInput& input);

}  // namespace kvmsbx::vmm
