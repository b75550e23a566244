// Page faults: from the CPU (trap handling) and from user-memory access of system calls.
#include "guestkernel/mm/address_space.hpp"

#include <cstring>

#include "guestkernel/lib/assert.hpp"
#include "guestkernel/platform/address_space.hpp"
#include "guestkernel/platform/host.hpp"

namespace kvmsbx::mm {
namespace {

// Pages mapped around a fault: of files (those in memory), of anonymous areas at first (a stack's top is used more than
// what lies below it) and at most, and after a copy-on-write fault.
constexpr unsigned kFileWindow = 512;
constexpr unsigned kFileBlocks = 128;  // 2 MiB pages of a file, in a row
constexpr uint32_t kFirstStackWindow = 4, kFirstAnonymousWindow = 16, kMaxAnonymousWindow = 128;
constexpr unsigned kReclaimWindow = 16, kCopyWindow = 4;
// A private file mapping of at most kSmallMapping pages (a program's data) is copied as a whole at its first write:
// relocation writes all of it. Of a larger one up to so many pages at once.
constexpr uint64_t kMaxCopyWindow = 32;
// In private file mappings of at most this many pages writes are expected everywhere, in larger ones where they go on.
constexpr uint64_t kDataMapping = 512;

uint64_t rights(uint32_t protection, bool writable) {
    uint64_t bits = kPtePresent | kPteAccessed;
    if (protection & (kProtRead | kProtWrite | kProtExec)) bits |= kPteUser;
    if (writable && (protection & kProtWrite)) bits |= kPteWrite | kPteDirty;
    if (!(protection & kProtExec)) bits |= kPteNoExecute;
    return bits;
}

}  // namespace

Frame* zero_frame() {
    static Frame* frame = [] {
        auto made = allocate_frame(Zero::kYes);
        VERIFY(made.is_ok());
        return made.value();
    }();
    return frame;
}

Result<Frame*> allocate_private_frame(const Vma& vma, UserAddress page, const Pte& entry, Zero zero) {
    const uint64_t in_block = page / kPageSize % kBlockPages;
    const bool grows = vma.grows_down || vma.kind == Vma::Kind::kHeap;
    // All of a small area lies in one window, wherever it starts.
    const bool small = !grows && vma.pages() <= kSmallMapping;
    const uint64_t index = (small ? page - vma.start : page) / kPageSize;
    const uint64_t first = small ? 0 : index & ~(kSmallMapping - 1);
    const uint64_t last = small ? vma.pages() - 1 : first + kSmallMapping - 1;
    const auto own = [](const Pte& next) {
        return next.present() && next.frame()->references == 1 ? next.frame() : nullptr;
    };
    return allocate_frame(zero, {index, first, last, in_block > 0 ? own((&entry)[-1]) : nullptr,
                                 in_block + 1 < kBlockPages ? own((&entry)[1]) : nullptr});
}

struct FaultHandler {
    AddressSpace& space;
    Vma& vma;
    const UserAddress page;
    const Access access;
    const bool forced = false;  // for a debugger: protection does not count

    bool writes() const { return access == Access::kWrite; }
    void gone(UserAddress from, UserAddress to) { space.user_.rights_gone(from, to, platform::Left::kNothing); }

    bool allowed() const {
        // x86 has no write-only and no execute-only page.
        switch (access) {
            case Access::kWrite: return vma.protection & kProtWrite;
            case Access::kExecute: return vma.protection & kProtExec;
            default: return vma.protection & (kProtRead | kProtWrite | kProtExec);
        }
    }

    Result<> run() {
        if (!forced && !allowed()) return Errno::kACCES;
        Pte* pte = space.table_.find(page);
        if (!pte) {
            Pte* huge = space.table_.find_huge(page);
            if (huge && huge->present() && huge->huge()) return present_huge(*huge);
        } else if (pte->present()) {
            return present(*pte);
        }
        if (!vma.object) return anonymous_page();
        if ((!writes() || writable_blocks()) && map_blocks()) return {};
        return vma.shared ? shared_page() : private_file_page();
    }

    // Rights that the entry lacks, though the VMA has them (after mprotect), or a write to a page that is not ours
    // alone.
    Result<> present(Pte& pte) {
        if (!writes() || pte.writable()) {
            const bool writable = pte.writable();
            pte.value =
                (pte.value & (kPteAddress | kPteDirty)) | rights(vma.protection, writable) | (writable ? kPteWrite : 0);
            return {};
        }
        if (vma.shared) return write_shared(pte);
        return break_sharing(pte);
    }

