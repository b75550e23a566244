#pragma once
// The sockets of AF_UNIX. Model:
// - A socket's queue holds what came for it: Packets, each charged to its sender's send buffer until it is read. For a
//   stream, packets are pieces that reads may join or split; for the other types each is a message.
// - Nothing here holds a reference to a socket but descriptors, packets that carry it (SCM_RIGHTS), and a listener its
//   unaccepted connections. Peers, names and waiting senders point at a socket without a reference; retire(), when its
//   last reference goes, takes it out of all of them. So a socket ends when its last descriptor does, whoever still
//   waits for it.
// - Sockets that travel in queues of sockets can hold each other: collect_garbage() (unix_rights.cpp) finds those that
//   only packets refer to and that no living socket's queue leads to.
// - A name (UnixName) is found through its inode's attachment or in the table of abstract names, and lives on in
//   packets and accepted sockets after its socket.
// receive_lock_ keeps packets in place while they are copied to user memory, which may block: whoever removes packets
// of a living socket holds it.
#include "guestkernel/lib/format.hpp"
#include "guestkernel/net/socket.hpp"
#include "guestkernel/net/unix_rights.hpp"

namespace kvmsbx::net {

class UnixSocket;

class UnixName final : public RefCounted {
  public:
    Address address;
    int type = 0;
    UnixSocket* socket = nullptr;  // that is bound to it; null: it is gone
    TreeHook table_hook;           // abstract names
    std::string_view bytes() const;
    bool is_abstract() const { return address.length > 2 && address.bytes[2] == std::byte{0}; }
};

// What a socket has sent and nobody has read yet; outlives it as long as there are packets.
class SendAccount final : public RefCounted {
  public:
    UnixSocket* owner = nullptr;
    size_t used = 0;
    void release(size_t size);
};

struct Packet {
    static constexpr size_t kOverhead = 576;  // what a message costs besides its bytes
    Packet(RefPtr<SendAccount> account, size_t bytes);
    ~Packet();
    Packet(const Packet&) = delete;
    size_t unread() const { return size - start; }

    std::byte* data;  // null: out of memory
    size_t size, start = 0;
    Rights rights;
    bool has_credentials = false;
    Ucred credentials{0, 65534, 65534};
    RefPtr<task::Process> process;  // SO_PASSPIDFD of either side
    RefPtr<UnixName> from;
    sched::Nanoseconds time = 0;  // CLOCK_REALTIME, 0: not noted
    ListHook hook;

  private:
    RefPtr<SendAccount> account_;
};
using PacketList = List<Packet, &Packet::hook>;

// A sender or connecter that waits for room in another socket's queue.
struct RoomWait {
    explicit RoomWait(UnixSocket& target);
    UnixSocket* target;  // null: it is gone
    sched::WaitQueue queue;
    ListHook hook;
};

class UnixSocket final : public Socket {
  public:
    enum class State : uint8_t { kUnconnected, kConnected, kListening };

    UnixSocket(int type, uint32_t file_flags);
    ~UnixSocket() override;
    static Result<RefPtr<UnixSocket>> create(int type, uint32_t file_flags);
    static void make_pair(task::Task& task, UnixSocket& a, UnixSocket& b);
    // Null if the file is another one.
    static UnixSocket* from(vfs::File& file);

    Result<> bind(task::Task& task, const Address& address) override;
    Result<> connect(task::Task& task, const Address& address) override;
    Result<> listen(int backlog) override;
    Result<RefPtr<Socket>> accept(uint32_t file_flags, Address* peer) override;
    Result<Address> local_address() override;
    Result<Address> peer_address() override;
    Result<> shutdown(ShutdownHow how) override;
    Result<size_t> send(task::Task& task, SendRequest& request) override;
    Result<size_t> receive(task::Task& task, ReceiveRequest& request) override;
    Result<> set_option(task::Task& task, int level, int name, std::span<const std::byte> value) override;
    Result<size_t> get_option(task::Task& task, int level, int name, std::span<std::byte> out) override;
    Result<int64_t> ioctl(mm::AddressSpace& space, uint32_t request, uint64_t argument) override;
    vfs::PollState poll() override;

