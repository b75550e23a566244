#include "vmm/control_channel.hpp"

#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace kvmsbx::vmm {

using control::FrameHeader;
using control::kHeaderSize;

ControlChannel::ControlChannel(int fd, Console& console, int wake_fd)
    : fd_(fd), console_(console), wake_fd_(wake_fd), broken_(fd < 0) {}

void ControlChannel::wake_main() {
    uint64_t one = 1;
    ssize_t ignored = ::write(wake_fd_, &one, sizeof one);
    static_cast<void>(ignored);
}

// ---- incoming

pollfd ControlChannel::wanted() {
    short events = 0;
    {
        std::lock_guard guard(incoming_lock_);
        forget_taken();
        if (incoming_.size() < kMostIncoming) events |= POLLIN;
    }
    std::lock_guard guard(outgoing_lock_);
    if (queued_ != 0) events |= POLLOUT;
    return {fd_, events, 0};
}

// Drops what the Sentry has taken.
void ControlChannel::forget_taken() {
    if (taken_ == 0) return;
    if (taken_ == incoming_.size()) {
        incoming_ = {};
    } else if (taken_ >= kReceiveSize || taken_ == readable_) {
        incoming_.erase(incoming_.begin(), incoming_.begin() + static_cast<ptrdiff_t>(taken_));
    } else {
        return;
    }
    readable_ -= taken_;
    taken_ = 0;
}

ControlChannel::Received ControlChannel::receive() {
    Received result = Received::kNothing;
    for (unsigned i = 0; i < kReceivesAtOnce; i++) {
        std::byte bytes[kReceiveSize];
        alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * control::kMaxFrameDescriptors)];
        iovec part{bytes, sizeof bytes};
        msghdr message{};
        message.msg_iov = &part;
        message.msg_iovlen = 1;
        message.msg_control = control;
        message.msg_controllen = sizeof control;
        const ssize_t got = recvmsg(fd_, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        if (got < 0 && (errno == EAGAIN || errno == EINTR)) return result;
        if (got <= 0) return Received::kHangUp;
        if (!take_descriptors(message)) return Received::kBadFrame;
        std::lock_guard guard(incoming_lock_);
        const size_t before = readable_;
        // SAFETY: bytes as bytes.
        const auto* begin = reinterpret_cast<const uint8_t*>(bytes);
        incoming_.insert(incoming_.end(), begin, begin + got);
        if (!scan_frames()) return Received::kBadFrame;
        if (readable_ != before) result = Received::kFrames;
        if (incoming_.size() >= kMostIncoming) return result;
    }
    return result;
}

// False: there are more than a frame may bring, or something else than descriptors.
bool ControlChannel::take_descriptors(const msghdr& message) {
    for (cmsghdr* header = CMSG_FIRSTHDR(&message); header;
         header = CMSG_NXTHDR(const_cast<msghdr*>(&message), header)) {
        if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) return false;
        const size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(header) + i * sizeof fd, sizeof fd);
            descriptors_.emplace_back(fd);
        }
    }
    return !(message.msg_flags & MSG_CTRUNC) && descriptors_.size() <= control::kMaxFrameDescriptors;
}

// Goes on to the end of what was received. The kernel gives descriptors with the bytes that they were sent with, and
// nothing behind these: so they belong to the last frame that has begun.
bool ControlChannel::scan_frames() {
    while (incoming_.size() - readable_ >= kHeaderSize) {
        const auto rest = std::span(incoming_).subspan(readable_);
        if (!header_accepted_ && !accept_header(rest)) return false;
        header_accepted_ = rest.size() < frame_size_;
        if (header_accepted_) break;
        readable_ += frame_size_;
    }
    return descriptors_.empty() || (!header_accepted_ && incoming_.size() != readable_);
}

bool ControlChannel::accept_header(std::span<uint8_t> frame) {
    auto decoded = control::decode_header(frame);
    if (decoded.is_error() || decoded->descriptors > descriptors_.size()) return false;
    FrameHeader header = *decoded;
    frame_size_ = header.size;
    header.first_stream = 0;
    if (header.descriptors != 0) {
        std::vector<host::Fd> streams(header.descriptors);
        std::move(descriptors_.begin(), descriptors_.begin() + header.descriptors, streams.begin());
        descriptors_.erase(descriptors_.begin(), descriptors_.begin() + header.descriptors);
        auto first = console_.add(std::move(streams));
        header.first_stream = first.is_ok() ? *first : control::kNoStream;
    }
    wire::Encoder encoder(frame.first(kHeaderSize));
    encoder.put(header);
    return true;
}

// ---- outgoing

ssize_t ControlChannel::send_now(std::span<const std::byte> bytes) {
    iovec part{const_cast<std::byte*>(bytes.data()), bytes.size()};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    const ssize_t sent = sendmsg(fd_, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent >= 0) return sent;
    if (errno != EAGAIN && errno != EINTR) broken_ = true;
    return 0;
}

Result<size_t> ControlChannel::write(std::span<const std::byte> from) {
    std::lock_guard guard(outgoing_lock_);
    if (broken_) return Errno::kPIPE;
    if (from.empty()) return size_t{0};
    size_t done = queued_ == 0 ? static_cast<size_t>(send_now(from)) : 0;
    if (broken_) return Errno::kPIPE;
    if (done == from.size()) return done;
    if (!queue_) queue_ = std::make_unique_for_overwrite<std::byte[]>(kQueueSize);
    const bool was_empty = queued_ == 0;
    while (done < from.size() && queued_ < kQueueSize) {
        const size_t at = (first_ + queued_) % kQueueSize;
        const size_t size = std::min({from.size() - done, kQueueSize - queued_, kQueueSize - at});
        memcpy(&queue_[at], from.data() + done, size);
        queued_ += size;
        done += size;
    }
    if (was_empty) wake_main();
    writer_waits_ |= done == 0;
    return done == 0 ? Result<size_t>(Errno::kAGAIN) : Result<size_t>(done);
}

void ControlChannel::flush_locked() {
    while (queued_ != 0 && !broken_) {
        const ssize_t sent = send_now({&queue_[first_], std::min(queued_, kQueueSize - first_)});
        if (sent == 0) break;
        first_ = (first_ + static_cast<size_t>(sent)) % kQueueSize;
        queued_ -= static_cast<size_t>(sent);
    }
    if (broken_) queued_ = 0;
}

bool ControlChannel::flush() {
    std::lock_guard guard(outgoing_lock_);
    flush_locked();
    const bool told = writer_waits_ && queued_ <= kQueueSize / 2;
    if (told) writer_waits_ = false;
    return told;
}

void ControlChannel::finish() {
    constexpr int kTries = 10, kTryMs = 100;
    for (int i = 0; i < kTries; i++) {
        std::lock_guard guard(outgoing_lock_);
        flush_locked();
        if (queued_ == 0) return;
        pollfd polled{fd_, POLLOUT, 0};
        poll(&polled, 1, kTryMs);
    }
}

}  // namespace kvmsbx::vmm