    UserAddress block_start() const { return page & ~(kHugePageSize - 1); }
    bool covers_block(UserAddress block) const { return vma.start <= block && vma.end >= block + kHugePageSize; }
    // Private anonymous ones are ours alone (fork splits them).
    bool writable_blocks() const { return !vma.object || (vma.shared && vma.object->ignores_writes()); }

    Result<> present_huge(Pte& huge) {
        if (!forced && covers_block(block_start()) && (!writes() || writable_blocks())) {
            huge.value = huge.phys() | kPteHuge | rights(vma.protection, writable_blocks());
            return {};
        }
        TRY(space.table_.split_huge(huge));
        space.flush_later();
        return present(*space.table_.find(page));
    }

    // Maps the block around the fault by a 2 MiB page, if the object has it in memory, and those behind it that lie in
    // a row already. False: nothing was mapped.
    bool map_blocks() {
        UserAddress block = block_start();
        if (vma.no_huge || !covers_block(block) || vma.page_index(block) % kBlockPages) return false;
        if (!map_block(block, Mappable::Gather::kYes)) return false;
        for (unsigned i = 1; i < kFileBlocks; ++i) {
            block += kHugePageSize;
            if (!covers_block(block) || !map_block(block, Mappable::Gather::kNo)) break;
        }
        return true;
    }

    bool map_block(UserAddress block, Mappable::Gather gather) {
        auto entry = space.table_.obtain_huge(block);
        if (entry.is_error() || entry.value()->huge()) return false;
        Pte& huge = *entry.value();
        const uint64_t index = vma.page_index(block);
        if (has_copies(huge, index)) gather = Mappable::Gather::kNo;
        Frame* first = vma.object->cached_block(index, gather);
        if (!first || has_copies(huge, index)) return false;
        if (huge.present()) {
            space.zap(block, block + kHugePageSize, vma);
            space.table_.drop_table(huge);
            space.flush();
        }
        for (unsigned i = 0; i < kBlockPages; ++i) first[i].ref();
        huge.value = first->phys() | kPteHuge | rights(vma.protection, writable_blocks());
        return true;
    }

    // Are there pages of a private mapping, below the level-2 entry, that are no longer the object's?
    bool has_copies(const Pte& entry, uint64_t index) const {
        if (vma.shared || !entry.present()) return false;
        const Pte* pte = space.table_.find(vma.start + (index - vma.first_page) * kPageSize);
        for (unsigned i = 0; i < kBlockPages; ++i)
            if (pte[i].present() && pte[i].frame() != vma.object->cached_page(index + i)) return true;
        return false;
    }

    Result<> write_shared(Pte& pte) {
        const Phys was = pte.phys();
        Frame* frame = TRY(object_page(true));
        if (!frame) return {};  // the next access faults again
        const bool same = frame->phys() == was;
        release(frame);
        Pte* again = space.table_.find(page);  // object_page may have blocked
        if (same && again && again->present() && again->phys() == was)
            again->value = was | rights(vma.protection, true);
        return {};
    }

    bool ours_alone(const Pte& pte) const { return pte.frame()->references == 1 && pte.frame() != zero_frame(); }

    Result<Frame*> allocate(const Pte& pte, UserAddress at, Zero zero) const {
        return allocate_private_frame(vma, at, pte, zero);
    }

    Result<> break_sharing(Pte& pte) {
        if (ours_alone(pte)) {
            if (!forced) take_back_neighbours();
            return {};
        }
        Frame* old = pte.frame();
        if (old == zero_frame() && !forced) return fresh_run();
        Frame* copy = TRY(allocate(pte, page, old == zero_frame() ? Zero::kYes : Zero::kNo));
        if (old != zero_frame()) {
            memcpy(copy->data(), old->data(), kPageSize);
            if (!vma.object || vma.object->cached_page(vma.page_index(page)) != old) old->flags |= Frame::kCopied;
        }
        gone(page, page + kPageSize);
        pte.value = copy->phys() | rights(vma.protection, true);
        release(old);
        if (!forced && vma.object)
            copy_window();
        else if (!forced)
            copy_neighbours();
        space.flush_later();
        return {};
    }

    // Where no CPU notes writes, a page that can be written counts as written.
    static void let_write(Pte& pte) {
        pte.value |= kPteWrite | (platform::UserSpace::caches_mappings() ? kPteDirty : 0);
    }

