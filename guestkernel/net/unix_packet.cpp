// What AF_UNIX sockets send each other, and who pays for it.
#include "guestkernel/net/unix_socket.hpp"

namespace kvmsbx::net {

void SendAccount::release(size_t size) {
    used -= size;
    if (owner) owner->sent_bytes_read();
}

Packet::Packet(RefPtr<SendAccount> account, size_t bytes)
    : data(new (std::nothrow) std::byte[bytes]), size(bytes), account_(std::move(account)) {
    account_->used += size + kOverhead;
}

Packet::~Packet() {
    account_->release(size + kOverhead);
    delete[] data;
}

// Waits until the send buffer has room. EAGAIN, EPIPE, the pending error.
Result<> UnixSocket::wait_for_send_room(uint32_t send_flags, sched::Nanoseconds deadline) {
    const auto ready = [this] { return error_ || shut_write_ || account_->used < send_buffer_; };
    if (!ready()) {
        if (send_flags & kMsgDontwait) return Errno::kAGAIN;
        TRY(wait_until(writers_, ready, deadline));
    }
    if (error_) return static_cast<Errno>(take_error());
    return shut_write_ ? Result<>(Errno::kPIPE) : Result<>();
}

Result<OwnPtr<Packet>> UnixSocket::make_packet(mm::IoBuffer& from, size_t size) {
    auto packet = TRY(make_own<Packet>(account_, size));
    if (!packet->data) return Errno::kNOBUFS;
    if (size > 0 && TRY(from.take(packet->data, size)) < size) return Errno::kFAULT;
    packet->from = name_;
    return packet;
}

// The files go along; credentials that were given explicitly, too.
Result<> UnixSocket::attach(task::Task& task, Packet& packet, Ancillary* ancillary) {
    if (!ancillary) return {};
    packet.has_credentials = ancillary->has_credentials;
    if (packet.has_credentials) packet.credentials = ancillary->credentials;
    if (ancillary->files.empty()) return {};
    collect_garbage();
    return packet.rights.take_off(task, ancillary->files);
}

// SO_PASSCRED of either side: the message tells who sent it.
void UnixSocket::note_sender(task::Task& task, Packet& packet, const UnixSocket& receiver) const {
    if (receiver.timestamp_) packet.time = sched::realtime_now();
    if (pass_process_ || receiver.pass_process_) packet.process = task.process_;
    if (packet.has_credentials || !(pass_credentials_ || receiver.pass_credentials_)) return;
    packet.has_credentials = true;
    packet.credentials = {task.process().pid, task.credentials().ruid, task.credentials().rgid};
}

// This socket is the receiver.
void UnixSocket::enqueue(OwnPtr<Packet> packet) {
    ++queued_packets_;
    queued_bytes_ += packet->size;
    queue_.push_back(*packet.leak());
    came(vfs::kPollIn | vfs::kPollRdNorm);
}

Result<size_t> UnixSocket::send(task::Task& task, SendRequest& request) {
    if (request.flags & kMsgOob) return Errno::kOPNOTSUPP;
    switch (type) {
        case kSockStream: return send_stream(task, request);
        case kSockSeqpacket:
            if (error_) return static_cast<Errno>(take_error());
            if (state_ != State::kConnected) return Errno::kNOTCONN;
            request.to = nullptr;
            return send_packet(task, request);
        default: return send_packet(task, request);
    }
}

Result<size_t> UnixSocket::send_stream(task::Task& task, SendRequest& request) {
    const bool connected = state_ == State::kConnected;
    if (request.to) return connected ? Errno::kISCONN : Errno::kOPNOTSUPP;
    if (!connected) return Errno::kNOTCONN;
    if (shut_write_) return Errno::kPIPE;
    size_t sent = 0;
    while (!request.data.empty()) {
        const Result<size_t> piece = send_piece(task, request);
        if (piece.is_error()) return sent > 0 ? Result<size_t>(sent) : Result<size_t>(piece.error());
        sent += piece.value();
    }
    return sent;
}

Result<size_t> UnixSocket::send_piece(task::Task& task, SendRequest& request) {
    constexpr size_t kLargestPiece = 32 * 1024;
    TRY(wait_for_send_room(request.flags, send_deadline()));
    size_t size = request.data.remaining();
    if (size > send_buffer_ / 2 - 64) size = send_buffer_ / 2 - 64;
    if (size > kLargestPiece) size = kLargestPiece;
    OwnPtr<Packet> packet = TRY(make_packet(request.data, size));
    TRY(attach(task, *packet, request.ancillary));
    if (!peer_ || peer_->shut_read_) return Errno::kPIPE;
    note_sender(task, *packet, *peer_);
    peer_->enqueue(std::move(packet));
    return size;
}

Result<size_t> UnixSocket::send_packet(task::Task& task, SendRequest& request) {
    if (!request.to && !peer_ && !shut_write_) {
        if (std::exchange(peer_refused_, false)) return Errno::kCONNREFUSED;
        return Errno::kNOTCONN;
    }
    if ((pass_credentials_ || pass_process_) && !name_) TRY(autobind());
    const size_t size = request.data.remaining();
    if (size > send_buffer_ - 32) return Errno::kMSGSIZE;
    const sched::Nanoseconds deadline = send_deadline();
    TRY(wait_for_send_room(request.flags, deadline));
    OwnPtr<Packet> packet = TRY(make_packet(request.data, size));
    TRY(attach(task, *packet, request.ancillary));
    TRY(deliver(task, std::move(packet), request, deadline));
    return size;
}

// By the address, or the peer. May block if there is an address.
Result<RefPtr<UnixSocket>> UnixSocket::receiver_of(task::Task& task, const SendRequest& request) {
    if (request.to) return find(task, *request.to);
    if (peer_) return RefPtr<UnixSocket>(*peer_);
    if (type == kSockSeqpacket) return Errno::kPIPE;
    return std::exchange(peer_refused_, false) ? Errno::kCONNREFUSED : Errno::kNOTCONN;
}

Result<> UnixSocket::deliver(task::Task& task, OwnPtr<Packet> packet, SendRequest& request,
                             sched::Nanoseconds deadline) {
    for (;;) {
        RefPtr<UnixSocket> receiver = TRY(receiver_of(task, request));
        if (!may_send_to(*receiver)) return Errno::kPERM;
        if (receiver->shut_read_) return Errno::kPIPE;
        if (!receiver->is_full_for(*this)) {
            note_sender(task, *packet, *receiver);
            receiver->enqueue(std::move(packet));
            return {};
        }
        if (request.flags & kMsgDontwait) return Errno::kAGAIN;
        TRY(wait_for_room(std::move(receiver), deadline));
    }
}

}  // namespace kvmsbx::net
