// The options of SOL_SOCKET that every family has (socket(7), net/core/sock.c).
#include <cstring>

#include "guestkernel/net/control_message.hpp"
#include "guestkernel/net/socket.hpp"

namespace kvmsbx::net {

namespace {

enum Option : int {
    kDebug = 1,
    kReuseAddress = 2,
    kType = 3,
    kError = 4,
    kDontRoute = 5,
    kBroadcast = 6,
    kSendBuffer = 7,
    kReceiveBuffer = 8,
    kKeepAlive = 9,
    kOobInline = 10,
    kPriority = 12,
    kLinger = 13,
    kBsdCompatible = 14,
    kReusePort = 15,
    kPassCredentials = 16,
    kPeerCredentials = 17,
    kReceiveLowWater = 18,
    kSendLowWater = 19,
    kReceiveTimeoutOld = 20,
    kSendTimeoutOld = 21,
    kBindToDevice = 25,
    kTimestamp = 29,
    kAcceptsConnections = 30,
    kSendBufferForce = 32,
    kReceiveBufferForce = 33,
    kTimestampNs = 35,
    kMark = 36,
    kProtocol = 38,
    kDomain = 39,
    kCookie = 57,
    kReceiveTimeoutNew = 66,
    kSendTimeoutNew = 67,
    kPassPidfd = 76,
};

constexpr uint32_t kMaxBuffer = 4U << 20, kMinSendBuffer = 4608, kMinReceiveBuffer = 2304;  // net.core.[rw]mem_max
constexpr int64_t kNanosecondsPerSecond = 1'000'000'000, kNanosecondsPerMicrosecond = 1000;

constexpr size_t kInterfaceNameSize = 16;  // IFNAMSIZ
constexpr char kLoopback[] = "lo";

struct Linger {  // struct linger
    int32_t on, seconds;
};
struct Timeval {
    int64_t seconds, microseconds;
};

template <typename T>
Result<T> load(std::span<const std::byte> value) {
    T loaded;
    if (value.size() < sizeof loaded) return Errno::kINVAL;
    memcpy(&loaded, value.data(), sizeof loaded);
    return loaded;
}

template <typename T>
Result<size_t> store(std::span<std::byte> out, const T& value) {
    const size_t size = sizeof value < out.size() ? sizeof value : out.size();
    memcpy(out.data(), &value, size);
    return size;
}

// 0 seconds and microseconds: none. Negative seconds: calls do not wait at all.
Result<sched::Nanoseconds> to_timeout(const Timeval& time) {
    constexpr int64_t kMicrosecondsPerSecond = 1'000'000, kForEver = 1LL << 33;
    if (time.microseconds < 0 || time.microseconds >= kMicrosecondsPerSecond) return Errno::kDOM;
    if (time.seconds < 0) return sched::Nanoseconds{1};
    if (time.seconds >= kForEver) return sched::Nanoseconds{0};
    return static_cast<sched::Nanoseconds>(time.seconds * kNanosecondsPerSecond +
                                           time.microseconds * kNanosecondsPerMicrosecond);
}

Timeval to_timeval(sched::Nanoseconds timeout) {
    if (timeout == 1) return {0, 0};
    const auto time = static_cast<int64_t>(timeout);
    return {time / kNanosecondsPerSecond, time % kNanosecondsPerSecond / kNanosecondsPerMicrosecond};
}

// What a wanted size becomes: doubled for the kernel's own overhead, within limits.
uint32_t buffer_size(int32_t wanted, uint32_t minimum, uint32_t maximum) {
    const uint32_t asked = static_cast<uint32_t>(wanted) < maximum ? static_cast<uint32_t>(wanted) : maximum;
    return asked * 2 > minimum ? asked * 2 : minimum;
}

bool has_credentials_in_messages(int domain) { return domain == kAfUnix || domain == kAfNetlink; }

}  // namespace

Result<> Socket::set_flag(int name, bool on) {
    switch (name) {
        case kReuseAddress: reuse_address_ = on; return {};
        case kReusePort: reuse_port_ = on; return {};
        case kDontRoute: dont_route_ = on; return {};
        case kBroadcast: broadcast_ = on; return {};
        case kKeepAlive: keep_alive_ = on; return {};
        case kOobInline: oob_inline_ = on; return {};
        case kTimestamp:
        case kTimestampNs:
            timestamp_ = on;
            timestamp_in_nanoseconds_ = on && name == kTimestampNs;
            return {};
        case kBsdCompatible: return {};
        case kPassCredentials:
            if (!has_credentials_in_messages(domain)) return Errno::kOPNOTSUPP;
            pass_credentials_ = on;
            return {};
        case kPassPidfd:
            if (domain != kAfUnix) return Errno::kOPNOTSUPP;
            pass_process_ = on;
            return {};
        default: return Errno::kNOPROTOOPT;
    }
}

Result<> Socket::set_number(task::Task& task, int name, int32_t value) {
    using auth::Capability;
    const auth::Credentials& who = task.credentials();
    switch (name) {
        case kSendBuffer: send_buffer_ = buffer_size(value, kMinSendBuffer, kMaxBuffer); return {};
        case kReceiveBuffer: receive_buffer_ = buffer_size(value, kMinReceiveBuffer, kMaxBuffer); return {};
        case kSendBufferForce:
        case kReceiveBufferForce:
            if (!who.has(Capability::kNetAdmin)) return Errno::kPERM;
            // No privilege makes the Sentry hold more for one socket.
            return set_number(task, name == kSendBufferForce ? kSendBuffer : kReceiveBuffer, value < 0 ? 0 : value);
        case kPriority:
            if ((value < 0 || value > 6) && !who.has(Capability::kNetAdmin) && !who.has(Capability::kNetRaw))
                return Errno::kPERM;
            priority_ = static_cast<uint32_t>(value);
            return {};
        case kMark:
            if (!who.has(Capability::kNetAdmin) && !who.has(Capability::kNetRaw)) return Errno::kPERM;
            mark_ = static_cast<uint32_t>(value);
            return {};
        case kReceiveLowWater: {
            constexpr int32_t kMost = 0x7fffffff;
            if (value < 0) value = kMost;
            receive_low_water_ = value ? static_cast<uint32_t>(value) : 1;
            return {};
        }
        case kDebug:
            if (value && !who.has(Capability::kNetAdmin)) return Errno::kACCES;
            return value ? Result<>(Errno::kNOPROTOOPT) : Result<>();
        default: return set_flag(name, value != 0);
    }
}

// lo is the only interface, and what is bound to it works as before.
Result<> Socket::bind_to_device(task::Task& task, std::span<const std::byte> value) {
    char name[kInterfaceNameSize] = {};
    memcpy(name, value.data(), value.size() < sizeof name ? value.size() : sizeof name - 1);
    if (bound_to_device_ && !task.credentials().has(auth::Capability::kNetRaw)) return Errno::kPERM;
    if (name[0] && strcmp(name, kLoopback) != 0) return Errno::kNODEV;
    bound_to_device_ = name[0];
    return {};
}

Result<> Socket::put_timestamp(sched::Nanoseconds time, Ancillary& to) const {
    if (!timestamp_) return {};
    const bool fine = timestamp_in_nanoseconds_;
    const uint64_t rest = time % kNanosecondsPerSecond;
    const uint64_t parts[2] = {time / kNanosecondsPerSecond, fine ? rest : rest / kNanosecondsPerMicrosecond};
    Ancillary::Raw raw{kSolSocket, fine ? kScmTimestampNs : kScmTimestamp, sizeof parts, {}};
    memcpy(raw.data, parts, sizeof parts);
    return to.others.push_back(raw);
}

Result<> Socket::set_option(task::Task& task, int level, int name, std::span<const std::byte> value) {
    if (level != kSolSocket) return Errno::kNOPROTOOPT;
    if (name == kBindToDevice) return bind_to_device(task, value);
    const auto number = TRY(load<int32_t>(value));
    switch (name) {
        case kLinger: {
            const auto wanted = TRY(load<Linger>(value));
            linger_ = wanted.on != 0;
            if (linger_) linger_seconds_ = wanted.seconds;
            return {};
        }
        case kReceiveTimeoutOld:
        case kReceiveTimeoutNew: receive_timeout_ = TRY(to_timeout(TRY(load<Timeval>(value)))); return {};
        case kSendTimeoutOld:
        case kSendTimeoutNew: send_timeout_ = TRY(to_timeout(TRY(load<Timeval>(value)))); return {};
        case kType:
        case kProtocol:
        case kDomain:
        case kError: return Errno::kNOPROTOOPT;
        default: return set_number(task, name, number);
    }
}

Result<size_t> Socket::get_option(task::Task&, int level, int name, std::span<std::byte> out) {
    if (level != kSolSocket) return Errno::kNOPROTOOPT;
    switch (name) {
        case kDebug: return store(out, int32_t{0});
        case kReuseAddress: return store(out, int32_t{reuse_address_});
        case kReusePort: return store(out, int32_t{reuse_port_});
        case kType: return store(out, int32_t{type});
        case kError: return store(out, take_error());
        case kDontRoute: return store(out, int32_t{dont_route_});
        case kBroadcast: return store(out, int32_t{broadcast_});
        case kSendBuffer: return store(out, send_buffer_);
        case kReceiveBuffer: return store(out, receive_buffer_);
        case kKeepAlive: return store(out, int32_t{keep_alive_});
        case kOobInline: return store(out, int32_t{oob_inline_});
        case kPriority: return store(out, priority_);
        case kLinger: return store(out, Linger{linger_, linger_seconds_});
        case kBsdCompatible: return store(out, int32_t{0});
        case kPassCredentials:
            if (!has_credentials_in_messages(domain)) return Errno::kOPNOTSUPP;
            return store(out, int32_t{pass_credentials_});
        case kPassPidfd:
            if (domain != kAfUnix) return Errno::kOPNOTSUPP;
            return store(out, int32_t{pass_process_});
        case kPeerCredentials: return store(out, peer_credentials_);
        case kReceiveLowWater: return store(out, receive_low_water_);
        case kSendLowWater: return store(out, int32_t{1});
        case kReceiveTimeoutOld:
        case kReceiveTimeoutNew: return store(out, to_timeval(receive_timeout_));
        case kSendTimeoutOld:
        case kSendTimeoutNew: return store(out, to_timeval(send_timeout_));
        case kTimestamp: return store(out, int32_t{timestamp_ && !timestamp_in_nanoseconds_});
        case kTimestampNs: return store(out, int32_t{timestamp_in_nanoseconds_});
        case kCookie:
            if (out.size() < sizeof inode_number) return Errno::kINVAL;
            return store(out, inode_number);
        case kBindToDevice:
            if (!bound_to_device_) return size_t{0};
            if (out.size() < kInterfaceNameSize) return Errno::kINVAL;
            return store(out, kLoopback);
        case kAcceptsConnections: return store(out, int32_t{listening_});
        case kMark: return store(out, mark_);
        case kProtocol: return store(out, int32_t{protocol});
        case kDomain: return store(out, int32_t{domain});
        default: return Errno::kNOPROTOOPT;
    }
}

}  // namespace kvmsbx::net
