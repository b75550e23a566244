#pragma once
// TCP over loopback. Model:
// - A connection is two TcpSockets that know each other (peer_, no reference) and two TcpStreams, one per direction,
//   which both refer to: what one wrote can be read after it has closed.
// - Of TCP's states those are there that can be seen: there is no packet on its way, so an acknowledgement has always
//   come. A stream holds what Linux would hold in the receiver's buffer (its first `window` bytes) and in the sender's.
// - connect(2) makes the other end at once and puts it into the listener's queue, which refers to it; with the queue
//   full, the connecting socket waits in the listener's list (SYN_SENT), and each accept(2) lets one in.
// - A thread that reads waits in the stream's data_came, one that writes in room_came, poll(2) in the socket's
//   changed_. A stream's lock keeps a transfer whole while user memory faults; it is never held while waiting for data
//   or room.
#include "guestkernel/net/byte_queue.hpp"
#include "guestkernel/net/inet_socket.hpp"

namespace kvmsbx::net {

enum class TcpState : uint8_t {  // as in TCP_INFO and /proc/net/tcp
    kEstablished = 1,
    kSynSent = 2,
    kFinWait2 = 5,
    kClose = 7,
    kCloseWait = 8,
    kListen = 10,
};

class TcpStream : public RefCounted {
  public:
    sched::Mutex lock;
    sched::WaitQueue data_came, room_came;
    ByteQueue bytes;
    uint64_t taken = 0;     // bytes that have left the queue
    bool ended = false;     // nothing more will come: FIN or RST
    bool no_space = false;  // somebody has found it full: tell when there is room again
    // Urgent data (tcp(7), SO_OOBINLINE): one byte of the stream.
    enum class Urgent : uint8_t { kNone, kPending, kRead } urgent = Urgent::kNone;
    uint64_t urgent_at = 0;  // its place: bytes before it, `taken` included
    uint8_t urgent_byte = 0;

    bool at_mark() const { return urgent != Urgent::kNone && urgent_at == taken; }
    // Bytes behind the first `offset` that one read may give: not beyond urgent data, and not the urgent byte itself
    // unless it is inline.
    struct Piece {
        size_t start, size;
    };
    Piece next_piece(size_t offset, bool urgent_inline) const;
};

class TcpSocket final : public InetSocket {
  public:
    TcpSocket(int domain, uint32_t file_flags);
    ~TcpSocket() override;

    Result<> connect(task::Task& task, const Address& address) override;
    Result<> listen(int backlog) override;
    Result<RefPtr<Socket>> accept(uint32_t file_flags, Address* peer) override;
    Result<Address> peer_address() override;
    Result<> shutdown(ShutdownHow how) override;
    Result<size_t> send(task::Task& task, SendRequest& request) override;
    Result<size_t> receive(task::Task& task, ReceiveRequest& request) override;
    Result<> set_option(task::Task& task, int level, int name, std::span<const std::byte> value) override;
    Result<size_t> get_option(task::Task& task, int level, int name, std::span<std::byte> out) override;
    Result<int64_t> ioctl(mm::AddressSpace& space, uint32_t request, uint64_t argument) override;
    vfs::PollState poll() override;

    uint8_t shown_state() const override { return static_cast<uint8_t>(state_); }
    void queued(size_t& to_send, size_t& to_read) const override;

    ListHook accept_hook;   // accept_queue_: the listener refers to it
    ListHook waiting_hook;  // waiting_
    PortKey listen_key;
    TreeHook listen_hook;

  protected:
    Result<> check_may_bind() const override;

  private:
    using Queue = List<TcpSocket, &TcpSocket::accept_hook>;

