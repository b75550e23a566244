// The page cache of a regular file.
#include "guestkernel/fs/ninep/nodes.hpp"

namespace kvmsbx::fs::ninep {

using fs::pages_of;

Contents::~Contents() = default;

Result<> Contents::insert(uint64_t index, Frame* frame) {
    Result<> inserted = cache.insert(index, frame);
    if (inserted.is_error()) mm::release(frame);
    return inserted;
}

void Contents::drop(uint64_t index) {
    if (!cache.find(index)) return;
    unmap_pages(index, index, false);
    cache.remove(index);
}

void Contents::cut(uint64_t size) {
    const uint64_t first = pages_of(size);
    unmap_pages(first, ~0ULL, true);
    cache.truncate(first);
    Frame* last = size % kPageSize ? cache.find(size / kPageSize) : nullptr;
    if (last) memset(static_cast<char*>(last->data()) + size % kPageSize, 0, kPageSize - size % kPageSize);
}

void Contents::zero(uint64_t start, uint64_t end) {
    for (uint64_t index = cache.next(start / kPageSize); index < pages_of(end); index = cache.next(index + 1)) {
        const uint64_t page = index * kPageSize;
        const uint64_t from = start > page ? start - page : 0, to = end - page < kPageSize ? end - page : kPageSize;
        memset(static_cast<char*>(cache.find(index)->data()) + from, 0, to - from);
    }
}

uint64_t Contents::drop_clean() {
    uint64_t gone = cache.drop_run();
    for (uint64_t index = cache.next(0); index != ~0ULL; index = cache.next(index + 1)) {
        if (cache.find(index)->references > 1 || cache.is_dirty(index)) continue;
        cache.remove(index);
        ++gone;
    }
    return gone;
}

uint64_t Contents::evict_from_hand(uint64_t wanted) {
    uint64_t gone = cache.drop_run();
    while (gone < wanted) {
        const uint64_t first = cache.next(hand_);
        if (first == ~0ULL) {
            hand_ = 0;
            break;
        }
        const uint64_t end = first - first % mm::kBlockPages + mm::kBlockPages;
        hand_ = end;
        if (owner && owner->is_dirty_in(first, end - 1)) continue;
        gone += evict(first, end - first, wanted - gone);
        if (gone >= wanted) hand_ = first;  // there may be more
    }
    return gone;
}

// Reads what is missing of the block around a page where much of it is there: then it can be mapped as one. What cannot
// be read is missed by those who want it.
void Contents::complete_block(uint64_t index) {
    constexpr unsigned kDense = mm::kBlockPages / 4;
    const uint64_t first = index - index % mm::kBlockPages, end = first + mm::kBlockPages;
    if (!owner || end > pages_of(owner->size()) || mm::memory_statistics().free < 4 * mm::kHugePageSize) return;
    if (const unsigned count = cache.count_in_block(first); count < kDense || count == mm::kBlockPages) return;
    RefPtr<Regular> keep(*owner);
    for (uint64_t at = first; at < end; ++at) {
        if (cache.find(at)) continue;
        Result<Frame*> frame = keep->page(at);
        if (frame.is_error()) return;
        mm::release(frame.value());
    }
}

Result<Frame*> Contents::get_page(uint64_t index, bool for_write) {
    if (!owner) return Errno::kIO;
    RefPtr<Regular> keep(*owner);
    if (!for_write && !cache.find(index)) {
        mm::release(TRY(keep->page(index)));
        complete_block(index);
    }
    Frame* frame = TRY(keep->page(index));  // after all that may block: it is the file's page now
    if (for_write) mark_dirty(index);
    return frame;
}

void Contents::mark_dirty(uint64_t index) {
    if (!owner || !cache.find(index)) return;
    cache.set_dirty(index, true);
    if (index < mapped_first_) mapped_first_ = index;
    if (index > mapped_last_) mapped_last_ = index;
    note_dirty(*owner);
}

void Contents::take_mapped_dirty(uint64_t& first, uint64_t& last) {
    if (first <= mapped_first_ && last >= mapped_last_) {
        first = mapped_first_, last = mapped_last_;
        mapped_first_ = ~0ULL, mapped_last_ = 0;
    }
}

Result<> Contents::write_back(uint64_t first, uint64_t last) {
    if (!owner) return {};
    RefPtr<Regular> keep(*owner);
    TRY(keep->write_back_mapped(first, last));
    return keep->take_lost();
}

void Contents::note_lost(Errno error) {
    if (owner) owner->note_lost(error);
}

}  // namespace kvmsbx::fs::ninep
