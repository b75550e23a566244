// madvise(2), mlock(2) and mseal(2): what an application says of ranges.
#include "guestkernel/mm/address_space.hpp"

namespace kvmsbx::mm {
namespace {

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

bool is_known(int advice) {
    return (advice >= kNormal && advice <= kDontneed) || (advice >= kFree && advice <= kDontneedLocked);
}

bool frees_pages(int advice) { return advice == kDontneed || advice == kFree || advice == kDontneedLocked; }

// What would lose content of a sealed range that the application may not write (mseal(2)).
bool discards(int advice) {
    return frees_pages(advice) || advice == kRemove || advice == kDontfork || advice == kWipeonfork;
}

VmaTraits with_advice(VmaTraits traits, int advice) {
    switch (advice) {
        case kDontfork: traits.no_fork = true; break;
        case kDofork: traits.no_fork = false; break;
        case kWipeonfork: traits.wipe_on_fork = true; break;
        case kKeeponfork: traits.wipe_on_fork = false; break;
        case kHugepage: traits.no_huge = false, traits.huge = true; break;
        case kNohugepage: traits.no_huge = true, traits.huge = false; break;
        case kDontdump: traits.no_dump = true; break;
        case kDodump: traits.no_dump = false; break;
        case kMergeable: traits.mergeable = true; break;
        case kUnmergeable: traits.mergeable = false; break;
        default: break;
    }
    return traits;
}

// Does the range's kind refuse this advice?
Result<> check_advice(const Vma& vma, int advice) {
    switch (advice) {
        case kWipeonfork: return vma.object || vma.shared ? Result<>(Errno::kINVAL) : Result<>();
        case kFree:
            if (vma.object || vma.shared) return Errno::kINVAL;
            [[fallthrough]];
        case kDontneed:
        case kCold:
        case kPageout: return vma.locked ? Result<>(Errno::kINVAL) : Result<>();
        case kRemove:
            if (vma.locked || !vma.object) return Errno::kINVAL;
            return vma.shared && (vma.max_protection & kProtWrite) ? Result<>() : Result<>(Errno::kACCES);
        default: return {};
    }
}

Result<> populate_error(Errno error) {
    switch (error) {
        case Errno::kFAULT: return Errno::kNOMEM;  // nothing mapped
        case Errno::kACCES: return Errno::kINVAL;
        case Errno::kNOMEM: return Errno::kNOMEM;
        default: return Errno::kFAULT;  // beyond the end of a file
    }
}

}  // namespace

Result<> AddressSpace::populate(UserAddress start, UserAddress end, Access access) {
    for (UserAddress at = start; at < end; at += kPageSize)
        while (!translate(at, access))
            if (auto made = fault(at, access); made.is_error()) return made;
    return {};
}

Result<> AddressSpace::advise(UserAddress start, uint64_t length, int advice) {
    if (!is_known(advice) || start % kPageSize) return Errno::kINVAL;
    if (length && round_up(length) == 0) return Errno::kINVAL;
    const UserAddress end = start + round_up(length);
    if (end < start) return Errno::kINVAL;
    if (end == start) return {};
    if (advice == kPopulateRead || advice == kPopulateWrite) {
        const auto made = populate(start, end, advice == kPopulateWrite ? Access::kWrite : Access::kRead);
        return made.is_error() ? populate_error(made.error()) : Result<>();
    }
    const Result<> advised = advise_range(start, end, advice);
    if (frees_pages(advice)) flush();
    return advised;
}

Result<> AddressSpace::advise_range(UserAddress start, UserAddress end, int advice) {
    bool hole = false;
    for (UserAddress covered = start; covered < end;) {
        Vma* vma = find_from(covered);
        if (!vma || vma->start >= end) {
            hole = true;
            break;
        }
        hole |= vma->start > covered;
        const UserAddress from = vma->start > covered ? vma->start : covered, to = vma->end < end ? vma->end : end;
        TRY(advise_one(*vma, from, to, advice));
        covered = to;
    }
    return hole ? Result<>(Errno::kNOMEM) : Result<>();
}

// [start, end) lies in the VMA.
Result<> AddressSpace::advise_one(Vma& vma, UserAddress start, UserAddress end, int advice) {
    TRY(check_advice(vma, advice));
    const bool kept = vma.sealed && !vma.shared && !(vma.protection & kProtWrite);
    if (kept && discards(advice)) return Errno::kPERM;
    if (frees_pages(advice)) {
        zap(start, end, vma);
        return {};
    }
    if (advice == kRemove) {
        const RefPtr<Mappable> object = vma.object;
        return object->punch_pages(vma.page_index(start), vma.page_index(end) - 1);
    }
    return set_traits(vma, start, end, with_advice(vma, advice));
}

// Gives [start, end) of a VMA other traits: it is cut out first, and joined with neighbours that are alike after it.
Result<> AddressSpace::set_traits(Vma& vma, UserAddress start, UserAddress end, const VmaTraits& traits) {
    if (static_cast<const VmaTraits&>(vma) == traits) return {};
    TRY(split_boundaries(start, end));
    Vma* target = find(start);
    static_cast<VmaTraits&>(*target) = traits;
    try_merge(*target);
    if (start > 0)
        if (Vma* before = find(start - 1)) try_merge(*before);
    return {};
}

Result<> AddressSpace::lock(UserAddress start, UserAddress end, bool locked, bool on_fault) {
    for (UserAddress at = start; at < end;) {
        Vma* vma = find(at);
        if (!vma) return Errno::kNOMEM;
        const UserAddress to = vma->end < end ? vma->end : end;
        VmaTraits traits = *vma;
        traits.locked = locked;
        traits.lock_on_fault = locked && on_fault;
        TRY(set_traits(*vma, at, to, traits));
        at = to;
    }
    return {};
}

void AddressSpace::lock_all(bool locked, bool on_fault) {
    for (Vma* vma = find_from(0); vma; vma = next(*vma)) {
        vma->locked = locked;
        vma->lock_on_fault = locked && on_fault;
    }
}

uint64_t AddressSpace::locked_bytes(UserAddress start, UserAddress end) {
    uint64_t sum = 0;
    for (Vma* vma = find_from(start); vma && vma->start < end; vma = next(*vma))
        if (vma->locked) sum += (vma->end < end ? vma->end : end) - (vma->start > start ? vma->start : start);
    return sum;
}

uint64_t AddressSpace::data_bytes() {
    uint64_t sum = 0;
    for (Vma* vma = find_from(0); vma; vma = next(*vma))
        if ((vma->protection & kProtWrite) && !vma->shared && !vma->grows_down) sum += vma->end - vma->start;
    return sum;
}

bool AddressSpace::has_sealed(UserAddress start, UserAddress end) {
    if (!any_sealed_) return false;
    for (Vma* vma = find_from(start); vma && vma->start < end; vma = next(*vma))
        if (vma->sealed) return true;
    return false;
}

Result<> AddressSpace::seal(UserAddress start, UserAddress end) {
    UserAddress covered = start;
    for (Vma* vma = find(start); vma && vma->start <= covered && covered < end; vma = next(*vma)) covered = vma->end;
    if (covered < end) return Errno::kNOMEM;
    for (UserAddress at = start; at < end;) {
        Vma* vma = find(at);
        const UserAddress to = vma->end < end ? vma->end : end;
        VmaTraits traits = *vma;
        traits.sealed = true;
        TRY(set_traits(*vma, at, to, traits));
        any_sealed_ = true;
        at = to;
    }
    return {};
}

}  // namespace kvmsbx::mm
