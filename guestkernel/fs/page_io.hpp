#pragma once
// Copies between IoBuffers and page frames: what read_at and write_at of cached files have in common.
#include "guestkernel/mm/page_cache.hpp"
#include "guestkernel/mm/user_memory.hpp"

namespace kvmsbx::fs {

using mm::Frame;
using mm::kPageSize;

// A reference to a frame for the time of a copy: user memory may fault meanwhile, and the page may be truncated away.
class HeldFrame {
  public:
    explicit HeldFrame(Frame* frame) : frame_(frame) {}  // takes over the reference
    HeldFrame(const HeldFrame&) = delete;
    ~HeldFrame() {
        if (frame_) mm::release(frame_);
    }
    Frame* get() const { return frame_; }
    char* data() const { return static_cast<char*>(frame_->data()); }

  private:
    Frame* frame_;
};

// Gives the bytes [offset, size) of a file, as many as fit. page(index) -> Result<Frame*>: the page with a new
// reference, null for a hole. Bytes copied before an error count.
template <typename Page>
Result<size_t> read_pages(mm::IoBuffer& to, uint64_t offset, uint64_t size, Page page) {
    size_t done = 0;
    while (!to.empty() && offset < size) {
        const size_t start = offset % kPageSize;
        size_t count = kPageSize - start;
        if (count > size - offset) count = size - offset;
        if (count > to.remaining()) count = to.remaining();
        Result<Frame*> got = page(offset / kPageSize);
        if (got.is_error() && got.error() == Errno::kNXIO) break;  // the file was cut off meanwhile
        if (got.is_error()) return done ? Result<size_t>(done) : Result<size_t>(got.error());
        const HeldFrame frame(got.value());
        Result<size_t> copied = frame.get() ? to.put(frame.data() + start, count) : to.put_zeroes(count);
        if (copied.is_error()) return done ? Result<size_t>(done) : Result<size_t>(copied.error());
        done += copied.value();
        offset += copied.value();
        if (copied.value() < count) break;
    }
    return done;
}

// Takes the buffer's bytes into pages. page(index, whole) -> Result<Frame*>: the page to write to with a new reference;
// whole: all of it is to be overwritten. wrote(offset, count, wanted) -> bool is called after each piece, of which
// count < wanted bytes came where the buffer was bad; false: it does not count.
template <typename Page, typename Wrote>
Result<size_t> write_pages(mm::IoBuffer& from, uint64_t offset, Page page, Wrote wrote) {
    size_t done = 0;
    while (!from.empty()) {
        const size_t start = offset % kPageSize;
        size_t count = kPageSize - start;
        if (count > from.remaining()) count = from.remaining();
        Result<Frame*> got = page(offset / kPageSize, count == kPageSize);
        if (got.is_error()) return done ? Result<size_t>(done) : Result<size_t>(got.error());
        const HeldFrame frame(got.value());
        const size_t copied = from.take(frame.data() + start, count).value_or(0);
        if (wrote(offset, copied, count)) done += copied;
        if (copied < count) return done ? Result<size_t>(done) : Result<size_t>(Errno::kFAULT);
        offset += copied;
    }
    return done;
}

inline constexpr uint64_t pages_of(uint64_t bytes) { return bytes / kPageSize + (bytes % kPageSize != 0); }

}  // namespace kvmsbx::fs
