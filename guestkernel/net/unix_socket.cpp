// AF_UNIX sockets: their life, their connections, what poll(2) and ioctl(2) say.
#include "guestkernel/net/unix_socket.hpp"

#include "guestkernel/net/unix.hpp"

namespace kvmsbx::net {

namespace {

using AllSockets = List<UnixSocket, &UnixSocket::all_hook>;
using DoomedSockets = List<UnixSocket, &UnixSocket::doomed_hook>;
AllSockets all_sockets;
DoomedSockets doomed_sockets;

Ucred credentials_of(const task::Task& task) {
    return {task.process().pid, task.credentials().euid, task.credentials().egid};
}

}  // namespace

// --- life

UnixSocket::UnixSocket(int socket_type, uint32_t file_flags) : Socket(kAfUnix, socket_type, 0, file_flags) {
    all_sockets.push_back(*this);
}

Result<RefPtr<UnixSocket>> UnixSocket::create(int type, uint32_t file_flags) {
    auto account = TRY(make_ref<SendAccount>());
    auto socket = TRY(make_ref<UnixSocket>(type, file_flags));
    account->owner = socket.get();
    socket->account_ = std::move(account);
    return socket;
}

UnixSocket* UnixSocket::from(vfs::File& file) {
    Socket* socket = Socket::from(file);
    return socket && socket->domain == kAfUnix ? static_cast<UnixSocket*>(socket) : nullptr;
}

// A socket may hold others in its queue, and those others: one after the other, not one inside the other.
void UnixSocket::last_reference_gone() {
    static bool ending = false;
    retire();
    doomed_sockets.push_back(*this);
    if (ending) return;
    ending = true;
    while (!doomed_sockets.empty()) {
        UnixSocket& first = doomed_sockets.front();
        doomed_sockets.pop_front();
        first.Socket::last_reference_gone();
    }
    ending = false;
    collect_garbage();
}

UnixSocket::~UnixSocket() {
    queue_.clear_and_dispose([](Packet* packet) { delete packet; });
}

void UnixSocket::retire() {
    if (account_) account_->owner = nullptr;
    if (name_ && name_->socket == this) {
        name_->socket = nullptr;
        name_->table_hook.unlink();
    }
    if (bound_inode_ && bound_inode_->attachment == name_.get()) bound_inode_->attachment = nullptr;
    leave_peer();
    while (!clients_.empty()) {
        UnixSocket& client = clients_.front();
        clients_.pop_front();
        client.peer_ = nullptr;
        client.peer_name_ = name_;
        client.peer_refused_ = true;
        client.state_changed();
    }
    for (const RefPtr<UnixSocket>& embryo : pending_)
        if (embryo->peer_) embryo->peer_->peer_gone(true), embryo->peer_ = nullptr;
    while (!room_waits.empty()) {
        RoomWait& wait = room_waits.front();
        room_waits.pop_front();
        wait.target = nullptr;
        wait.queue.wake_all();
    }
}

// This end leaves; of a connection, that is its end.
void UnixSocket::leave_peer() {
    UnixSocket* const peer = std::exchange(peer_, nullptr);
    if (!peer) return;
    if (is_stream_like()) {
        peer->peer_name_ = name_;
        peer->peer_gone(!queue_.empty());
        return;
    }
    client_hook.unlink();
}

void UnixSocket::peer_gone(bool reset) {
    peer_ = nullptr;
    shut_read_ = shut_write_ = true;
    if (reset) set_error(Errno::kCONNRESET);
    state_changed();
}

void UnixSocket::take_packets(PacketList& out) {
    for (const RefPtr<UnixSocket>& embryo : pending_) embryo->take_packets(out);
    out.splice(out.end(), queue_);
    queued_packets_ = queued_bytes_ = 0;
}

// --- wakeups

void UnixSocket::came(uint32_t events) {
    readers_.wake_all();
    changed_.wake_all(events);
}

void UnixSocket::state_changed() {
    readers_.wake_all();
    writers_.wake_all();
    changed_.wake_all();
}

void UnixSocket::sent_bytes_read() {
    if (!is_writable()) return;
    writers_.wake_all();
    changed_.wake_all(vfs::kPollOut | vfs::kPollWrNorm);
}

RoomWait::RoomWait(UnixSocket& socket) : target(&socket) { socket.room_waits.push_back(*this); }

bool UnixSocket::is_full_for(const UnixSocket& sender) const {
    return &sender != this && peer_ != &sender && queued_packets_ > kMaxQueuedPackets;
}

// Whether who waits for this socket should look again.
bool UnixSocket::has_room_for(const UnixSocket& sender) const {
    if (shut_read_) return true;
    if (type == kSockDgram) return !is_full_for(sender);
    return !listening_ || pending_.size() <= backlog_;
}

// The caller gives up its reference: the target may end meanwhile.
Result<> UnixSocket::wait_for_room(RefPtr<UnixSocket> target, sched::Nanoseconds deadline) {
    RoomWait wait(*target);
    target = nullptr;
    return wait_until(
        wait.queue, [&] { return !wait.target || wait.target->has_room_for(*this); }, deadline);
}

void UnixSocket::room_came() {
    for (RoomWait& wait : room_waits) wait.queue.wake_all();
    for (UnixSocket& client : clients_) client.changed_.wake_all(vfs::kPollOut | vfs::kPollWrNorm);
}

// --- connections

Result<> UnixSocket::listen(int backlog) {
    if (!is_stream_like()) return Errno::kOPNOTSUPP;
    if (!name_ || state_ == State::kConnected) return Errno::kINVAL;
    task::Task& task = task::current();
    state_ = State::kListening;
    listening_ = true;
    backlog_ = static_cast<size_t>(backlog);
    peer_credentials_ = credentials_of(task);
    peer_identity_ = task.credentials_;
    peer_process_ = task.process_;
    room_came();
    return {};
}

Result<> UnixSocket::connect(task::Task& task, const Address& address) {
    return is_stream_like() ? connect_stream(task, address) : connect_datagram(task, address);
}

Result<> UnixSocket::connect_stream(task::Task& task, const Address& address) {
    if ((pass_credentials_ || pass_process_) && !name_) TRY(autobind());
    const sched::Nanoseconds deadline = send_deadline();
    const RefPtr<UnixSocket> embryo = TRY(create(type, 0));
    for (;;) {
        RefPtr<UnixSocket> listener = TRY(find(task, address));
        if (listener->state_ != State::kListening || listener->shut_read_) return Errno::kCONNREFUSED;
        if (listener->pending_.size() > listener->backlog_) {
            if (nonblocking()) return Errno::kAGAIN;
            TRY(wait_for_room(std::move(listener), deadline));
            continue;
        }
        if (state_ != State::kUnconnected) return state_ == State::kConnected ? Errno::kISCONN : Errno::kINVAL;
        TRY(listener->pending_.push_back(embryo));
        embryo->name_ = listener->name_;
        embryo->pass_credentials_ = listener->pass_credentials_;
        embryo->peer_credentials_ = credentials_of(task);
        embryo->pass_process_ = listener->pass_process_;
        embryo->peer_identity_ = task.credentials_;
        embryo->peer_process_ = task.process_;
        peer_credentials_ = listener->peer_credentials_;
        peer_identity_ = listener->peer_identity_;
        peer_process_ = listener->peer_process_;
        embryo->state_ = state_ = State::kConnected;
        embryo->peer_ = this, peer_ = embryo.get();
        listener->came(vfs::kPollIn | vfs::kPollRdNorm);
        state_changed();
        return {};
    }
}

Result<RefPtr<Socket>> UnixSocket::accept(uint32_t file_flags, Address* peer) {
    if (!is_stream_like()) return Errno::kOPNOTSUPP;
    if (state_ != State::kListening) return Errno::kINVAL;
    if (pending_.empty() && !shut_read_) {
        if (nonblocking()) return Errno::kAGAIN;
        TRY(wait_until(
            readers_, [this] { return !pending_.empty() || shut_read_; }, receive_deadline()));
    }
    if (pending_.empty()) return Errno::kINVAL;
    const bool was_full = pending_.size() > backlog_;
    RefPtr<UnixSocket> accepted = pending_[0];
    pending_.erase(0);
    accepted->flags |= file_flags;
    if (was_full) room_came();
    if (peer) *peer = TRY(accepted->peer_address());
    return RefPtr<Socket>(accepted);
}

void UnixSocket::join(UnixSocket& other) {
    state_ = State::kConnected;
    peer_ = &other;
    peer_refused_ = false;
    other.clients_.push_back(*this);
}

Result<> UnixSocket::connect_datagram(task::Task& task, const Address& address) {
    if (address.length < 2) return Errno::kINVAL;
    RefPtr<UnixSocket> target;
    if (address.family() != 0) {
        if ((pass_credentials_ || pass_process_) && !name_) TRY(autobind());
        target = TRY(find(task, address));
        if (!may_send_to(*target)) return Errno::kPERM;
    }
    if (peer_ && peer_ != target.get()) {
        PacketList dropped;  // what the old peer sent
        {
            sched::MutexGuard guard(receive_lock_);
            take_packets(dropped);
        }
        dropped.clear_and_dispose([](Packet* packet) { delete packet; });
        room_came();
    }
    if (peer_) {
        if (peer_ == target.get()) return {};
        if (peer_->peer_ == this && peer_ != this) {  // messages may be lost: the other side hears of it
            peer_->set_error(Errno::kCONNRESET);
            peer_->state_changed();
        }
        leave_peer();
    }
    peer_refused_ = false;
    if (target)
        join(*target);
    else
        state_ = State::kUnconnected;
    state_changed();
    return {};
}

void UnixSocket::make_pair(task::Task& task, UnixSocket& a, UnixSocket& b) {
    for (UnixSocket* end : {&a, &b}) {
        end->peer_credentials_ = credentials_of(task);
        end->peer_identity_ = task.credentials_;
        end->peer_process_ = task.process_;
        end->state_ = State::kConnected;
    }
    if (a.is_stream_like()) {
        a.peer_ = &b, b.peer_ = &a;
    } else {
        a.join(b);
        b.join(a);
    }
}

Result<> UnixSocket::shutdown(ShutdownHow how) {
    const bool read = how != ShutdownHow::kWrite, write = how != ShutdownHow::kRead;
    shut_read_ |= read, shut_write_ |= write;
    if (peer_ && is_stream_like()) {
        peer_->shut_write_ |= read, peer_->shut_read_ |= write;
        peer_->state_changed();
    }
    room_came();
    state_changed();
    return {};
}

// --- what poll(2), ioctl(2) and /proc/net/unix say

vfs::PollState UnixSocket::poll() {
    using namespace vfs;
    constexpr uint32_t kIn = kPollIn | kPollRdNorm, kOut = kPollOut | kPollWrNorm | 0x200;  // POLLWRBAND
    uint32_t events = 0;
    if (error_) events |= kPollErr;
    if (shut_read_ && shut_write_) events |= kPollHup;
    if (shut_read_) events |= kPollRdHup | kIn;
    if (!queue_.empty() || !pending_.empty()) events |= kIn;
    if (is_stream_like() && state_ == State::kUnconnected) events |= kPollHup;
    const bool peer_full = type == kSockDgram && peer_ && peer_->is_full_for(*this);
    if (state_ != State::kListening && is_writable() && !peer_full) events |= kOut;
    return {events, &changed_};
}

Result<int64_t> UnixSocket::ioctl(mm::AddressSpace& space, uint32_t request, uint64_t argument) {
    constexpr uint32_t kSiocInq = 0x541b, kSiocOutq = 0x5411;
    size_t count = 0;
    switch (request) {
        case kSiocInq:
            if (state_ == State::kListening) return Errno::kINVAL;
            count = is_stream_like() ? queued_bytes_ : queue_.empty() ? 0 : queue_.front().unread();
            break;
        case kSiocOutq: count = account_->used; break;
        default: return Socket::ioctl(space, request, argument);
    }
    TRY(mm::UserOut<int32_t>{argument}.store(space, static_cast<int32_t>(count)));
    return int64_t{0};
}

void UnixSocket::put_table_line(TextSink& sink) {
    constexpr unsigned kUnconnectedState = 1, kConnectingState = 2, kConnectedState = 3, kDisconnectingState = 4;
    const bool connected = state_ == State::kConnected;
    const unsigned state = inode() ? (connected ? kConnectedState : kUnconnectedState)
                                   : (connected ? kConnectingState : kDisconnectingState);
    format_to(sink, "{016x}: {08x} {08x} {08x} {04x} {02x} {5}", 0U, reference_count() + 1, 0U,
              listening_ ? 0x10000U : 0U, static_cast<unsigned>(type), state, inode() ? inode_number : 0);
    if (name_) {
        sink.put(" ");
        for (char c : name_->bytes()) {
            if (c == '\0' && !name_->is_abstract()) break;
            const char shown = c == '\0' ? '@' : c;
            sink.put(std::string_view(&shown, 1));
        }
    }
    sink.put("\n");
}

void put_unix_sockets(TextSink& sink) {
    sink.put("Num       RefCount Protocol Flags    Type St Inode Path\n");
    for (UnixSocket& socket : all_sockets) socket.put_table_line(sink);
}

// --- socket(2), socketpair(2)

namespace {

Result<int> usable_type(int type, int protocol) {
    if (protocol != 0 && protocol != kAfUnix) return Errno::kPROTONOSUPPORT;
    switch (type) {
        case kSockStream:
        case kSockDgram:
        case kSockSeqpacket: return type;
        case kSockRaw: return kSockDgram;  // as BSD had it
        default: return Errno::kSOCKTNOSUPPORT;
    }
}

}  // namespace

Result<RefPtr<Socket>> create_unix(task::Task&, int type, int protocol, uint32_t file_flags) {
    return RefPtr<Socket>(TRY(UnixSocket::create(TRY(usable_type(type, protocol)), file_flags)));
}

Result<> create_unix_pair(task::Task& task, int type, int protocol, uint32_t file_flags, RefPtr<Socket> (&pair)[2]) {
    const int usable = TRY(usable_type(type, protocol));
    auto a = TRY(UnixSocket::create(usable, file_flags)), b = TRY(UnixSocket::create(usable, file_flags));
    UnixSocket::make_pair(task, *a, *b);
    pair[0] = std::move(a), pair[1] = std::move(b);
    return {};
}

}  // namespace kvmsbx::net
