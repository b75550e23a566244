#pragma once
// Integer options of IPPROTO_IP, IPPROTO_IPV6, IPPROTO_TCP and IPPROTO_UDP: one table of names, ranges and defaults.
// A socket keeps a value for each; those that loopback cannot show (a congestion window, keep-alive probes of a peer
// that cannot vanish) are kept and given back, as Linux does.
#include <cstddef>
#include <cstdint>

namespace kvmsbx::net {

inline constexpr int kSolIp = 0, kSolTcp = 6, kSolUdp = 17, kSolIpv6 = 41;

inline constexpr int kIpTos = 1, kIpTtl = 2, kIpPktinfo = 8, kIpMtuDiscover = 10, kIpRecverr = 11, kIpRecvttl = 12,
                     kIpRecvtos = 13, kIpMtu = 14, kIpFreebind = 15, kIpBindAddressNoPort = 24, kIpMulticastIf = 32,
                     kIpMulticastTtl = 33, kIpMulticastLoop = 34, kIpAddMembership = 35, kIpDropMembership = 36,
                     kIpMulticastAll = 49;
inline constexpr int kIpv6UnicastHops = 16, kIpv6MulticastIf = 17, kIpv6MulticastHops = 18, kIpv6MulticastLoop = 19,
                     kIpv6AddMembership = 20, kIpv6DropMembership = 21, kIpv6MtuDiscover = 23, kIpv6Mtu = 24,
                     kIpv6Recverr = 25, kIpv6V6only = 26, kIpv6Recvpktinfo = 49, kIpv6Pktinfo = 50,
                     kIpv6Recvhoplimit = 51, kIpv6Hoplimit = 52, kIpv6Recvtclass = 66, kIpv6Tclass = 67;
inline constexpr int kTcpNodelay = 1, kTcpMaxseg = 2, kTcpCork = 3, kTcpKeepidle = 4, kTcpKeepintvl = 5,
                     kTcpKeepcnt = 6, kTcpSyncnt = 7, kTcpLinger2 = 8, kTcpDeferAccept = 9, kTcpWindowClamp = 10,
                     kTcpInfo = 11, kTcpQuickack = 12, kTcpCongestion = 13, kTcpUserTimeout = 18, kTcpFastopen = 23,
                     kTcpNotsentLowat = 25;

struct InetOption {
    int level, name;
    int32_t initial, minimum, maximum;
    enum class Kind : uint8_t { kNumber, kSwitch } kind;  // kSwitch: any value but 0 counts as 1
    enum class For : uint8_t { kAll, kTcp, kDatagram } used_by;
    int32_t meaning_of_minus_one = -1;  // what -1 stands for ("the default"), where it is allowed
};

inline constexpr int32_t kAnyInt = 0x7fffffff, kDefaultTtl = 64;
using enum InetOption::Kind;
inline constexpr auto kForAll = InetOption::For::kAll, kForTcp = InetOption::For::kTcp,
                      kForDatagram = InetOption::For::kDatagram;

inline constexpr InetOption kInetOptions[] = {
    {kSolIp, kIpTos, 0, -kAnyInt, kAnyInt, kNumber, kForAll},
    {kSolIp, kIpTtl, kDefaultTtl, 1, 255, kNumber, kForAll, kDefaultTtl},
    {kSolIp, kIpPktinfo, 0, 0, 1, kSwitch, kForAll},
    {kSolIp, kIpMtuDiscover, 1, 0, 5, kNumber, kForAll},
    {kSolIp, kIpRecverr, 0, 0, 1, kSwitch, kForAll},
    {kSolIp, kIpRecvttl, 0, 0, 1, kSwitch, kForAll},
    {kSolIp, kIpRecvtos, 0, 0, 1, kSwitch, kForAll},
    {kSolIp, kIpFreebind, 0, 0, 1, kSwitch, kForAll},
    {kSolIp, kIpBindAddressNoPort, 0, 0, 1, kSwitch, kForAll},
    {kSolIp, kIpMulticastTtl, 1, 0, 255, kNumber, kForDatagram, 1},
    {kSolIp, kIpMulticastLoop, 1, 0, 1, kSwitch, kForAll},
    {kSolIp, kIpMulticastAll, 1, 0, 1, kNumber, kForAll},
    {kSolIpv6, kIpv6UnicastHops, kDefaultTtl, 0, 255, kNumber, kForAll, kDefaultTtl},
    {kSolIpv6, kIpv6MulticastHops, 1, 0, 255, kNumber, kForDatagram, 1},
    {kSolIpv6, kIpv6MulticastLoop, 1, 0, 1, kNumber, kForAll},
    {kSolIpv6, kIpv6MtuDiscover, 1, 0, 5, kNumber, kForAll},
    {kSolIpv6, kIpv6Recverr, 0, 0, 1, kSwitch, kForAll},
    {kSolIpv6, kIpv6V6only, 0, 0, 1, kSwitch, kForAll},
    {kSolIpv6, kIpv6Recvpktinfo, 0, 0, 1, kSwitch, kForAll},
    {kSolIpv6, kIpv6Recvhoplimit, 0, 0, 1, kSwitch, kForAll},
    {kSolIpv6, kIpv6Recvtclass, 0, 0, 1, kSwitch, kForAll},
    {kSolIpv6, kIpv6Tclass, 0, 0, 255, kNumber, kForAll, 0},
    {kSolTcp, kTcpNodelay, 0, 0, 1, kSwitch, kForTcp},
    {kSolTcp, kTcpCork, 0, 0, 1, kSwitch, kForTcp},
    {kSolTcp, kTcpKeepidle, 0, 1, 32767, kNumber, kForTcp},  // 0 in these three: as Settings has it
    {kSolTcp, kTcpKeepintvl, 0, 1, 32767, kNumber, kForTcp},
    {kSolTcp, kTcpKeepcnt, 0, 1, 127, kNumber, kForTcp},
    {kSolTcp, kTcpSyncnt, 6, 1, 127, kNumber, kForTcp},
    {kSolTcp, kTcpQuickack, 1, 0, 1, kSwitch, kForTcp},
    {kSolTcp, kTcpUserTimeout, 0, 0, kAnyInt, kNumber, kForTcp},
    {kSolTcp, kTcpNotsentLowat, 0, -kAnyInt, kAnyInt, kNumber, kForTcp},
};
inline constexpr size_t kInetOptionCount = sizeof kInetOptions / sizeof kInetOptions[0];

constexpr size_t find_inet_option(int level, int name) {
    size_t index = 0;
    while (index < kInetOptionCount && (kInetOptions[index].level != level || kInetOptions[index].name != name))
        ++index;
    return index;
}
// The index of an option that is in the table.
consteval size_t inet_option(int level, int name) {
    const size_t index = find_inet_option(level, name);
    if (index == kInetOptionCount) __builtin_abort();
    return index;
}

}  // namespace kvmsbx::net
