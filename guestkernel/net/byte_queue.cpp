#include "guestkernel/net/byte_queue.hpp"

#include <algorithm>

namespace kvmsbx::net {

using mm::kPageSize;

size_t ByteQueue::total_frames_ = 0;

bool ByteQueue::memory_is_short() {
    constexpr uint64_t kPart = 8;
    static const uint64_t limit = mm::memory_statistics().total / kPart;
    return total_memory() > limit;
}

Result<> ByteQueue::extend() {
    mm::Frame* const fresh = TRY(mm::allocate_frame(mm::Zero::kNo));
    ++total_frames_;
    fresh->next = mm::kNoFrame;
    if (tail_)
        tail_->next = mm::index_of_frame(fresh);
    else
        head_ = fresh, start_ = 0;
    tail_ = fresh;
    end_ = 0;
    return {};
}

void ByteQueue::drop_head() {
    mm::Frame* const gone = head_;
    head_ = gone->next == mm::kNoFrame ? nullptr : mm::frame_at(gone->next);
    if (!head_) tail_ = nullptr;
    start_ = 0;
    mm::release(gone);
    --total_frames_;
}

Result<size_t> ByteQueue::fill(mm::IoBuffer& from, size_t limit) {
    size_t done = 0;
    const auto ended = [&](Errno error) {
        if (size_ == 0) clear();  // a frame that nothing came into
        return done ? Result<size_t>(done) : Result<size_t>(error);
    };
    while (!from.empty() && done < limit) {
        if (!tail_ || end_ == kPageSize)
            if (const Result<> room = extend(); room.is_error()) return ended(room.error());
        const size_t count = std::min({kPageSize - end_, limit - done, from.remaining()});
        const Result<size_t> copied = from.take(static_cast<char*>(tail_->data()) + end_, count);
        if (copied.is_error()) return ended(copied.error());
        end_ += copied.value(), size_ += copied.value(), done += copied.value();
        if (copied.value() < count) break;
    }
    return done;
}

Result<size_t> ByteQueue::drain(mm::IoBuffer& to, size_t limit) {
    size_t done = 0;
    while (!to.empty() && size_ > 0 && done < limit) {
        const size_t there = std::min(kPageSize - start_, size_);
        const size_t count = std::min({there, limit - done, to.remaining()});
        const Result<size_t> copied = to.put(static_cast<char*>(head_->data()) + start_, count);
        if (copied.is_error()) return done ? Result<size_t>(done) : Result<size_t>(copied.error());
        drop(copied.value());
        done += copied.value();
        if (copied.value() < count) break;
    }
    return done;
}

Result<size_t> ByteQueue::peek(mm::IoBuffer& to, size_t offset, size_t limit) const {
    size_t done = 0, skip = start_ + offset;
    limit = offset < size_ ? std::min(limit, size_ - offset) : 0;
    const mm::Frame* frame = head_;
    for (; limit > 0 && skip >= kPageSize; skip -= kPageSize) frame = mm::frame_at(frame->next);
    while (!to.empty() && done < limit) {
        const size_t count = std::min({kPageSize - skip, limit - done, to.remaining()});
        const Result<size_t> copied = to.put(static_cast<const char*>(frame->data()) + skip, count);
        if (copied.is_error()) return done ? Result<size_t>(done) : Result<size_t>(copied.error());
        done += copied.value();
        if (copied.value() < count) break;
        skip = 0;
        if (done < limit) frame = mm::frame_at(frame->next);
    }
    return done;
}

void ByteQueue::drop(size_t count) {
    size_ -= count;
    while (count > 0) {
        const size_t part = std::min(kPageSize - start_, count);
        start_ += part, count -= part;
        if (start_ == kPageSize) drop_head();
    }
    if (size_ == 0 && head_) drop_head();
}

void ByteQueue::clear() {
    while (head_) drop_head();
    start_ = end_ = size_ = 0;
}

}  // namespace kvmsbx::net
