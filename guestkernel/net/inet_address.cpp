#include "guestkernel/net/inet_address.hpp"

namespace kvmsbx::net {
namespace {

constexpr size_t kV4Size = 16, kV6MinimumSize = 24, kV6Size = 28;  // sockaddr_in, sockaddr_in6 (RFC 2133 and today)

struct SockaddrIn {
    uint16_t family, port;  // network byte order
    uint32_t address;
    uint64_t zero;
};
struct SockaddrIn6 {
    uint16_t family, port;
    uint32_t flow;
    uint8_t address[16];
    uint32_t scope;
};
static_assert(sizeof(SockaddrIn) == kV4Size && sizeof(SockaddrIn6) == kV6Size);

}  // namespace

InetAddress InetAddress::v4(uint32_t host_order) {
    InetAddress address;
    address.bytes[10] = address.bytes[11] = 0xff;
    const uint32_t wire = swap_bytes(host_order);
    __builtin_memcpy(address.bytes + 12, &wire, sizeof wire);
    return address;
}

InetAddress InetAddress::loopback_v6() {
    InetAddress address;
    address.bytes[15] = 1;
    return address;
}

bool InetAddress::is_v4() const {
    for (unsigned i = 0; i < 10; ++i)
        if (bytes[i]) return false;
    return bytes[10] == 0xff && bytes[11] == 0xff;
}

uint32_t InetAddress::as_v4() const {
    uint32_t wire;
    __builtin_memcpy(&wire, bytes + 12, sizeof wire);
    return swap_bytes(wire);
}

bool InetAddress::is_any() const { return is_v4() ? as_v4() == 0 : *this == InetAddress{}; }
bool InetAddress::is_multicast() const { return is_v4() ? as_v4() >> 28 == 0xe : bytes[0] == 0xff; }
bool InetAddress::is_ours() const { return is_v4() ? as_v4() >> 24 == 127 : *this == loopback_v6(); }

Result<Endpoint> parse_endpoint(const Address& address, int domain) {
    Endpoint endpoint;
    if (domain == kAfInet) {
        if (address.length < kV4Size) return Errno::kINVAL;
        SockaddrIn from;
        __builtin_memcpy(&from, address.bytes, sizeof from);
        // Old programs leave the family out when they bind to any address.
        if (from.family != kAfInet && (from.family != 0 || from.address != 0)) return Errno::kAFNOSUPPORT;
        endpoint.address = InetAddress::v4(swap_bytes(from.address));
        endpoint.port = swap_bytes(from.port);
        return endpoint;
    }
    if (address.length < kV6MinimumSize) return Errno::kINVAL;
    SockaddrIn6 from;
    __builtin_memcpy(&from, address.bytes, sizeof from);
    if (from.family != kAfInet6) return Errno::kAFNOSUPPORT;
    __builtin_memcpy(endpoint.address.bytes, from.address, sizeof from.address);
    endpoint.port = swap_bytes(from.port);
    return endpoint;
}

Address format_endpoint(const Endpoint& endpoint, int domain) {
    Address address;
    if (domain == kAfInet) {
        const SockaddrIn to{kAfInet, swap_bytes(endpoint.port), swap_bytes(endpoint.address.as_v4()), 0};
        __builtin_memcpy(address.bytes, &to, sizeof to);
        address.length = sizeof to;
        return address;
    }
    SockaddrIn6 to{};
    to.family = kAfInet6;
    to.port = swap_bytes(endpoint.port);
    __builtin_memcpy(to.address, endpoint.address.bytes, sizeof to.address);
    __builtin_memcpy(address.bytes, &to, sizeof to);
    address.length = sizeof to;
    return address;
}

Result<InetAddress> route(const InetAddress& address) {
    if (address.is_any()) return address.is_v4() ? InetAddress::v4(kLoopbackV4) : InetAddress::loopback_v6();
    if (!address.is_ours()) return Errno::kNETUNREACH;
    return address;
}

InetAddress source_for(const InetAddress& destination) {
    return destination.is_v4() ? InetAddress::v4(kLoopbackV4) : InetAddress::loopback_v6();
}

}  // namespace kvmsbx::net
