#include "guestkernel/net/netlink_route.hpp"

#include "guestkernel/net/inet_address.hpp"
#include "guestkernel/net/interface.hpp"

namespace kvmsbx::net {
namespace {

constexpr uint16_t kNewLink = 16, kGetLink = 18, kNewAddr = 20, kGetAddr = 22, kNewRoute = 24, kGetRoute = 26,
                   kGetNeigh = 30, kNewRule = 32, kGetRule = 34, kLastType = 123;
constexpr uint8_t kUnspec = 0, kPacket = 17, kTableLocal = 255, kTableMain = 254, kTableDefault = 253;
constexpr uint8_t kScopeHost = 254, kScopeLink = 253, kTypeLocal = 2, kTypeBroadcast = 3, kProtocolKernel = 2;
constexpr uint32_t kForever = ~0U;

struct LinkInfo {  // struct ifinfomsg
    uint8_t family, pad;
    uint16_t type;
    int32_t index;
    uint32_t flags, change;
};
struct AddressInfo {  // struct ifaddrmsg
    uint8_t family, prefix, flags, scope;
    uint32_t index;
};
struct RouteInfo {  // struct rtmsg
    uint8_t family, destination_bits, source_bits, tos, table, protocol, scope, type;
    uint32_t flags;
};
struct RuleInfo {  // struct fib_rule_hdr
    uint8_t family, destination_bits, source_bits, tos, table, reserved1, reserved2, action;
    uint32_t flags;
};

// Attributes of each kind of message.
enum Ifla : uint16_t {
    kIflaAddress = 1,
    kIflaBroadcast = 2,
    kIflaName = 3,
    kIflaMtu = 4,
    kIflaQdisc = 6,
    kIflaStats = 7,
    kIflaQueueLength = 13,
    kIflaMap = 14,
    kIflaState = 16,
    kIflaMode = 17,
    kIflaStats64 = 23,
    kIflaGroup = 27,
    kIflaPromiscuity = 30,
    kIflaSendQueues = 31,
    kIflaReceiveQueues = 32,
    kIflaCarrier = 33,
    kIflaCarrierChanges = 35,
    kIflaMinMtu = 50,
    kIflaMaxMtu = 51
};
enum Ifa : uint16_t { kIfaAddress = 1, kIfaLocal = 2, kIfaLabel = 3, kIfaCacheInfo = 6, kIfaFlags = 8 };
enum Rta : uint16_t {
    kRtaDestination = 1,
    kRtaOut = 4,
    kRtaPriority = 6,
    kRtaSource = 7,
    kRtaCacheInfo = 12,
    kRtaTable = 15,
    kRtaPreference = 20
};
enum Fra : uint16_t { kFraPriority = 6, kFraSuppressPrefix = 14, kFraTable = 15, kFraProtocol = 21 };

uint32_t wire(uint32_t address) { return swap_bytes(address); }

class RouteAnswer final : public NetlinkAnswer {
  public:
    using NetlinkAnswer::NetlinkAnswer;

