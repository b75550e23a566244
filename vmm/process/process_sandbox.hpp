#pragma once
// A sandbox without KVM: the Sentry runs in this process, applications in stub processes (common/abi/stub.hpp).
#include "common/base/result.hpp"
#include "common/host/log.hpp"
#include "vmm/sandbox.hpp"

namespace kvmsbx::vmm {

// Comes back only with an error, after a line in the log; else the process ends with the sandbox's exit code, since
// the Sentry's threads run until the last moment.
Result<int> run_on_process(const host::Log& log, const SandboxConfig& config);

}  // namespace kvmsbx::vmm
