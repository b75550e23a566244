#pragma once
// Which privilege mode fits this KVM: measured on the vCPU itself, never guessed from names (platform.md, section 1).
#include <cstdint>

#include "common/abi/boot_info.hpp"
#include "vmm/kvm/kvm.hpp"
#include "vmm/sandbox.hpp"

namespace kvmsbx::vmm {

struct PrivilegeDecision {
    abi::PrivilegeMode mode;
    double ns_per_loop;     // a ring-0 loop iteration of two instructions; 0 if not measured
    uint64_t xcr0;          // components that ring 3 has enabled; 0: no XSAVE
    bool osxsave_accepted;  // CR4.OSXSAVE may be set (where it may not and XSAVE works all the same, the host's stays
                            // in force)
    bool xsaveopt;
    bool fsgsbase_accepted;  // CR4.FSGSBASE may be set
    bool fsgsbase_works;     // RDFSBASE works in ring 3
    bool tsc_aux_works;      // RDTSCP in ring 3 gives the TSC_AUX that was set
    bool syscall_needs_sce;  // false: SYSCALL in ring 3 works with EFER.SCE clear; tried only where ring 0 is
                             // interpreted
};

// Runs little loops on vCPU 0 before anything else does, in under 2 ms; takes a few pages of `memory`. `choice` kRing0
// skips the loop. Fails with a line in the log if the vCPU does not run.
Result<PrivilegeDecision> decide_privilege(const host::Log& log, Vcpu& vcpu, BootMemory& memory,
                                           const CpuFeatures& features, PrivilegeChoice choice);

// Long-mode segment and control registers that all of the VMM's vCPU states start from. `ring`: 0 or 3.
kvm_sregs long_mode_registers(kvm_sregs from, uint64_t cr3, unsigned ring);

}  // namespace kvmsbx::vmm
