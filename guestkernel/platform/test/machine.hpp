#pragma once
// The Sentry's core in a host process, for unit tests: RAM is an anonymous mapping, one vCPU, Sentry threads on real
// Sentry stacks, no ring 3.
#include <cstdint>
#include <functional>

#include "common/abi/hypercall.hpp"

namespace kvmsbx::platform::test {

class Machine {
  public:
    explicit Machine(uint64_t ram_size = 256 << 20);
    ~Machine();
    // Runs `body` in a Sentry thread with the kernel lock held, until it ends and all other threads are blocked or
    // done.
    void run(std::function<void()> body);

    // Answers hypercalls that the machine does not know (console, events); default: -ENOSYS.
    static std::function<int64_t(abi::HypercallNumber, const uint64_t*)> on_hypercall;
    static std::function<void()> on_ring_gofer;
    // Called when every thread is blocked; true if it may have woken one (a gofer's completion, say).
    static std::function<bool()> on_idle;
};

}  // namespace kvmsbx::platform::test
