#pragma once
// eventfd(2).
#include "guestkernel/ipc/anonymous_file.hpp"

namespace kvmsbx::ipc {

class EventFd final : public AnonymousFile {
  public:
    enum class Mode : bool { kCounter, kSemaphore };
    EventFd(uint64_t count, Mode mode, uint32_t flags)
        : AnonymousFile("[eventfd]", flags), count_(count), mode_(mode) {}
    Result<size_t> read(mm::IoBuffer& to) override;
    Result<size_t> write(mm::IoBuffer& from) override;
    vfs::PollState poll() override;
    uint64_t count() const { return count_; }
    // Adds one, if there is room: for what never blocks.
    void signal();
    const void* class_tag() const override { return &kTag; }
    // Null if the file is no eventfd.
    static EventFd* from(vfs::File& file);

  private:
    static const char kTag;
    static constexpr uint64_t kMaximum = ~0ULL - 1;
    uint64_t count_;
    const Mode mode_;
    sched::WaitQueue changed_;
};

}  // namespace kvmsbx::ipc
