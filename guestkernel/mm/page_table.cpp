#include "guestkernel/mm/page_table.hpp"

#include <cstring>

#include "guestkernel/lib/assert.hpp"
#include "guestkernel/platform/host.hpp"

namespace kvmsbx::mm {
namespace {

constexpr uint64_t kTableBits = kPtePresent | kPteWrite | kPteUser;

// SAFETY: a table page is 512 entries of 8 bytes; Pte is one of them.
uint64_t* entries(Phys table) { return static_cast<uint64_t*>(platform::phys_to_virt(table)); }
Pte* as_pte(uint64_t* entry) { return reinterpret_cast<Pte*>(entry); }

unsigned slot(UserAddress address, unsigned level) { return address >> (12 + 9 * (level - 1)) & 511; }

// Empty tables by level, linked through their frames.
struct Kept {
    Frame* first = nullptr;
    unsigned count = 0;
};
constexpr unsigned kMostKept = 512;  // per level
Kept kept[5];

Result<Frame*> allocate_table(unsigned level) {
    Kept& list = kept[level];
    if (!list.first) return allocate_frame(Zero::kYes);
    Frame* frame = list.first;
    list.first = frame->next == kNoFrame ? nullptr : frame_at(frame->next);
    --list.count;
    return frame;
}

// Frees a table that was one for the hypervisor, too. One odd write first: it then drops the page's protection at once,
// where the page's next user would write it in a loop.
void release_table(Frame* frame) {
    static_cast<volatile char*>(frame->data())[1] = 0;
    release(frame);
}

void keep_table(Frame* frame, unsigned level) {
    Kept& list = kept[level];
    if (list.count >= kMostKept) return release_table(frame);
    frame->next = list.first ? index_of_frame(list.first) : kNoFrame;
    list.first = frame;
    ++list.count;
}

// Trees of address spaces that ended, oldest first.
struct KeptTree {
    Phys root = 0;
    uint64_t layout = 0;
    unsigned tables = 0;
};
constexpr unsigned kMostTrees = 8, kMostTablesPerTree = 96;
KeptTree trees[kMostTrees];

// Empties and keeps the tables below an entry's table, then that one.
void take_apart(Phys table, unsigned level) {
    uint64_t* at = entries(table);
    if (level > 1)
        for (unsigned i = 0; i < (level == 4 ? 256U : 512U); ++i) {
            if (!(at[i] & kPtePresent)) continue;
            VERIFY(!(at[i] & kPteHuge));
            take_apart(at[i] & kPteAddress, level - 1);
            at[i] = 0;
        }
    keep_table(frame_of(table), level);
}

}  // namespace

unsigned drop_kept_tables() {
    unsigned count = 0;
    for (KeptTree& tree : trees) {
        if (tree.root) take_apart(tree.root, 4);
        tree = {};
    }
    for (Kept& list : kept)
        while (list.first) {
            Frame* frame = list.first;
            list.first = frame->next == kNoFrame ? nullptr : frame_at(frame->next);
            --list.count;
            release_table(frame);
            ++count;
        }
    return count;
}

uint64_t kept_table_bytes() {
    uint64_t count = 0;
    for (const KeptTree& tree : trees) count += tree.root ? tree.tables + 1 : 0;
    for (const Kept& list : kept) count += list.count;
    return count * kPageSize;
}

Result<> PageTable::create(uint64_t layout) {
    layout_ = layout;
    for (KeptTree& tree : trees) {
        if (!tree.root || tree.layout != layout) continue;
        root_ = tree.root;
        tables_ = tree.tables;
        tree = {};
        return {};
    }
    root_ = TRY(allocate_table(4))->phys();
    const uint64_t* upper = entries(platform::boot_info().user_pml4_template) + 256;
    if (memcmp(entries(root_) + 256, upper, 256 * sizeof(uint64_t)) != 0)
        memcpy(entries(root_) + 256, upper, 256 * sizeof(uint64_t));
    return {};
}

PageTable::~PageTable() { destroy(); }

void PageTable::destroy() {
    if (!root_) return;
    if (tables_ > kMostTablesPerTree) {
        take_apart(root_, 4);
    } else {
        // The oldest makes room.
        if (trees[0].root) take_apart(trees[0].root, 4);
        for (unsigned i = 1; i < kMostTrees; ++i) trees[i - 1] = trees[i];
        trees[kMostTrees - 1] = {root_, layout_, tables_};
    }
    root_ = 0;
    tables_ = 0;
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
        if (!(entry & kPtePresent)) {
            entry = TRY(allocate_table(at - 1))->phys() | kTableBits;
            ++tables_;
        }
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
Result<Pte*> PageTable::obtain_huge(UserAddress address) {
    return as_pte(&TRY(obtain_table(address, 2))[slot(address, 2)]);
}

Result<Pte*> PageTable::obtain_vacant(UserAddress address, bool& dropped) {
    Pte* entry = TRY(obtain_huge(address));
    dropped = entry->present() && !entry->huge() && is_empty_table(*entry);
    if (dropped) drop_table(*entry);
    return entry->present() ? nullptr : entry;
}

Result<> PageTable::split_huge(Pte& huge) {
    VERIFY(huge.present() && huge.huge());
    split_huge_into(huge, huge, TRY(allocate_table(1)));
    return {};
}

void PageTable::split_huge_into(Pte& huge, Pte old, Frame* table) {
    ++tables_;
    const uint64_t small = old.value & ~kPteHuge;
    for (unsigned i = 0; i < 512; ++i) entries(table->phys())[i] = small + i * kPageSize;
    huge.value = table->phys() | kTableBits;
}

void PageTable::drop_table(Pte& entry) {
    if (!entry.present() || entry.huge()) return;
    Frame* table = entry.frame();
    entry.value = 0;
    keep_table(table, 1);
    --tables_;
}

bool PageTable::is_empty_table(const Pte& entry) {
    const uint64_t* at = entries(entry.phys());
    uint64_t any = 0;
    for (unsigned i = 0; i < 512; ++i) any |= at[i];
    return any == 0;
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
