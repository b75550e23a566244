#include "guestkernel/net/udp.hpp"

#include <algorithm>

#include "guestkernel/net/control_message.hpp"

namespace kvmsbx::net {
namespace {

constexpr size_t kMaxUdp = 65535, kMaxUdp4 = 65507, kMaxUdp6 = 65527;
constexpr size_t kOverhead = 768;  // what a datagram counts for besides its bytes, as Linux's buffers do
constexpr uint32_t kSiocinq = 0x541b, kSiocoutq = 0x5411, kPollWrBand = 0x200, kMsgErrqueue = 0x2000;

}  // namespace

Result<RefPtr<Datagram>> Datagram::clone() const {
    RefPtr<Datagram> copy = TRY(make_ref<Datagram>());
    copy->from = from, copy->to = to, copy->ttl = ttl, copy->tos = tos, copy->received_at = received_at;
    std::byte piece[512];
    while (copy->bytes.size() < bytes.size()) {
        mm::IoBuffer out = mm::IoBuffer::kernel(piece);
        const size_t count = TRY(bytes.peek(out, copy->bytes.size(), sizeof piece));
        mm::IoBuffer in = mm::IoBuffer::kernel_readonly(std::span<const std::byte>(piece, count));
        TRY(copy->bytes.fill(in, count));
    }
    return copy;
}

UdpSocket::UdpSocket(int socket_domain, uint32_t file_flags)
    : InetSocket(socket_domain, kSockDgram, kSolUdp, file_flags) {}

UdpSocket::~UdpSocket() {
    while (!queue_.empty()) (void)take_first(queue_);
    forget_undelivered();
}

RefPtr<Datagram> UdpSocket::take_first(Queue& queue) {
    RefPtr<Datagram> first = RefPtr<Datagram>::adopt(&queue.front());
    first->hook.unlink();
    charged_ -= first->bytes.size() + kOverhead;
    return first;
}

// --- connect(2) and what it changes

Result<> UdpSocket::disconnect() {
    remote_ = {InetAddress::any(domain), 0};
    if (!address_bound_) local_.address = InetAddress::any(domain);
    if (!port_bound_) {
        give_port_back();
        local_.port = 0;
    }
    error_ = 0;
    return {};
}

Result<> UdpSocket::connect(task::Task&, const Address& address) {
    if (address.length < sizeof(uint16_t)) return Errno::kINVAL;
    if (address.family() == 0) return disconnect();
    const Endpoint to = TRY(parse_datagram_destination(address));
    if (to.address.is_broadcast() && !broadcast_) return Errno::kACCES;
    if (bind_any_port().is_error()) return Errno::kAGAIN;
    remote_ = to;
    if (!address_bound_) local_.address = source_for(to.address);
    return {};
}

Result<Address> UdpSocket::peer_address() {
    if (remote_.port == 0) return Errno::kNOTCONN;
    return format_endpoint(remote_, domain);
}

Result<> UdpSocket::shutdown(ShutdownHow how) {
    const bool connected = remote_.port != 0;
    shut_read_ |= how != ShutdownHow::kWrite, shut_write_ |= how != ShutdownHow::kRead;
    came_.wake_all();
    changed_.wake_all();
    return connected ? Result<>() : Result<>(Errno::kNOTCONN);
}

// --- send(2)

Result<Endpoint> UdpSocket::parse_datagram_destination(const Address& address) const {
    Endpoint to;
    // A socket of IPv6 takes an address of IPv4 as it is.
    const bool plain_v4 = is_v6() && address.family() == kAfInet;
    to = TRY(parse_endpoint(address, plain_v4 ? kAfInet : domain));
    if (plain_v4 && v6_only()) return Errno::kNETUNREACH;
    if (!to.address.is_multicast()) return parse_destination(plain_v4 ? format_endpoint(to, kAfInet6) : address);
    if (!multicast_through_loopback_) return Errno::kNETUNREACH;
    return to;
}

Result<Endpoint> UdpSocket::find_destination(const SendRequest& request) {
    const bool unnamed = !request.to || (is_v6() && request.to->length >= 2 && request.to->family() == 0);
    if (unnamed) return remote_.port ? Result<Endpoint>(remote_) : Result<Endpoint>(Errno::kDESTADDRREQ);
    Address address = *request.to;
    if (is_v6() && address.length >= 2 && address.family() != kAfInet6 && address.family() != kAfInet)
        return Errno::kINVAL;
    if (!is_v6() && address.family() == 0 && address.length >= 2) address.bytes[0] = std::byte{kAfInet};
    Endpoint to = TRY(parse_endpoint(address, is_v6() && address.family() == kAfInet ? kAfInet : domain));
    if (to.port == 0) return Errno::kINVAL;
    return parse_datagram_destination(address);
}

Result<> UdpSocket::apply_ancillary(const Ancillary& ancillary, Route& route) const {
    for (const Ancillary::Raw& one : ancillary.others) {
        int32_t number = 0;
        if (one.size >= sizeof number)
            __builtin_memcpy(&number, one.data, sizeof number);
        else if (one.size > 0)
            number = std::to_integer<uint8_t>(one.data[0]);
        if (one.level == kSolSocket && (one.type == kScmRights || one.type == kScmCredentials)) continue;
        // Of IPv4 and IPv6, the destination's counts; but for IPV6_PKTINFO, which can name an address of either.
        const bool v4 = route.to.address.is_v4(), info = one.level == kSolIpv6 && one.type == kIpv6Pktinfo;
        if (one.level != kSolSocket && one.level != kSolUdp && one.level != (v4 ? kSolIp : kSolIpv6) && !info) continue;
        if (one.level == kSolIp && one.type == kIpTtl) {
            if (number < 1 || number > 255) return Errno::kINVAL;
            route.ttl = static_cast<uint8_t>(number);
        } else if (one.level == kSolIp && one.type == kIpTos) {
            if (number < 0 || number > 255) return Errno::kINVAL;
            route.tos = static_cast<uint8_t>(number);
        } else if (one.level == kSolIpv6 && one.type == kIpv6Hoplimit) {
            if (number < -1 || number > 255) return Errno::kINVAL;
            if (number >= 0) route.ttl = static_cast<uint8_t>(number);
        } else if (one.level == kSolIpv6 && one.type == kIpv6Tclass) {
            if (number < -1 || number > 255) return Errno::kINVAL;
            if (number >= 0) route.tos = static_cast<uint8_t>(number);
        } else if (one.level == kSolIp && one.type == kIpPktinfo && one.size >= 12) {
            uint32_t source;
            __builtin_memcpy(&source, one.data + 4, sizeof source);
            if (number != 0 && number != static_cast<int32_t>(kLoopbackIndex)) return Errno::kNETUNREACH;
            if (source) route.from.address = InetAddress::v4(swap_bytes(source));
        } else if (one.level == kSolIpv6 && one.type == kIpv6Pktinfo && one.size >= 20) {
            InetAddress source;
            __builtin_memcpy(source.bytes, one.data, sizeof source.bytes);
            if (!source.is_any()) route.from.address = source;
        } else {
            return Errno::kINVAL;
        }
    }
    return route.from.address.is_ours() ? Result<>() : Result<>(Errno::kINVAL);
}

Result<UdpSocket::Route> UdpSocket::find_route(const SendRequest& request) {
    Route route;
    route.to = TRY(find_destination(request));
    const bool v4 = route.to.address.is_v4();
    const size_t hops = route.to.address.is_multicast()
                            ? (v4 ? inet_option(kSolIp, kIpMulticastTtl) : inet_option(kSolIpv6, kIpv6MulticastHops))
                            : (v4 ? inet_option(kSolIp, kIpTtl) : inet_option(kSolIpv6, kIpv6UnicastHops));
    route.ttl = static_cast<uint8_t>(value(hops));
    route.tos = static_cast<uint8_t>(value(v4 ? inet_option(kSolIp, kIpTos) : inet_option(kSolIpv6, kIpv6Tclass)));
    route.from.address = local_.address.is_ours() ? local_.address : source_for(route.to.address);
    if (request.ancillary) TRY(apply_ancillary(*request.ancillary, route));
    if (route.to.address.is_broadcast() && !broadcast_) return Errno::kACCES;
    return route;
}

Result<size_t> UdpSocket::send(task::Task&, SendRequest& request) {
    const size_t size = request.data.remaining();
    if (size > kMaxUdp) return Errno::kMSGSIZE;
    if (request.flags & kMsgOob) return Errno::kOPNOTSUPP;
    Route route = TRY(find_route(request));
    if (size > (route.to.address.is_v4() ? kMaxUdp4 : kMaxUdp6)) return Errno::kMSGSIZE;
    if (bind_any_port().is_error()) return Errno::kAGAIN;
    if (error_) return static_cast<Errno>(take_error());
    if (shut_write_) return Errno::kPIPE;
    RefPtr<Datagram> datagram = TRY(make_ref<Datagram>());
    while (!request.data.empty())
        if (TRY(datagram->bytes.fill(request.data, size)) == 0) return Errno::kFAULT;
    route.from.port = local_.port;
    datagram->from = route.from, datagram->to = route.to.address;
    datagram->ttl = route.ttl, datagram->tos = route.tos;
    datagram->received_at = sched::realtime_now();
    ++inet_counters().datagrams_out;
    if (route.to.address.is_multicast() || route.to.address.is_broadcast())
        deliver_to_group(*datagram, route.to);
    else
        deliver(std::move(datagram), route.to);
    return size;
}

// --- delivery

unsigned UdpSocket::score(const Endpoint& from, const Endpoint& to) const {
    if (!accepts_address(to.address)) return 0;
    if (remote_.port && remote_ != from) return 0;
    return 1 + (local_.address.is_v4() == to.address.is_v4() ? 1 : 0) + (local_.address == to.address ? 2 : 0) +
           (remote_.port ? 4 : 0);
}

UdpSocket* UdpSocket::find_receiver(const Endpoint& from, const Endpoint& to) {
    UdpSocket* best = nullptr;
    unsigned best_score = 0, group = 0;
    // SAFETY: the table of UDP has no other sockets.
    const auto each = [&](auto visit) {
        udp_ports().for_each(to.port, [&](InetSocket& socket) { return visit(static_cast<UdpSocket&>(socket)); });
    };
    each([&](UdpSocket& socket) {
        const unsigned own = socket.score(from, to);
        if (own > best_score)
            best = &socket, best_score = own, group = 1;
        else if (own && own == best_score && best->shares_port_with(socket))
            ++group;
        return true;
    });
    if (group < 2) return best;
    unsigned turn = from.port % group;
    UdpSocket* chosen = best;
    each([&](UdpSocket& socket) {
        if (socket.score(from, to) != best_score || !best->shares_port_with(socket)) return true;
        chosen = &socket;
        return turn-- > 0;
    });
    return chosen;
}

void UdpSocket::deliver(RefPtr<Datagram> datagram, const Endpoint& to) {
    if (UdpSocket* const receiver = find_receiver(datagram->from, to)) return receiver->take(std::move(datagram));
    // Nobody listens: "port unreachable" comes back.
    ++inet_counters().no_ports;
    const bool wanted = wants_errors(to.address);
    if (remote_.port == 0 && !wanted) return;
    if (wanted) keep_undelivered(std::move(datagram), to);
    set_error(Errno::kCONNREFUSED);
    came_.wake_all();
    changed_.wake_all();
}

bool UdpSocket::is_member(const InetAddress& group) const {
    for (const InetAddress& one : groups_)
        if (one == group) return true;
    return false;
}

void UdpSocket::deliver_to_group(const Datagram& datagram, const Endpoint& to) {
    const bool multicast = to.address.is_multicast();
    bool anybody = !multicast;
    if (multicast)
        udp_ports().for_all(
            [&](InetSocket& socket) { anybody |= static_cast<UdpSocket&>(socket).is_member(to.address); });
    if (!anybody) return;
    udp_ports().for_each(to.port, [&](InetSocket& one) {
        auto& socket = static_cast<UdpSocket&>(one);
        const bool wants =
            !multicast || socket.is_member(to.address) || socket.value(inet_option(kSolIp, kIpMulticastAll));
        if (!wants || !socket.score(datagram.from, to)) return true;
        if (Result<RefPtr<Datagram>> copy = datagram.clone(); copy.is_ok()) socket.take(copy.release_value());
        return true;
    });
}

void UdpSocket::take(RefPtr<Datagram> datagram) {
    if (charged_ >= receive_buffer_ || ByteQueue::memory_is_short()) {
        ++drops_, ++inet_counters().dropped;
        return;
    }
    ++inet_counters().datagrams_in;
    charged_ += datagram->bytes.size() + kOverhead;
    queue_.push_back(*datagram.leak());
    came_.wake_one();
    changed_.wake_all(vfs::kPollIn | vfs::kPollRdNorm);
}

// --- recv(2)

Result<RefPtr<Datagram>> UdpSocket::next_datagram(uint32_t flags) {
    const sched::Nanoseconds deadline = receive_deadline();
    for (;;) {
        if (error_) return static_cast<Errno>(take_error());
        if (!queue_.empty()) {
            if (flags & kMsgPeek) {
                came_.wake_one();  // it is still there for another
                return RefPtr<Datagram>(queue_.front());
            }
            RefPtr<Datagram> first = take_first(queue_);
            if (!queue_.empty()) came_.wake_one();
            return first;
        }
        if (flags & kMsgDontwait) return Errno::kAGAIN;
        if (shut_read_) return RefPtr<Datagram>();
        const auto ready = [this] { return !queue_.empty() || error_ || shut_read_; };
        if (const Result<> waited = wait_until(came_, ready, deadline); waited.is_error()) {
            if (!queue_.empty()) came_.wake_one();  // it may have been for us
            return waited.error();
        }
    }
}

template <typename T>
static Result<> add(Ancillary& to, int level, int type, const T& value) {
    Ancillary::Raw raw{level, type, sizeof value, {}};
    static_assert(sizeof value <= sizeof raw.data);
    __builtin_memcpy(raw.data, &value, sizeof value);
    return to.others.push_back(raw);
}

Result<> UdpSocket::describe(const Datagram& datagram, Ancillary& to) const {
    TRY(put_timestamp(datagram.received_at, to));
    const bool v4 = datagram.to.is_v4();
    if (is_v6()) {
        struct {
            InetAddress address;
            uint32_t index;
        } const info{datagram.to, kLoopbackIndex};
        if (value(inet_option(kSolIpv6, kIpv6Recvpktinfo))) TRY(add(to, kSolIpv6, kIpv6Pktinfo, info));
        if (!v4 && value(inet_option(kSolIpv6, kIpv6Recvhoplimit)))
            TRY(add(to, kSolIpv6, kIpv6Hoplimit, int32_t{datagram.ttl}));
        if (!v4 && value(inet_option(kSolIpv6, kIpv6Recvtclass)))
            TRY(add(to, kSolIpv6, kIpv6Tclass, int32_t{datagram.tos}));
    }
    if (!v4) return {};
    if (value(inet_option(kSolIp, kIpPktinfo))) {
        const uint32_t address = swap_bytes(datagram.to.as_v4());
        const uint32_t local = datagram.to.is_ours() ? address : swap_bytes(kLoopbackV4);
        const uint32_t info[3] = {kLoopbackIndex, local, address};
        TRY(add(to, kSolIp, kIpPktinfo, info));
    }
    if (value(inet_option(kSolIp, kIpRecvttl))) TRY(add(to, kSolIp, kIpTtl, int32_t{datagram.ttl}));
    if (value(inet_option(kSolIp, kIpRecvtos))) TRY(add(to, kSolIp, kIpTos, datagram.tos));
    return {};
}

Result<size_t> UdpSocket::give(const Datagram& datagram, ReceiveRequest& request) const {
    const size_t size = datagram.bytes.size();
    const size_t wanted = std::min(size, request.data.remaining());
    for (size_t done = 0; done < wanted;) {
        const size_t count = TRY(datagram.bytes.peek(request.data, done, wanted - done));
        if (count == 0) return Errno::kFAULT;
        done += count;
    }
    if (wanted < size) request.out_flags |= kMsgTrunc;
    if (request.from) *request.from = format_endpoint(datagram.from, domain);
    if (request.ancillary) TRY(describe(datagram, *request.ancillary));
    return request.flags & kMsgTrunc ? size : wanted;
}

Result<size_t> UdpSocket::receive(task::Task&, ReceiveRequest& request) {
    if (request.flags & kMsgErrqueue) return receive_undelivered(request);
    if (request.flags & kMsgOob) return Errno::kOPNOTSUPP;
    const RefPtr<Datagram> datagram = TRY(next_datagram(request.flags));
    return datagram ? give(*datagram, request) : Result<size_t>(size_t{0});
}

// --- what could not be delivered (ip(7), IP_RECVERR)

namespace {

struct ExtendedError {  // struct sock_extended_err
    uint32_t error;
    uint8_t origin, type, code, pad;
    uint32_t info, data;
};
static_assert(sizeof(ExtendedError) == 16);

}  // namespace

bool UdpSocket::wants_errors(const InetAddress& destination) const {
    return value(destination.is_v4() ? inet_option(kSolIp, kIpRecverr) : inet_option(kSolIpv6, kIpv6Recverr));
}

void UdpSocket::keep_undelivered(RefPtr<Datagram> datagram, const Endpoint& to) {
    const size_t size = datagram->bytes.size() + kOverhead;
    if (charged_ + size >= receive_buffer_) return;
    charged_ += size;
    datagram->from = to;
    undelivered_.push_back(*datagram.leak());
}

void UdpSocket::forget_undelivered() {
    while (!undelivered_.empty()) (void)take_first(undelivered_);
}

Result<size_t> UdpSocket::receive_undelivered(ReceiveRequest& request) {
    constexpr uint8_t kOriginIcmp = 2, kOriginIcmp6 = 3, kUnreachable = 3, kPort = 3, kUnreachable6 = 1, kPort6 = 4;
    constexpr size_t kQuoted4 = 520, kQuoted6 = 1184;  // bytes of a datagram that ICMP brings back
    if (undelivered_.empty()) return Errno::kAGAIN;
    const RefPtr<Datagram> datagram = take_first(undelivered_);
    if (undelivered_.empty()) error_ = 0;
    const bool v4 = datagram->to.is_v4();
    const size_t size = std::min(datagram->bytes.size(), v4 ? kQuoted4 : kQuoted6);
    const size_t wanted = std::min(size, request.data.remaining());
    if (TRY(datagram->bytes.peek(request.data, 0, wanted)) < wanted) return Errno::kFAULT;
    request.out_flags |= kMsgErrqueue | (wanted < size ? kMsgTrunc : 0);
    if (request.from) *request.from = format_endpoint(datagram->from, domain);
    if (!request.ancillary) return wanted;
    ExtendedError error{static_cast<uint32_t>(Errno::kCONNREFUSED), kOriginIcmp, kUnreachable, kPort, 0, 0, 0};
    if (!v4) error.origin = kOriginIcmp6, error.type = kUnreachable6, error.code = kPort6;
    const Address offender = format_endpoint({datagram->to, 0}, domain);
    Ancillary::Raw raw{is_v6() ? kSolIpv6 : kSolIp,
                       is_v6() ? kIpv6Recverr : kIpRecverr,
                       static_cast<uint32_t>(sizeof error + offender.length),
                       {}};
    __builtin_memcpy(raw.data, &error, sizeof error);
    __builtin_memcpy(raw.data + sizeof error, offender.bytes, offender.length);
    TRY(request.ancillary->others.push_back(raw));
    return wanted;
}

// --- poll(2), ioctl(2), options

vfs::PollState UdpSocket::poll() {
    using namespace vfs;
    uint32_t events = kPollOut | kPollWrNorm | kPollWrBand;
    if (error_ || !undelivered_.empty()) events |= kPollErr;
    if (shut_read_) events |= kPollRdHup | kPollIn | kPollRdNorm;
    if (shut_read_ && shut_write_) events |= kPollHup;
    if (!queue_.empty()) events |= kPollIn | kPollRdNorm;
    return {events, &changed_};
}

Result<int64_t> UdpSocket::ioctl(mm::AddressSpace& space, uint32_t request, uint64_t argument) {
    if (request != kSiocinq && request != kSiocoutq) return Socket::ioctl(space, request, argument);
    const size_t first = queue_.empty() ? 0 : queue_.front().bytes.size();
    const auto answer = static_cast<int32_t>(request == kSiocinq ? first : 0);
    TRY(mm::UserOut<int32_t>{argument}.store(space, answer));
    return int64_t{0};
}

Result<> UdpSocket::change_membership(int level, int name, std::span<const std::byte> value) {
    constexpr size_t kMaxGroups = 20;  // net.ipv4.igmp_max_memberships
    const bool v4 = level == kSolIp;
    InetAddress group;
    uint32_t words[3] = {}, index = 0;  // struct ip_mreq, ip_mreqn: in_addr twice, and an index
    if (value.size() < (v4 ? 8 : 20)) return Errno::kINVAL;
    if (v4) {
        __builtin_memcpy(words, value.data(), std::min(value.size(), sizeof words));
        group = InetAddress::v4(swap_bytes(words[0]));
        index = words[2] ? words[2] : InetAddress::v4(swap_bytes(words[1])).is_ours() ? kLoopbackIndex : 0;
    } else {
        __builtin_memcpy(group.bytes, value.data(), sizeof group.bytes);
        __builtin_memcpy(&index, value.data() + sizeof group.bytes, sizeof index);
    }
    if (!group.is_multicast()) return Errno::kINVAL;
    if (index != kLoopbackIndex) return Errno::kNODEV;
    const bool add = name == (v4 ? kIpAddMembership : kIpv6AddMembership);
    for (size_t i = 0; i < groups_.size(); ++i) {
        if (groups_[i] != group) continue;
        if (add) return Errno::kADDRINUSE;
        groups_.erase(i);
        return {};
    }
    if (!add) return Errno::kADDRNOTAVAIL;
    return groups_.size() >= kMaxGroups ? Result<>(Errno::kNOBUFS) : groups_.push_back(group);
}

// IP_MULTICAST_IF takes an in_addr, struct ip_mreq or ip_mreqn.
Result<> UdpSocket::choose_multicast_interface(std::span<const std::byte> value) {
    uint32_t words[3] = {};
    if (value.size() < sizeof words[0]) return Errno::kINVAL;
    __builtin_memcpy(words, value.data(), std::min(value.size(), sizeof words));
    const uint32_t address = value.size() >= 8 ? words[1] : words[0];
    if (words[2] != 0 && words[2] != kLoopbackIndex) return Errno::kADDRNOTAVAIL;
    if (words[2] == 0 && address != 0 && !InetAddress::v4(swap_bytes(address)).is_ours()) return Errno::kADDRNOTAVAIL;
    multicast_through_loopback_ = words[2] != 0 || address != 0;
    return {};
}

Result<> UdpSocket::set_option(task::Task& task, int level, int name, std::span<const std::byte> value) {
    if (level == kSolIp && name == kIpMulticastIf) return choose_multicast_interface(value);
    if (level == kSolIpv6 && name == kIpv6MulticastIf && is_v6()) {
        const auto index = static_cast<uint32_t>(TRY(integer(value)));
        if (index > kLoopbackIndex) return Errno::kNODEV;
        multicast_through_loopback_ = index != 0;
        return {};
    }
    const bool v4_group = level == kSolIp && (name == kIpAddMembership || name == kIpDropMembership);
    const bool v6_group = level == kSolIpv6 && is_v6() && (name == kIpv6AddMembership || name == kIpv6DropMembership);
    if (v4_group || v6_group) return change_membership(level, name, value);
    TRY(InetSocket::set_option(task, level, name, value));
    const bool errors = (level == kSolIp && name == kIpRecverr) || (level == kSolIpv6 && name == kIpv6Recverr);
    if (errors && !this->value(inet_option(kSolIp, kIpRecverr)) && !this->value(inet_option(kSolIpv6, kIpv6Recverr)))
        forget_undelivered();
    return {};
}

Result<size_t> UdpSocket::get_option(task::Task& task, int level, int name, std::span<std::byte> out) {
    if (level == kSolIp && name == kIpMulticastIf)
        return put_integer(out, static_cast<int32_t>(multicast_through_loopback_ ? swap_bytes(kLoopbackV4) : 0));
    if (level == kSolIpv6 && name == kIpv6MulticastIf && is_v6())
        return put_integer(out, multicast_through_loopback_ ? kLoopbackIndex : 0);
    return InetSocket::get_option(task, level, name, out);
}

}  // namespace kvmsbx::net
