#pragma once
// IPv4 and IPv6 addresses in one form: an IPv4 address is kept as the IPv6 address that maps it (::ffff:a.b.c.d), so
// that sockets of both families can meet. The stack has one interface, lo: 127.0.0.0/8 and ::1 are ours, and nothing
// else can be reached.
#include <cstdint>

#include "guestkernel/lib/format.hpp"
#include "guestkernel/net/socket.hpp"

namespace kvmsbx::net {

inline constexpr uint32_t kLoopbackIndex = 1, kLoopbackMtu = 65536;
inline constexpr uint32_t kLoopbackV4 = 0x7f000001, kLoopbackBroadcastV4 = 0x7fffffff;

struct InetAddress {
    uint8_t bytes[16] = {};

    static InetAddress v4(uint32_t host_order);
    static InetAddress any(int domain) { return domain == kAfInet ? v4(0) : InetAddress{}; }
    static InetAddress loopback_v6();
    bool is_v4() const;  // mapped
    uint32_t as_v4() const;
    bool is_any() const;  // 0.0.0.0 or ::
    bool is_multicast() const;
    bool is_broadcast() const { return is_v4() && (as_v4() == ~0U || as_v4() == kLoopbackBroadcastV4); }
    bool is_link_local_v6() const { return bytes[0] == 0xfe && (bytes[1] & 0xc0) == 0x80; }
    // An address of lo.
    bool is_ours() const;
    friend bool operator==(const InetAddress&, const InetAddress&) = default;
};

struct Endpoint {
    InetAddress address;
    uint16_t port = 0;
    friend bool operator==(const Endpoint&, const Endpoint&) = default;
};

// What a struct sockaddr_in or sockaddr_in6 says. EINVAL: too short; EAFNOSUPPORT: of another family.
Result<Endpoint> parse_endpoint(const Address& address, int domain);
// As a struct sockaddr of the domain.
Address format_endpoint(const Endpoint& endpoint, int domain);
// Where a packet to `address` really goes: the unspecified address means this host. ENETUNREACH: not to us.
Result<InetAddress> route(const InetAddress& address);
// The address that a packet to `destination` carries as its source, for a socket without one.
InetAddress source_for(const InetAddress& destination);

inline uint16_t swap_bytes(uint16_t value) { return __builtin_bswap16(value); }  // network byte order and back
inline uint32_t swap_bytes(uint32_t value) { return __builtin_bswap32(value); }

}  // namespace kvmsbx::net
