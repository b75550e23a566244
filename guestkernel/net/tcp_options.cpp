// Options of TCP sockets that are more than a number in the table (inet_options.hpp).
#include <algorithm>
#include <iterator>

#include "guestkernel/net/control_message.hpp"
#include "guestkernel/net/settings.hpp"
#include "guestkernel/net/tcp.hpp"
#include "guestkernel/platform/cpu.hpp"

namespace kvmsbx::net {
namespace {

constexpr int kSoSndbuf = 7, kSoSndbufforce = 32, kSoIncomingCpu = 49;
constexpr int32_t kMinSegment = 88, kMaxSegment = 32767, kDefaultSegment = 536;
constexpr int32_t kMaxLinger2 = 120, kMinClamp = 1152, kMaxRetransmissions = 255;
constexpr std::string_view kCongestionNames[] = {"cubic", "reno"};
constexpr size_t kCongestionNameSize = 16;  // TCP_CA_NAME_MAX

// struct tcp_info up to tcpi_total_retrans; what loopback has no notion of is 0.
struct TcpInfo {
    uint8_t state = 0, congestion_state = 0, retransmits = 0, probes = 0, backoff = 0, options = 0, scale = 0,
            limited = 0;
    uint32_t rto = 0, ato = 0, send_segment = 0, receive_segment = 0;
    uint32_t unacked = 0, sacked = 0, lost = 0, retransmitted = 0, forward_acks = 0;
    uint32_t last_sent = 0, last_ack_sent = 0, last_received = 0, last_ack_received = 0;
    uint32_t path_mtu = 0, receive_threshold = 0, rtt = 0, rtt_variance = 0, send_threshold = 0, window = 0,
             advertised_segment = 0, reordering = 0;
    uint32_t receive_rtt = 0, receive_space = 0, total_retransmitted = 0;
};
static_assert(sizeof(TcpInfo) == 104);

// TCP_DEFER_ACCEPT takes seconds and keeps how many retransmissions fit: 1 s, then each twice as long, 120 s at most.
struct Retransmissions {
    int32_t count = 0, seconds = 0, timeout = 1;
    void step() {
        seconds += timeout, ++count;
        timeout = std::min(timeout * 2, int32_t{120});
    }
};

uint8_t retransmissions_in(int32_t seconds) {
    Retransmissions sent;
    while (seconds > 0 && sent.seconds < seconds && sent.count < kMaxRetransmissions) sent.step();
    return static_cast<uint8_t>(sent.count);
}

int32_t seconds_of(uint8_t retransmissions) {
    Retransmissions sent;
    while (sent.count < retransmissions) sent.step();
    return sent.seconds;
}

template <typename T>
size_t put_bytes(std::span<std::byte> out, const T& value) {
    const size_t size = std::min(out.size(), sizeof value);
    __builtin_memcpy(out.data(), &value, size);
    return size;
}

Result<uint8_t> find_congestion(std::span<const std::byte> value) {
    if (value.empty()) return Errno::kINVAL;
    char name[kCongestionNameSize] = {};
    for (size_t i = 0; i < value.size() && i + 1 < sizeof name; ++i) name[i] = std::to_integer<char>(value[i]);
    for (uint8_t i = 0; i < std::size(kCongestionNames); ++i)
        if (kCongestionNames[i] == std::string_view(name)) return i;
    return Errno::kNOENT;
}

}  // namespace

Result<> TcpSocket::set_option(task::Task& task, int level, int name, std::span<const std::byte> value) {
    if (level == kSolTcp) return set_tcp_option(name, value);
    TRY(InetSocket::set_option(task, level, name, value));
    if (level == kSolSocket && (name == kSoSndbuf || name == kSoSndbufforce)) {
        send_buffer_set_ = true;
        if (out_) out_->room_came.wake_all();
        changed_.wake_all(vfs::kPollOut | vfs::kPollWrNorm);
    }
    return {};
}

Result<> TcpSocket::set_tcp_option(int name, std::span<const std::byte> value) {
    if (name == kTcpCongestion) {
        congestion_ = TRY(find_congestion(value));
        return {};
    }
    const int32_t number = TRY(integer(value));
    const bool unconnected = state_ == TcpState::kClose || state_ == TcpState::kListen;
    switch (name) {
        case kTcpMaxseg:
            if (number != 0 && (number < kMinSegment || number > kMaxSegment)) return Errno::kINVAL;
            maximum_segment_ = number;
            return {};
        case kTcpLinger2: linger2_ = number < 0 ? -1 : std::min(number, kMaxLinger2); return {};
        case kTcpDeferAccept: defer_accept_ = retransmissions_in(number); return {};
        case kTcpWindowClamp:
            if (number == 0 && state_ != TcpState::kClose) return Errno::kINVAL;
            window_clamp_ = number == 0 ? 0 : std::max(number, kMinClamp);
            return {};
        case kTcpFastopen:
            if (number < 0 || !unconnected) return Errno::kINVAL;
            fastopen_ = number;
            return {};
        default: {
            const size_t index = find_inet_option(kSolTcp, name);
            if (index == kInetOptionCount) return Errno::kNOPROTOOPT;
            return set_table_option(index, value);
        }
    }
}

Result<size_t> TcpSocket::get_option(task::Task& task, int level, int name, std::span<std::byte> out) {
    if (level == kSolTcp) return get_tcp_option(name, out);
    if (level == kSolSocket && name == kSoIncomingCpu)
        return put_integer(out, static_cast<int32_t>(platform::cpu().cpu_id));
    return InetSocket::get_option(task, level, name, out);
}

Result<size_t> TcpSocket::get_tcp_option(int name, std::span<std::byte> out) {
    switch (name) {
        case kTcpMaxseg: return put_integer(out, shown_segment());
        case kTcpLinger2: return put_integer(out, linger2_ ? linger2_ : settings.fin_timeout);
        case kTcpKeepidle: return put_integer(out, own_or(inet_option(kSolTcp, kTcpKeepidle), settings.keepalive_time));
        case kTcpKeepintvl:
            return put_integer(out, own_or(inet_option(kSolTcp, kTcpKeepintvl), settings.keepalive_interval));
        case kTcpKeepcnt: return put_integer(out, own_or(inet_option(kSolTcp, kTcpKeepcnt), settings.keepalive_probes));
        case kTcpDeferAccept: return put_integer(out, seconds_of(defer_accept_));
        case kTcpWindowClamp: return put_integer(out, window_clamp_);
        case kTcpFastopen: return put_integer(out, fastopen_);
        case kTcpInfo: return put_info(out);
        case kTcpCongestion: {
            char shown[kCongestionNameSize] = {};
            kCongestionNames[congestion_].copy(shown, sizeof shown - 1);
            return put_bytes(out, shown);
        }
        default: {
            const size_t index = find_inet_option(kSolTcp, name);
            return index == kInetOptionCount ? Result<size_t>(Errno::kNOPROTOOPT) : put_integer(out, value(index));
        }
    }
}

// The largest segment of a connection over lo: what the MTU leaves, without the timestamp option.
int32_t TcpSocket::shown_segment() const {
    constexpr int32_t kTimestamps = 12, kHeaders4 = 40, kHeaders6 = 60;
    if (state_ == TcpState::kClose || state_ == TcpState::kListen || state_ == TcpState::kSynSent)
        return maximum_segment_ ? maximum_segment_ : kDefaultSegment;
    const bool v4 = remote_.address.is_v4();
    const int32_t most = static_cast<int32_t>(kLoopbackMtu) - 1 - (v4 ? kHeaders4 : kHeaders6);
    return (maximum_segment_ ? std::min(maximum_segment_, most) : most) - kTimestamps;
}

size_t TcpSocket::put_info(std::span<std::byte> out) const {
    constexpr uint32_t kRto = 201000, kAto = 40000;  // microseconds
    TcpInfo info;
    info.state = static_cast<uint8_t>(state_);
    if (state_ == TcpState::kListen) {
        info.unacked = queued_;
        info.sacked = backlog_;
    } else if (can_send() || state_ == TcpState::kFinWait2) {
        info.options = 1 | 2 | 4;  // timestamps, selective acknowledgements, window scaling
        info.scale = 0x77;
        info.rto = kRto, info.ato = kAto;
        info.send_segment = info.receive_segment = info.advertised_segment = static_cast<uint32_t>(shown_segment());
        info.path_mtu = kLoopbackMtu - 1;
        info.window = 10, info.reordering = 3;
        info.receive_threshold = info.receive_space = receive_buffer_ / 2;
        info.send_threshold = 0x7fffffff;
        info.rtt = 20, info.rtt_variance = 10;
    }
    return put_bytes(out, info);
}

}  // namespace kvmsbx::net
