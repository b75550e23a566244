#include "vmm/host_events.hpp"

#include <bit>

namespace kvmsbx::vmm {

bool HostEvents::push(const abi::HostEvent& event) {
    std::lock_guard guard(lock_);
    if (count_ == kCapacity) return false;
    events_[(first_ + count_++) % kCapacity] = event;
    return true;
}

void HostEvents::push_console(unsigned stream) {
    std::lock_guard guard(lock_);
    ready_streams_ |= 1u << stream;
}

bool HostEvents::pop(abi::HostEvent& event) {
    std::lock_guard guard(lock_);
    if (ready_streams_ != 0) {
        unsigned stream = std::countr_zero(ready_streams_);
        ready_streams_ &= ~(1u << stream);
        event = {abi::HostEventType::kConsole, 0, stream, 0};
        return true;
    }
    if (count_ == 0) return false;
    event = events_[first_];
    first_ = (first_ + 1) % kCapacity;
    count_--;
    return true;
}

}  // namespace kvmsbx::vmm