    // After a child's end: pages of the window that have become ours alone are writable again.
    void take_back_neighbours() {
        for_window(kReclaimWindow, [&](UserAddress, Pte& pte) {
            if (pte.present() && !pte.writable() && ours_alone(pte)) let_write(pte);
        });
    }

    // Pages that were written before a fork are likely to be written after it: one trap copies a few.
    void copy_neighbours() {
        for_window(kCopyWindow, [&](UserAddress at, Pte& pte) {
            if (!pte.present() || pte.writable() || !pte.dirty()) return;
            if (ours_alone(pte)) {
                let_write(pte);
                return;
            }
            auto copy = allocate(pte, at, Zero::kNo);
            if (copy.is_error()) return;
            Frame* old = pte.frame();
            memcpy(copy.value()->data(), old->data(), kPageSize);
            gone(at, at + kPageSize);
            pte.value = copy.value()->phys() | rights(vma.protection, true);
            release(old);
        });
    }

    // The pages that are likely to be written next: [from, to).
    struct Range {
        UserAddress from, to;
    };
    Range next_writes() {
        const uint64_t pages = vma.pages();
        if (pages <= kSmallMapping) return {vma.start, vma.end};
        const bool goes_on =
            pages <= kDataMapping || (page >= vma.last_fault && page - vma.last_fault < kMaxCopyWindow * kPageSize);
        vma.fault_window = goes_on && vma.fault_window ? vma.fault_window * 2 : 1;
        if (vma.fault_window > kMaxCopyWindow) vma.fault_window = kMaxCopyWindow;
        const UserAddress from = page & ~(vma.fault_window * kPageSize - 1);
        vma.last_fault = from + vma.fault_window * kPageSize;
        return {from < vma.start ? vma.start : from, vma.last_fault > vma.end ? vma.end : vma.last_fault};
    }

    // True: copies took the place of pages that were mapped, and a flush is due.
    bool copy_window() {
        const Range range = next_writes();
        bool replaced = false;
        for (UserAddress at = range.from; at < range.to; at += kPageSize) {
            Pte* pte = space.table_.find(at);
            if (!pte || (pte->present() && pte->writable())) continue;
            Frame* source = pte->present() ? pte->frame() : vma.object->cached_page(vma.page_index(at));
            if (!source) continue;
            if (pte->present() && ours_alone(*pte)) {
                let_write(*pte);
                continue;
            }
            const bool was_present = pte->present();
            if (!was_present) source->ref();  // an allocation may drop cached pages
            auto copy = allocate(*pte, at, Zero::kNo);
            if (copy.is_ok()) {
                memcpy(copy.value()->data(), source->data(), kPageSize);
                if (was_present) gone(at, at + kPageSize);
                pte->value = copy.value()->phys() | rights(vma.protection, true);
            }
            if (copy.is_ok() || !was_present) release(source);
            if (copy.is_error()) break;
            replaced |= was_present;
        }
        return replaced;
    }

    // Calls visit(address, entry) for the entries of the aligned window of `pages` pages around the fault, inside the
    // VMA and one table.
    template <typename Visit>
    void for_window(unsigned pages, Visit visit) {
        const uint64_t span = pages * kPageSize;
        UserAddress from = page & ~(span - 1), to = from + span;
        from = from < vma.start ? vma.start : from;
        to = to > vma.end ? vma.end : to;
        Pte* pte = space.table_.find(from);
        if (!pte) return;
        for (UserAddress at = from; at < to; at += kPageSize, ++pte) visit(at, *pte);
    }

    Result<> anonymous_page() {
        if (!vma.no_huge && covers_block(block_start())) {
            bool dropped;
            Pte* const huge = TRY(space.table_.obtain_vacant(page, dropped));
            if (dropped) space.flush();
            if (huge) {
                if (auto first = allocate_huge(Zero::kYes); first.is_ok()) {
                    huge->value = first.value()->phys() | kPteHuge | rights(vma.protection, true);
                    return {};
                }
            }
        }
        return writes() ? fresh_run() : zero_run();
    }

    // Nothing was written there, and nobody has more of it than the page of zeroes.
    static bool is_untouched(const Pte& pte) { return !pte.present() || pte.frame() == zero_frame(); }

    Result<> zero_run() {
        Pte* pte = TRY(space.table_.obtain(page));
        zero_frame()->ref();
        pte->value = zero_frame()->phys() | rights(vma.protection, false);
        if (forced) return {};
        for_window(kFirstAnonymousWindow, [&](UserAddress, Pte& neighbour) {
            if (neighbour.present()) return;
            zero_frame()->ref();
            neighbour.value = zero_frame()->phys() | rights(vma.protection, false);
        });
        return {};
    }

