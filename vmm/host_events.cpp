#include "vmm/host_events.hpp"

#include <bit>

namespace kvmsbx::vmm {

void HostEvents::push_console(unsigned stream) {
    std::lock_guard guard(lock_);
    ready_streams_[stream / 64] |= 1ULL << stream % 64;
}

void HostEvents::push_control() {
    std::lock_guard guard(lock_);
    control_ = true;
}

bool HostEvents::pop(abi::HostEvent& event) {
    std::lock_guard guard(lock_);
    for (unsigned word = 0; word < ready_streams_.size(); word++) {
        if (ready_streams_[word] == 0) continue;
        const unsigned bit = std::countr_zero(ready_streams_[word]);
        ready_streams_[word] &= ready_streams_[word] - 1;
        event = {abi::HostEventType::kConsole, 0, word * 64 + bit, 0};
        return true;
    }
    if (!control_) return false;
    control_ = false;
    event = {abi::HostEventType::kControl, 0, 0, 0};
    return true;
}

}  // namespace kvmsbx::vmm
