#pragma once
// A vCPU's thread: KVM_RUN until the sandbox ends.
#include "vmm/kvm/kvm.hpp"
#include "vmm/sandbox_state.hpp"

namespace kvmsbx::vmm {

// Installs the no-op handler of the signal that takes a thread out of KVM_RUN. Once, before any vCPU thread.
void install_kick_handler();
int kick_signal();

// Returns when the sandbox's end is decided, by this vCPU or by others (who set immediate_exit and send kick_signal()).
void run_vcpu(SandboxState& state, Vcpu& vcpu);

}  // namespace kvmsbx::vmm
