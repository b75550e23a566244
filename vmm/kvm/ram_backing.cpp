#include "vmm/kvm/ram_backing.hpp"

#include <algorithm>

namespace kvmsbx::vmm {
namespace {

constexpr uint64_t kSmallest = 512 << 20;
constexpr uint64_t kSentryShare = 256;  // the Sentry's frame table is 1/256 of RAM

uint64_t round_up(uint64_t bytes) { return (bytes + abi::kHugePageSize - 1) & ~(abi::kHugePageSize - 1); }

}  // namespace

uint64_t RamBacking::first_step(uint64_t ram_size) {
    return std::min(ram_size, round_up(kSmallest + ram_size / kSentryShare));
}

Result<uint64_t> RamBacking::extend(uint64_t bytes) {
    std::lock_guard guard(lock_);
    if (bytes <= backed_) return backed_;
    if (bytes > memory_.size()) return Errno::kNOMEM;
    // Doubling keeps the slots few.
    uint64_t goal = std::min(std::max(round_up(bytes), 2 * backed_), memory_.size());
    auto* host = static_cast<std::byte*>(memory_.host_base()) + backed_;
    if (vm_.map_memory(next_slot_, {abi::kRamGpa + backed_}, host, goal - backed_).is_error()) return Errno::kNOMEM;
    next_slot_++;
    backed_ = goal;
    return backed_;
}

}  // namespace kvmsbx::vmm
