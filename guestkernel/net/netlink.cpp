#include "guestkernel/net/netlink.hpp"

#include <algorithm>

#include "guestkernel/lib/assert.hpp"
#include "guestkernel/net/netlink_generic.hpp"
#include "guestkernel/net/netlink_route.hpp"

namespace kvmsbx::net {
namespace {

constexpr int kNetlinkRoute = 0, kNetlinkKobjectUevent = 15, kNetlinkGeneric = 16, kMaxProtocol = 32, kSolNetlink = 270;
constexpr int kAddMembership = 1, kDropMembership = 2, kPacketInfo = 3, kBroadcastError = 4, kNoEnobufs = 5,
              kListMemberships = 9, kCapAck = 10, kExtendedAck = 11, kStrictCheck = 12, kOptionCount = 13;
constexpr int32_t kGroupCount = 36;  // RTNLGRP_MAX
constexpr uint32_t kPollWrBand = 0x200;
constexpr size_t kOverhead = 512;      // what a datagram counts for besides its bytes
constexpr size_t kMaxRequest = 65536;  // bytes of one message to the kernel

struct SockaddrNl {
    uint16_t family, pad;
    uint32_t port, groups;
};
static_assert(sizeof(SockaddrNl) == 12);

struct NetlinkDatagram : RefCounted {
    Vector<std::byte> bytes;
    ListHook hook;
};

bool is_switch(int name) {
    return name == kPacketInfo || name == kBroadcastError || name == kNoEnobufs || name == kCapAck ||
           name == kExtendedAck || name == kStrictCheck;
}

// A socket of NETLINK_ROUTE or NETLINK_GENERIC, which asks; or of NETLINK_KOBJECT_UEVENT, which waits for devices that
// never come.
// Answers are queued when the request is sent: there is little to tell.
class NetlinkSocket final : public Socket, private NetlinkSink {
  public:
    NetlinkSocket(int socket_type, int socket_protocol, uint32_t file_flags)
        : Socket(kAfNetlink, socket_type, socket_protocol, file_flags) {}
    ~NetlinkSocket() override;
    Result<> bind(task::Task& task, const Address& address) override;
    Result<> connect(task::Task& task, const Address& address) override;
    Result<Address> local_address() override { return format(port_, static_cast<uint32_t>(groups_)); }
    Result<Address> peer_address() override { return format(0, 0); }
    Result<size_t> send(task::Task& task, SendRequest& request) override;
    Result<size_t> receive(task::Task& task, ReceiveRequest& request) override;
    Result<> set_option(task::Task& task, int level, int name, std::span<const std::byte> value) override;
    Result<size_t> get_option(task::Task& task, int level, int name, std::span<std::byte> out) override;
    vfs::PollState poll() override;
    void datagram(Result<Vector<std::byte>> bytes) override;

    ListHook bound_hook;

  private:
    static Result<SockaddrNl> parse(const Address& address);
    static Address format(uint32_t port, uint32_t groups);
    bool is_port_taken(uint32_t port) const;
    Result<> bind_port(uint32_t port);
    void bind_any_port(const task::Task& task);
    // Only the kernel can be spoken to. EPERM, ECONNREFUSED.
    static Result<> check_destination(const task::Task& task, const SockaddrNl& to);
    Result<> change_group(int32_t group, bool on);
    Result<RefPtr<NetlinkDatagram>> next(uint32_t flags);

