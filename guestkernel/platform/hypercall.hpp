#pragma once
// Raw calls of the VMM, for platform/ alone: host.hpp has a function with types for each.
#include <cstdint>

#include "common/abi/cpu_area.hpp"
#include "common/abi/hypercall.hpp"

namespace kvmsbx::platform {

// Has the VMM look at this vCPU's CpuArea::hypercall.
void make_hypercall(abi::CpuArea& area);
// Runs a VMM call on this vCPU; the result is >= 0 or -errno.
int64_t hypercall(abi::HypercallNumber number, uint64_t a0 = 0, uint64_t a1 = 0, uint64_t a2 = 0);

}  // namespace kvmsbx::platform
