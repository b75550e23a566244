// What an object does with the page tables that map it.
#include "guestkernel/mm/address_space.hpp"
#include "guestkernel/platform/address_space.hpp"

namespace kvmsbx::mm {

// Calls visit(vma, start, end) for each VMA that maps some of pages [first, last], and for this range of it.
template <typename Visit>
void Mappable::for_mappings(uint64_t first, uint64_t last, Visit visit) {
    for (Vma* vma = mappings_; vma; vma = vma->next_mapping) {
        const uint64_t pages = (vma->end - vma->start) / kPageSize;
        if (vma->first_page > last || vma->first_page + pages <= first) continue;
        const uint64_t from = first > vma->first_page ? first - vma->first_page : 0;
        const uint64_t to = last - vma->first_page >= pages ? pages : last - vma->first_page + 1;
        visit(*vma, vma->start + from * kPageSize, vma->start + to * kPageSize);
    }
}

Frame* Mappable::cached_block(uint64_t first, Gather gather) {
    PageCache* cache = page_cache();
    if (!cache) return nullptr;
    if (Frame* there = cache->find_block(first)) return there;
    if (gather == Gather::kNo || cache->stuck_block == first || cache->count_in_block(first) < kBlockPages)
        return nullptr;
    auto block = allocate_huge(Zero::kNo);
    if (block.is_error()) return nullptr;
    unmap_pages(first, first + kBlockPages - 1, false);
    if (cache->move_block(first, block.value())) return block.value();
    release_contiguous(block.value(), kBlockPages);
    cache->stuck_block = first;
    return nullptr;
}

void Mappable::add_mapping(Vma& vma) {
    vma.next_mapping = mappings_;
    vma.previous_link = &mappings_;
    if (mappings_) mappings_->previous_link = &vma.next_mapping;
    mappings_ = &vma;
    mapping_added();
}

void Mappable::remove_mapping(Vma& vma) {
    if (!vma.previous_link) return;
    *vma.previous_link = vma.next_mapping;
    if (vma.next_mapping) vma.next_mapping->previous_link = vma.previous_link;
    vma.previous_link = nullptr;
    mapping_removed();
}

bool Mappable::has_shared_writers() const {
    for (const Vma* vma = mappings_; vma; vma = vma->next_mapping)
        if (vma->shared && (vma->max_protection & kProtWrite)) return true;
    return false;
}

Mappable::~Mappable() { VERIFY(!mappings_); }

void Mappable::flush_mappings(uint64_t first, uint64_t last) {
    for_mappings(first, last, [](Vma& vma, UserAddress, UserAddress) { vma.space->flush(); });
}

void Mappable::unmap_pages(uint64_t first, uint64_t last, bool also_private_copies) {
    for_mappings(first, last, [=](Vma& vma, UserAddress start, UserAddress end) {
        vma.space->unmap_object_pages(vma, start, end, also_private_copies);
    });
    flush_mappings(first, last);
}

void Mappable::collect_dirty(uint64_t first, uint64_t last) {
    bool any = false;
    for_mappings(first, last, [&](Vma& vma, UserAddress start, UserAddress end) {
        if (vma.shared && (vma.max_protection & kProtWrite)) any |= vma.space->collect_dirty(vma, start, end);
    });
    if (any) flush_mappings(first, last);
}

uint64_t Mappable::evict(uint64_t first, uint64_t count, uint64_t most) {
    PageCache& cache = *page_cache();
    const uint64_t last = first + count - 1;
    BlockPages stay;
    for_mappings(first, last, [&](Vma& vma, UserAddress start, UserAddress end) {
        if (!vma.locked) return vma.space->note_use(vma, start, end, stay);
        for (UserAddress at = start; at < end; at += kPageSize) stay.add(vma.page_index(at));
    });
    uint64_t going = 0;
    for (uint64_t index = first; index <= last; ++index) {
        if (stay.has(index)) continue;
        const bool goes = going < most && cache.find(index) && !cache.is_dirty(index);
        if (!goes) stay.add(index);
        going += goes;
    }
    if (going == 0) {
        if (platform::holds_frames) flush_mappings(first, last);
        return 0;
    }
    for_mappings(first, last, [&](Vma& vma, UserAddress start, UserAddress end) {
        for (UserAddress at = start; at < end; at += kPageSize)
            if (!stay.has(vma.page_index(at))) vma.space->unmap_object_pages(vma, at, at + kPageSize, false);
    });
    flush_mappings(first, last);
    uint64_t gone = 0;
    for (uint64_t index = first; index <= last; ++index) {
        if (stay.has(index) || cache.find(index)->references > 1 || cache.is_dirty(index)) continue;
        cache.remove(index);
        ++gone;
    }
    return gone;
}

}  // namespace kvmsbx::mm