    // Fresh pages around the fault, below it in a stack; more each time the faults go on behind the last ones.
    Result<> fresh_run() {
        const Range range = fresh_range();
        Pte* pte = TRY(space.table_.obtain(page));
        bool replaced = pte->present();
        TRY(make_fresh(*pte, page));
        // From the fault to both sides: each page next to one that has its frame.
        const auto add = [&](UserAddress at) {
            Pte& next = pte[static_cast<int64_t>(at - page) / static_cast<int64_t>(kPageSize)];
            if (!is_untouched(next)) return true;
            replaced |= next.present();
            return make_fresh(next, at).is_ok();
        };
        UserAddress below = page, above = page + kPageSize;
        while (below > range.from && add(below - kPageSize)) below -= kPageSize;
        while (above < range.to && add(above)) above += kPageSize;
        if (replaced) space.flush_later();
        return {};
    }

    Range fresh_range() {
        const bool down = vma.grows_down;
        const uint32_t first = down ? kFirstStackWindow : kFirstAnonymousWindow;
        const uint64_t ahead = down ? vma.last_fault - page - kPageSize : page - vma.last_fault;
        const bool goes_on = vma.last_fault && ahead < vma.fault_window * kPageSize;
        vma.fault_window = goes_on ? vma.fault_window * 2 : first;
        if (vma.fault_window > kMaxAnonymousWindow) vma.fault_window = kMaxAnonymousWindow;
        const uint64_t size = vma.fault_window * kPageSize;
        const UserAddress block = block_start(), block_end = block + kHugePageSize;
        UserAddress from = page & ~(first * kPageSize - 1), to = from + size;
        if (down) to = page + kPageSize, from = to > size ? to - size : 0;
        if (!down && vma.pages() <= kSmallMapping) from = vma.start, to = vma.end;
        vma.last_fault = down ? from : to;
        from = from < vma.start ? vma.start : from, to = to > vma.end ? vma.end : to;
        return {from < block ? block : from, to > block_end ? block_end : to};
    }

    Result<> make_fresh(Pte& pte, UserAddress at) {
        Frame* frame = TRY(allocate(pte, at, Zero::kYes));
        if (pte.present()) {
            gone(at, at + kPageSize);
            release(pte.frame());
        }
        pte.value = frame->phys() | rights(vma.protection, true);
        return {};
    }

    // The object's page, with the VMA looked up again after a possible block. A null frame: things changed, fault
    // again.
    Result<Frame*> object_page(bool for_write) {
        RefPtr<Mappable> object = vma.object;
        const uint64_t index = vma.page_index(page);
        if (!for_write)
            if (Frame* cached = object->cached_page(index)) {
                cached->ref();
                return cached;
            }
        const UserAddress address = page;
        AddressSpace& where = space;
        Vma* const before = &vma;
        const bool shared = vma.shared;
        Frame* frame = TRY(object->get_page(index, for_write));
        Vma* now = where.find(address);
        if (now != before || now->object.get() != object.get() || now->page_index(address) != index ||
            now->shared != shared) {
            release(frame);
            return static_cast<Frame*>(nullptr);
        }
        return frame;
    }

    Result<> shared_page() {
        Frame* frame = TRY(object_page(writes()));
        if (!frame) return {};
        TRY(install(frame, writes()));
        map_cached_neighbours();
        return {};
    }

    Result<> private_file_page() {
        Frame* frame = TRY(object_page(false));
        if (!frame) return {};
        if (!writes()) {
            TRY(install(frame, false));
            map_cached_neighbours();
            return {};
        }
        const auto copy = [&]() -> Result<Frame*> {
            return allocate(*TRY(space.table_.obtain(page)), page, Zero::kNo);
        }();
        if (copy.is_error()) {
            release(frame);
            return copy.error();
        }
        memcpy(copy.value()->data(), frame->data(), kPageSize);
        release(frame);
        TRY(install(copy.value(), true));
        if (!forced && copy_window()) space.flush_later();
        return {};
    }

    // Takes over the frame's reference.
    Result<> install(Frame* frame, bool writable) {
        auto pte = space.table_.obtain(page);
        if (pte.is_error() || pte.value()->present()) {
            release(frame);
            return pte.is_error() ? Result<>(pte.error()) : Result<>();
        }
        pte.value()->value = frame->phys() | rights(vma.protection, writable);
        return {};
    }

