#include "guestkernel/mm/shared_memory.hpp"

namespace kvmsbx::mm {

// As with private anonymous memory, where the whole block lies in it.
void SharedMemory::make_block(uint64_t first) {
    if (first + kBlockPages > pages_ || cache_.next(first) < first + kBlockPages) return;
    auto block = allocate_huge(Zero::kYes);
    if (block.is_error()) return;
    for (uint64_t i = 0; i < kBlockPages; ++i)
        if (cache_.insert(first + i, block.value() + i).is_error()) release(block.value() + i);
}

Result<Frame*> SharedMemory::get_page(uint64_t index, bool) {
    if (index >= pages_) return Errno::kNXIO;
    if (!cache_.find(index)) make_room(), make_block(index - index % kBlockPages);
    Frame* frame = cache_.find(index);
    if (!frame) {
        frame = TRY(cache_.allocate(index, Zero::kYes, pages_));
        if (auto inserted = cache_.insert(index, frame); inserted.is_error()) {
            release(frame);
            return inserted.error();
        }
    }
    frame->ref();
    return frame;
}

Result<> SharedMemory::punch_pages(uint64_t first, uint64_t last) {
    unmap_pages(first, last, false);
    for (uint64_t index = cache_.next(first); index <= last; index = cache_.next(index + 1)) cache_.remove(index);
    return {};
}

}  // namespace kvmsbx::mm
