#pragma once
// The vDSO that the Sentry maps into applications: an ELF shared object built in memory, its code generated for what
// the CPU offers. It reads abi::VdsoData from the page before its image and makes no trap. Interface: vdso(7), Linux's
// arch/x86/entry/vdso/vdso.lds.S.
#include <cstddef>
#include <cstdint>
#include <vector>

#include "common/base/result.hpp"

namespace kvmsbx::vmm {

struct VdsoImage {
    std::vector<std::byte> bytes;  // a multiple of 4 KiB; mapped r-x at a page boundary, VdsoData's page just before it
    uint64_t sigreturn;            // offset of __kernel_rt_sigreturn
};

enum class CpuNumberSource : uint8_t { kSystemCall, kTscAux };

// ENOSPC if the code outgrows its page: a defect.
Result<VdsoImage> build_vdso(CpuNumberSource cpu_number);

}  // namespace kvmsbx::vmm
