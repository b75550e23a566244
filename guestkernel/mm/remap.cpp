// mremap(2), msync(2), mincore(2).
#include "guestkernel/lib/assert.hpp"
#include "guestkernel/mm/address_space.hpp"
#include "guestkernel/platform/address_space.hpp"
#include "guestkernel/platform/host.hpp"

namespace kvmsbx::mm {
namespace {

constexpr uint32_t kMremapMaymove = 1, kMremapFixed = 2, kMremapDontunmap = 4;
constexpr uint32_t kMsAsync = 1, kMsInvalidate = 2, kMsSync = 4;

uint64_t round_up(uint64_t value) { return (value + kPageSize - 1) & ~(kPageSize - 1); }

MapRequest like(const Vma& vma, UserAddress address, uint64_t length, uint32_t extra_flags) {
    MapRequest request;
    request.address = address;
    request.length = length;
    request.protection = vma.protection, request.max_protection = vma.max_protection;
    request.flags = (vma.shared ? kMapShared : kMapPrivate) | extra_flags;
    request.object = vma.object;
    request.offset = vma.first_page * kPageSize;
    request.file = vma.file;
    request.kind = vma.kind;
    request.traits = vma;
    return request;
}

}  // namespace

// Moves page-table entries of [from, from + length) to `to`; both lie in VMAs of the same content.
Result<> AddressSpace::move_entries(UserAddress from, UserAddress to, uint64_t length) {
    const UserAddress end = from + length;
    const FlushAtEnd flushed(*this);
    user_.rights_gone(from, end, platform::Left::kNothing);
    for (UserAddress at = table_.next_populated(from, end); at < end; at = table_.next_populated(at + kPageSize, end)) {
        Pte& huge = *table_.find_huge(at);
        if (huge.huge()) TRY(table_.split_huge(huge));
        Pte* pte = table_.find(at);
        if (!pte->present()) continue;
        Pte* target = TRY(table_.obtain(to + (at - from)));
        VERIFY(!target->present());
        *target = *pte;
        pte->value = 0;
    }
    return {};
}

Result<UserAddress> AddressSpace::remap(UserAddress old_address, uint64_t old_size, uint64_t new_size, uint32_t flags,
                                        UserAddress new_address) {
    if (flags & ~(kMremapMaymove | kMremapFixed | kMremapDontunmap)) return Errno::kINVAL;
    if ((flags & (kMremapFixed | kMremapDontunmap)) && !(flags & kMremapMaymove)) return Errno::kINVAL;
    if ((flags & kMremapDontunmap) && old_size != new_size) return Errno::kINVAL;
    if (old_address % kPageSize) return Errno::kINVAL;
    old_size = round_up(old_size), new_size = round_up(new_size);
    if (new_size == 0 || new_size > platform::user_end) return Errno::kINVAL;
    if (flags & (kMremapFixed | kMremapDontunmap)) {
        if (new_address % kPageSize || new_address >= platform::user_end || new_size > platform::user_end - new_address)
            return Errno::kINVAL;
        if (new_address < old_address + old_size && old_address < new_address + new_size) return Errno::kINVAL;
    }
    Departed departed;
    Vma* vma = find(old_address);
    if (!vma) return Errno::kFAULT;
    const bool duplicate = old_size == 0;  // a second mapping of the same shared pages
    if (duplicate && !vma->shared) return Errno::kINVAL;
    if (old_size > vma->end - old_address) return Errno::kFAULT;
    if (has_sealed(old_address, old_address + (old_size ? old_size : 1))) return Errno::kPERM;
    if (!(flags & (kMremapFixed | kMremapDontunmap)) && !duplicate) {
        if (new_size <= old_size) {
            if (new_size < old_size) TRY(unmap_range(old_address + new_size, old_address + old_size, departed));
            return old_address;
        }
        // In place, if the mapping ends there and the gap behind it is wide enough.
        const uint32_t kind = vma->shared ? kMapShared : kMapPrivate;
        TRY(check_growth(new_size - old_size, vma->protection, kind | (vma->no_reserve ? kMapNoreserve : 0),
                         !vma->file));
        Vma* after = next(*vma);
        if (old_address + old_size == vma->end && new_size <= platform::user_end - old_address &&
            (!after || after->start >= old_address + new_size)) {
            mapped_ += new_size - old_size;
            if (mapped_ > peak_mapped) peak_mapped = mapped_;
            vma->end = old_address + new_size;
            try_merge(*vma);
            return old_address;
        }
        if (!(flags & kMremapMaymove)) return Errno::kNOMEM;
    }
    if (new_size < old_size) {
        TRY(unmap_range(old_address + new_size, old_address + old_size, departed));
        old_size = new_size;
    }
    if (flags & kMremapFixed) TRY(unmap_range(new_address, new_address + new_size, departed));
    vma = find(old_address);  // a duplicate of 0 bytes may have gone with what lay at its new place
    if (!vma || old_size > vma->end - old_address) return Errno::kFAULT;
    MapRequest request = like(*vma, flags & (kMremapFixed | kMremapDontunmap) ? new_address : 0, new_size,
                              flags & kMremapFixed ? kMapFixed : 0);
    request.offset = vma->page_index(old_address) * kPageSize;
    if (request.kind == Vma::Kind::kHeap || request.kind == Vma::Kind::kStack) request.kind = Vma::Kind::kOther;
    // Moving what is there costs no address space.
    const uint64_t address_limit_before = address_limit, data_limit_before = data_limit;
    if (!duplicate && !(flags & kMremapDontunmap) && new_size <= old_size) address_limit = data_limit = ~0ULL;
    auto made = map(request);
    address_limit = address_limit_before, data_limit = data_limit_before;
    const UserAddress target = TRY(std::move(made));
    if (duplicate) return target;
    if (flags & kMremapDontunmap)  // the old range is no longer locked (mlock(2))
        if (Vma* old = find(old_address); old && old->locked)
            TRY(lock(old_address, old_address + old_size, false, false));
    TRY(move_entries(old_address, target, old_size));
    if (!(flags & kMremapDontunmap)) TRY(unmap_range(old_address, old_address + old_size, departed));
    return target;
}

Result<> AddressSpace::synchronize(UserAddress start, uint64_t length, uint32_t flags) {
    if (flags & ~(kMsAsync | kMsInvalidate | kMsSync) || start % kPageSize || ((flags & kMsAsync) && (flags & kMsSync)))
        return Errno::kINVAL;
    length = round_up(length);
    const UserAddress end = start + length;
    if (end < start) return Errno::kNOMEM;
    bool hole = false;
    for (UserAddress covered = start; covered < end;) {
        Vma* vma = find_from(covered);
        if (!vma || vma->start >= end) return Errno::kNOMEM;
        hole |= vma->start > covered;
        const UserAddress from = vma->start > covered ? vma->start : covered, to = vma->end < end ? vma->end : end;
        covered = to;
        if ((flags & kMsInvalidate) && vma->locked) return Errno::kBUSY;
        if (!vma->shared || !vma->object || !(flags & kMsSync)) continue;
        RefPtr<Mappable> object = vma->object;
        TRY(object->write_back(vma->page_index(from), vma->page_index(to) - 1));
    }
    return hole ? Result<>(Errno::kNOMEM) : Result<>();
}

Result<> AddressSpace::resident(UserAddress start, uint64_t length, UserAddress out) {
    if (start % kPageSize) return Errno::kINVAL;
    const UserAddress end = start + round_up(length);
    if (end < start || end > platform::user_end) return Errno::kNOMEM;
    for (UserAddress at = start; at < end; at += kPageSize) {
        Vma* vma = find(at);
        if (!vma) return Errno::kNOMEM;
        const unsigned char in_core =
            translate(at, Access::kRead) || (vma->object && vma->object->cached_page(vma->page_index(at)));
        TRY(copy_to_user(*this, out++, &in_core, 1));
    }
    return {};
}

}  // namespace kvmsbx::mm
