#pragma once
// What the VMM asks the host's own CPU.
#include <cstdint>

namespace kvmsbx::vmm {

// What ring 3 sees where KVM does not intercept CPUID.
bool host_has_xsaveopt();

// Bytes of the standard-format XSAVE area for these components (CPUID leaf 0xd); 512 for 0 (FXSAVE).
uint64_t fpu_area_size(uint64_t xcr0);

// The brand string, NUL-terminated; left as it is where CPUID has none.
void read_cpu_model(char (&model)[64]);

}  // namespace kvmsbx::vmm
