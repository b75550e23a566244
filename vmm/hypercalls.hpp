#pragma once
// Answers hypercalls (common/abi/hypercall.hpp). The Sentry is hostile here: the block is copied in once, every address
// is a GuestPhys.
#include "vmm/sandbox_state.hpp"

namespace kvmsbx::vmm {

// On the thread of vCPU `cpu`, which just wrote to kHypercallOffset or called ProcessHost::hypercall. Never blocks.
void handle_hypercall(SandboxState& state, unsigned cpu);

// Writes a Sentry panic, symbolised, to the log.
void print_panic(const host::Log& log, const SentryElf& sentry, abi::PanicInfo info);

}  // namespace kvmsbx::vmm
