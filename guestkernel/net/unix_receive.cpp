// recv(2) on AF_UNIX sockets (net/unix/af_unix.c has the rules of what one call gives).
#include <cstring>

#include "guestkernel/net/control_message.hpp"
#include "guestkernel/net/unix_socket.hpp"

namespace kvmsbx::net {

// One call on a stream, which may take several packets.
struct UnixSocket::StreamRead {
    ReceiveRequest& request;
    size_t skip = 0;  // bytes in the queue before the first to peek at
    size_t copied = 0;
    bool done = false, bad_memory = false;
    const Packet* writer = nullptr;  // whose credentials the call tells
    Ucred credentials{};
};

namespace {

bool same(const Ucred& a, const Ucred& b) { return a.pid == b.pid && a.uid == b.uid && a.gid == b.gid; }

// What every packet has: the sender's name.
void give_address(const Packet& packet, ReceiveRequest& request) {
    if (request.from && packet.from) *request.from = packet.from->address;
}

}  // namespace

size_t UnixSocket::peek_start(uint32_t receive_flags) const {
    return (receive_flags & kMsgPeek) && peek_offset_ > 0 ? static_cast<size_t>(peek_offset_) : 0;
}

// SO_PEEK_OFF: peeks go on where the last one ended; reads move the queue under it.
void UnixSocket::move_peek_offset(uint32_t receive_flags, size_t size) {
    if (peek_offset_ < 0) return;
    const auto step = static_cast<int32_t>(size);
    if (receive_flags & kMsgPeek)
        peek_offset_ += step;
    else
        peek_offset_ = peek_offset_ > step ? peek_offset_ - step : 0;
}

void UnixSocket::give_ancillary(Packet& packet, ReceiveRequest& request) {
    const bool peek = request.flags & kMsgPeek;
    if (!request.ancillary) {
        if (!peek) packet.rights.clear();
        return;
    }
    Ancillary& out = *request.ancillary;
    if (pass_credentials_) out.has_credentials = true, out.credentials = packet.credentials;
    if (pass_process_) out.process = packet.process;
    if (packet.rights.empty()) return;
    if (!peek) {
        out.files = packet.rights.land();
        return;
    }
    for (const RefPtr<vfs::File>& file : packet.rights.files())
        if (out.files.push_back(file).is_error()) request.out_flags |= kMsgCtrunc;
}

Result<size_t> UnixSocket::receive(task::Task&, ReceiveRequest& request) {
    if (request.flags & kMsgOob) return Errno::kOPNOTSUPP;
    return type == kSockStream ? receive_stream(request) : receive_packet(request);
}

Result<size_t> UnixSocket::receive_stream(ReceiveRequest& request) {
    if (state_ != State::kConnected) return Errno::kINVAL;
    const size_t size = request.data.remaining();
    size_t target = request.flags & kMsgWaitall || size < receive_low_water_ ? size : receive_low_water_;
    if (target == 0) target = 1;
    const sched::Nanoseconds deadline = receive_deadline();
    StreamRead read{request};
    for (;;) {
        {
            sched::MutexGuard guard(receive_lock_);
            read.skip = peek_start(request.flags);
            read_queue(read);
        }
        if (read.bad_memory && read.copied == 0) return Errno::kFAULT;
        if (read.done || read.copied >= target) return read.copied;
        const auto result = [&read](Errno error) {
            return read.copied > 0 ? Result<size_t>(read.copied) : Result<size_t>(error);
        };
        if (error_) return result(static_cast<Errno>(take_error()));
        if (shut_read_) return read.copied;
        if (request.flags & kMsgDontwait) return result(Errno::kAGAIN);
        const Result<> waited = wait_until(
            readers_, [&] { return queued_bytes_ > peek_start(request.flags) || error_ || shut_read_; }, deadline);
        if (waited.is_error()) return result(waited.error());
    }
}

// Takes what is there, up to the end of what one call may give. receive_lock_ is held; copying may block, and the
// queue may grow at its end.
void UnixSocket::read_queue(StreamRead& read) {
    ReceiveRequest& request = read.request;
    const bool peek = request.flags & kMsgPeek;
    for (auto next = queue_.begin(); next != queue_.end() && !read.done;) {
        Packet& packet = *next++;
        if (read.skip >= packet.unread()) {
            read.skip -= packet.unread();
            continue;
        }
        // Bytes of different writers are not joined where the reader is told who wrote.
        if (pass_credentials_ && read.writer && !same(read.credentials, packet.credentials)) {
            read.done = true;
            return;
        }
        read.writer = &packet, read.credentials = packet.credentials;
        size_t chunk = packet.unread() - read.skip;
        if (chunk > request.data.remaining()) chunk = request.data.remaining();
        const Result<size_t> put = request.data.put(packet.data + packet.start + read.skip, chunk);
        const size_t count = put.is_ok() ? put.value() : 0;
        read.copied += count;
        read.skip = 0;
        if (put.is_error() || count < chunk) {
            read.bad_memory = read.done = true;
            if (count == 0) return;
        }
        const bool had_files = !packet.rights.empty();
        give_address(packet, request);
        give_ancillary(packet, request);
        move_peek_offset(request.flags, count);
        if (request.data.empty() || had_files) read.done = true;
        if (peek) continue;
        packet.start += count;
        queued_bytes_ -= count;
        if (packet.unread() > 0) continue;
        --queued_packets_;
        queue_.erase_and_dispose(queue_.iterator_to(packet), [](Packet* gone) { delete gone; });
    }
    if (peek && read.copied > 0) read.done = true;
}

// --- messages

// The first message, or the one where SO_PEEK_OFF stands; `skip`: bytes of it to leave out.
Packet* UnixSocket::find_packet(const ReceiveRequest& request, size_t& skip) {
    skip = peek_start(request.flags);
    for (Packet& packet : queue_) {
        if (skip < packet.size || skip == 0) return &packet;
        skip -= packet.size;
    }
    return nullptr;
}

Result<size_t> UnixSocket::receive_packet(ReceiveRequest& request) {
    if (type == kSockSeqpacket && state_ != State::kConnected) return Errno::kNOTCONN;
    const sched::Nanoseconds deadline = receive_deadline();
    for (;;) {
        size_t skip;
        {
            sched::MutexGuard guard(receive_lock_);
            if (error_) return static_cast<Errno>(take_error());
            if (Packet* packet = find_packet(request, skip)) return read_packet(*packet, skip, request);
        }
        const bool waits = !(request.flags & kMsgDontwait);
        if (shut_read_ && (type == kSockSeqpacket || waits)) return size_t{0};
        if (!waits) return Errno::kAGAIN;
        TRY(wait_until(
            readers_, [&] { return find_packet(request, skip) || error_ || shut_read_; }, deadline));
    }
}

Result<size_t> UnixSocket::read_packet(Packet& packet, size_t skip, ReceiveRequest& request) {
    const bool peek = request.flags & kMsgPeek;
    OwnPtr<Packet> taken;
    if (!peek) {
        queue_.erase(queue_.iterator_to(packet));
        taken = OwnPtr<Packet>(&packet);
        --queued_packets_;
        queued_bytes_ -= packet.size;
        room_came();
    }
    const size_t there = packet.size - skip, room = request.data.remaining();
    const size_t count = there < room ? there : room;
    if (there > room) request.out_flags |= kMsgTrunc;
    if (count > 0 && TRY(request.data.put(packet.data + skip, count)) < count) return Errno::kFAULT;
    give_address(packet, request);
    if (request.ancillary) TRY(put_timestamp(packet.time ? packet.time : sched::realtime_now(), *request.ancillary));
    give_ancillary(packet, request);
    move_peek_offset(request.flags, peek ? count : packet.size);
    return request.flags & kMsgTrunc ? there : count;
}

// --- options

namespace {
constexpr int kPeekOffset = 42;  // SO_PEEK_OFF
}

Result<> UnixSocket::set_option(task::Task& task, int level, int name, std::span<const std::byte> value) {
    if (level != kSolSocket) return Errno::kOPNOTSUPP;
    if (name != kPeekOffset) return Socket::set_option(task, level, name, value);
    if (value.size() < sizeof peek_offset_) return Errno::kINVAL;
    sched::MutexGuard guard(receive_lock_);
    memcpy(&peek_offset_, value.data(), sizeof peek_offset_);
    return {};
}

Result<size_t> UnixSocket::get_option(task::Task& task, int level, int name, std::span<std::byte> out) {
    if (level != kSolSocket) return Errno::kOPNOTSUPP;
    if (name != kPeekOffset) return Socket::get_option(task, level, name, out);
    const size_t size = out.size() < sizeof peek_offset_ ? out.size() : sizeof peek_offset_;
    memcpy(out.data(), &peek_offset_, size);
    return size;
}

}  // namespace kvmsbx::net
