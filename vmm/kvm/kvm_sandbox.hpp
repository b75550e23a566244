#pragma once
// A sandbox whose Sentry is the kernel of a KVM guest.
#include <memory>
#include <vector>

#include "vmm/kvm/kvm.hpp"
#include "vmm/kvm/privilege.hpp"
#include "vmm/kvm/ram_backing.hpp"
#include "vmm/sandbox.hpp"

namespace kvmsbx::vmm {

// A virtual machine that was seen to run code, before anything of the Sentry is in it.
class KvmGuest {
  public:
    // Fails with a line in the log where there is no KVM or it does not run a guest.
    static Result<std::unique_ptr<KvmGuest>> create(const host::Log& log, const SandboxConfig& config);
    // The sandbox until its end; its exit code.
    Result<int> run(const host::Log& log, const SandboxConfig& config);

  private:
    KvmGuest(Vm vm, CpuFeatures features, GuestMemory memory)
        : vm_(std::move(vm)), features_(std::move(features)), memory_(std::move(memory)) {}

    Vm vm_;
    CpuFeatures features_;
    GuestMemory memory_;
    BootMemory boot_{memory_};
    std::unique_ptr<RamBacking> ram_;
    std::vector<Vcpu> vcpus_;
    uint64_t backed_ = 0;  // bytes
    PrivilegeDecision privilege_{};
};

}  // namespace kvmsbx::vmm
