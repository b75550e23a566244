#pragma once
// What an address space can map, and the page cache: the pages of one file (or tmpfs inode, or shared anonymous area)
// by index. read, write and mmap see the same frames.
#include <cstdint>

#include "guestkernel/lib/list.hpp"
#include "guestkernel/lib/ref.hpp"
#include "guestkernel/mm/frame.hpp"

namespace kvmsbx::mm {

class Vma;

inline constexpr uint64_t kBlockPages = kHugePageSize / kPageSize;

// Index -> Frame, a radix tree; holds a reference to each frame. Does no I/O. A block is 2 MiB of the object: 512 pages
// from a multiple of 512 on. Where their frames lie in a row, as in RAM of 2 MiB, one entry of a page table maps it.
class PageCache {
  public:
    // Whether the pages can be had again from elsewhere.
    enum class Content : bool { kOnlyHere, kOfFile };
    explicit PageCache(Content content = Content::kOnlyHere) : content_(content) {}
    ~PageCache() { truncate(0); }
    PageCache(const PageCache&) = delete;
    Frame* find(uint64_t index) const;              // no new reference; null if not there
    Result<> insert(uint64_t index, Frame* frame);  // takes over the caller's reference; EEXIST
    void remove(uint64_t index);
    void truncate(uint64_t first_index);  // removes this index and all above
    uint64_t page_count() const { return pages_; }
    // First cached index >= `from`, or ~0.
    uint64_t next(uint64_t from) const;
    // Dirty marks: pages written through shared mappings or write-back caching.
    void set_dirty(uint64_t index, bool dirty);
    bool is_dirty(uint64_t index) const;

    // A frame with one reference to insert as page `index`, in a row with those of its neighbours where that is
    // possible; the object ends with page `end`. Pages that come in order behind the first block get a block. ENOMEM.
    Result<Frame*> allocate(uint64_t index, Zero zero, uint64_t end);
    // Frees the frames that allocate() has ready for the pages to come; gives how many.
    uint64_t drop_run();
    friend uint64_t drop_runs();
    // The first frame of the block if its frames lie in a row, else null.
    Frame* find_block(uint64_t first) const;
    unsigned count_in_block(uint64_t first) const;
    // Moves a block, all of which is here, to these frames in a row, each with one reference. False (nothing has
    // changed): somebody else has a reference to one of the old ones.
    bool move_block(uint64_t first, Frame* to);
    // The last block that could not be moved; it is not tried again and again.
    uint64_t stuck_block = ~0ULL;

  private:
    struct Node;
    void count(int64_t pages);
    const Content content_;
    Node* root_ = nullptr;
    unsigned levels_ = 0;
    uint64_t pages_ = 0;
    void set_run(Frame* run);
    static auto& with_runs();
    ListHook run_hook_;      // in the list of all that have a run
    Frame* run_ = nullptr;   // the rest of 512 frames in a row; null: none
    uint64_t run_next_ = 0;  // index of the page that *run_ is for
};

enum class Access : uint8_t { kRead = 1, kWrite = 2, kExecute = 4 };

uint64_t drop_runs();  // those of all caches

// Some of the pages of one block, by index.
class BlockPages {
  public:
    void add(uint64_t index) { words_[index % kBlockPages / 64] |= 1ULL << (index % 64); }
    bool has(uint64_t index) const { return words_[index % kBlockPages / 64] >> (index % 64) & 1; }

  private:
    uint64_t words_[kBlockPages / 64] = {};
};

// Something whose pages can be mapped: the interface between mm and files. Owned by an inode (or by mm for shared
// anonymous memory).
class Mappable : public RefCounted {
  public:
    // The frame of page `index` (offset / kPageSize) with a new reference; may block for I/O. for_write: a shared
    // mapping will write to it (the owner marks it dirty). ENXIO (the task gets SIGBUS) beyond the end of the object,
    // ENOMEM, EIO.
    virtual Result<Frame*> get_page(uint64_t index, bool for_write) = 0;
    // The frame if it is in memory now (for fault-around; never blocks, no new reference), or null.
    virtual Frame* cached_page(uint64_t index) = 0;
    // The cache that cached_page() looks into; null: there is none, and 2 MiB pages never map the object.
    virtual PageCache* page_cache() { return nullptr; }
    // mark_dirty() does nothing, and get_page() is the same for readers and writers: 2 MiB pages may be writable.
    virtual bool ignores_writes() const { return false; }
    // msync and last munmap of a shared writable mapping: writes dirty pages of [first, last] back. May block.
    virtual Result<> write_back(uint64_t first, uint64_t last) {
        (void)first, (void)last;
        return {};
    }
    // A write-back has failed whose caller has no way to tell: the next msync or fsync does.
    virtual void note_lost(Errno) {}
    // A shared writable mapping's page went away with its dirty bit set.
    virtual void mark_dirty(uint64_t index) { (void)index; }

    // madvise(MADV_REMOVE): pages [first, last] become zero. EOPNOTSUPP where the file has no holes.
    virtual Result<> punch_pages(uint64_t first, uint64_t last) {
        (void)first, (void)last;
        return Errno::kOPNOTSUPP;
    }
    // Asked before a shared mapping is made: EPERM, or less in `max_protection` (seals of memfd).
    virtual Result<> check_shared(uint32_t protection, uint32_t& max_protection) {
        (void)protection, (void)max_protection;
        return {};
    }
    // A shared mapping through which the object can be written, or made so by mprotect(2).
    bool has_shared_writers() const;

    // Removes pages [first, last] from all page tables that map them (truncate, hole punching). mm implements it;
    // owners call it before they drop pages. Private copies (already copied on write) stay unless also_private_copies.
    void unmap_pages(uint64_t first, uint64_t last, bool also_private_copies);

    // Dirty bits of page tables become marks (mark_dirty): the next write through a mapping faults and marks again.
    void collect_dirty(uint64_t first, uint64_t last);
    // Takes clean pages of [first, first + count), all of one block, out of all page tables and the page cache, `most`
    // at most; gives how many went. Those that a page table was used for since the last call stay this time, locked
    // ones always. Neither blocks nor allocates. The caller has nothing in hand that it could free: no entry of a page
    // table, no frame without a reference.
    uint64_t evict(uint64_t first, uint64_t count, uint64_t most);

    // The first frame of a block of the page cache whose frames lie in a row (no new references), or null. gather: if
    // all are in memory they are brought into a row, for which they leave all page tables. Neither blocks nor reclaims.
    enum class Gather : bool { kNo, kYes };
    Frame* cached_block(uint64_t first, Gather gather);

    // VMAs that map this object.
    void add_mapping(Vma& vma);
    void remove_mapping(Vma& vma);
    ~Mappable() override;

  protected:
    // A VMA began or ended to map it, also when one is split or copied by fork. Must not block.
    virtual void mapping_added() {}
    virtual void mapping_removed() {}

  private:
    template <typename Visit>
    void for_mappings(uint64_t first, uint64_t last, Visit visit);
    void flush_mappings(uint64_t first, uint64_t last);
    Vma* mappings_ = nullptr;  // doubly linked through Vma
};

}  // namespace kvmsbx::mm
