#pragma once
// An application's x86-64 page table, walked and written in software through the direct map (Intel SDM vol. 3, 4.5).
// Upper half: copied from the VMM's template.
#include "common/abi/layout.hpp"
#include "guestkernel/mm/frame.hpp"

namespace kvmsbx::mm {

using UserAddress = uint64_t;

// Bits of an entry.
inline constexpr uint64_t kPtePresent = 1, kPteWrite = 2, kPteUser = 4, kPteAccessed = 0x20, kPteDirty = 0x40,
                          kPteHuge = 0x80, kPteNoExecute = 1ULL << 63, kPteAddress = 0x000f'ffff'ffff'f000;

struct Pte {
    uint64_t value;
    bool present() const { return value & kPtePresent; }
    bool writable() const { return value & kPteWrite; }
    bool dirty() const { return value & kPteDirty; }
    bool huge() const { return value & kPteHuge; }
    Phys phys() const { return value & kPteAddress; }
    Frame* frame() const { return frame_of(phys()); }
};

// Tables cost most when they change hands: a hypervisor that shadows them must drop and rebuild what it knows, and
// emulates each write to an upper level. So a table that nobody uses is kept, empty, for its level; and the whole tree
// of an address space that ends is kept for the next one with the same `layout` (the parent's, for a forked child),
// whose upper levels then need no write at all.
class PageTable {
  public:
    Result<> create(uint64_t layout);
    ~PageTable();
    Phys root() const { return root_; }
    uint64_t tables() const { return tables_; }

    // The 4 KiB entry for an address; null if its table does not exist or a 2 MiB entry covers it.
    Pte* find(UserAddress address) const;
    // The same, making tables as needed (a 2 MiB entry is split). ENOMEM.
    Result<Pte*> obtain(UserAddress address);
    // The level-2 entry (2 MiB), null if its table does not exist.
    Pte* find_huge(UserAddress address) const;
    Result<Pte*> obtain_huge(UserAddress address);
    // The same for a 2 MiB page to be mapped there: not present, or null where something is mapped. `dropped`: there
    // was a table without entries, which other vCPUs must forget. ENOMEM.
    Result<Pte*> obtain_vacant(UserAddress address, bool& dropped);
    // Replaces a present 2 MiB entry by a table of 512 small ones with the same rights. ENOMEM.
    Result<> split_huge(Pte& huge);
    // The same for an entry that was `old` and is taken out already; `table` becomes the table, whatever it held.
    void split_huge_into(Pte& huge, Pte old, Frame* table);
    // Takes the table of small entries below a level-2 entry that is not huge away; its entries must be gone.
    void drop_table(Pte& entry);
    // True if no entry of that table is present.
    static bool is_empty_table(const Pte& entry);
    // First address >= `from` (and < end) that has a level-2 table or huge entry, or end: skips holes fast.
    UserAddress next_populated(UserAddress from, UserAddress end) const;
    // Ends the use of the tree, whose pages must be unmapped: it is kept for another or taken apart.
    void destroy();

  private:
    uint64_t* table_at(UserAddress address, unsigned level) const;
    Result<uint64_t*> obtain_table(UserAddress address, unsigned level);
    Phys root_ = 0;
    uint64_t layout_ = 0;
    unsigned tables_ = 0;  // below the root
};

// Gives kept tables back to the frame allocator (memory is short); how many they were.
unsigned drop_kept_tables();
uint64_t kept_table_bytes();

}  // namespace kvmsbx::mm
