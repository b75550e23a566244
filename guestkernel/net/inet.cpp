#include "guestkernel/net/inet.hpp"

#include "guestkernel/net/tcp.hpp"
#include "guestkernel/net/udp.hpp"

namespace kvmsbx::net {
namespace {

constexpr int kTypeCount = 7, kProtocolCount = 263;  // SOCK_DCCP + 1, IPPROTO_MAX + 1
constexpr int kIpprotoIp = 0;

}  // namespace

Result<RefPtr<Socket>> create_inet(task::Task& task, int domain, int type, int protocol, uint32_t file_flags) {
    if (protocol < 0 || protocol >= kProtocolCount) return Errno::kINVAL;
    switch (type) {
        case kSockStream:
            if (protocol != kIpprotoIp && protocol != kSolTcp) return Errno::kPROTONOSUPPORT;
            return RefPtr<Socket>(TRY(make_ref<TcpSocket>(domain, file_flags)));
        case kSockDgram:
            // ping(8)'s kind is for groups of net.ipv4.ping_group_range: nobody, at first.
            if (protocol == (domain == kAfInet ? 1 : 58)) return Errno::kACCES;
            if (protocol != kIpprotoIp && protocol != kSolUdp) return Errno::kPROTONOSUPPORT;
            return RefPtr<Socket>(TRY(make_ref<UdpSocket>(domain, file_flags)));
        case kSockRaw:
            if (protocol == kIpprotoIp) return Errno::kPROTONOSUPPORT;
            if (!task.credentials().has(auth::Capability::kNetRaw)) return Errno::kPERM;
            return Errno::kPROTONOSUPPORT;  // packets are not there
        default: return type < kTypeCount ? Errno::kSOCKTNOSUPPORT : Errno::kINVAL;
    }
}

}  // namespace kvmsbx::net
