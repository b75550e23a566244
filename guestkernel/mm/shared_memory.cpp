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

}  // namespace kvmsbx::mm
