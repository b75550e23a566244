// mremap(2), madvise(2), msync(2), mincore(2).
#include "guestkernel/lib/assert.hpp"
#include "guestkernel/mm/address_space.hpp"

namespace kvmsbx::mm {
namespace {

constexpr uint32_t kMremapMaymove = 1, kMremapFixed = 2, kMremapDontunmap = 4;
constexpr uint32_t kMsAsync = 1, kMsInvalidate = 2, kMsSync = 4;

// madvise(2) advice values.
enum Advice : int {
    kNormal = 0,
    kRandom = 1,
    kSequential = 2,
    kWillneed = 3,
    kDontneed = 4,
    kFree = 8,
    kRemove = 9,
    kDontfork = 10,
    kDofork = 11,
    kMergeable = 12,
    kUnmergeable = 13,
    kHugepage = 14,
    kNohugepage = 15,
    kDontdump = 16,
    kDodump = 17,
    kWipeonfork = 18,
    kKeeponfork = 19,
    kCold = 20,
    kPageout = 21,
    kPopulateRead = 22,
    kPopulateWrite = 23,
    kDontneedLocked = 24,
};

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
    return request;
}

}  // namespace

// Moves page-table entries of [from, from + length) to `to`; both lie in VMAs of the same content.
Result<> AddressSpace::move_entries(UserAddress from, UserAddress to, uint64_t length) {
    const UserAddress end = from + length;
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
    if (new_size == 0 || new_size > abi::kUserEnd) return Errno::kINVAL;
    if (flags & kMremapFixed) {
        if (new_address % kPageSize || new_address >= abi::kUserEnd || new_size > abi::kUserEnd - new_address)
            return Errno::kINVAL;
        if (new_address < old_address + old_size && old_address < new_address + new_size) return Errno::kINVAL;
    }
    Vma* vma = find(old_address);
    if (!vma) return Errno::kFAULT;
    const bool duplicate = old_size == 0;  // a second mapping of the same shared pages
    if (duplicate && !vma->shared) return Errno::kINVAL;
    if (old_size > vma->end - old_address) return Errno::kFAULT;
    if ((flags & kMremapDontunmap) && (vma->shared || vma->object)) return Errno::kINVAL;
    if (!(flags & (kMremapFixed | kMremapDontunmap)) && !duplicate) {
        if (new_size <= old_size) {
            if (new_size < old_size) TRY(unmap_range(old_address + new_size, old_address + old_size));
            return old_address;
        }
        // In place, if the mapping ends there and the gap behind it is wide enough.
        if (mapped_ + (new_size - old_size) > address_limit) return Errno::kNOMEM;
        Vma* after = next(*vma);
        if (old_address + old_size == vma->end && new_size <= abi::kUserEnd - old_address &&
            (!after || after->start >= old_address + new_size)) {
            mapped_ += new_size - old_size;
            vma->end = old_address + new_size;
            try_merge(*vma);
            return old_address;
        }
        if (!(flags & kMremapMaymove)) return Errno::kNOMEM;
    }
    if (new_size < old_size) {
        TRY(unmap_range(old_address + new_size, old_address + old_size));
        old_size = new_size;
        vma = find(old_address);
        if (!vma) return Errno::kFAULT;
    }
    MapRequest request =
        like(*vma, flags & kMremapFixed ? new_address : 0, new_size, flags & kMremapFixed ? kMapFixed : 0);
    request.offset = vma->page_index(old_address) * kPageSize;
    if (request.kind == Vma::Kind::kHeap || request.kind == Vma::Kind::kStack) request.kind = Vma::Kind::kOther;
    const UserAddress target = TRY(map(request));
    if (duplicate) return target;
    TRY(move_entries(old_address, target, old_size));
    if (!(flags & kMremapDontunmap)) TRY(unmap_range(old_address, old_address + old_size));
    flush();
    return target;
}

