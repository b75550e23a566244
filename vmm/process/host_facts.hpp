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

// How many mappings an application may have in its stub, so that the host's vm.max_map_count is never reached: less a
// margin for the stub's own and for those that an order makes for a moment. `text`: the sysctl's, as /proc shows it; what
// is no number is taken for Linux's default.
uint64_t stub_mappings_within(const char* text);
// The same for this host. /proc must be in reach for that, so before the process is confined.
uint64_t find_stub_mappings();

// Raises a signal, so no other thread may run; takes up to 10 ms. Fails with a line in the log.
Result<HostFacts> find_host_facts(const host::Log& log);

}  // namespace kvmsbx::vmm
