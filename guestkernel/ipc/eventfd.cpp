#include "guestkernel/ipc/eventfd.hpp"

namespace kvmsbx::ipc {

const char EventFd::kTag = 0;

// SAFETY: the tag is this class's own.
EventFd* EventFd::from(vfs::File& file) { return file.class_tag() == &kTag ? static_cast<EventFd*>(&file) : nullptr; }

Result<size_t> EventFd::read(mm::IoBuffer& to) {
    if (to.remaining() < sizeof count_) return Errno::kINVAL;
    if (count_ == 0) {
        if (nonblocking()) return Errno::kAGAIN;
        TRY(changed_.wait([&] { return count_ > 0; }));
    }
    const uint64_t value = mode_ == Mode::kSemaphore ? 1 : count_;
    count_ -= value;
    changed_.wake_all(vfs::kPollOut | vfs::kPollWrNorm);
    if (TRY(to.put(&value, sizeof value)) != sizeof value) return Errno::kFAULT;
    return sizeof value;
}

Result<size_t> EventFd::write(mm::IoBuffer& from) {
    uint64_t value;
    if (from.remaining() < sizeof value) return Errno::kINVAL;
    if (TRY(from.take(&value, sizeof value)) != sizeof value) return Errno::kFAULT;
    if (value > kMaximum) return Errno::kINVAL;
    if (kMaximum - count_ < value) {
        if (nonblocking()) return Errno::kAGAIN;
        TRY(changed_.wait([&] { return kMaximum - count_ >= value; }));
    }
    count_ += value;
    changed_.wake_all(vfs::kPollIn | vfs::kPollRdNorm);
    return sizeof value;
}

void EventFd::signal() {
    if (count_ < kMaximum) ++count_;
    changed_.wake_all(vfs::kPollIn | vfs::kPollRdNorm);
}

vfs::PollState EventFd::poll() {
    uint32_t events = 0;
    if (count_ > 0) events |= vfs::kPollIn;
    if (count_ < kMaximum) events |= vfs::kPollOut;
    return {events, &changed_};
}

}  // namespace kvmsbx::ipc