    void put_table_line(TextSink& sink);  // of /proc/net/unix
    // Called when bytes that it sent were read.
    void sent_bytes_read();
    // Visits every packet that the socket or a connection it has not accepted holds; visit must not block.
    template <typename Visit>
    void for_each_packet(Visit visit) {
        for (Packet& packet : queue_) visit(packet);
        for (const RefPtr<UnixSocket>& embryo : pending_)
            for (Packet& packet : embryo->queue_) visit(packet);
    }
    // All of those, into `out` (garbage collection).
    void take_packets(PacketList& out);

    FlightState flight{*this};
    ListHook all_hook, client_hook, doomed_hook;
    List<RoomWait, &RoomWait::hook> room_waits;

  protected:
    void last_reference_gone() override;

  private:
    struct StreamRead;
    static constexpr size_t kMaxQueuedPackets = 10;  // net.unix.max_dgram_qlen

    bool is_stream_like() const { return type != kSockDgram; }  // connection-based
    void retire();
    void leave_peer();
    void peer_gone(bool reset);
    Result<> bind_path(task::Task& task, const Address& address);
    Result<> bind_abstract(const Address& address);
    Result<> autobind();
    Result<RefPtr<UnixSocket>> find(task::Task& task, const Address& address) const;
    Result<> connect_stream(task::Task& task, const Address& address);
    Result<> connect_datagram(task::Task& task, const Address& address);
    void join(UnixSocket& other);  // datagram: `other` becomes the peer
    bool may_send_to(const UnixSocket& other) const { return !other.peer_ || other.peer_ == this; }
    bool is_full_for(const UnixSocket& sender) const;
    bool has_room_for(const UnixSocket& sender) const;
    Result<> wait_for_room(RefPtr<UnixSocket> target, sched::Nanoseconds deadline);
    void room_came();
    void came(uint32_t events);  // data, connections, hang-ups: wakes readers
    void state_changed();        // wakes everybody

    bool is_writable() const { return account_->used * 4 <= send_buffer_; }
    Result<> wait_for_send_room(uint32_t flags, sched::Nanoseconds deadline);
    Result<OwnPtr<Packet>> make_packet(mm::IoBuffer& from, size_t size);
    Result<> attach(task::Task& task, Packet& packet, Ancillary* ancillary);
    void note_sender(task::Task& task, Packet& packet, const UnixSocket& receiver) const;
    void enqueue(OwnPtr<Packet> packet);
    Result<size_t> send_stream(task::Task& task, SendRequest& request);
    Result<size_t> send_piece(task::Task& task, SendRequest& request);
    Result<size_t> send_packet(task::Task& task, SendRequest& request);
    Result<> deliver(task::Task& task, OwnPtr<Packet> packet, SendRequest& request, sched::Nanoseconds deadline);
    Result<RefPtr<UnixSocket>> receiver_of(task::Task& task, const SendRequest& request);

    Result<size_t> receive_stream(ReceiveRequest& request);
    void read_queue(StreamRead& read);
    Result<size_t> receive_packet(ReceiveRequest& request);
    Packet* find_packet(const ReceiveRequest& request, size_t& skip);
    Result<size_t> read_packet(Packet& packet, size_t skip, ReceiveRequest& request);
    void give_ancillary(Packet& packet, ReceiveRequest& request);
    size_t peek_start(uint32_t flags) const;
    void move_peek_offset(uint32_t flags, size_t size);

    State state_ = State::kUnconnected;
    RefPtr<UnixName> name_, peer_name_;  // peer_name_: of a peer that is gone
    RefPtr<vfs::Inode> bound_inode_;     // keeps the inode that connect(2) finds
    UnixSocket* peer_ = nullptr;
    bool peer_refused_ = false;                           // datagram: the peer is gone, which the next send tells
    List<UnixSocket, &UnixSocket::client_hook> clients_;  // datagram: whose peer this is
    RefPtr<SendAccount> account_;
    PacketList queue_;
    size_t queued_packets_ = 0, queued_bytes_ = 0;
    sched::Mutex receive_lock_;
    Vector<RefPtr<UnixSocket>> pending_;  // listener: not accepted yet
    size_t backlog_ = 0;
    int32_t peek_offset_ = -1;  // SO_PEEK_OFF
    sched::WaitQueue readers_, writers_, changed_;
};

}  // namespace kvmsbx::net