    // --- connections
    Result<> start_connect(const Endpoint& to);
    Result<> finish_connect(Errno while_waiting);
    Result<> disconnect();
    void forget_addresses();
    bool is_taken(const Endpoint& from, const Endpoint& to) const;
    // The listener for the address; null: none.
    static TcpSocket* find_listener(const Endpoint& to, uint16_t from_port);
    bool has_room_for_connection() const { return queued_ <= backlog_; }
    // Makes the other end of `client` and queues it. ENOMEM.
    Result<> take_connection(TcpSocket& client);
    void inherit(const TcpSocket& listener);
    // The first connection that accept(2) may give: with TCP_DEFER_ACCEPT, one that data has come for. Null: none.
    TcpSocket* acceptable();
    void stop_listening();
    void let_waiting_in();
    void tell_of_connection();

    // --- what the peer does
    void receive_end();    // FIN
    void receive_reset();  // RST
    void reset_peer();
    void send_end();
    void become_closed();
    void fail_connect(Errno error);
    void wake_all();

    // --- data
    bool can_send() const { return state_ == TcpState::kEstablished || state_ == TcpState::kCloseWait; }
    size_t window() const;     // bytes that the peer's buffer takes
    size_t unsent() const;     // bytes in out_ beyond the window
    size_t room() const;       // bytes that may be written now
    bool is_writable() const;  // as poll(2) sees it
    size_t unread() const;     // bytes that a read could give
    Errno send_error();
    Result<> wait_for_connection(uint32_t flags, sched::Nanoseconds deadline);
    Result<> wait_for_room(const RefPtr<TcpStream>& stream, uint32_t flags, sched::Nanoseconds deadline);
    // Sends to somebody who does not listen any more: the answer is RST.
    bool send_into_void();
    Result<size_t> send_all(const RefPtr<TcpStream>& stream, SendRequest& request, sched::Nanoseconds deadline);
    Result<size_t> send_some(TcpStream& stream, SendRequest& request);
    Result<size_t> receive_all(const RefPtr<TcpStream>& stream, ReceiveRequest& request, sched::Nanoseconds deadline);
    Result<size_t> receive_urgent(ReceiveRequest& request);
    Result<size_t> receive_some(TcpStream& stream, ReceiveRequest& request, size_t offset);
    // With nothing to read: whether the read ends, with 0 or an error.
    Result<bool> reading_ends(uint32_t flags);
    Result<> wait_for_data(const RefPtr<TcpStream>& stream, size_t offset, sched::Nanoseconds deadline);
    void tell_of_data(TcpStream& stream);
    void tell_of_room(TcpStream& stream);

    // --- options
    Result<> set_tcp_option(int name, std::span<const std::byte> value);
    Result<size_t> get_tcp_option(int name, std::span<std::byte> out);
    int32_t shown_segment() const;
    size_t put_info(std::span<std::byte> out) const;

    // Ends TCP_DEFER_ACCEPT's wait for data.
    struct DeferTimer final : sched::Timer {
        explicit DeferTimer(TcpSocket& listener) : listener(listener) {}
        void fire() override { listener.tell_of_connection(); }
        TcpSocket& listener;
    };

    TcpState state_ = TcpState::kClose;
    bool connecting_ = false, connected_ = false;  // SS_CONNECTING, SS_CONNECTED: what connect(2) has told
    bool done_ = false;                            // the peer has ended its stream
    RefPtr<TcpStream> in_, out_;
    TcpSocket* peer_ = nullptr;
    TcpSocket* listener_ = nullptr;  // while it waits in accept_queue_
    sched::Nanoseconds deferred_until_ = 0;
    DeferTimer defer_timer_{*this};
    uint32_t backlog_ = 0, queued_ = 0;
    Queue accept_queue_;
    List<TcpSocket, &TcpSocket::waiting_hook> waiting_;
    sched::WaitQueue connection_came_, connect_ended_, changed_;
    bool send_buffer_set_ = false;
    int32_t maximum_segment_ = 0, linger2_ = 0, fastopen_ = 0, window_clamp_ = 0;
    uint8_t defer_accept_ = 0;  // in retransmissions, as Linux counts
    uint8_t congestion_ = 0;    // index of a name
};

}  // namespace kvmsbx::net
