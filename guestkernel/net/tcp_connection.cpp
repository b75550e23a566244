// How TCP connections begin and end.
#include <algorithm>

#include "guestkernel/net/settings.hpp"
#include "guestkernel/net/tcp.hpp"

namespace kvmsbx::net {
namespace {

// As Linux's autotuning leaves the send buffer of a connection over loopback.
constexpr uint32_t kConnectedSendBuffer = 2626560, kFirstSendBuffer = 16384, kFirstReceiveBuffer = 131072;
constexpr sched::Nanoseconds kSecond = 1'000'000'000;

struct ListenKeyOf {
    using type = PortKey;
    const PortKey& operator()(const TcpSocket& socket) const { return socket.listen_key; }
};
using Listeners = Tree<TcpSocket, &TcpSocket::listen_hook, boost::intrusive::key_of_value<ListenKeyOf>>;

Listeners& listeners() {
    static Listeners all;
    return all;
}

// How well a listener's address fits the destination; 0: not at all.
unsigned score(const TcpSocket& listener, const InetAddress& destination) {
    if (!listener.accepts_address(destination)) return 0;
    if (listener.local().address == destination) return 3;
    return listener.local().address.is_v4() == destination.is_v4() ? 2 : 1;
}

// The time that `retransmissions` of a first segment take, 1 s at first and doubled each time.
sched::Nanoseconds time_of_retransmissions(unsigned retransmissions) {
    constexpr sched::Nanoseconds kLongest = 120 * kSecond;
    sched::Nanoseconds period = 0, timeout = kSecond;
    for (; retransmissions > 0; --retransmissions) period += timeout, timeout = std::min(timeout * 2, kLongest);
    return period;
}

}  // namespace

TcpSocket::TcpSocket(int socket_domain, uint32_t file_flags)
    : InetSocket(socket_domain, kSockStream, kSolTcp, file_flags) {
    send_buffer_ = kFirstSendBuffer;
    receive_buffer_ = kFirstReceiveBuffer;
}

TcpSocket::~TcpSocket() {
    if (state_ == TcpState::kListen) stop_listening();
    if (can_send() || state_ == TcpState::kFinWait2) {
        if ((in_ && in_->bytes.size() > 0) || (linger_ && linger_seconds_ == 0))
            reset_peer();
        else if (can_send())
            send_end();
    }
    if (peer_) peer_->peer_ = nullptr;
}

Result<> TcpSocket::check_may_bind() const {
    return state_ == TcpState::kClose ? InetSocket::check_may_bind() : Result<>(Errno::kINVAL);
}

// --- connect(2)

TcpSocket* TcpSocket::find_listener(const Endpoint& to, uint16_t from_port) {
    const auto first = listeners().lower_bound(PortKey{to.port, 0});
    TcpSocket* best = nullptr;
    unsigned best_score = 0, group = 0;
    for (auto it = first; it != listeners().end() && it->listen_key.port == to.port; ++it) {
        const unsigned own = score(*it, to.address);
        if (own > best_score)
            best = &*it, best_score = own, group = 1;
        else if (own && own == best_score)
            ++group;
    }
    // Listeners that share the port by SO_REUSEPORT share the connections as well.
    for (unsigned turn = group > 1 ? from_port % group : 0; turn > 0;) {
        const auto next = std::next(Listeners::s_iterator_to(*best));
        best = &*next;
        if (score(*best, to.address) == best_score) --turn;
    }
    return best;
}

bool TcpSocket::is_taken(const Endpoint& from, const Endpoint& to) const {
    bool taken = false;
    tcp_ports().for_each(from.port, [&](InetSocket& other) {
        // SAFETY: the table of TCP has no other sockets.
        const auto& socket = static_cast<TcpSocket&>(other);
        taken = &socket != this && socket.state_ != TcpState::kClose && socket.state_ != TcpState::kListen &&
                socket.local_ == from && socket.remote_ == to;
        return !taken;
    });
    return taken;
}

void TcpSocket::forget_addresses() {
    if (!port_bound_) {
        give_port_back();
        local_.port = 0;
    }
    if (!address_bound_) local_.address = InetAddress::any(domain);
    remote_ = {InetAddress::any(domain), 0};
    shut_read_ = shut_write_ = done_ = false;
}

Result<> TcpSocket::start_connect(const Endpoint& to) {
    if (to.address.is_broadcast() || to.address.is_multicast()) return Errno::kNETUNREACH;
    RefPtr<TcpStream> in = TRY(make_ref<TcpStream>()), out = TRY(make_ref<TcpStream>());
    const bool had_port = has_port();
    if (!had_port) TRY(bind_any_port());
    const Endpoint from{address_bound_ ? local_.address : source_for(to.address), local_.port};
    if (had_port && is_taken(from, to)) return Errno::kADDRNOTAVAIL;
    local_.address = from.address;
    remote_ = to;
    in_ = std::move(in), out_ = std::move(out);
    shut_read_ = shut_write_ = done_ = false;
    TcpSocket* const listener = find_listener(to, local_.port);
    if (!listener) {
        ++inet_counters().failed_connects;
        error_ = static_cast<int32_t>(Errno::kCONNREFUSED);
        become_closed();
    } else if (listener->has_room_for_connection()) {
        TRY(listener->take_connection(*this));
    } else {
        state_ = TcpState::kSynSent;
        listener->waiting_.push_back(*this);
    }
    return {};
}

Result<> TcpSocket::finish_connect(Errno while_waiting) {
    if (state_ == TcpState::kSynSent) {
        if (nonblocking()) return while_waiting;
        const Result<> waited = wait_until(
            connect_ended_, [this] { return state_ != TcpState::kSynSent; }, send_deadline());
        if (waited.is_error()) return waited.error() == Errno::kAGAIN ? while_waiting : waited.error();
    }
    connecting_ = false;
    if (state_ == TcpState::kClose) {
        const int32_t error = take_error();
        forget_addresses();
        return error ? static_cast<Errno>(error) : Errno::kCONNABORTED;
    }
    connected_ = true;
    return {};
}

Result<> TcpSocket::connect(task::Task&, const Address& address) {
    if (address.length < sizeof(uint16_t)) return Errno::kINVAL;
    if (address.family() == 0) return disconnect();
    if (connected_) return Errno::kISCONN;
    if (connecting_) return finish_connect(Errno::kALREADY);
    if (state_ != TcpState::kClose) return Errno::kISCONN;
    TRY(start_connect(TRY(parse_destination(address))));
    connecting_ = true;
    // The answer is there, but one who does not wait is told of it as if it were under way.
    return nonblocking() ? Result<>(Errno::kINPROGRESS) : finish_connect(Errno::kINPROGRESS);
}

// connect(2) to AF_UNSPEC.
Result<> TcpSocket::disconnect() {
    if (state_ == TcpState::kListen) {
        stop_listening();
    } else if (state_ != TcpState::kClose) {
        waiting_hook.unlink();
        reset_peer();
        error_ = static_cast<int32_t>(Errno::kCONNRESET);
    }
    become_closed();
    forget_addresses();
    in_ = nullptr, out_ = nullptr;
    connecting_ = connected_ = false;
    return {};
}

// --- listen(2), accept(2)

Result<> TcpSocket::listen(int backlog) {
    if (connecting_ || connected_) return Errno::kINVAL;
    if (state_ != TcpState::kClose && state_ != TcpState::kListen) return Errno::kINVAL;
    const auto wanted = static_cast<uint32_t>(backlog);
    if (state_ != TcpState::kListen) {
        if (has_port())
            TRY(tcp_ports().check_conflict(*this, local_));
        else if (bind_any_port().is_error())
            return Errno::kADDRINUSE;
        state_ = TcpState::kListen;
        listening_ = true;
        shut_read_ = shut_write_ = false;
        listen_key = port_key;
        listeners().insert(*this);
    }
    backlog_ = std::min(wanted, static_cast<uint32_t>(settings.somaxconn));
    let_waiting_in();
    return {};
}

void TcpSocket::inherit(const TcpSocket& listener) {
    owner_ = listener.owner_;
    reuse_address_ = listener.reuse_address_, reuse_port_ = listener.reuse_port_, keep_alive_ = listener.keep_alive_;
    dont_route_ = listener.dont_route_, oob_inline_ = listener.oob_inline_, timestamp_ = listener.timestamp_;
    timestamp_in_nanoseconds_ = listener.timestamp_in_nanoseconds_, bound_to_device_ = listener.bound_to_device_;
    linger_ = listener.linger_, linger_seconds_ = listener.linger_seconds_;
    receive_buffer_ = listener.receive_buffer_, send_buffer_ = listener.send_buffer_;
    receive_timeout_ = listener.receive_timeout_, send_timeout_ = listener.send_timeout_;
    priority_ = listener.priority_, mark_ = listener.mark_, receive_low_water_ = listener.receive_low_water_;
    __builtin_memcpy(values_, listener.values_, sizeof values_);
    send_buffer_set_ = listener.send_buffer_set_;
    maximum_segment_ = listener.maximum_segment_, linger2_ = listener.linger2_;
    window_clamp_ = listener.window_clamp_, congestion_ = listener.congestion_;
}

Result<> TcpSocket::take_connection(TcpSocket& client) {
    RefPtr<TcpSocket> child = TRY(make_ref<TcpSocket>(domain, 0U));
    child->inherit(*this);
    child->in_ = client.out_, child->out_ = client.in_;
    child->remote_ = client.local_;
    child->local_.address = client.remote_.address;
    child->take_port_of(*this);
    child->peer_ = &client, client.peer_ = child.get();
    for (TcpSocket* const end : {child.get(), &client}) {
        end->state_ = TcpState::kEstablished;
        if (!end->send_buffer_set_) end->send_buffer_ = kConnectedSendBuffer;
    }
    ++inet_counters().active_opens, ++inet_counters().passive_opens;
    child->connected_ = true;
    child->listener_ = this;
    if (defer_accept_) {
        child->deferred_until_ = sched::now() + time_of_retransmissions(defer_accept_);
        if (!defer_timer_.armed()) defer_timer_.arm(child->deferred_until_);
    }
    ++queued_;
    accept_queue_.push_back(*child.leak());
    tell_of_connection();
    return {};
}

TcpSocket* TcpSocket::acceptable() {
    for (TcpSocket& child : accept_queue_) {
        if (child.deferred_until_ == 0 || child.in_->ended || child.in_->bytes.size() > 0) return &child;
        if (child.deferred_until_ <= sched::now()) return &child;
    }
    return nullptr;
}

void TcpSocket::tell_of_connection() {
    if (acceptable()) {
        connection_came_.wake_one();
        changed_.wake_all(vfs::kPollIn | vfs::kPollRdNorm);
    }
    // The next one whose wait for data will end.
    for (const TcpSocket& child : accept_queue_)
        if (child.deferred_until_ > sched::now()) return defer_timer_.arm(child.deferred_until_);
}

Result<RefPtr<Socket>> TcpSocket::accept(uint32_t file_flags, Address* peer) {
    if (state_ != TcpState::kListen) return Errno::kINVAL;
    if (!acceptable()) {
        if (nonblocking()) return Errno::kAGAIN;
        TRY(wait_until(
            connection_came_, [this] { return state_ != TcpState::kListen || acceptable(); }, receive_deadline()));
        if (state_ != TcpState::kListen) return Errno::kINVAL;
    }
    const RefPtr<TcpSocket> child = RefPtr<TcpSocket>::adopt(acceptable());
    child->accept_hook.unlink();
    child->listener_ = nullptr;
    child->flags = vfs::kORdwr | file_flags;
    --queued_;
    if (peer) *peer = format_endpoint(child->remote_, domain);
    if (!accept_queue_.empty()) connection_came_.wake_one();
    let_waiting_in();
    return RefPtr<Socket>(child);
}

void TcpSocket::let_waiting_in() {
    while (!waiting_.empty() && has_room_for_connection()) {
        TcpSocket& client = waiting_.front();
        client.waiting_hook.unlink();
        if (const Result<> taken = take_connection(client); taken.is_error()) {
            client.fail_connect(taken.error());
            continue;
        }
        client.connect_ended_.wake_all();
        client.wake_all();
    }
}

void TcpSocket::stop_listening() {
    state_ = TcpState::kClose;
    listening_ = false;
    listen_hook.unlink();
    defer_timer_.cancel();
    while (!accept_queue_.empty()) {
        const RefPtr<TcpSocket> child = RefPtr<TcpSocket>::adopt(&accept_queue_.front());
        child->accept_hook.unlink();
        child->listener_ = nullptr;
        child->reset_peer();
        child->become_closed();
    }
    queued_ = 0;
    while (!waiting_.empty()) {
        TcpSocket& client = waiting_.front();
        client.waiting_hook.unlink();
        client.fail_connect(Errno::kCONNREFUSED);
    }
    connection_came_.wake_all();
}

void TcpSocket::fail_connect(Errno error) {
    error_ = static_cast<int32_t>(error);
    become_closed();
}

// --- the end

void TcpSocket::wake_all() {
    if (in_) in_->data_came.wake_all();
    if (out_) out_->room_came.wake_all();
    connect_ended_.wake_all();
    changed_.wake_all();
}

void TcpSocket::become_closed() {
    state_ = TcpState::kClose;
    shut_read_ = shut_write_ = true;
    if (peer_) peer_->peer_ = nullptr;
    peer_ = nullptr;
    if (!port_bound_) give_port_back();
    wake_all();
}

void TcpSocket::send_end() {
    out_->ended = true;
    TcpSocket* const peer = peer_;
    if (state_ == TcpState::kCloseWait)
        become_closed();  // the peer has ended before, and acknowledges at once
    else
        state_ = TcpState::kFinWait2;
    if (peer) peer->receive_end();
}

void TcpSocket::receive_end() {
    shut_read_ = done_ = true;
    if (state_ == TcpState::kFinWait2) return become_closed();
    if (state_ == TcpState::kEstablished) state_ = TcpState::kCloseWait;
    wake_all();
    if (listener_) listener_->tell_of_connection();
}

void TcpSocket::receive_reset() {
    if (state_ == TcpState::kClose) return;
    ++inet_counters().resets;
    error_ = static_cast<int32_t>(state_ == TcpState::kCloseWait ? Errno::kPIPE : Errno::kCONNRESET);
    if (in_) in_->ended = true;
    become_closed();
    if (listener_) listener_->tell_of_connection();
}

void TcpSocket::reset_peer() {
    if (TcpSocket* const peer = std::exchange(peer_, nullptr)) {
        peer->peer_ = nullptr;
        peer->receive_reset();
    }
}

Result<> TcpSocket::shutdown(ShutdownHow how) {
    const bool read = how != ShutdownHow::kWrite, write = how != ShutdownHow::kRead;
    switch (state_) {
        case TcpState::kListen: return read ? disconnect() : Result<>();
        case TcpState::kSynSent: return disconnect();
        default: break;
    }
    shut_read_ |= read, shut_write_ |= write;
    const bool closed = state_ == TcpState::kClose;
    if (write && can_send()) send_end();
    wake_all();
    return closed ? Result<>(Errno::kNOTCONN) : Result<>();
}

Result<Address> TcpSocket::peer_address() {
    if (remote_.port == 0 || state_ == TcpState::kClose || state_ == TcpState::kSynSent) return Errno::kNOTCONN;
    return format_endpoint(remote_, domain);
}

}  // namespace kvmsbx::net
