#pragma once
// What the threads of a running sandbox share. Locks: HostEvents' and RamBacking's own, never both; everything else is
// constant or atomic.
#include <atomic>
#include <cstdint>

#include "vmm/console.hpp"
#include "vmm/host_events.hpp"
#include "vmm/kvm/machine.hpp"
#include "vmm/kvm/ram_backing.hpp"
#include "vmm/sandbox.hpp"

namespace kvmsbx::vmm {

// The sandbox's end: the first reason wins; everybody else sees it and stops.
class Ending {
  public:
    explicit Ending(int wake_fd) : wake_fd_(wake_fd) {}
    // True for the caller that decided it.
    bool set(int exit_code);
    bool decided() const { return code_.load() != kRunning; }
    int code() const { return code_.load(); }

  private:
    static constexpr int kRunning = -1;
    std::atomic<int> code_{kRunning};
    int wake_fd_;
};

struct SandboxState {
    const SandboxConfig& config;
    const Log& log;
    const GuestMemory& memory;
    const Vm& vm;
    const SentryElf& sentry;
    const Machine& machine;
    RamBacking& ram;
    Console console;
    HostEvents events;
    Ending ending;

    // Tells the Sentry to ask for host events.
    void notify_sentry() {
        ignore(vm.raise_interrupt(0, abi::kVectorHostEvent), "a VM that is ending takes no interrupt");
    }
};

}  // namespace kvmsbx::vmm
