// mmap, munmap, mprotect, brk: the set of VMAs. Faults are in fault.cpp, fork in fork.cpp, mremap and madvise in
// remap.cpp.
#include "guestkernel/mm/address_space.hpp"

#include "guestkernel/lib/assert.hpp"
#include "guestkernel/platform/host.hpp"
#include "guestkernel/sched/cpu.hpp"

namespace kvmsbx::mm {
namespace {

constexpr UserAddress kMapBottom = 0x10000;     // vm.mmap_min_addr
constexpr UserAddress kMap32End = 0x8000'0000;  // MAP_32BIT: the first 2 GiB
constexpr uint64_t kPeakLookBytes = 1 << 20;
constexpr uint64_t kDropTables = 64 << 20;            // unmapping this much gives page tables back at once
constexpr uint64_t kStackGuardGap = 256 * kPageSize;  // stack_guard_gap

uint64_t round_up(uint64_t value) { return (value + kPageSize - 1) & ~(kPageSize - 1); }

}  // namespace

Result<RefPtr<AddressSpace>> AddressSpace::create(uint64_t layout) {
    static uint64_t last_layout;
    auto space = TRY(make_ref<AddressSpace>());
    space->layout_ = layout ? layout : ++last_layout;
    TRY(space->table_.create(space->layout_));
    TRY(space->user_.create(space->table_.root()));
    space->map_top = platform::user_end - (1ULL << 30);
    return space;
}

AddressSpace::~AddressSpace() { clear(); }

void AddressSpace::clear() {
    user_.rights_gone(0, platform::user_end, platform::Left::kNothing);  // at once instead of piece by piece
    while (!vmas_.empty()) {
        Vma& vma = *vmas_.begin();
        zap(vma.start, vma.end, vma);
        erase(vma);
    }
    if (platform_page_) {
        table_.find(platform_page_at_)->value = 0;
        release(platform_page_);
        platform_page_ = nullptr;
    }
    flush();
    user_.drop();
    release_held_frames();
    table_.destroy();
}

Result<> AddressSpace::make_platform_page(UserAddress at) {
    if (platform_page_) return {};
    Pte* entry = TRY(table_.obtain(at));
    platform_page_ = TRY(allocate_frame(Zero::kYes));
    platform_page_at_ = at;
    const uint64_t rights = kPtePresent | kPteWrite | kPteUser | kPteAccessed | kPteDirty | kPteNoExecute;
    entry->value = platform_page_->phys() | rights;
    return {};
}

void AddressSpace::flush() {
    if (user_.flush()) interrupt_others();
    release_held_frames();
}

void AddressSpace::flush_later() {
    if (user_.flush_soon()) interrupt_others();
}

void AddressSpace::interrupt_others() { sched::interrupt_users_of(user_); }

Vma* AddressSpace::find_from(UserAddress address) {
    // The last VMA that starts at or below the address, else the next one.
    auto it = vmas_.upper_bound(address);
    if (it != vmas_.begin()) {
        auto previous = std::prev(it);
        if (previous->end > address) return &*previous;
    }
    return it == vmas_.end() ? nullptr : &*it;
}

Vma* AddressSpace::find(UserAddress address) {
    Vma* vma = find_from(address);
    return vma && vma->start <= address ? vma : nullptr;
}

Vma* AddressSpace::next(Vma& vma) {
    auto it = std::next(vmas_.iterator_to(vma));
    return it == vmas_.end() ? nullptr : &*it;
}

Result<> AddressSpace::insert(OwnPtr<Vma> owned) {
    Vma* vma = owned.leak();
    vma->space = this;
    vmas_.insert(*vma);
    mapped_ += vma->end - vma->start;
    if (mapped_ > peak_mapped) peak_mapped = mapped_;
    ++count_;
    if (vma->object) vma->object->add_mapping(*vma);
    return {};
}

void AddressSpace::take_out(Vma& vma) {
    mapped_ -= vma.end - vma.start;
    --count_;
    if (vma.object) vma.object->remove_mapping(vma);
    vma.tree_hook.unlink();
}

void AddressSpace::erase(Vma& vma) {
    take_out(vma);
    delete &vma;
}

// Cuts a VMA in two at `at`; the upper half is new.
Result<Vma*> AddressSpace::split(Vma& vma, UserAddress at) {
    if (count_ >= kMaxMapCount) return Errno::kNOMEM;
    auto upper = TRY(make_own<Vma>());
    static_cast<VmaTraits&>(*upper) = vma;
    upper->start = at, upper->end = vma.end;
    upper->protection = vma.protection, upper->max_protection = vma.max_protection;
    upper->shared = vma.shared, upper->grows_down = vma.grows_down;
    upper->kind = vma.kind;
    upper->object = vma.object;
    upper->first_page = vma.page_index(at);
    upper->file = vma.file;
    mapped_ -= vma.end - at;
    vma.end = at;
    Vma* result = upper.get();
    TRY(insert(std::move(upper)));
    return result;
}

Result<> AddressSpace::split_boundaries(UserAddress start, UserAddress end) {
    if (Vma* vma = find(start); vma && vma->start < start) TRY(split(*vma, start));
    if (Vma* vma = find(end); vma && vma->start < end) TRY(split(*vma, end));
    return {};
}

// Joins a VMA with the one that follows it, where the two are one range of the same thing.
void AddressSpace::try_merge(Vma& vma) {
    Vma* after = next(vma);
    if (!after || after->start != vma.end || after->protection != vma.protection ||
        after->max_protection != vma.max_protection || after->shared != vma.shared ||
        after->grows_down != vma.grows_down || after->kind != vma.kind || after->object.get() != vma.object.get() ||
        after->file.get() != vma.file.get() || static_cast<const VmaTraits&>(*after) != vma)
        return;
    if (vma.object && after->first_page != vma.page_index(vma.end)) return;
    const UserAddress end = after->end;
    erase(*after);
    mapped_ += end - vma.end;
    vma.end = end;
}

// Takes a 2 MiB page out of the page table.
static void release_block(Pte& huge) {
    Frame* first = huge.frame();
    huge.value = 0;
    for (unsigned i = 0; i < kBlockPages; ++i)
        if (first[i].references != 1) {
            for (unsigned j = 0; j < kBlockPages; ++j) release(&first[j]);
            return;
        }
    release_contiguous(first, kBlockPages);
}

// Before [at, end) of a 2 MiB page goes. For want of memory one of the private pages that go becomes the table; a block
// of an object goes as a whole, and faults bring it again.
void AddressSpace::split_to_unmap(Pte& huge, UserAddress at, UserAddress end, const Vma& vma) {
    // The memory of a table must be nobody's: other vCPUs may still use what this call has unmapped.
    flush();
    if (table_.split_huge(huge).is_ok()) return;
    const Pte old = huge;
    for (; !vma.object && at < end; at += kPageSize) {
        Frame* table = old.frame() + at % kHugePageSize / kPageSize;
        if (table->references != 1) continue;
        huge.value = 0;
        flush();
        table_.split_huge_into(huge, old, table);
        table_.find(at)->value = 0;
        return;
    }
    release_block(huge);
}

// Takes the pages of [start, end) out of the page table. Dirty pages of shared objects are reported to their owner.
void AddressSpace::zap(UserAddress start, UserAddress end, Vma& vma) {
    user_.rights_gone(start, end, platform::Left::kNothing);
    for (UserAddress at = table_.next_populated(start, end); at < end; at = table_.next_populated(at, end)) {
        const UserAddress block = at & ~(kHugePageSize - 1);
        const UserAddress block_end = block + kHugePageSize;
        Pte& huge = *table_.find_huge(at);
        if (huge.huge() && (at > block || end < block_end))
            split_to_unmap(huge, at, end < block_end ? end : block_end, vma);
        if (!huge.present()) {
            at = block_end;
            continue;
        }
        if (huge.huge()) {
            release_block(huge);
            at = block_end;
            continue;
        }
        const UserAddress stop = end < block_end ? end : block_end;
        for (Pte* pte = table_.find(at); at < stop; at += kPageSize, ++pte) {
            if (!pte->present()) continue;
            const Pte old = *pte;
            pte->value = 0;
            if (vma.shared && vma.object && old.dirty()) vma.object->mark_dirty(vma.page_index(at));
            release(old.frame());
        }
        // Small areas come and go at the same places: their tables stay.
        if (end - start >= kDropTables && start <= block && end >= block_end) table_.drop_table(huge);
    }
}

void AddressSpace::unmap_object_pages(Vma& vma, UserAddress start, UserAddress end, bool also_private_copies) {
    user_.rights_gone(start, end, platform::Left::kNothing);
    for (UserAddress at = table_.next_populated(start, end); at < end;
         at = table_.next_populated(at + kPageSize, end)) {
        if (Pte& huge = *table_.find_huge(at); huge.huge()) {
            // None of it is a private copy: the next faults map again what stays.
            release_block(huge);
            at = (at | (kHugePageSize - 1)) + 1 - kPageSize;
            continue;
        }
        Pte* pte = table_.find(at);
        if (!pte || !pte->present()) continue;
        const bool copy = !vma.shared && vma.object->cached_page(vma.page_index(at)) != pte->frame();
        if (copy && !also_private_copies) continue;
        const Pte old = *pte;
        pte->value = 0;
        if (vma.shared && old.dirty()) vma.object->mark_dirty(vma.page_index(at));
        release(old.frame());
    }
}

bool AddressSpace::collect_dirty(Vma& vma, UserAddress from, UserAddress to) {
    bool any = false;
    user_.rights_gone(from, to, platform::Left::kReadOnly);
    for (UserAddress at = table_.next_populated(from, to); at < to; at = table_.next_populated(at + kPageSize, to)) {
        Pte* pte = table_.find(at);
        if (!pte || !pte->present() || !pte->dirty()) continue;
        vma.object->mark_dirty(vma.page_index(at));
        pte->value &= ~(kPteDirty | kPteWrite);
        any = true;
    }
    return any;
}

// Written pages count as used. The bit is cleared without a flush: what a TLB still knows looks unused a little early.
static bool take_use(Pte& entry) {
    if (entry.dirty()) return true;
    if (!(entry.value & kPteAccessed)) return false;
    __atomic_fetch_and(&entry.value, ~kPteAccessed, __ATOMIC_RELAXED);
    return true;
}

void AddressSpace::note_use(const Vma& vma, UserAddress start, UserAddress end, BlockPages& used) {
    for (UserAddress at = table_.next_populated(start, end); at < end; at = table_.next_populated(at, end)) {
        const UserAddress block_end = (at & ~(kHugePageSize - 1)) + kHugePageSize;
        const UserAddress stop = end < block_end ? end : block_end;
        Pte& huge = *table_.find_huge(at);
        const bool block_used = huge.huge() && take_use(huge);
        if (block_used && platform::UserSpace::caches_mappings())
            user_.rights_gone(at & ~(kHugePageSize - 1), block_end, platform::Left::kNothing);
        for (Pte* pte = table_.find(at); at < stop; at += kPageSize, pte = pte ? pte + 1 : nullptr) {
            if (block_used) used.add(vma.page_index(at));
            if (!pte || !pte->present()) continue;
            const bool copy = !vma.shared && vma.object->cached_page(vma.page_index(at)) != pte->frame();
            if (copy || !take_use(*pte)) continue;
            used.add(vma.page_index(at));
            // Where no CPU sets the bit, the next use must come by a fault.
            if (platform::UserSpace::caches_mappings()) user_.rights_gone(at, at + kPageSize, platform::Left::kNothing);
        }
    }
}

AddressSpace::Departed::~Departed() {
    while (vmas_) {
        OwnPtr<Vma> vma(vmas_);
        vmas_ = vma->next_mapping;
        if (!vma->shared || !vma->object) continue;
        const auto written = vma->object->write_back(vma->first_page, vma->page_index(vma->end) - 1);
        if (written.is_error()) vma->object->note_lost(written.error());
    }
}

Result<> AddressSpace::unmap_range(UserAddress start, UserAddress end, Departed& departed) {
    if (!find_from(start) || find_from(start)->start >= end) return {};
    if (has_sealed(start, end)) return Errno::kPERM;
    TRY(split_boundaries(start, end));
    for (Vma* vma = find_from(start); vma && vma->start < end;) {
        Vma* after = next(*vma);
        zap(vma->start, vma->end, *vma);
        take_out(*vma);
        departed.add(*vma);
        vma = after;
    }
    flush();
    return {};
}

Result<> AddressSpace::unmap_range(UserAddress start, UserAddress end) {
    Departed departed;
    return unmap_range(start, end, departed);
}

Result<> AddressSpace::unmap(UserAddress start, uint64_t length) {
    if (start % kPageSize || length == 0 || start >= platform::user_end ||
        round_up(length) > platform::user_end - start || round_up(length) < length)
        return Errno::kINVAL;
    // As often as a walk costs no more than the unmapping itself.
    if (round_up(length) >= kPeakLookBytes && round_up(length) >= mapped_ / 8) (void)peak_resident_pages();
    return unmap_range(start, start + round_up(length));
}

// Lowest-level search: the highest gap below `top` (or the hint, if it is free) whose start leaves `phase` when divided
// by `alignment`.
Result<UserAddress> AddressSpace::find_gap(uint64_t length, UserAddress hint, uint64_t alignment, uint64_t phase,
                                           UserAddress top) {
    if (hint) {
        hint = hint & ~(kPageSize - 1);
        Vma* after = find_from(hint);
        if (hint >= kMapBottom && hint < platform::user_end && length <= platform::user_end - hint &&
            (!after || hint + length <= after->start - (after->grows_down ? kStackGuardGap : 0)))
            return hint;
    }
    UserAddress limit = top;
    auto it = vmas_.lower_bound(top);
    for (;;) {
        const UserAddress below = it == vmas_.begin() ? kMapBottom : std::prev(it)->end;
        if (limit >= length + phase && below < limit) {
            const UserAddress at = ((limit - length - phase) & ~(alignment - 1)) + phase;
            if (at >= below) return at;
        }
        if (it == vmas_.begin()) return Errno::kNOMEM;
        --it;
        const UserAddress gap = it->grows_down ? kStackGuardGap : 0;
        limit = it->start > gap ? it->start - gap : 0;
        if (limit > top) limit = top;
    }
}

// What a new mapping may not exceed: the number of mappings, RLIMIT_AS, RLIMIT_DATA, and (vm.overcommit_memory 0) all
// the machine's memory, for what could be written. The container's limit counts when pages are touched, as in a cgroup.
Result<> AddressSpace::check_growth(uint64_t length, uint32_t protection, uint32_t flags, bool anonymous) {
    if (count_ > kMaxMapCount) return Errno::kNOMEM;
    if (length > address_limit || mapped_ > address_limit - length) return Errno::kNOMEM;
    const bool writable = protection & kProtWrite, shared = flags & kMapShared;
    if (data_limit != ~0ULL && writable && !shared && !(flags & kMapGrowsdown) && data_bytes() + length > data_limit)
        return Errno::kNOMEM;
    const bool accounted = !(flags & kMapNoreserve) && (shared ? anonymous : writable);
    return accounted && length > memory_statistics().machine ? Result<>(Errno::kNOMEM) : Result<>();
}

Result<UserAddress> AddressSpace::map(const MapRequest& request) {
    const uint64_t length = round_up(request.length);
    if (request.length == 0) return Errno::kINVAL;
    if (length == 0 || length > platform::user_end) return Errno::kNOMEM;
    if (request.offset % kPageSize) return Errno::kINVAL;
    TRY(check_growth(length, request.protection, request.flags, !request.file));
    Departed replaced;  // written back when the new mapping is there: nobody else may take the place meanwhile
    UserAddress start = request.address;
    if (request.flags & (kMapFixed | kMapFixedNoreplace)) {
        if (start % kPageSize) return Errno::kINVAL;
        if (start >= platform::user_end || length > platform::user_end - start) return Errno::kNOMEM;
        if (start < kMapBottom) return Errno::kPERM;
        if (request.flags & kMapFixedNoreplace) {
            Vma* there = find_from(start);
            if (there && there->start < start + length) return Errno::kEXIST;
        } else {
            TRY(unmap_range(start, start + length, replaced));
        }
    } else {
        // 2 MiB of memory, or of an object, should start where a 2 MiB page may.
        const bool large = (!request.object || request.object->page_cache()) && length >= kHugePageSize;
        const uint64_t phase = request.object ? request.offset % kHugePageSize : 0;
        const UserAddress top = request.flags & kMap32bit ? kMap32End : map_top;
        auto found = large ? find_gap(length, start, kHugePageSize, phase, top) : Errno::kNOMEM;
        if (found.is_error()) found = find_gap(length, start, kPageSize, 0, top);
        if (found.is_error() && !(request.flags & kMap32bit))
            found = find_gap(length, 0, kPageSize, 0, platform::user_end);
        start = TRY(std::move(found));
    }
    auto vma = TRY(make_own<Vma>());
    vma->start = start, vma->end = start + length;
    vma->protection = request.protection, vma->max_protection = request.max_protection;
    vma->shared = (request.flags & kMapShared) != 0;
    vma->grows_down = (request.flags & kMapGrowsdown) != 0;
    vma->object = request.object;
    vma->first_page = request.offset / kPageSize;
    vma->file = request.file;
    vma->kind = request.kind;
    static_cast<VmaTraits&>(*vma) = request.traits;
    vma->no_reserve = request.traits.no_reserve || (request.flags & kMapNoreserve) != 0;
    if ((request.flags & kMapLocked) || lock_future != LockFuture::kNo) vma->locked = true;
    if (lock_future == LockFuture::kOnFault) vma->lock_on_fault = true;
    Vma* made = vma.get();
    TRY(insert(std::move(vma)));
    try_merge(*made);
    if (made->start == start && start > 0)
        if (Vma* before = find(start - 1)) try_merge(*before);
    return start;
}

// mprotect's effect on entries that are there: rights are taken away at once and given by the next fault.
static void narrow(Pte& pte, uint32_t protection) {
    if (!pte.present()) return;
    if (!(protection & kProtWrite)) pte.value &= ~kPteWrite;
    pte.value = protection & kProtExec ? pte.value & ~kPteNoExecute : pte.value | kPteNoExecute;
    // PROT_NONE: the entry stays present for us but not for ring 3.
    pte.value = protection & (kProtRead | kProtWrite | kProtExec) ? pte.value | kPteUser : pte.value & ~kPteUser;
}

Result<> AddressSpace::protect(UserAddress start, uint64_t length, uint32_t protection) {
    if (start % kPageSize) return Errno::kINVAL;
    length = round_up(length);
    if (length == 0) return {};
    const UserAddress end = start + length;
    if (end < start || end > platform::user_end) return Errno::kNOMEM;
    UserAddress covered = start;
    for (Vma* vma = find(start); vma && covered < end; vma = next(*vma)) {
        if (vma->start > covered) break;
        if (protection & ~vma->max_protection) return Errno::kACCES;
        covered = vma->end;
    }
    if (has_sealed(start, covered < end ? covered : end)) return Errno::kPERM;
    if (data_limit != ~0ULL && (protection & kProtWrite)) {
        uint64_t more = 0;
        for (Vma* vma = find_from(start); vma && vma->start < end; vma = next(*vma))
            if (!vma->shared && !vma->grows_down && !(vma->protection & kProtWrite))
                more += (vma->end < end ? vma->end : end) - (vma->start > start ? vma->start : start);
        if (more && data_bytes() + more > data_limit) return Errno::kNOMEM;
    }
    // As Linux: what comes before the hole is changed all the same.
    const UserAddress stop = covered < end ? covered : end;
    if (stop > start) {
        const FlushAtEnd flushed(*this);
        TRY(split_boundaries(start, stop));
        for (Vma* vma = find(start); vma && vma->start < stop; vma = next(*vma)) {
            const uint32_t lost = vma->protection & ~protection;
            vma->protection = protection;
            // Rights that are new come by faults.
            if (lost)
                user_.rights_gone(vma->start, vma->end,
                                  lost == kProtWrite ? platform::Left::kReadOnly : platform::Left::kNothing);
            for (UserAddress at = table_.next_populated(vma->start, vma->end); at < vma->end;
                 at = table_.next_populated(at, vma->end)) {
                const UserAddress block = at & ~(kHugePageSize - 1);
                Pte& huge = *table_.find_huge(at);
                if (huge.huge() && (vma->start > block || vma->end < block + kHugePageSize))
                    TRY(table_.split_huge(huge));
                if (huge.huge()) {
                    narrow(huge, protection);
                    at = block + kHugePageSize;
                    continue;
                }
                const UserAddress block_end = vma->end < block + kHugePageSize ? vma->end : block + kHugePageSize;
                for (Pte* pte = table_.find(at); at < block_end; at += kPageSize, ++pte) narrow(*pte, protection);
            }
        }
        for (Vma* vma = find(start > 0 ? start - 1 : 0) ?: find(start); vma && vma->start < stop;) {
            const UserAddress before = vma->end;
            try_merge(*vma);
            if (vma->end == before) vma = next(*vma);
        }
    }
    return covered < end ? Result<>(Errno::kNOMEM) : Result<>();
}

UserAddress AddressSpace::set_break(UserAddress wanted, uint64_t data_limit) {
    if (wanted < break_start || wanted - break_start > data_limit || wanted >= platform::user_end) return break_end;
    const UserAddress old_top = round_up(break_end), new_top = round_up(wanted);
    if (new_top > old_top) {
        Vma* above = find_from(old_top);
        if (above && above->start < new_top + kPageSize) return break_end;
        MapRequest request;
        request.address = old_top;
        request.length = new_top - old_top;
        request.protection = kProtRead | kProtWrite;
        request.flags = kMapPrivate | kMapAnonymous | kMapFixedNoreplace;
        request.kind = Vma::Kind::kHeap;
        if (map(request).is_error()) return break_end;
    } else if (new_top < old_top && unmap_range(new_top, old_top).is_error()) {
        return break_end;
    }
    break_end = wanted;
    return break_end;
}

char* AddressSpace::translate(UserAddress address, Access access) const {
    if (address >= platform::user_end) return nullptr;
    const Pte* pte = table_.find_huge(address);
    uint64_t offset_mask = kHugePageSize - 1;
    if (!pte || !pte->present()) return nullptr;
    if (!pte->huge()) {
        pte = table_.find(address);
        offset_mask = kPageSize - 1;
    }
    if (!pte->present() || !(pte->value & kPteUser) || (access == Access::kWrite && !pte->writable())) return nullptr;
    // Only where they are missing: a hypervisor that shadows page tables takes a fault for each write to one.
    constexpr uint64_t kUsed = kPteDirty | kPteAccessed;
    if (access == Access::kWrite && (pte->value & kUsed) != kUsed) const_cast<Pte*>(pte)->value |= kUsed;
    return static_cast<char*>(platform::phys_to_virt(pte->phys() & ~offset_mask)) + (address & offset_mask);
}

}  // namespace kvmsbx::mm
