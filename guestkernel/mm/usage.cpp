// What is in memory of an address space: resident set, smaps, pagemap.
#include <algorithm>

#include "guestkernel/mm/address_space.hpp"
#include "guestkernel/platform/host.hpp"

namespace kvmsbx::mm {
namespace {

void count(MappingUse& use, const Pte& pte, Frame* frame, bool anonymous) {
    const bool dirty = pte.dirty();
    // The page cache's own reference is no mapping.
    const uint32_t mappings = anonymous || frame->references < 2 ? frame->references : frame->references - 1;
    use.resident += kPageSize;
    use.proportional += kPageSize / mappings;
    if (dirty) use.proportional_dirty += kPageSize / mappings;
    if (mappings > 1)
        (dirty ? use.shared_dirty : use.shared_clean) += kPageSize;
    else
        (dirty ? use.private_dirty : use.private_clean) += kPageSize;
    if (pte.value & kPteAccessed) use.referenced += kPageSize;
    if (anonymous) use.anonymous += kPageSize;
}

}  // namespace

MappingUse AddressSpace::use_of(const Vma& vma) const {
    MappingUse use;
    for (UserAddress at = table_.next_populated(vma.start, vma.end); at < vma.end;
         at = table_.next_populated(at, vma.end)) {
        const UserAddress block_end = (at & ~(kHugePageSize - 1)) + kHugePageSize;
        const UserAddress stop = vma.end < block_end ? vma.end : block_end;
        const Pte& huge = *table_.find_huge(at);
        if (huge.huge()) {
            for (; at < stop; at += kPageSize)
                count(use, huge, huge.frame() + at % kHugePageSize / kPageSize, !vma.object);
            use.huge += kHugePageSize;
            continue;
        }
        for (const Pte* pte = table_.find(at); at < stop; at += kPageSize, ++pte) {
            if (!pte->present() || pte->frame() == zero_frame()) continue;
            const bool cached = vma.object && vma.object->cached_page(vma.page_index(at)) == pte->frame();
            count(use, *pte, pte->frame(), !cached);
        }
    }
    return use;
}

AddressSpace::Residency AddressSpace::residency(UserAddress start, UserAddress end) {
    Residency sum;
    for (UserAddress at = table_.next_populated(start, end); at < end;) {
        const UserAddress block_end = std::min(end, (at & ~(kHugePageSize - 1)) + kHugePageSize);
        at = std::max(at, start);
        const Pte& huge = *table_.find_huge(at);
        if (huge.huge()) {
            sum.pages += (block_end - at) / kPageSize;
            sum.writable += huge.writable() ? (block_end - at) / kPageSize : 0;
        } else {
            const Pte* pte = table_.find(at);
            for (UserAddress page = at; page < block_end; page += kPageSize, ++pte) {
                const bool there = pte->present() && pte->frame() != zero_frame();
                sum.pages += there;
                sum.writable += there && pte->writable();
            }
        }
        if (block_end >= end) break;
        at = table_.next_populated(block_end, end);
    }
    return sum;
}

uint64_t AddressSpace::resident_pages() { return residency(0, platform::user_end).pages; }

uint64_t AddressSpace::peak_resident_pages() { return peak_resident_ = std::max(peak_resident_, resident_pages()); }

uint64_t AddressSpace::page_state(UserAddress address) {
    constexpr uint64_t kPresent = 1ULL << 63, kFile = 1ULL << 61, kExclusive = 1ULL << 56, kSoftDirty = 1ULL << 55;
    const Vma* vma = find(address);
    if (!vma) return 0;
    const Pte* huge = table_.find_huge(address);
    if (!huge || !huge->present()) return kSoftDirty;
    const Pte* pte = huge->huge() ? huge : table_.find(address);
    if (!pte->present()) return kSoftDirty;
    uint64_t bits = kPresent | kSoftDirty;
    const Frame* frame = pte->frame() + (pte->huge() ? address % kHugePageSize / kPageSize : 0);
    const bool cached = vma->object && vma->object->cached_page(vma->page_index(address)) == frame;
    if (cached) bits |= kFile;
    if (frame != zero_frame() && frame->references <= (cached ? 2U : 1U)) bits |= kExclusive;
    return bits;
}

}  // namespace kvmsbx::mm
