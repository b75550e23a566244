#include "vmm/kvm/page_tables.hpp"

namespace kvmsbx::vmm {
namespace {

constexpr uint64_t kPresent = 1 << 0, kWrite = 1 << 1, kUser = 1 << 2, kAccessed = 1 << 5, kDirty = 1 << 6,
                   kHuge = 1 << 7;
constexpr uint64_t kAddressMask = 0x000f'ffff'ffff'f000;

unsigned index_of(uint64_t address, unsigned level) { return address >> (12 + 9 * (level - 1)) & 511; }

}  // namespace

Result<PageTableBuilder> PageTableBuilder::create(BootMemory& memory, bool user_upper) {
    return PageTableBuilder(memory, TRY(memory.allocate(abi::kPageSize)), user_upper);
}

// The entry for `address` in its table of level `level` (1 = PT, 2 = PD); tables above are made as needed.
Result<uint64_t*> PageTableBuilder::entry(uint64_t address, unsigned level) {
    GuestPhys table = root_;
    for (unsigned at = 4; at > level; at--) {
        uint64_t& slot = memory_->as<uint64_t>(table)[index_of(address, at)];
        if (slot & kHuge) return Errno::kEXIST;
        if (!(slot & kPresent))
            slot = TRY(memory_->allocate(abi::kPageSize)).value | kPresent | kWrite | kAccessed |
                   (user_upper_ ? kUser : 0);
        table = {slot & kAddressMask};
    }
    return &memory_->as<uint64_t>(table)[index_of(address, level)];
}

Result<> PageTableBuilder::map(uint64_t address, GuestPhys to, uint64_t size, uint64_t leaf_flags) {
    for (uint64_t done = 0; done < size; done += abi::kPageSize) {
        uint64_t* slot = TRY(entry(address + done, 1));
        if (*slot & kPresent) return Errno::kEXIST;
        *slot = (to.value + done) | kPresent | kAccessed | kDirty | leaf_flags;
    }
    return {};
}

Result<> PageTableBuilder::map_huge(uint64_t address, GuestPhys to, uint64_t size, uint64_t leaf_flags) {
    for (uint64_t done = 0; done < size; done += abi::kHugePageSize) {
        uint64_t* slot = TRY(entry(address + done, 2));
        if (*slot & kPresent) return Errno::kEXIST;
        *slot = (to.value + done) | kPresent | kAccessed | kDirty | kHuge | leaf_flags;
    }
    return {};
}

uint64_t PageTableBuilder::root_entry(unsigned index) const { return memory_->as<uint64_t>(root_)[index]; }

void PageTableBuilder::set_root_entry(unsigned index, uint64_t entry) { memory_->as<uint64_t>(root_)[index] = entry; }

}  // namespace kvmsbx::vmm
