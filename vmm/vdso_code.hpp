#pragma once
// The code of the vDSO and where its functions begin. Private to vmm/vdso*.cpp.
#include <cstddef>
#include <cstdint>
#include <vector>

#include "vmm/vdso.hpp"

namespace kvmsbx::vmm {

struct VdsoFunction {
    const char* name;
    uint32_t offset, size;  // in the code
};

struct VdsoCode {
    std::vector<std::byte> bytes;
    std::vector<VdsoFunction> functions;
};

// `code_to_data`: distance in bytes from the code's start back to VdsoData. Throws Xbyak::Error if the code outgrows
// its buffer.
VdsoCode generate_vdso_code(CpuNumberSource cpu_number, uint32_t code_to_data);

}  // namespace kvmsbx::vmm