    uint32_t port_ = 0;  // 0: none yet
    uint64_t groups_ = 0;
    bool switches_[kOptionCount] = {};  // by option
    List<NetlinkDatagram, &NetlinkDatagram::hook> queue_;
    size_t charged_ = 0;
    sched::WaitQueue came_, changed_;
};

// Sockets with a port.
List<NetlinkSocket, &NetlinkSocket::bound_hook>& bound_sockets() {
    static List<NetlinkSocket, &NetlinkSocket::bound_hook> all;
    return all;
}

NetlinkSocket::~NetlinkSocket() {
    while (!queue_.empty()) {
        const auto gone = RefPtr<NetlinkDatagram>::adopt(&queue_.front());
        gone->hook.unlink();
    }
}

// --- names

Result<SockaddrNl> NetlinkSocket::parse(const Address& address) {
    SockaddrNl name;
    if (address.length < sizeof name) return Errno::kINVAL;
    __builtin_memcpy(&name, address.bytes, sizeof name);
    if (name.family != kAfNetlink) return Errno::kINVAL;
    return name;
}

Address NetlinkSocket::format(uint32_t port, uint32_t groups) {
    Address address;
    const SockaddrNl name{kAfNetlink, 0, port, groups};
    __builtin_memcpy(address.bytes, &name, sizeof name);
    address.length = sizeof name;
    return address;
}

bool NetlinkSocket::is_port_taken(uint32_t port) const {
    for (const NetlinkSocket& other : bound_sockets())
        if (other.port_ == port && other.protocol == protocol) return true;
    return false;
}

Result<> NetlinkSocket::bind_port(uint32_t port) {
    if (is_port_taken(port)) return Errno::kADDRINUSE;
    port_ = port;
    bound_sockets().push_back(*this);
    return {};
}

// The process's number, or if another socket has it a "negative" one.
void NetlinkSocket::bind_any_port(const task::Task& task) {
    constexpr uint32_t kFirst = static_cast<uint32_t>(-4097);
    if (port_) return;
    auto port = static_cast<uint32_t>(task.process().pid);
    for (uint32_t next = kFirst; is_port_taken(port); --next) port = next;
    (void)bind_port(port);
}

Result<> NetlinkSocket::bind(task::Task& task, const Address& address) {
    const SockaddrNl name = TRY(parse(address));
    if (port_ && name.port != port_) return Errno::kINVAL;
    if (!port_ && name.port)
        TRY(bind_port(name.port));
    else
        bind_any_port(task);
    groups_ = (groups_ & ~uint64_t{~0U}) | name.groups;
    return {};
}

Result<> NetlinkSocket::check_destination(const task::Task& task, const SockaddrNl& to) {
    if (to.port == 0 && to.groups == 0) return {};
    if (!task.credentials().has(auth::Capability::kNetAdmin)) return Errno::kPERM;
    return to.port ? Errno::kCONNREFUSED : Errno::kSRCH;
}

Result<> NetlinkSocket::connect(task::Task& task, const Address& address) {
    if (address.length < sizeof(uint16_t)) return Errno::kINVAL;
    if (address.family() != 0) TRY(check_destination(task, TRY(parse(address))));
    bind_any_port(task);
    return {};
}

// --- messages

Result<size_t> NetlinkSocket::send(task::Task& task, SendRequest& request) {
    if (request.flags & kMsgOob) return Errno::kOPNOTSUPP;
    if (request.data.empty()) return Errno::kNODATA;
    if (request.to) TRY(check_destination(task, TRY(parse(*request.to))));
    bind_any_port(task);
    const size_t size = request.data.remaining();
    if (size > std::min(size_t{send_buffer_} - 32, kMaxRequest)) return Errno::kMSGSIZE;
    if (protocol == kNetlinkKobjectUevent) return Errno::kCONNREFUSED;
    Vector<std::byte> bytes;
    TRY(bytes.resize(size));
    for (size_t done = 0; done < size;) {
        const size_t count = TRY(request.data.take(bytes.data() + done, size - done));
        if (count == 0) return Errno::kFAULT;
        done += count;
    }
    const NetlinkAsker asker{port_, task.credentials().has(auth::Capability::kNetAdmin), switches_[kStrictCheck],
                             switches_[kCapAck]};
    (protocol == kNetlinkRoute ? answer_route_requests : answer_generic_requests)(bytes.span(), asker, *this);
    return size;
}

void NetlinkSocket::datagram(Result<Vector<std::byte>> bytes) {
    Result<RefPtr<NetlinkDatagram>> made = make_ref<NetlinkDatagram>();
    const bool full = charged_ >= receive_buffer_;
    if (full || bytes.is_error() || made.is_error()) {
        if (!switches_[kNoEnobufs]) set_error(Errno::kNOBUFS);
    } else {
        RefPtr<NetlinkDatagram> fresh = made.release_value();
        fresh->bytes = bytes.release_value();
        charged_ += fresh->bytes.size() + kOverhead;
        queue_.push_back(*fresh.leak());
    }
    came_.wake_one();
    changed_.wake_all(vfs::kPollIn | vfs::kPollRdNorm);
}

Result<RefPtr<NetlinkDatagram>> NetlinkSocket::next(uint32_t flags) {
    const sched::Nanoseconds deadline = receive_deadline();
    for (;;) {
        if (error_) return static_cast<Errno>(take_error());
        if (!queue_.empty()) {
            if (flags & kMsgPeek) return RefPtr<NetlinkDatagram>(queue_.front());
            auto first = RefPtr<NetlinkDatagram>::adopt(&queue_.front());
            first->hook.unlink();
            charged_ -= first->bytes.size() + kOverhead;
            return first;
        }
        if (flags & kMsgDontwait) return Errno::kAGAIN;
        TRY(wait_until(
            came_, [this] { return !queue_.empty() || error_; }, deadline));
    }
}

Result<size_t> NetlinkSocket::receive(task::Task&, ReceiveRequest& request) {
    if (request.flags & kMsgOob) return Errno::kOPNOTSUPP;
    const RefPtr<NetlinkDatagram> datagram = TRY(next(request.flags));
    const size_t size = datagram->bytes.size(), wanted = std::min(size, request.data.remaining());
    for (size_t done = 0; done < wanted;) {
        const size_t count = TRY(request.data.put(datagram->bytes.data() + done, wanted - done));
        if (count == 0) return Errno::kFAULT;
        done += count;
    }
    if (wanted < size) request.out_flags |= kMsgTrunc;
    if (request.from) *request.from = format(0, 0);
    if (request.ancillary && pass_credentials_) {
        request.ancillary->has_credentials = true;
        request.ancillary->credentials = {};
    }
    return request.flags & kMsgTrunc ? size : wanted;
}

vfs::PollState NetlinkSocket::poll() {
    using namespace vfs;
    uint32_t events = kPollOut | kPollWrNorm | kPollWrBand;
    if (error_) events |= kPollErr;
    if (!queue_.empty()) events |= kPollIn | kPollRdNorm;
    return {events, &changed_};
}

// --- options

Result<> NetlinkSocket::change_group(int32_t group, bool on) {
    if (group < 1 || group > kGroupCount) return Errno::kINVAL;
    const uint64_t bit = 1ULL << (group - 1);
    groups_ = on ? groups_ | bit : groups_ & ~bit;
    return {};
}

Result<> NetlinkSocket::set_option(task::Task& task, int level, int name, std::span<const std::byte> value) {
    if (level != kSolNetlink) return Socket::set_option(task, level, name, value);
    int32_t number = 0;
    if (value.size() >= sizeof number) __builtin_memcpy(&number, value.data(), sizeof number);
    if (name == kAddMembership || name == kDropMembership) return change_group(number, name == kAddMembership);
    if (!is_switch(name)) return Errno::kNOPROTOOPT;
    switches_[name] = number != 0;
    return {};
}

Result<size_t> NetlinkSocket::get_option(task::Task& task, int level, int name, std::span<std::byte> out) {
    if (level != kSolNetlink) return Socket::get_option(task, level, name, out);
    if (name == kListMemberships) {
        const size_t size = std::min(out.size(), sizeof groups_);
        __builtin_memcpy(out.data(), &groups_, size);
        return size;
    }
    if (!is_switch(name)) return Errno::kNOPROTOOPT;
    const int32_t shown = switches_[name];
    if (out.size() < sizeof shown) return Errno::kINVAL;
    __builtin_memcpy(out.data(), &shown, sizeof shown);
    return sizeof shown;
}

}  // namespace

Result<RefPtr<Socket>> create_netlink(task::Task&, int type, int protocol, uint32_t file_flags) {
    if (type != kSockRaw && type != kSockDgram) return Errno::kSOCKTNOSUPPORT;
    if (protocol < 0 || protocol >= kMaxProtocol) return Errno::kPROTONOSUPPORT;
    if (protocol != kNetlinkRoute && protocol != kNetlinkKobjectUevent && protocol != kNetlinkGeneric)
        return Errno::kPROTONOSUPPORT;
    return RefPtr<Socket>(TRY(make_ref<NetlinkSocket>(type, protocol, file_flags)));
}

void send_to_netlink(Socket& socket, std::span<const std::byte> bytes) {
    VERIFY(socket.domain == kAfNetlink);
    Vector<std::byte> copy;
    const Result<> copied = copy.resize(bytes.size());
    if (copied.is_ok()) __builtin_memcpy(copy.data(), bytes.data(), bytes.size());
    auto& to = static_cast<NetlinkSocket&>(socket);
    to.datagram(copied.is_error() ? Result<Vector<std::byte>>(copied.error()) : std::move(copy));
}

}  // namespace kvmsbx::net
