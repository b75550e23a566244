#pragma once
// What the process platform must know of the host before it starts: how signal frames look, which instructions
// applications have, how fast the TSC runs.
#include <cstdint>

#include "common/base/result.hpp"
#include "common/host/log.hpp"

namespace kvmsbx::vmm {

struct HostFacts {
    uint64_t frame_xstate_size;  // bytes of XSAVE data in a signal frame
    uint64_t frame_xfeatures;    // its components; 0: FXSAVE
    uint64_t runner_area_size;   // see BootInfo
    uint64_t tsc_khz;
    uint64_t hwcap, hwcap2;
    bool fsgsbase;
};

// Raises a signal, so no other thread may run; takes up to 10 ms. Fails with a line in the log.
Result<HostFacts> find_host_facts(const host::Log& log);

}  // namespace kvmsbx::vmm