Result<> AddressSpace::advise(UserAddress start, uint64_t length, int advice) {
    if (start % kPageSize) return Errno::kINVAL;
    length = round_up(length);
    const UserAddress end = start + length;
    if (end < start) return Errno::kINVAL;
    switch (advice) {
        case kNormal:
        case kRandom:
        case kSequential:
        case kWillneed:
        case kDontneed:
        case kFree:
        case kRemove:
        case kDontfork:
        case kDofork:
        case kHugepage:
        case kNohugepage:
        case kDontdump:
        case kDodump:
        case kWipeonfork:
        case kKeeponfork:
        case kCold:
        case kPageout:
        case kPopulateRead:
        case kPopulateWrite:
        case kDontneedLocked: break;
        default: return Errno::kINVAL;
    }
    if (length == 0) return {};
    if (advice == kPopulateRead || advice == kPopulateWrite) {
        for (UserAddress at = start; at < end; at += kPageSize) {
            const Access access = advice == kPopulateWrite ? Access::kWrite : Access::kRead;
            while (!translate(at, access))
                if (auto made = fault(at, access); made.is_error())
                    return made.error() == Errno::kFAULT ? Errno::kNOMEM : made.error();
        }
        return {};
    }
    const bool changes_vma = advice == kDontfork || advice == kDofork || advice == kHugepage || advice == kNohugepage ||
                             advice == kWipeonfork || advice == kKeeponfork;
    if (changes_vma) TRY(split_boundaries(start, end));
    bool hole = false;
    UserAddress covered = start;
    for (Vma* vma = find_from(start); vma && vma->start < end; vma = next(*vma)) {
        if (vma->start > covered) hole = true;
        const UserAddress from = vma->start > start ? vma->start : start, to = vma->end < end ? vma->end : end;
        covered = to;
        if ((advice == kWipeonfork || advice == kFree) && (vma->object || vma->shared)) return Errno::kINVAL;
        switch (advice) {
            case kDontneed:
            case kFree:
            case kDontneedLocked: zap(from, to, *vma); break;
            case kRemove: return Errno::kOPNOTSUPP;
            case kDontfork: vma->no_fork = true; break;
            case kDofork: vma->no_fork = false; break;
            case kWipeonfork: vma->wipe_on_fork = true; break;
            case kKeeponfork: vma->wipe_on_fork = false; break;
            case kHugepage: vma->no_huge = false; break;
            case kNohugepage: vma->no_huge = true; break;
            default: break;
        }
    }
    if (advice == kDontneed || advice == kFree || advice == kDontneedLocked) flush();
    return hole || covered < end ? Result<>(Errno::kNOMEM) : Result<>();
}

Result<> AddressSpace::synchronize(UserAddress start, uint64_t length, uint32_t flags) {
    if (flags & ~(kMsAsync | kMsInvalidate | kMsSync) || start % kPageSize || ((flags & kMsAsync) && (flags & kMsSync)))
        return Errno::kINVAL;
    length = round_up(length);
    const UserAddress end = start + length;
    if (end < start) return Errno::kNOMEM;
    UserAddress covered = start;
    while (covered < end) {
        Vma* vma = find(covered);
        if (!vma) return Errno::kNOMEM;
        const UserAddress from = covered, to = vma->end < end ? vma->end : end;
        covered = to;
        if (!vma->shared || !vma->object) continue;
        for (UserAddress at = from; at < to; at += kPageSize) {
            Pte* pte = table_.find(at);
            if (!pte || !pte->present() || !pte->dirty()) continue;
            vma->object->mark_dirty(vma->page_index(at));
            pte->value &= ~(kPteDirty | kPteWrite);
        }
        flush();
        RefPtr<Mappable> object = vma->object;
        TRY(object->write_back(vma->page_index(from), vma->page_index(to) - 1));
    }
    return {};
}

Result<> AddressSpace::resident(UserAddress start, uint64_t length, UserAddress out) {
    if (start % kPageSize) return Errno::kINVAL;
    const UserAddress end = start + round_up(length);
    if (end < start || end > abi::kUserEnd) return Errno::kNOMEM;
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