  private:
    Result<> serve() override;
    Result<> dump();
    Result<> get_one();
    Result<> get_link();
    Result<> get_route();
    void put_link();
    void put_addresses(uint8_t family);
    void put_routes(uint8_t family);
    void put_route_v4(uint8_t bits, uint32_t destination, uint8_t scope, uint8_t type);
    void put_rules(uint8_t family);
};

Result<> RouteAnswer::serve() {
    const NetlinkHeader& header = request_.header;
    if (header.type > kLastType) return Errno::kOPNOTSUPP;
    if (request_.body.empty()) return {};
    const bool get = (header.type & 3) == 2;
    if (!get) return asker_.privileged ? Errno::kOPNOTSUPP : Errno::kPERM;
    return (header.flags & kNlmDump) ? dump() : get_one();
}

Result<> RouteAnswer::dump() {
    const auto family = std::to_integer<uint8_t>(request_.body[0]);
    const uint16_t type = request_.header.type;
    AddressInfo address;
    RouteInfo route;
    if (type == kGetAddr && asker_.strict && request_.load(address) && address.index > kLoopbackIndex)
        return Errno::kNODEV;
    if (type != kGetLink && type != kGetAddr && type != kGetRoute && type != kGetNeigh && type != kGetRule)
        return Errno::kOPNOTSUPP;
    begin_dump();
    if (type == kGetLink && (family == kUnspec || family == kPacket || family == kAfInet6)) put_link();
    if (type == kGetAddr) put_addresses(family);
    if (type == kGetRule) put_rules(family);
    const bool other_table = asker_.strict && request_.load(route) && route.table != 0 && route.table != kTableLocal;
    if (type == kGetRoute && !other_table) put_routes(family);
    end_dump();
    return {};
}

Result<> RouteAnswer::get_one() {
    switch (request_.header.type) {
        case kGetLink: return get_link();
        case kGetRoute: return get_route();
        case kGetNeigh: return Errno::kINVAL;
        default: return Errno::kOPNOTSUPP;
    }
}

Result<> RouteAnswer::get_link() {
    LinkInfo wanted;
    if (!request_.load(wanted)) return Errno::kINVAL;
    const auto name = request_.attribute(sizeof wanted, kIflaName);
    if (wanted.index <= 0 && name.empty()) return Errno::kINVAL;
    const bool loopback_name = name.size() >= 2 && name[0] == std::byte{'l'} && name[1] == std::byte{'o'} &&
                               (name.size() == 2 || name[2] == std::byte{0});
    if (wanted.index > 0 ? wanted.index != kLoopbackIndex : !loopback_name) return Errno::kNODEV;
    put_link();
    send();
    return {};
}

void RouteAnswer::put_link() {
    constexpr uint16_t kLoopbackType = 772;
    constexpr size_t kStats64Size = 200, kStatsSize = 96, kMapSize = 32, kAddressSize = 6;
    begin(kNewLink);
    writer_.put(
        LinkInfo{kUnspec, 0, kLoopbackType, kLoopbackIndex, kIffUp | kIffLoopback | kIffRunning | kIffLowerUp, 0});
    writer_.text_attribute(kIflaName, "lo");
    writer_.attribute(kIflaQueueLength, uint32_t{1000});
    writer_.attribute(kIflaState, uint8_t{0});
    writer_.attribute(kIflaMode, uint8_t{0});
    writer_.attribute(kIflaMtu, kLoopbackMtu);
    writer_.attribute(kIflaMinMtu, uint32_t{0});
    writer_.attribute(kIflaMaxMtu, uint32_t{0});
    writer_.attribute(kIflaGroup, uint32_t{0});
    writer_.attribute(kIflaPromiscuity, uint32_t{0});
    writer_.attribute(kIflaSendQueues, uint32_t{1});
    writer_.attribute(kIflaReceiveQueues, uint32_t{1});
    writer_.attribute(kIflaCarrier, uint8_t{1});
    writer_.attribute(kIflaCarrierChanges, uint32_t{0});
    writer_.zeroes_attribute(kIflaAddress, kAddressSize);
    writer_.zeroes_attribute(kIflaBroadcast, kAddressSize);
    writer_.zeroes_attribute(kIflaStats64, kStats64Size);
    writer_.zeroes_attribute(kIflaStats, kStatsSize);
    writer_.text_attribute(kIflaQdisc, "noqueue");
    writer_.zeroes_attribute(kIflaMap, kMapSize);
}

void RouteAnswer::put_addresses(uint8_t family) {
    constexpr uint8_t kPermanent = 0x80;
    constexpr uint32_t kCacheInfo[4] = {kForever, kForever, 0, 0};
    if (family == kUnspec || family == kAfInet) {
        begin(kNewAddr);
        writer_.put(AddressInfo{kAfInet, 8, kPermanent, kScopeHost, kLoopbackIndex});
        writer_.attribute(kIfaAddress, wire(kLoopbackV4));
        writer_.attribute(kIfaLocal, wire(kLoopbackV4));
        writer_.text_attribute(kIfaLabel, "lo");
        writer_.attribute(kIfaFlags, uint32_t{kPermanent});
        writer_.attribute(kIfaCacheInfo, kCacheInfo);
    }
    if (family == kUnspec || family == kAfInet6) {
        begin(kNewAddr);
        writer_.put(AddressInfo{kAfInet6, 128, kPermanent, kScopeHost, kLoopbackIndex});
        writer_.attribute(kIfaAddress, InetAddress::loopback_v6().bytes);
        writer_.attribute(kIfaCacheInfo, kCacheInfo);
        writer_.attribute(kIfaFlags, uint32_t{kPermanent});
    }
}

void RouteAnswer::put_route_v4(uint8_t bits, uint32_t destination, uint8_t scope, uint8_t type) {
    begin(kNewRoute);
    writer_.put(RouteInfo{kAfInet, bits, 0, 0, kTableLocal, kProtocolKernel, scope, type, 0});
    writer_.attribute(kRtaTable, uint32_t{kTableLocal});
    writer_.attribute(kRtaDestination, wire(destination));
    writer_.attribute(kRtaSource, wire(kLoopbackV4));
    writer_.attribute(kRtaOut, kLoopbackIndex);
}

void RouteAnswer::put_routes(uint8_t family) {
    constexpr size_t kCacheInfoSize = 32;
    if (family == kUnspec || family == kAfInet) {
        put_route_v4(8, kLoopbackV4 & 0xff000000, kScopeHost, kTypeLocal);
        put_route_v4(32, kLoopbackV4, kScopeHost, kTypeLocal);
        put_route_v4(32, kLoopbackBroadcastV4, kScopeLink, kTypeBroadcast);
    }
    if (family == kUnspec || family == kAfInet6) {
        begin(kNewRoute);
        writer_.put(RouteInfo{kAfInet6, 128, 0, 0, kTableLocal, kProtocolKernel, 0, kTypeLocal, 0});
        writer_.attribute(kRtaTable, uint32_t{kTableLocal});
        writer_.attribute(kRtaDestination, InetAddress::loopback_v6().bytes);
        writer_.attribute(kRtaPriority, uint32_t{0});
        writer_.attribute(kRtaOut, kLoopbackIndex);
        writer_.zeroes_attribute(kRtaCacheInfo, kCacheInfoSize);
        writer_.attribute(kRtaPreference, uint8_t{0});
    }
}

// The route to one destination.
Result<> RouteAnswer::get_route() {
    constexpr uint32_t kCloned = 0x200, kLocal = 0x80000000;
    RouteInfo wanted;
    if (!request_.load(wanted)) return Errno::kINVAL;
    if (wanted.family != kAfInet && wanted.family != kAfInet6) return Errno::kOPNOTSUPP;
    const bool v4 = wanted.family == kAfInet;
    const auto given = request_.attribute(sizeof wanted, kRtaDestination);
    InetAddress destination = InetAddress::any(wanted.family);
    if (v4 && given.size() >= 4)
        __builtin_memcpy(destination.bytes + 12, given.data(), 4);
    else if (!v4 && given.size() >= 16)
        __builtin_memcpy(destination.bytes, given.data(), 16);
    destination = TRY(route(destination));
    begin(kNewRoute);
    if (v4) {
        writer_.put(RouteInfo{kAfInet, 32, 0, 0, kTableMain, 0, 0, kTypeLocal, kCloned | kLocal});
        writer_.attribute(kRtaTable, uint32_t{kTableMain});
        writer_.attribute(kRtaDestination, wire(destination.as_v4()));
        writer_.attribute(kRtaOut, kLoopbackIndex);
        writer_.attribute(kRtaSource, wire(kLoopbackV4));
    } else {
        writer_.put(RouteInfo{kAfInet6, 128, 0, 0, kTableLocal, kProtocolKernel, 0, kTypeLocal, 0});
        writer_.attribute(kRtaTable, uint32_t{kTableLocal});
        writer_.attribute(kRtaDestination, destination.bytes);
        writer_.attribute(kRtaOut, kLoopbackIndex);
        writer_.attribute(kRtaSource, destination.bytes);
    }
    send();
    return {};
}

void RouteAnswer::put_rules(uint8_t family) {
    constexpr uint8_t kToTable = 1;  // FR_ACT_TO_TBL
    struct Rule {
        uint8_t family, table;
        uint32_t priority;
    };
    static constexpr Rule kRules[] = {{kAfInet, kTableLocal, 0},
                                      {kAfInet, kTableMain, 32766},
                                      {kAfInet, kTableDefault, 32767},
                                      {kAfInet6, kTableLocal, 0},
                                      {kAfInet6, kTableMain, 32766}};
    for (const Rule& rule : kRules) {
        if (family != kUnspec && family != rule.family) continue;
        begin(kNewRule);
        writer_.put(RuleInfo{rule.family, 0, 0, 0, rule.table, 0, 0, kToTable, 0});
        writer_.attribute(kFraTable, uint32_t{rule.table});
        writer_.attribute(kFraSuppressPrefix, kForever);
        writer_.attribute(kFraProtocol, kProtocolKernel);
        if (rule.priority) writer_.attribute(kFraPriority, rule.priority);
    }
}

}  // namespace

void answer_route_requests(std::span<const std::byte> bytes, const NetlinkAsker& asker, NetlinkSink& sink) {
    answer_requests<RouteAnswer>(bytes, asker, sink);
}

}  // namespace kvmsbx::net
