#pragma once
// What the VMM has for the Sentry (HypercallNumber::kNextHostEvent): filled by the main thread, emptied by vCPU
// threads. A full queue drops the newest.
#include <array>
#include <mutex>

#include "common/abi/hypercall.hpp"

namespace kvmsbx::vmm {

class HostEvents {
  public:
    // False if the queue is full.
    bool push(const abi::HostEvent& event);
    // Streams that can be read or written again; a stream is told once until it was taken.
    void push_console(unsigned stream);
    // False if there is none.
    bool pop(abi::HostEvent& event);

  private:
    static constexpr unsigned kCapacity = 256;
    std::mutex lock_;
    std::array<abi::HostEvent, kCapacity> events_;
    unsigned first_ = 0, count_ = 0;
    unsigned ready_streams_ = 0;  // bit n = stream n
};

}  // namespace kvmsbx::vmm
