#pragma once
// What KVM and the CPU offer a guest: CPUID as KVM supports it, and the few features that the VMM acts on.
#include <linux/kvm.h>

#include <cstdint>
#include <vector>

#include "common/base/result.hpp"

namespace kvmsbx::vmm {

struct CpuFeatures {
    // KVM_GET_SUPPORTED_CPUID. Fails with KVM's errno.
    static Result<CpuFeatures> query(int kvm_fd);
    // As a vCPU with this APIC id sees it.
    std::vector<kvm_cpuid_entry2> cpuid_for(unsigned apic_id) const;

    std::vector<kvm_cpuid_entry2> cpuid;
    bool fsgsbase = false, smep = false, smap = false, umip = false, rdtscp = false;
    bool xsave = false, xsaveopt = false, pv_eoi = false;
    uint64_t xcr0_supported = 0;
    uint32_t hwcap = 0;
    char model[64] = {};
};

}  // namespace kvmsbx::vmm
