#pragma once
// AF_INET and AF_INET6. Model:
// - The stack is lo and nothing else, and it has no packets: two sockets that talk are objects that know each other. A
//   TCP connection is two streams (tcp.hpp), a UDP datagram goes straight into the receiver's queue (udp.hpp).
// - InetSocket is what both have in common: addresses, ports and options.
// - A PortTable per transport has every socket with a port, in order of ports, the youngest first. A socket is in it
//   as long as it holds its port, without a reference: the destructor takes it out.
// - An accepted or connected socket holds its port like a bound one, so a server that is started again needs
//   SO_REUSEADDR as long as connections of its predecessor live. TIME_WAIT is not kept: without packets no old segment
//   can come.
#include "guestkernel/net/inet_address.hpp"
#include "guestkernel/net/inet_options.hpp"

namespace kvmsbx::net {

// The youngest of a port first.
struct PortKey {
    uint16_t port = 0;
    uint64_t age = 0;  // less is younger
    friend auto operator<=>(const PortKey&, const PortKey&) = default;
};

class InetSocket : public Socket {
  public:
    InetSocket(int domain, int type, int protocol, uint32_t file_flags);
    ~InetSocket() override;

    Result<> bind(task::Task& task, const Address& address) override;
    Result<Address> local_address() override;
    Result<> set_option(task::Task& task, int level, int name, std::span<const std::byte> value) override;
    Result<size_t> get_option(task::Task& task, int level, int name, std::span<std::byte> out) override;

    const Endpoint& local() const { return local_; }
    const Endpoint& remote() const { return remote_; }
    uint32_t owner() const { return owner_; }
    bool is_listening() const { return listening_; }
    // Whether a packet to this address of ours could be for the socket, by the address that it is bound to.
    bool accepts_address(const InetAddress& destination) const;
    // SO_REUSEPORT with the same owner.
    bool shares_port_with(const InetSocket& other) const {
        return reuse_port_ && other.reuse_port_ && owner_ == other.owner_;
    }
    // For /proc/net.
    virtual uint8_t shown_state() const = 0;
    virtual void queued(size_t& to_send, size_t& to_read) const = 0;

    PortKey port_key;
    TreeHook port_hook;  // PortTable

  protected:
    // bind(2)'s state check: EINVAL.
    virtual Result<> check_may_bind() const;
    bool is_v6() const { return domain == kAfInet6; }
    bool v6_only() const { return values_[inet_option(kSolIpv6, kIpv6V6only)]; }
    // Gives the socket a port of its own if it has none. EADDRNOTAVAIL, EAGAIN: all are taken.
    Result<> bind_any_port();
    // The same port as a listener's, for a connection that it made.
    void take_port_of(const InetSocket& listener);
    void give_port_back();
    bool has_port() const { return port_hook.is_linked(); }
    // connect(2)'s and sendto(2)'s destination, with the address that stands for "this host" replaced.
    // EAFNOSUPPORT, EINVAL, ENETUNREACH.
    Result<Endpoint> parse_destination(const Address& address) const;
    int32_t value(size_t option) const { return values_[option]; }
    // 0: not set by anybody.
    int32_t own_or(size_t option, int32_t usual) const { return values_[option] ? values_[option] : usual; }
    // An option of kInetOptions.
    Result<> set_table_option(size_t index, std::span<const std::byte> value);
    static Result<int32_t> integer(std::span<const std::byte> value);  // EINVAL
    static size_t put_integer(std::span<std::byte> out, int32_t value);

    Endpoint local_, remote_;
    bool address_bound_ = false, port_bound_ = false;  // by bind(2): they survive a disconnect
    uint32_t owner_;                                   // user id
    int32_t values_[kInetOptionCount];

  private:
    Result<> check_address(const Endpoint& wanted) const;
    friend class PortTable;
};

// For /proc/net/snmp.
struct InetCounters {
    uint64_t active_opens = 0, passive_opens = 0, failed_connects = 0, resets = 0;
    uint64_t datagrams_in = 0, datagrams_out = 0, no_ports = 0, dropped = 0;
};
InetCounters& inet_counters();

class PortTable {
  public:
    // What bind(2) of the address and port would hit. EADDRINUSE.
    Result<> check_conflict(const InetSocket& socket, const Endpoint& wanted) const;
    void insert(InetSocket& socket, uint16_t port);
    bool in_use(uint16_t port) const;
    // A port of ip_local_port_range that is free for the socket; 0: none.
    uint16_t choose(const InetSocket& socket, const InetAddress& address) const;
    // Calls visit(InetSocket&) for each socket with the port, or with any, the youngest first, until it gives false.
    template <typename Visit>
    void for_each(uint16_t port, Visit visit) {
        for (auto it = sockets_.lower_bound(PortKey{port, 0}); it != sockets_.end() && it->port_key.port == port;)
            if (!visit(*it++)) return;
    }
    template <typename Visit>
    void for_all(Visit visit) {
        for (InetSocket& socket : sockets_) visit(socket);
    }

  private:
    struct KeyOf {
        using type = PortKey;
        const PortKey& operator()(const InetSocket& socket) const { return socket.port_key; }
    };
    Tree<InetSocket, &InetSocket::port_hook, boost::intrusive::key_of_value<KeyOf>> sockets_;
};

PortTable& tcp_ports();
PortTable& udp_ports();

}  // namespace kvmsbx::net