    void map_cached_neighbours() {
        for_window(kFileWindow, [&](UserAddress at, Pte& pte) {
            if (pte.present()) return;
            Frame* cached = vma.object->cached_page(vma.page_index(at));
            if (!cached) return;
            cached->ref();
            pte.value = cached->phys() | rights(vma.protection, false);
        });
    }
};

Vma* AddressSpace::grow_stack(UserAddress address) {
    Vma* above = find_from(address);
    if (!above || !above->grows_down) return nullptr;
    const UserAddress start = address & ~(kPageSize - 1);
    const uint64_t limit = above->kind == Vma::Kind::kStack ? stack_limit : 8 << 20;
    if (above->end - start > limit) return nullptr;
    if (Vma* below = find(start > 0 ? start - 1 : 0) ?: find_before(start);
        below && below != above && !below->grows_down && below->protection && start - below->end < 256 * kPageSize)
        return nullptr;
    const uint64_t more = above->start - start;
    if (mapped_ + more > address_limit) return nullptr;
    // The start is the tree's key: take it out and in again. A few pages more than asked save faults later.
    above->tree_hook.unlink();
    mapped_ += above->start - start;
    above->start = start;
    vmas_.insert(*above);
    return above;
}

Vma* AddressSpace::find_before(UserAddress address) {
    auto it = vmas_.lower_bound(address);
    return it == vmas_.begin() ? nullptr : &*std::prev(it);
}

bool (*relieve_memory)() = nullptr;

Result<> AddressSpace::fault(UserAddress address, Access access, Flush flushes) {
    if (address >= platform::user_end) return Errno::kFAULT;
    make_room();
    for (;;) {
        const Result<> made = with_evictions([=, this]() -> Result<> {
            Vma* vma = find(address);
            if (!vma) vma = grow_stack(address);
            if (!vma) return Errno::kFAULT;
            return FaultHandler{*this, *vma, address & ~(kPageSize - 1), access}.run();
        });
        if (platform::holds_frames && (flushes == Flush::kNow || made.is_error())) flush();
        const bool out_of_memory = made.is_error() && made.error() == Errno::kNOMEM;
        if (!out_of_memory || !relieve_memory || !relieve_memory()) return made;
    }
}

Result<Frame*> AddressSpace::pin(UserAddress address, Access access) {
    for (;;) {
        if (char* at = translate(address, access)) {
            Frame* frame = frame_of(platform::virt_to_phys(at));
            frame->ref();
            return frame;
        }
        TRY(fault(address, access));
    }
}

Result<Frame*> AddressSpace::pin_forced(UserAddress address, Access access) {
    const UserAddress page = address & ~(kPageSize - 1);
    const bool writes = access == Access::kWrite;
    for (;;) {
        Vma* vma = address < platform::user_end ? find(address) : nullptr;
        if (!vma) return Errno::kFAULT;
        if (writes && (vma->shared ? vma->protection & kProtWrite : vma->max_protection & kProtWrite) == 0)
            return Errno::kFAULT;
        if (writes && vma->shared) return pin(address, access);
        Pte* huge = table_.find_huge(page);
        Pte* pte = huge && huge->present() && huge->huge() ? nullptr : table_.find(page);
        Frame* frame = pte && pte->present() ? pte->frame() : nullptr;
        if (huge && huge->present() && huge->huge()) frame = frame_of(huge->phys() + (page & (kHugePageSize - 1)));
        if (frame && (!writes || (frame->references == 1 && frame != zero_frame()))) {
            if (pte && writes) pte->value |= kPteDirty;
            frame->ref();
            return frame;
        }
        const Result<> made = FaultHandler{*this, *vma, page, access, true}.run();
        if (platform::holds_frames) flush();
        TRY(made);
    }
}

Result<FutexKey> AddressSpace::futex_key(UserAddress address, bool shared) {
    if (address >= platform::user_end) return Errno::kFAULT;
    if (!shared) return FutexKey{this, address};
    while (!translate(address, Access::kRead)) TRY(fault(address, Access::kRead));
    Vma* vma = find(address);
    if (!vma) return Errno::kFAULT;
    if (!vma->shared || !vma->object) return FutexKey{this, address};
    return FutexKey{vma->object.get(), vma->page_index(address) * kPageSize + address % kPageSize};
}

}  // namespace kvmsbx::mm
