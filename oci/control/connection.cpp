#include "oci/control/connection.hpp"

#include <fcntl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>

#include "common/host/errno.hpp"

namespace kvmsbx::oci {
namespace {

constexpr size_t kReadChunk = 64 * 1024;
constexpr size_t kRoomForDescriptors = CMSG_SPACE(control::kMaxFrameDescriptors * sizeof(int));

bool would_block(int error) { return error == EAGAIN || error == EWOULDBLOCK; }

// Takes the descriptors out of a message; false: the kernel could not deliver them all.
bool take_descriptors(msghdr& message, std::deque<host::Fd>& to) {
    for (cmsghdr* part = CMSG_FIRSTHDR(&message); part; part = CMSG_NXTHDR(&message, part)) {
        if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
        const size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(part) + i * sizeof fd, sizeof fd);
            to.emplace_back(fd);
        }
    }
    return (message.msg_flags & MSG_CTRUNC) == 0;
}

}  // namespace

ControlConnection::ControlConnection(host::Fd socket, Mode mode) : socket_(std::move(socket)), mode_(mode) {
    if (mode == Mode::kNonBlocking) fcntl(socket_.get(), F_SETFL, fcntl(socket_.get(), F_GETFL) | O_NONBLOCK);
}

// True: all is sent.
Result<bool> ControlConnection::send_some(Unsent& unsent) {
    iovec part{unsent.bytes.data() + unsent.sent, unsent.bytes.size() - unsent.sent};
    alignas(cmsghdr) char control[kRoomForDescriptors];
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    if (!unsent.descriptors.empty()) {
        message.msg_control = control;
        message.msg_controllen = CMSG_SPACE(unsent.descriptors.size() * sizeof(int));
        cmsghdr* header = CMSG_FIRSTHDR(&message);
        *header = {};
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(unsent.descriptors.size() * sizeof(int));
        for (size_t i = 0; i < unsent.descriptors.size(); i++) {
            const int fd = unsent.descriptors[i].get();
            memcpy(CMSG_DATA(header) + i * sizeof fd, &fd, sizeof fd);
        }
    }
    const ssize_t sent = sendmsg(socket_.get(), &message, MSG_NOSIGNAL);
    if (sent < 0 && (would_block(errno) || errno == EINTR)) return false;
    if (sent < 0) return errno == ECONNRESET ? Errno::kPIPE : host::last_errno();
    unsent.descriptors.clear();
    unsent.sent += static_cast<size_t>(sent);
    return unsent.sent == unsent.bytes.size();
}

Result<> ControlConnection::flush() {
    while (!unsent_.empty()) {
        const bool all = TRY(send_some(unsent_.front()));
        if (!all && mode_ == Mode::kNonBlocking) return {};
        if (!all) continue;
        unsent_bytes_ -= unsent_.front().bytes.size();
        unsent_.pop_front();
    }
    return {};
}

Result<> ControlConnection::send_bytes(std::vector<uint8_t> bytes, std::span<const int> descriptors) {
    if (descriptors.size() > control::kMaxFrameDescriptors) return Errno::kINVAL;
    if (unsent_bytes_ + bytes.size() > kMostUnsent) return Errno::kNOBUFS;
    Unsent unsent;
    unsent.bytes = std::move(bytes);
    for (int fd : descriptors) {
        unsent.descriptors.emplace_back(fcntl(fd, F_DUPFD_CLOEXEC, 3));
        if (!unsent.descriptors.back().is_open()) return host::last_errno();
    }
    unsent_bytes_ += unsent.bytes.size();
    unsent_.push_back(std::move(unsent));
    return flush();
}

Result<> ControlConnection::forward(const Frame& frame, uint64_t id) {
    control::FrameHeader header = frame.header;
    header.id = id;
    header.first_stream = 0;
    header.descriptors = static_cast<uint16_t>(frame.descriptors.size());
    std::vector<uint8_t> bytes(control::kHeaderSize + frame.body.size());
    wire::Encoder encoder(bytes);
    encoder.put(header);
    std::copy(frame.body.begin(), frame.body.end(), bytes.begin() + control::kHeaderSize);
    std::vector<int> descriptors;
    for (const host::Fd& fd : frame.descriptors) descriptors.push_back(fd.get());
    return send_bytes(std::move(bytes), descriptors);
}

Result<std::optional<Frame>> ControlConnection::take_frame() {
    if (received_.size() < control::kHeaderSize) return std::optional<Frame>{};
    Frame frame;
    frame.header = TRY(control::decode_header(received_));
    if (received_.size() < frame.header.size) return std::optional<Frame>{};
    if (received_descriptors_.size() < frame.header.descriptors) return Errno::kPROTO;
    for (unsigned i = 0; i < frame.header.descriptors; i++) {
        frame.descriptors.push_back(std::move(received_descriptors_.front()));
        received_descriptors_.pop_front();
    }
    frame.body.assign(received_.begin() + control::kHeaderSize, received_.begin() + frame.header.size);
    received_.erase(received_.begin(), received_.begin() + frame.header.size);
    if (received_.empty()) received_.shrink_to_fit();
    return std::optional<Frame>(std::move(frame));
}

// False: there is nothing now.
Result<bool> ControlConnection::read_some() {
    const size_t before = received_.size();
    received_.resize(before + kReadChunk);
    iovec part{received_.data() + before, kReadChunk};
    alignas(cmsghdr) char control[kRoomForDescriptors];
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    const ssize_t got = recvmsg(socket_.get(), &message, MSG_CMSG_CLOEXEC);
    const int error = errno;
    received_.resize(before + static_cast<size_t>(std::max<ssize_t>(got, 0)));
    if (got < 0 && (would_block(error) || error == EINTR)) return false;
    if (got < 0 && error != ECONNRESET) return static_cast<Errno>(error);
    if (got <= 0) return Errno::kPIPE;
    const bool complete = take_descriptors(message, received_descriptors_);
    if (!complete || received_descriptors_.size() > control::kMaxFrameDescriptors) return Errno::kPROTO;
    return true;
}

Result<std::optional<Frame>> ControlConnection::receive() {
    for (;;) {
        std::optional<Frame> frame = TRY(take_frame());
        if (frame) return std::optional<Frame>(std::move(frame));
        const bool more = TRY(read_some());
        if (!more && mode_ == Mode::kNonBlocking) return std::optional<Frame>{};
    }
}

}  // namespace kvmsbx::oci
