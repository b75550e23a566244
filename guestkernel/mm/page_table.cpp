#include "guestkernel/mm/page_table.hpp"

#include <cstring>

#include "guestkernel/lib/assert.hpp"

namespace kvmsbx::mm {
namespace {

constexpr uint64_t kTableBits = kPtePresent | kPteWrite | kPteUser;

// SAFETY: a table page is 512 entries of 8 bytes; Pte is one of them.
uint64_t* entries(Phys table) { return static_cast<uint64_t*>(arch::phys_to_virt(table)); }
Pte* as_pte(uint64_t* entry) { return reinterpret_cast<Pte*>(entry); }

unsigned slot(UserAddress address, unsigned level) { return address >> (12 + 9 * (level - 1)) & 511; }

void destroy_table(Phys table, unsigned level) {
    if (level > 1)
        for (unsigned i = 0; i < 512; ++i) {
            const uint64_t entry = entries(table)[i];
            if ((entry & kPtePresent) && !(entry & kPteHuge)) destroy_table(entry & kPteAddress, level - 1);
        }
    release(frame_of(table));
}

}  // namespace

Result<> PageTable::create() {
    root_ = TRY(allocate_frame(Zero::kYes))->phys();
    memcpy(entries(root_) + 256, entries(arch::boot_info().user_pml4_template) + 256, 256 * sizeof(uint64_t));
    return {};
}

PageTable::~PageTable() { destroy(); }

void PageTable::destroy() {
    if (!root_) return;
    for (unsigned i = 0; i < 256; ++i)
        if (entries(root_)[i] & kPtePresent) destroy_table(entries(root_)[i] & kPteAddress, 3);
    release(frame_of(root_));
    root_ = 0;
}

// The table whose entries are of `level` (1: 4 KiB pages), or null.
uint64_t* PageTable::table_at(UserAddress address, unsigned level) const {
    uint64_t* table = entries(root_);
    for (unsigned at = 4; at > level; --at) {
        const uint64_t entry = table[slot(address, at)];
        if (!(entry & kPtePresent) || (entry & kPteHuge)) return nullptr;
        table = entries(entry & kPteAddress);
    }
    return table;
}

Result<uint64_t*> PageTable::obtain_table(UserAddress address, unsigned level) {
    uint64_t* table = entries(root_);
    for (unsigned at = 4; at > level; --at) {
        uint64_t& entry = table[slot(address, at)];
        if (entry & kPteHuge) TRY(split_huge(*as_pte(&entry)));
        if (!(entry & kPtePresent)) entry = TRY(allocate_frame(Zero::kYes))->phys() | kTableBits;
        table = entries(entry & kPteAddress);
    }
    return table;
}

Pte* PageTable::find(UserAddress address) const {
    uint64_t* table = table_at(address, 1);
    return table ? as_pte(&table[slot(address, 1)]) : nullptr;
}
Result<Pte*> PageTable::obtain(UserAddress address) { return as_pte(&TRY(obtain_table(address, 1))[slot(address, 1)]); }
Pte* PageTable::find_huge(UserAddress address) const {
    uint64_t* table = table_at(address, 2);
    return table ? as_pte(&table[slot(address, 2)]) : nullptr;
}
Result<Pte*> PageTable::obtain_huge(UserAddress address) { return as_pte(&TRY(obtain_table(address, 2))[slot(address, 2)]); }

Result<> PageTable::split_huge(Pte& huge) {
    VERIFY(huge.present() && huge.huge());
    Frame* table = TRY(allocate_frame(Zero::kNo));
    const uint64_t small = huge.value & ~kPteHuge;
    for (unsigned i = 0; i < 512; ++i) entries(table->phys())[i] = small + i * kPageSize;
    huge.value = table->phys() | kTableBits;
    return {};
}

void PageTable::drop_table(Pte& entry) {
    if (!entry.present() || entry.huge()) return;
    release(entry.frame());
    entry.value = 0;
}

UserAddress PageTable::next_populated(UserAddress from, UserAddress end) const {
    while (from < end) {
        uint64_t* table = entries(root_);
        unsigned level = 4;
        for (; level > 2; --level) {
            const uint64_t entry = table[slot(from, level)];
            if (!(entry & kPtePresent)) break;
            table = entries(entry & kPteAddress);
        }
        if (level == 2 && (table[slot(from, 2)] & kPtePresent)) return from;
        const uint64_t span = 1ULL << (12 + 9 * (level - 1));
        from = (from & ~(span - 1)) + span;
    }
    return end;
}

}  // namespace kvmsbx::mm
