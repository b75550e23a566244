// What goes through TCP connections.
#include <algorithm>

#include "guestkernel/ipc/file_owner.hpp"
#include "guestkernel/net/tcp.hpp"

namespace kvmsbx::net {
namespace {

constexpr uint32_t kSiocinq = 0x541b, kSiocoutq = 0x5411, kSiocatmark = 0x8905, kSiocoutqnsd = 0x894b;
constexpr uint32_t kMsgErrqueue = 0x2000, kMsgFastopen = 0x20000000;

}  // namespace

TcpStream::Piece TcpStream::next_piece(size_t offset, bool urgent_inline) const {
    const size_t size = bytes.size();
    if (urgent == Urgent::kNone || urgent_at < taken + offset) return {offset, size > offset ? size - offset : 0};
    const uint64_t before = urgent_at - taken - offset;
    if (before > 0) return {offset, std::min(before, uint64_t{size > offset ? size - offset : 0})};
    const size_t start = offset + (urgent_inline ? 0 : 1);
    return {start, size > start ? size - start : 0};
}

size_t TcpSocket::window() const { return peer_ ? peer_->receive_buffer_ / 2 : 0; }

size_t TcpSocket::unsent() const {
    if (!out_ || !peer_) return 0;
    const size_t size = out_->bytes.size(), sent = window();
    return size > sent ? size - sent : 0;
}

size_t TcpSocket::room() const {
    if (!out_) return 0;  // disconnected while a transfer waited for memory
    const size_t size = out_->bytes.size();
    if (ByteQueue::memory_is_short()) return size < mm::kPageSize ? mm::kPageSize - size : 0;
    const size_t all = window() + send_buffer_;
    return all > size ? all - size : 0;
}

bool TcpSocket::is_writable() const {
    if (!out_ || !peer_) return true;
    if (ByteQueue::memory_is_short()) return room() > 0;
    const size_t used = unsent();
    return used < send_buffer_ && send_buffer_ - used >= used / 2;
}

size_t TcpSocket::unread() const { return in_ ? in_->next_piece(0, oob_inline_).size : 0; }

void TcpSocket::queued(size_t& to_send, size_t& to_read) const {
    to_send = state_ == TcpState::kListen ? 0 : unsent();
    to_read = state_ == TcpState::kListen ? queued_ : in_ ? in_->bytes.size() : 0;
}

void TcpSocket::tell_of_data(TcpStream& stream) {
    stream.data_came.wake_one();
    if (!peer_) return;
    peer_->changed_.wake_all(vfs::kPollIn | vfs::kPollRdNorm);
    if (peer_ && peer_->listener_) peer_->listener_->tell_of_connection();
}

void TcpSocket::tell_of_room(TcpStream& stream) {
    if (!stream.no_space || !peer_ || !peer_->is_writable()) return;
    stream.no_space = false;
    stream.room_came.wake_one();
    peer_->changed_.wake_all(vfs::kPollOut | vfs::kPollWrNorm);
}

// --- send(2)

// The error of a stream that cannot be written to.
Errno TcpSocket::send_error() {
    const int32_t pending = take_error();
    return pending ? static_cast<Errno>(pending) : Errno::kPIPE;
}

Result<> TcpSocket::wait_for_connection(uint32_t flags, sched::Nanoseconds deadline) {
    if (can_send()) return {};
    if (state_ != TcpState::kSynSent) return send_error();
    if (flags & kMsgDontwait) return Errno::kAGAIN;
    TRY(wait_until(
        connect_ended_, [this] { return state_ != TcpState::kSynSent; }, deadline));
    return can_send() ? Result<>() : Result<>(send_error());
}

Result<> TcpSocket::wait_for_room(const RefPtr<TcpStream>& stream, uint32_t flags, sched::Nanoseconds deadline) {
    const auto ready = [&] {
        if (out_ != stream || !can_send() || error_ || shut_write_ || is_writable()) return true;
        // Again each time, as another writer may have taken the room that this one was told of.
        stream->no_space = true;
        return false;
    };
    stream->no_space = true;
    if (flags & kMsgDontwait) return Errno::kAGAIN;
    return wait_until(stream->room_came, ready, deadline);
}

bool TcpSocket::send_into_void() {
    if (peer_ && (peer_->state_ != TcpState::kFinWait2 || !peer_->shut_read_)) return false;
    if (TcpSocket* const deaf = peer_) {
        deaf->peer_ = peer_ = nullptr;
        deaf->receive_reset();
    }
    receive_reset();
    return true;
}

Result<size_t> TcpSocket::send_some(TcpStream& stream, SendRequest& request) {
    sched::MutexGuard guard(stream.lock);
    if (out_.get() != &stream) return size_t{0};  // the caller looks again
    const size_t count = TRY(stream.bytes.fill(request.data, room()));
    if (count > 0 && (request.flags & kMsgOob) && request.data.empty()) {
        stream.urgent = TcpStream::Urgent::kPending;
        stream.urgent_at = stream.taken + stream.bytes.size() - 1;
        uint8_t last = 0;
        mm::IoBuffer one = mm::IoBuffer::kernel(std::as_writable_bytes(std::span(&last, 1)));
        (void)stream.bytes.peek(one, stream.bytes.size() - 1, 1);
        stream.urgent_byte = last;
        ipc::FileOwner* const owner = peer_ ? ipc::FileOwner::find(*peer_) : nullptr;
        if (owner) owner->urgent();
        if (peer_) peer_->changed_.wake_all(vfs::kPollPri);
    }
    return count;
}

Result<size_t> TcpSocket::send(task::Task&, SendRequest& request) {
    if (request.flags & kMsgFastopen) return Errno::kOPNOTSUPP;
    const sched::Nanoseconds deadline = send_deadline();
    TRY(wait_for_connection(request.flags, deadline));
    const RefPtr<TcpStream> stream = out_;
    Result<size_t> sent = send_all(stream, request, deadline);
    if (out_ == stream && room() > 0) stream->room_came.wake_one();  // the next writer, also if this one failed
    return sent;
}

Result<size_t> TcpSocket::send_all(const RefPtr<TcpStream>& stream, SendRequest& request, sched::Nanoseconds deadline) {
    size_t done = 0;
    const auto ended = [&](Errno error) { return done ? Result<size_t>(done) : Result<size_t>(error); };
    if (error_ || shut_write_) return send_error();
    while (!request.data.empty()) {
        if (error_ || shut_write_ || out_ != stream || !can_send()) return done ? done : ended(send_error());
        if (send_into_void()) return done + request.data.remaining();
        if (room() > 0) {
            const Result<size_t> count = send_some(*stream, request);
            if (count.is_error()) return ended(count.error());
            done += count.value();
            if (count.value() > 0) tell_of_data(*stream);
            continue;
        }
        if (const Result<> waited = wait_for_room(stream, request.flags, deadline); waited.is_error())
            return ended(waited.error());
    }
    return done;
}

// --- recv(2)

Result<size_t> TcpSocket::receive_urgent(ReceiveRequest& request) {
    if (!in_ || oob_inline_ || in_->urgent != TcpStream::Urgent::kPending) {
        if (in_ && !oob_inline_ && in_->urgent == TcpStream::Urgent::kNone && state_ == TcpState::kClose && !done_)
            return Errno::kNOTCONN;
        return Errno::kINVAL;
    }
    request.out_flags |= kMsgOob;
    const uint8_t byte = in_->urgent_byte;
    if (!(request.flags & kMsgPeek)) in_->urgent = TcpStream::Urgent::kRead;
    if (request.data.empty()) {
        request.out_flags |= kMsgTrunc;
        return size_t{0};
    }
    return request.data.put(&byte, 1);
}

Result<size_t> TcpSocket::receive_some(TcpStream& stream, ReceiveRequest& request, size_t offset) {
    sched::MutexGuard guard(stream.lock);
    const bool peek = request.flags & kMsgPeek;
    const TcpStream::Piece piece = stream.next_piece(peek ? offset : 0, oob_inline_);
    if (peek && !(request.flags & kMsgTrunc)) return stream.bytes.peek(request.data, piece.start, piece.size);
    if (peek) {  // tcp(7): counted, not copied
        const size_t there = std::min(piece.size, request.data.remaining());
        request.data.limit(request.data.remaining() - there);
        return there;
    }
    if (piece.start > 0 && stream.bytes.size() > 0) {  // the urgent byte, which is read on its own
        stream.bytes.drop(1);
        ++stream.taken;
    }
    size_t count = std::min(piece.size, request.data.remaining());
    if (request.flags & kMsgTrunc) {
        stream.bytes.drop(count);
        request.data.limit(request.data.remaining() - count);
    } else {
        count = TRY(stream.bytes.drain(request.data, count));
    }
    stream.taken += count;
    if (stream.urgent != TcpStream::Urgent::kNone && stream.taken > stream.urgent_at)
        stream.urgent = TcpStream::Urgent::kNone;
    return count;
}

Result<bool> TcpSocket::reading_ends(uint32_t flags) {
    if (done_) return true;
    if (error_) return static_cast<Errno>(take_error());
    if (shut_read_) return true;
    if (state_ == TcpState::kClose) return Errno::kNOTCONN;
    if (flags & kMsgDontwait) return Errno::kAGAIN;
    return false;
}

Result<> TcpSocket::wait_for_data(const RefPtr<TcpStream>& stream, size_t offset, sched::Nanoseconds deadline) {
    const auto there = [&] { return stream->next_piece(offset, oob_inline_).size > 0; };
    const Result<> waited = wait_until(
        stream->data_came,
        [&] { return there() || in_ != stream || error_ || shut_read_ || state_ == TcpState::kClose; }, deadline);
    if (waited.is_error() && there()) stream->data_came.wake_one();  // it may have been for us
    return waited;
}

Result<size_t> TcpSocket::receive(task::Task&, ReceiveRequest& request) {
    if (state_ == TcpState::kListen) return Errno::kNOTCONN;
    if (request.flags & kMsgErrqueue) return Errno::kAGAIN;
    if (request.flags & kMsgOob) return receive_urgent(request);
    const RefPtr<TcpStream> stream = in_;
    Result<size_t> received = receive_all(stream, request, receive_deadline());
    // The next reader, also if this one failed or only looked.
    if (stream && stream->next_piece(0, oob_inline_).size > 0) stream->data_came.wake_one();
    return received;
}

Result<size_t> TcpSocket::receive_all(const RefPtr<TcpStream>& stream, ReceiveRequest& request,
                                      sched::Nanoseconds deadline) {
    const size_t wanted = request.data.remaining();
    const size_t target =
        std::max(size_t{1}, request.flags & kMsgWaitall ? wanted : std::min(size_t{receive_low_water_}, wanted));
    const bool peek = request.flags & kMsgPeek;
    size_t done = 0;
    for (;;) {
        const bool at_urgent = done > 0 && stream->at_mark();
        if (stream && !at_urgent && stream->next_piece(peek ? done : 0, oob_inline_).size > 0) {
            const Result<size_t> count = receive_some(*stream, request, done);
            if (count.is_error()) return done ? Result<size_t>(done) : Result<size_t>(count.error());
            done += count.value();
            if (!peek) tell_of_room(*stream);
            if (request.data.empty()) break;
            if (count.value() > 0) continue;
        }
        if (done >= target || at_urgent) break;
        if (done > 0 && (error_ || shut_read_ || state_ == TcpState::kClose || (request.flags & kMsgDontwait))) break;
        if (done == 0 && TRY(reading_ends(request.flags))) return size_t{0};
        if (!stream) return Errno::kNOTCONN;
        const Result<> waited = wait_for_data(stream, peek ? done : 0, deadline);
        if (waited.is_error()) return done ? Result<size_t>(done) : Result<size_t>(waited.error());
        if (in_ != stream) return done ? Result<size_t>(done) : Result<size_t>(Errno::kNOTCONN);
    }
    return done;
}

// --- poll(2), ioctl(2)

vfs::PollState TcpSocket::poll() {
    using namespace vfs;
    if (state_ == TcpState::kListen) return {acceptable() ? kPollIn | kPollRdNorm : 0, &changed_};
    uint32_t events = 0;
    if ((shut_read_ && shut_write_) || state_ == TcpState::kClose) events |= kPollHup;
    if (shut_read_) events |= kPollIn | kPollRdNorm | kPollRdHup;
    if (state_ != TcpState::kSynSent) {
        if (unread() >= receive_low_water_) events |= kPollIn | kPollRdNorm;
        if (shut_write_ || is_writable())
            events |= kPollOut | kPollWrNorm;
        else
            out_->no_space = true;
        if (in_ && in_->urgent == TcpStream::Urgent::kPending) events |= kPollPri;
    }
    if (error_) events |= kPollErr;
    return {events, &changed_};
}

Result<int64_t> TcpSocket::ioctl(mm::AddressSpace& space, uint32_t request, uint64_t argument) {
    int32_t answer = 0;
    switch (request) {
        case kSiocinq:
        case kSiocoutq:
        case kSiocoutqnsd: {
            if (state_ == TcpState::kListen) return Errno::kINVAL;
            size_t to_send, to_read;
            queued(to_send, to_read);
            answer = static_cast<int32_t>(request == kSiocinq ? to_read : to_send);
            break;
        }
        case kSiocatmark: answer = in_ && in_->at_mark(); break;
        default: return Socket::ioctl(space, request, argument);
    }
    TRY(mm::UserOut<int32_t>{argument}.store(space, answer));
    return int64_t{0};
}

}  // namespace kvmsbx::net
