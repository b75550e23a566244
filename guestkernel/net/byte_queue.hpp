#pragma once
// A queue of bytes in page frames that grows as it is filled and gives frames back as it is emptied: an empty one holds
// no memory. The frames of all queues together are counted, so that sockets can be bounded as a whole.
//
// Copies to and from user memory may block: whoever fills or drains holds a lock of its own meanwhile.
#include "guestkernel/mm/frame.hpp"
#include "guestkernel/mm/user_memory.hpp"

namespace kvmsbx::net {

class ByteQueue {
  public:
    ByteQueue() = default;
    ByteQueue(const ByteQueue&) = delete;
    ~ByteQueue() { clear(); }
    size_t size() const { return size_; }
    // Takes up to `limit` bytes of the buffer. Bytes moved before an error (EFAULT, ENOMEM) count.
    Result<size_t> fill(mm::IoBuffer& from, size_t limit);
    // Gives up to `limit` bytes and removes them.
    Result<size_t> drain(mm::IoBuffer& to, size_t limit);
    // Gives up to `limit` bytes from `offset` on and leaves them.
    Result<size_t> peek(mm::IoBuffer& to, size_t offset, size_t limit) const;
    void drop(size_t count);  // count <= size()
    void clear();
    // Whether all queues together hold more than their part of RAM (net.ipv4.tcp_mem): then a socket may queue a page.
    static bool memory_is_short();
    static size_t total_memory() { return total_frames_ * mm::kPageSize; }  // bytes that all queues hold

  private:
    Result<> extend();
    void drop_head();
    mm::Frame* head_ = nullptr;  // linked by Frame::next
    mm::Frame* tail_ = nullptr;
    size_t start_ = 0;  // of the first byte in head_
    size_t end_ = 0;    // behind the last byte in tail_
    size_t size_ = 0;
    static size_t total_frames_;
};

}  // namespace kvmsbx::net
