#pragma once
// Builds 4-level x86-64 page tables in guest RAM before the guest runs (Intel SDM vol. 3, 4.5).
#include <cstdint>

#include "vmm/guest_memory.hpp"

namespace kvmsbx::vmm {

// Bits of a leaf entry. Accessed and dirty are always set: nobody reads them, and the CPU then need not write.
inline constexpr uint64_t kLeafRead = 0, kLeafWrite = 1ULL << 1, kLeafUser = 1ULL << 2, kLeafUncached = 1ULL << 4,
                          kLeafNoExecute = 1ULL << 63;

class PageTableBuilder {
  public:
    // `user_upper`: whether ring 3 may reach pages of the upper half at all (the leaf decides then).
    static Result<PageTableBuilder> create(BootMemory& memory, bool user_upper);

    GuestPhys root() const { return root_; }
    // `address`, `to`, `size`: multiples of 4 KiB (map) or 2 MiB (map_huge). EEXIST where something is mapped already.
    Result<> map(uint64_t address, GuestPhys to, uint64_t size, uint64_t leaf_flags);
    Result<> map_huge(uint64_t address, GuestPhys to, uint64_t size, uint64_t leaf_flags);
    // PML4 entries as they stand, to share subtrees between tables.
    uint64_t root_entry(unsigned index) const;
    void set_root_entry(unsigned index, uint64_t entry);

  private:
    PageTableBuilder(BootMemory& memory, GuestPhys root, bool user_upper)
        : memory_(&memory), root_(root), user_upper_(user_upper) {}
    Result<uint64_t*> entry(uint64_t address, unsigned level);

    BootMemory* memory_;
    GuestPhys root_;
    bool user_upper_;
};

}  // namespace kvmsbx::vmm
