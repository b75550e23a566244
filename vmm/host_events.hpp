#pragma once
// What the VMM has for the Sentry (HypercallNumber::kNextHostEvent): filled by the main thread, emptied by vCPU
// threads.
#include <array>
#include <mutex>

#include "common/abi/hypercall.hpp"
#include "common/control/messages.hpp"

namespace kvmsbx::vmm {

class HostEvents {
  public:
    // A stream can be read or written again. An event is told once until it was taken.
    void push_console(unsigned stream);
    // There are control frames to read, or room to write some.
    void push_control();
    // False if there is none.
    bool pop(abi::HostEvent& event);

  private:
    std::mutex lock_;
    std::array<uint64_t, control::kMaxStreams / 64> ready_streams_{};  // a bit for each
    bool control_ = false;
};

}  // namespace kvmsbx::vmm
