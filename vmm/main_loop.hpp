#pragma once
// The main thread while the guest runs: waits for the end, for the gofer's death, for the CLI's messages, and for
// consoles that the Sentry waits for.
#include "vmm/sandbox_state.hpp"

namespace kvmsbx::vmm {

// Returns when the sandbox's end is decided. `wake_fd`: the eventfd of Ending and Console.
void run_main_loop(SandboxState& state, int wake_fd);

}  // namespace kvmsbx::vmm
