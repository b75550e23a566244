#pragma once
// The zygote: a stub without an application, forked from the sandbox process. All stubs are its copies.
#include <cstdint>
#include <span>

#include "common/base/result.hpp"
#include "common/host/log.hpp"
#include "vmm/process/stub_code.hpp"

namespace kvmsbx::vmm {

struct ZygoteInput {
    const StubCode* code;
    int ram_fd, completion_fd;
    std::span<const int> wake_fds;  // one per vCPU
    uint64_t orders_offset;         // in the RAM file: its OrderPage
};

// A random place for the stub range where nothing of this process lies. ENOMEM if none was found.
Result<uint64_t> choose_stub_base();

// To be called before the process has other threads or a seccomp filter. Gives the PID; the zygote waits for orders, or
// dies at once if the host does not let it become a stub. Fails with a line in the log.
Result<int32_t> start_zygote(const host::Log& log, const ZygoteInput& input);

}  // namespace kvmsbx::vmm
