#include "vmm/kvm/cpu_features.hpp"

#include <cpuid.h>
#include <sys/ioctl.h>

#include <cstring>

#include "common/host/errno.hpp"
#include "vmm/kvm/kvm_abi.hpp"

namespace kvmsbx::vmm {
namespace {

constexpr unsigned kMaxEntries = 256;
constexpr uint32_t kKvmFeatureLeaf = 0x40000001;  // Documentation/virt/kvm/x86/cpuid.rst; bit 6: PV EOI

const kvm_cpuid_entry2* find(const std::vector<kvm_cpuid_entry2>& entries, uint32_t function, uint32_t index = 0) {
    for (const auto& entry : entries)
        if (entry.function == function && (entry.index == index || !(entry.flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX)))
            return &entry;
    return nullptr;
}

// The processor's name: the host's own, which not every KVM reports, in `model` and in the leaves that tell it.
void take_model(std::vector<kvm_cpuid_entry2>& entries, char (&model)[64]) {
    for (uint32_t i = 0; i < 3; i++) {
        kvm_cpuid_entry2 leaf = {};
        leaf.function = 0x80000002 + i;
        if (!__get_cpuid(leaf.function, &leaf.eax, &leaf.ebx, &leaf.ecx, &leaf.edx)) return;
        memcpy(model + 16 * i, &leaf.eax, 16);
        std::erase_if(entries, [&](const auto& entry) { return entry.function == leaf.function; });
        entries.push_back(leaf);
    }
}

}  // namespace

Result<CpuFeatures> CpuFeatures::query(int kvm_fd) {
    KvmList<kvm_cpuid_entry2> list(kMaxEntries);
    if (ioctl(kvm_fd, kGetSupportedCpuid, list.data()) < 0) return host::last_errno();
    CpuFeatures f;
    for (uint32_t i = 0; i < list.count(); i++) f.cpuid.push_back(list.entry(i));
    if (const auto* leaf = find(f.cpuid, 1)) {
        f.hwcap = leaf->edx;
        f.xsave = leaf->ecx >> 26 & 1;
    }
    if (const auto* leaf = find(f.cpuid, 7)) {
        f.fsgsbase = leaf->ebx & 1;
        f.smep = leaf->ebx >> 7 & 1;
        f.smap = leaf->ebx >> 20 & 1;
        f.umip = leaf->ecx >> 2 & 1;
    }
    if (const auto* leaf = find(f.cpuid, 0x80000001)) f.rdtscp = leaf->edx >> 27 & 1;
    if (const auto* leaf = find(f.cpuid, 0xd)) f.xcr0_supported = leaf->eax | uint64_t{leaf->edx} << 32;
    if (const auto* leaf = find(f.cpuid, 0xd, 1)) f.xsaveopt = leaf->eax & 1;
    if (const auto* leaf = find(f.cpuid, kKvmFeatureLeaf)) f.pv_eoi = leaf->eax >> 6 & 1;
    take_model(f.cpuid, f.model);
    return f;
}

std::vector<kvm_cpuid_entry2> CpuFeatures::cpuid_for(unsigned apic_id) const {
    std::vector<kvm_cpuid_entry2> entries = cpuid;
    for (auto& entry : entries) {
        if (entry.function == 1) entry.ebx = (entry.ebx & 0x00ffffff) | apic_id << 24;
        if (entry.function == 0xb || entry.function == 0x1f) entry.edx = apic_id;
    }
    return entries;
}

}  // namespace kvmsbx::vmm
