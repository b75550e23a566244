#pragma once
// How much of guest RAM KVM knows. KVM keeps tables for every page of a memory slot (on shadowing KVMs 8 bytes each,
// cleared at once and freed at the end), so all of a big host's RAM in one slot would cost a sandbox tens of
// milliseconds. It starts with a part, and the Sentry asks for more (kBackMemory).
#include <mutex>

#include "vmm/kvm/kvm.hpp"

namespace kvmsbx::vmm {

class RamBacking {
  public:
    RamBacking(Vm& vm, const GuestMemory& memory, unsigned first_slot)
        : vm_(vm), memory_(memory), next_slot_(first_slot) {}

    // What a machine starts with: room for the Sentry's own tables (in proportion to RAM) and for small applications.
    static uint64_t first_step(uint64_t ram_size);
    // Makes at least `bytes` from kRamGpa usable, in growing steps. Returns how many are; ENOMEM past the end of RAM or
    // of KVM's slots. Any thread.
    Result<uint64_t> extend(uint64_t bytes);

  private:
    Vm& vm_;
    const GuestMemory& memory_;
    std::mutex lock_;
    unsigned next_slot_;
    uint64_t backed_ = 0;
};

}  // namespace kvmsbx::vmm
