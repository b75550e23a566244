#include "guestkernel/mm/shared_memory.hpp"

namespace kvmsbx::mm {

Result<Frame*> SharedMemory::get_page(uint64_t index, bool) {
    if (index >= pages_) return Errno::kNXIO;
    Frame* frame = cache_.find(index);
    if (!frame) {
        frame = TRY(allocate_frame(Zero::kYes));
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
