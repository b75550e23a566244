#pragma once
// UDP over loopback. A datagram is bytes in page frames with what its receiver may ask for; send puts it straight into
// the queue of the socket that the port table finds, or of each that has joined the multicast group. A queue is bounded
// by its socket's SO_RCVBUF: what does not fit is dropped and counted, as in Linux. A datagram to a port without a
// socket is an error (ECONNREFUSED) of the sender if it is connected, as ICMP would report it. A sender with IP_RECVERR
// gets it back in its error queue as well, which counts against the same SO_RCVBUF.
#include "guestkernel/net/byte_queue.hpp"
#include "guestkernel/net/inet_socket.hpp"

namespace kvmsbx::net {

class Datagram : public RefCounted {
  public:
    // Another one with the same content. ENOMEM.
    Result<RefPtr<Datagram>> clone() const;

    ByteQueue bytes;
    Endpoint from;
    InetAddress to;
    uint8_t ttl = kDefaultTtl, tos = 0;
    uint64_t received_at = 0;  // CLOCK_REALTIME, ns
    ListHook hook;
};

class UdpSocket final : public InetSocket {
  public:
    UdpSocket(int domain, uint32_t file_flags);
    ~UdpSocket() override;

    Result<> connect(task::Task& task, const Address& address) override;
    Result<> listen(int) override { return Errno::kOPNOTSUPP; }
    Result<Address> peer_address() override;
    Result<> shutdown(ShutdownHow how) override;
    Result<size_t> send(task::Task& task, SendRequest& request) override;
    Result<size_t> receive(task::Task& task, ReceiveRequest& request) override;
    Result<> set_option(task::Task& task, int level, int name, std::span<const std::byte> value) override;
    Result<size_t> get_option(task::Task& task, int level, int name, std::span<std::byte> out) override;
    Result<int64_t> ioctl(mm::AddressSpace& space, uint32_t request, uint64_t argument) override;
    vfs::PollState poll() override;

    uint8_t shown_state() const override { return remote_.port ? 1 : 7; }
    void queued(size_t& to_send, size_t& to_read) const override { to_send = 0, to_read = charged_; }
    uint64_t drops() const { return drops_; }

  private:
    // How one message goes out: from the socket's options and the message's own.
    struct Route {
        Endpoint from, to;
        uint8_t ttl, tos;
    };
    // As parse_destination(), with multicast groups, and IPv4 addresses for sockets of IPv6.
    Result<Endpoint> parse_datagram_destination(const Address& address) const;
    Result<Route> find_route(const SendRequest& request);
    Result<Endpoint> find_destination(const SendRequest& request);
    Result<> apply_ancillary(const Ancillary& ancillary, Route& route) const;
    // The one to whom a datagram goes; null: nobody.
    static UdpSocket* find_receiver(const Endpoint& from, const Endpoint& to);
    unsigned score(const Endpoint& from, const Endpoint& to) const;
    void deliver(RefPtr<Datagram> datagram, const Endpoint& to);
    void deliver_to_group(const Datagram& datagram, const Endpoint& to);
    // Queues the datagram, or drops it.
    void take(RefPtr<Datagram> datagram);
    // IP_RECVERR: keeps what nobody took for recvmsg(MSG_ERRQUEUE).
    void keep_undelivered(RefPtr<Datagram> datagram, const Endpoint& to);
    Result<size_t> receive_undelivered(ReceiveRequest& request);
    void forget_undelivered();
    bool wants_errors(const InetAddress& destination) const;
    bool is_member(const InetAddress& group) const;
    Result<> change_membership(int level, int name, std::span<const std::byte> value);
    Result<> choose_multicast_interface(std::span<const std::byte> value);
    Result<> disconnect();
    Result<size_t> give(const Datagram& datagram, ReceiveRequest& request) const;
    Result<> describe(const Datagram& datagram, Ancillary& to) const;
    // Null: no more will come (shutdown).
    Result<RefPtr<Datagram>> next_datagram(uint32_t flags);

    using Queue = List<Datagram, &Datagram::hook>;
    RefPtr<Datagram> take_first(Queue& queue);
    Queue queue_, undelivered_;
    size_t charged_ = 0;  // bytes that both count for
    uint64_t drops_ = 0;
    Vector<InetAddress> groups_;
    bool multicast_through_loopback_ = false;  // IP_MULTICAST_IF
    sched::WaitQueue came_, changed_;
};

}  // namespace kvmsbx::net
