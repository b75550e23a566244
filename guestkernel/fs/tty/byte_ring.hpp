#pragma once
// Bytes on their way, in a ring of contiguous frames (so that a hypercall can take them where they are).
#include <algorithm>
#include <cstring>
#include <span>

#include "guestkernel/mm/frame.hpp"

namespace kvmsbx::fs {

class ByteRing {
  public:
    ByteRing() = default;
    ByteRing(const ByteRing&) = delete;
    ~ByteRing() {
        if (frames_) mm::release_contiguous(frames_, pages_);
    }
    // pages: a power of two. ENOMEM.
    Result<> create(unsigned pages) {
        frames_ = TRY(mm::allocate_contiguous(pages, mm::Zero::kNo));
        pages_ = pages;
        data_ = static_cast<uint8_t*>(frames_->data());
        capacity_ = pages * mm::kPageSize;
        return {};
    }
    size_t size() const { return head_ - tail_; }
    size_t room() const { return capacity_ - size(); }
    bool empty() const { return head_ == tail_; }
    // Takes what fits.
    size_t put(std::span<const uint8_t> bytes) {
        size_t done = 0;
        while (done < bytes.size() && room() > 0) {
            const std::span<uint8_t> space = free_run();
            const size_t part = std::min(space.size(), bytes.size() - done);
            memcpy(space.data(), bytes.data() + done, part);
            head_ += part;
            done += part;
        }
        return done;
    }
    // The first bytes in the ring that lie side by side; drop() what was used of them.
    std::span<const uint8_t> front() const {
        const size_t at = tail_ & (capacity_ - 1);
        return {data_ + at, std::min(size(), capacity_ - at)};
    }
    void drop(size_t size) {
        tail_ += size;
        if (empty()) head_ = tail_ = 0;
    }
    // Free bytes side by side; add() what was filled.
    std::span<uint8_t> free_run() {
        const size_t at = head_ & (capacity_ - 1);
        return {data_ + at, std::min(room(), capacity_ - at)};
    }
    void add(size_t size) { head_ += size; }
    void clear() { head_ = tail_ = 0; }

  private:
    mm::Frame* frames_ = nullptr;
    unsigned pages_ = 0;
    uint8_t* data_ = nullptr;
    size_t capacity_ = 0;
    uint64_t head_ = 0, tail_ = 0;
};

}  // namespace kvmsbx::fs
