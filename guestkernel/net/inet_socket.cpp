#include "guestkernel/net/inet_socket.hpp"

#include "guestkernel/lib/random.hpp"
#include "guestkernel/net/control_message.hpp"
#include "guestkernel/net/settings.hpp"

namespace kvmsbx::net {

InetSocket::InetSocket(int domain, int type, int protocol, uint32_t file_flags)
    : Socket(domain, type, protocol, file_flags), owner_(task::current().credentials().fsuid) {
    local_.address = remote_.address = InetAddress::any(domain);
    for (size_t i = 0; i < kInetOptionCount; ++i) values_[i] = kInetOptions[i].initial;
}

InetSocket::~InetSocket() { give_port_back(); }

// --- addresses

bool InetSocket::accepts_address(const InetAddress& destination) const {
    if (destination.is_v4() && is_v6() && v6_only()) return false;
    if (!destination.is_v4() && !is_v6()) return false;
    if (local_.address == destination) return true;
    // :: takes IPv4 as well.
    return local_.address.is_any() && (!local_.address.is_v4() || destination.is_v4());
}

Result<> InetSocket::check_may_bind() const { return has_port() || port_bound_ ? Result<>(Errno::kINVAL) : Result<>(); }

Result<> InetSocket::check_address(const Endpoint& wanted) const {
    const InetAddress& address = wanted.address;
    if (is_v6() && address.is_v4() && v6_only()) return Errno::kINVAL;
    if (is_v6() && address.is_multicast() && type == kSockStream) return Errno::kINVAL;
    if (is_v6() && address.is_link_local_v6()) return Errno::kINVAL;  // without an interface
    if (address.is_any() || address.is_ours() || address.is_multicast() || address.is_broadcast()) return {};
    if (value(inet_option(kSolIp, kIpFreebind))) return {};
    return Errno::kADDRNOTAVAIL;
}

Result<> InetSocket::bind(task::Task& task, const Address& address) {
    const Endpoint wanted = TRY(parse_endpoint(address, domain));
    if (!is_v6()) TRY(check_address(wanted));
    if (wanted.port && wanted.port < settings.first_unprivileged_port &&
        !task.credentials().has(auth::Capability::kNetBindService))
        return Errno::kACCES;
    TRY(check_may_bind());
    if (is_v6()) TRY(check_address(wanted));
    PortTable& ports = type == kSockStream ? tcp_ports() : udp_ports();
    uint16_t port = wanted.port;
    const bool later = port == 0 && value(inet_option(kSolIp, kIpBindAddressNoPort));
    if (port == 0 && !later) port = ports.choose(*this, wanted.address);
    if (port == 0 && !later) return Errno::kADDRINUSE;
    if (wanted.port) TRY(ports.check_conflict(*this, wanted));
    local_.address = wanted.address;
    if (!later) ports.insert(*this, port);
    address_bound_ = !wanted.address.is_any();
    port_bound_ = wanted.port != 0;
    return {};
}

Result<> InetSocket::bind_any_port() {
    if (has_port()) return {};
    PortTable& ports = type == kSockStream ? tcp_ports() : udp_ports();
    const uint16_t port = ports.choose(*this, local_.address);
    if (port == 0) return Errno::kADDRNOTAVAIL;
    ports.insert(*this, port);
    return {};
}

void InetSocket::take_port_of(const InetSocket& listener) { tcp_ports().insert(*this, listener.local_.port); }

void InetSocket::give_port_back() {
    if (port_hook.is_linked()) port_hook.unlink();
}

Result<Address> InetSocket::local_address() { return format_endpoint(local_, domain); }

Result<Endpoint> InetSocket::parse_destination(const Address& address) const {
    Endpoint to = TRY(parse_endpoint(address, domain));
    if (address.family() != static_cast<uint16_t>(domain)) return Errno::kAFNOSUPPORT;
    if (is_v6() && to.address.is_v4() && v6_only()) return Errno::kNETUNREACH;
    if (address_bound_ && local_.address.is_v4() && !to.address.is_v4()) return Errno::kNETUNREACH;
    if (to.address.is_any() && address_bound_ && local_.address.is_v4() == to.address.is_v4())
        to.address = local_.address;
    else if (!to.address.is_broadcast() || to.address.as_v4() == ~0U)
        to.address = TRY(route(to.address));
    return to;
}

// --- options

Result<int32_t> InetSocket::integer(std::span<const std::byte> value) {
    int32_t number;
    if (value.size() < sizeof number) return Errno::kINVAL;
    __builtin_memcpy(&number, value.data(), sizeof number);
    return number;
}

size_t InetSocket::put_integer(std::span<std::byte> out, int32_t value) {
    const size_t size = out.size() < sizeof value ? out.size() : sizeof value;
    __builtin_memcpy(out.data(), &value, size);
    return size;
}

Result<> InetSocket::set_table_option(size_t index, std::span<const std::byte> value) {
    const InetOption& option = kInetOptions[index];
    if (option.used_by == InetOption::For::kTcp && type != kSockStream) return Errno::kNOPROTOOPT;
    int32_t number;
    if (option.level == kSolIp && !value.empty() && value.size() < sizeof number)
        number = std::to_integer<uint8_t>(value[0]);
    else
        number = TRY(integer(value));
    if (option.used_by == InetOption::For::kDatagram && type == kSockStream)
        return option.level == kSolIp ? Errno::kINVAL : Errno::kNOPROTOOPT;
    if (option.level == kSolIpv6 && option.name == kIpv6V6only && (has_port() || port_bound_)) return Errno::kINVAL;
    if (option.kind == InetOption::Kind::kSwitch)
        number = number != 0;
    else if (number == -1 && option.meaning_of_minus_one != -1)
        number = option.meaning_of_minus_one;
    else if (number < option.minimum || number > option.maximum)
        return Errno::kINVAL;
    if (option.level == kSolIp && option.name == kIpTos) number &= type == kSockStream ? 0xfc : 0xff;
    values_[index] = number;
    return {};
}

Result<> InetSocket::set_option(task::Task& task, int level, int name, std::span<const std::byte> value) {
    if (level == kSolIpv6 && !is_v6()) return Errno::kNOPROTOOPT;
    const size_t index = find_inet_option(level, name);
    if (index < kInetOptionCount) return set_table_option(index, value);
    return level == kSolSocket ? Socket::set_option(task, level, name, value) : Result<>(Errno::kNOPROTOOPT);
}

Result<size_t> InetSocket::get_option(task::Task& task, int level, int name, std::span<std::byte> out) {
    if (level == kSolIpv6 && !is_v6()) return Errno::kNOPROTOOPT;
    if ((level == kSolIp && name == kIpMtu) || (level == kSolIpv6 && name == kIpv6Mtu)) {
        if (remote_.port == 0) return Errno::kNOTCONN;
        return put_integer(out, level == kSolIp ? kLoopbackMtu - 1 : kLoopbackMtu);
    }
    const size_t index = find_inet_option(level, name);
    if (index == kInetOptionCount)
        return level == kSolSocket ? Socket::get_option(task, level, name, out) : Result<size_t>(Errno::kNOPROTOOPT);
    if (kInetOptions[index].used_by == InetOption::For::kTcp && type != kSockStream) return Errno::kNOPROTOOPT;
    // Options of IPv4 fit into a byte for those who ask for less than an int.
    if (level == kSolIp && !out.empty() && out.size() < sizeof(int32_t) && values_[index] >= 0 &&
        values_[index] <= 255) {
        out[0] = static_cast<std::byte>(values_[index]);
        return size_t{1};
    }
    return put_integer(out, values_[index]);
}

// --- ports

PortTable& tcp_ports() {
    static PortTable table;
    return table;
}
PortTable& udp_ports() {
    static PortTable table;
    return table;
}

InetCounters& inet_counters() {
    static InetCounters counters;
    return counters;
}

namespace {

// Whether packets to one address could be meant for either.
bool overlap(const InetAddress& a, bool a_v6_only, const InetAddress& b, bool b_v6_only) {
    if (a == b) return true;
    if (a.is_any() && b.is_any()) return !(a.is_v4() ? b_v6_only : a_v6_only) || a.is_v4() == b.is_v4();
    if (a.is_any()) return a.is_v4() ? b.is_v4() : !b.is_v4() || !a_v6_only;
    if (b.is_any()) return b.is_v4() ? a.is_v4() : !a.is_v4() || !b_v6_only;
    return false;
}

}  // namespace

Result<> PortTable::check_conflict(const InetSocket& socket, const Endpoint& wanted) const {
    for (auto it = sockets_.lower_bound(PortKey{wanted.port, 0});
         it != sockets_.end() && it->port_key.port == wanted.port; ++it) {
        const InetSocket& other = *it;
        if (&other == &socket) continue;
        if (socket.reuse_address_ && other.reuse_address_ && !other.is_listening()) continue;
        if (socket.shares_port_with(other)) continue;
        if (overlap(wanted.address, socket.is_v6() && socket.v6_only(), other.local_.address,
                    other.is_v6() && other.v6_only()))
            return Errno::kADDRINUSE;
    }
    return {};
}

void PortTable::insert(InetSocket& socket, uint16_t port) {
    static uint64_t youngest = ~0ULL;
    socket.give_port_back();
    socket.local_.port = port;
    socket.port_key = {port, --youngest};
    sockets_.insert(socket);
}

bool PortTable::in_use(uint16_t port) const {
    const auto it = sockets_.lower_bound(PortKey{port, 0});
    return it != sockets_.end() && it->port_key.port == port;
}

uint16_t PortTable::choose(const InetSocket& socket, const InetAddress& address) const {
    const unsigned lowest = settings.first_local_port, count = settings.last_local_port - lowest + 1U;
    const auto first = static_cast<unsigned>(random::next64() % count);
    for (unsigned i = 0; i < count; ++i) {
        const auto port = static_cast<uint16_t>(lowest + (first + i) % count);
        if (!in_use(port)) return port;
    }
    for (unsigned i = 0; i < count; ++i) {
        const auto port = static_cast<uint16_t>(lowest + (first + i) % count);
        if (check_conflict(socket, {address, port}).is_ok()) return port;
    }
    return 0;
}

}  // namespace kvmsbx::net
