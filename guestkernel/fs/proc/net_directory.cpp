#include "guestkernel/fs/proc/net_directory.hpp"
#include "guestkernel/fs/proc/net.hpp"

#include "guestkernel/net/byte_queue.hpp"
#include "guestkernel/net/inet_socket.hpp"

namespace kvmsbx::fs {
namespace {

using net::InetSocket;

constexpr uint8_t kTcpClose = 7, kTcpEstablished = 1;

// At least `digits` capital hexadecimal digits.
void put_hex(TextSink& sink, uint64_t value, unsigned digits) {
    for (unsigned i = digits; i-- > 0;) sink.put(std::string_view("0123456789ABCDEF").substr(value >> (i * 4) & 15, 1));
}

// Linux prints each 32 bits of an address as they lie in memory, as one number.
void put_endpoint(TextSink& sink, const net::Endpoint& endpoint, int domain) {
    for (size_t at = domain == net::kAfInet ? 12 : 0; at < 16; at += 4) {
        uint32_t word;
        __builtin_memcpy(&word, endpoint.address.bytes + at, sizeof word);
        put_hex(sink, word, 8);
    }
    sink.put(":");
    put_hex(sink, endpoint.port, 4);
}

void put_socket(TextSink& sink, const InetSocket& socket) {
    size_t to_send, to_read;
    socket.queued(to_send, to_read);
    put_endpoint(sink, socket.local(), socket.domain);
    sink.put(" ");
    put_endpoint(sink, socket.remote(), socket.domain);
    sink.put(" ");
    put_hex(sink, socket.shown_state(), 2);
    sink.put(" ");
    put_hex(sink, to_send, 8);
    sink.put(":");
    put_hex(sink, to_read, 8);
    format_to(sink, " 00:00000000 00000000 {5}        0 {} {} 0000000000000000", socket.owner(), socket.inode_number,
              socket.reference_count());
}

constexpr std::string_view kTcp4Title =
    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode";
constexpr std::string_view kTcp6Title =
    "  sl  local_address                         remote_address                        st tx_queue rx_queue tr "
    "tm->when retrnsmt   uid  timeout inode\n";
constexpr std::string_view kUdp4Title =
    "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer "
    "drops             \n";
constexpr std::string_view kUdp6Title =
    "  sl  local_address                         remote_address                        st tx_queue rx_queue tr "
    "tm->when retrnsmt   uid  timeout inode ref pointer drops\n";

Result<> put_tcp_of(TextSink& sink, int domain) {
    unsigned line = 0;
    net::tcp_ports().for_all([&](InetSocket& socket) {
        if (socket.domain != domain || socket.shown_state() == kTcpClose) return;
        format_to(sink, "{4}: ", line++);
        put_socket(sink, socket);
        sink.put(" 100 0 0 10 0\n");
    });
    return {};
}

Result<> put_udp_of(TextSink& sink, int domain) {
    net::udp_ports().for_all([&](InetSocket& socket) {
        if (socket.domain != domain) return;
        format_to(sink, "{5}: ", socket.local().port % 4096);
        put_socket(sink, socket);
        sink.put(" 0\n");
    });
    return {};
}

Result<> put_tcp(TextSink& sink) {
    constexpr size_t kWidth = 149;
    sink.put(kTcp4Title);
    for (size_t i = kTcp4Title.size(); i < kWidth; ++i) sink.put(" ");
    sink.put("\n");
    return put_tcp_of(sink, net::kAfInet);
}
Result<> put_tcp6(TextSink& sink) {
    sink.put(kTcp6Title);
    return put_tcp_of(sink, net::kAfInet6);
}
Result<> put_udp(TextSink& sink) {
    sink.put(kUdp4Title);
    return put_udp_of(sink, net::kAfInet);
}
Result<> put_udp6(TextSink& sink) {
    sink.put(kUdp6Title);
    return put_udp_of(sink, net::kAfInet6);
}

struct Counts {
    unsigned used = 0, established = 0;
};
Counts count(net::PortTable& ports, int domain, uint8_t without) {
    Counts counts;
    ports.for_all([&](const InetSocket& socket) {
        if (socket.domain != domain || socket.shown_state() == without) return;
        ++counts.used;
        counts.established += socket.shown_state() == kTcpEstablished;
    });
    return counts;
}

Result<> put_sockstat(TextSink& sink) {
    const unsigned tcp = count(net::tcp_ports(), net::kAfInet, kTcpClose).used;
    const unsigned udp = count(net::udp_ports(), net::kAfInet, 0).used;
    format_to(sink, "sockets: used {}\nTCP: inuse {} orphan 0 tw 0 alloc {} mem {}\nUDP: inuse {} mem 0\n", tcp + udp,
              tcp, tcp, net::ByteQueue::total_memory() / mm::kPageSize, udp);
    sink.put("UDPLITE: inuse 0\nRAW: inuse 0\nFRAG: inuse 0 memory 0\n");
    return {};
}

Result<> put_sockstat6(TextSink& sink) {
    format_to(sink, "TCP6: inuse {}\nUDP6: inuse {}\nUDPLITE6: inuse 0\nRAW6: inuse 0\nFRAG6: inuse 0 memory 0\n",
              count(net::tcp_ports(), net::kAfInet6, kTcpClose).used, count(net::udp_ports(), net::kAfInet6, 0).used);
    return {};
}

// There are no packets, so those of IP and ICMP are not counted.
Result<> put_snmp(TextSink& sink) {
    const net::InetCounters& counters = net::inet_counters();
    const unsigned established = count(net::tcp_ports(), net::kAfInet, kTcpClose).established +
                                 count(net::tcp_ports(), net::kAfInet6, kTcpClose).established;
    sink.put(
        "Ip: Forwarding DefaultTTL InReceives InHdrErrors InAddrErrors ForwDatagrams InUnknownProtos InDiscards "
        "InDelivers OutRequests OutDiscards OutNoRoutes ReasmTimeout ReasmReqds ReasmOKs ReasmFails FragOKs FragFails "
        "FragCreates OutTransmits\nIp: 2 64 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n"
        "Icmp: InMsgs InErrors InCsumErrors OutMsgs OutErrors\nIcmp: 0 0 0 0 0\n"
        "Tcp: RtoAlgorithm RtoMin RtoMax MaxConn ActiveOpens PassiveOpens AttemptFails EstabResets CurrEstab InSegs "
        "OutSegs RetransSegs InErrs OutRsts InCsumErrors\n");
    format_to(sink, "Tcp: 1 200 120000 -1 {} {} {} {} {} 0 0 0 0 {} 0\n", counters.active_opens, counters.passive_opens,
              counters.failed_connects, counters.resets, established, counters.resets);
    sink.put(
        "Udp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors InCsumErrors IgnoredMulti "
        "MemErrors\n");
    format_to(sink, "Udp: {} {} {} {} {} 0 0 0 0\n", counters.datagrams_in, counters.no_ports, counters.dropped,
              counters.datagrams_out, counters.dropped);
    return {};
}

constexpr StaticEntry kNet[] = {
    constant_entry("arp", "IP address       HW type     Flags       HW address            Mask     Device\n"),
    constant_entry("dev",
                   "Inter-|   Receive                                                |  Transmit\n"
                   " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo "
                   "colls carrier compressed\n"
                   "    lo:       0       0    0    0    0     0          0         0        0       0    0    0    0  "
                   "   0       0          0\n"),
    constant_entry("if_inet6", "00000000000000000000000000000001 01 80 10 80       lo\n"),
    constant_entry("ipv6_route",
                   "00000000000000000000000000000001 80 00000000000000000000000000000000 00 "
                   "00000000000000000000000000000000 00000000 00000001 00000000 80200001       lo\n"),
    constant_entry("netstat",
                   "TcpExt: SyncookiesSent SyncookiesRecv SyncookiesFailed ListenOverflows ListenDrops\n"
                   "TcpExt: 0 0 0 0 0\nIpExt: InNoRoutes InTruncatedPkts InOctets OutOctets\nIpExt: 0 0 0 0\n"),
    constant_entry("packet", "sk       RefCnt Type Proto  Iface R Rmem   User   Inode\n"),
    constant_entry("raw",
                   "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode "
                   "ref pointer drops\n"),
    constant_entry("raw6", kUdp6Title),
    constant_entry(
        "route",
        "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT                 "
        "                                      \n"),
    text_entry("snmp", put_snmp),
    text_entry("sockstat", put_sockstat),
    text_entry("sockstat6", put_sockstat6),
    text_entry("unix", put_net_unix),
    text_entry("tcp", put_tcp),
    text_entry("tcp6", put_tcp6),
    text_entry("udp", put_udp),
    text_entry("udp6", put_udp6),
};

}  // namespace

constinit const StaticEntry kNetDirectory = directory_entry("net", kNet);

}  // namespace kvmsbx::fs
