// /proc/sys/net: what servers look up before they start. The numbers are those that the sockets keep to.
#include "guestkernel/fs/proc/net_directory.hpp"
#include "guestkernel/fs/proc/sysvipc.hpp"
#include "guestkernel/net/inet_socket.hpp"

namespace kvmsbx::fs {
namespace {

Result<> put_first_port(TextSink& sink) {
    format_to(sink, "{}\n", net::first_unprivileged_port);
    return {};
}

// Below the ports that the stack gives away itself (ipv4_privileged_ports).
Result<> store_first_port(std::string_view text) {
    uint64_t port[1];
    TRY(parse_numbers(text, port, net::kFirstLocalPort));
    net::first_unprivileged_port = static_cast<uint32_t>(port[0]);
    return {};
}

// Groups that may have ping sockets, first and last. There are no such sockets here, but engines set it in every
// config.json.
uint64_t ping_groups[2] = {1, 0};

Result<> put_ping_groups(TextSink& sink) {
    format_to(sink, "{}\t{}\n", ping_groups[0], ping_groups[1]);
    return {};
}

// A range that ends before it begins is stored as the empty one (ipv4_ping_group_range).
Result<> store_ping_groups(std::string_view text) {
    uint64_t groups[2];
    TRY(parse_numbers(text, groups, 0x7fffffff));
    const bool empty = groups[1] < groups[0];
    ping_groups[0] = empty ? 1 : groups[0];
    ping_groups[1] = empty ? 0 : groups[1];
    return {};
}

constexpr StaticEntry kCore[] = {
    constant_entry("optmem_max", "131072\n"),   constant_entry("rmem_default", "212992\n"),
    constant_entry("rmem_max", "4194304\n"),    constant_entry("somaxconn", "4096\n"),
    constant_entry("wmem_default", "212992\n"), constant_entry("wmem_max", "4194304\n"),
};

constexpr StaticEntry kIpv4[] = {
    constant_entry("igmp_max_memberships", "20\n"),
    constant_entry("ip_default_ttl", "64\n"),
    constant_entry("ip_forward", "0\n"),
    constant_entry("ip_local_port_range", "32768\t60999\n"),
    constant_entry("ip_local_reserved_ports", "\n"),
    constant_entry("ip_nonlocal_bind", "0\n"),
    text_entry("ip_unprivileged_port_start", put_first_port, 0644, store_first_port),
    text_entry("ping_group_range", put_ping_groups, 0644, store_ping_groups),
    constant_entry("tcp_allowed_congestion_control", "cubic reno\n"),
    constant_entry("tcp_available_congestion_control", "cubic reno\n"),
    constant_entry("tcp_congestion_control", "cubic\n"),
    constant_entry("tcp_fastopen", "0\n"),
    constant_entry("tcp_fin_timeout", "60\n"),
    constant_entry("tcp_keepalive_intvl", "75\n"),
    constant_entry("tcp_keepalive_probes", "9\n"),
    constant_entry("tcp_keepalive_time", "7200\n"),
    constant_entry("tcp_max_syn_backlog", "4096\n"),
    constant_entry("tcp_mtu_probing", "0\n"),
    constant_entry("tcp_no_metrics_save", "0\n"),
    constant_entry("tcp_notsent_lowat", "4294967295\n"),
    constant_entry("tcp_retries1", "3\n"),
    constant_entry("tcp_retries2", "15\n"),
    constant_entry("tcp_rmem", "4096\t131072\t4194304\n"),
    constant_entry("tcp_sack", "1\n"),
    constant_entry("tcp_slow_start_after_idle", "1\n"),
    constant_entry("tcp_syn_retries", "6\n"),
    constant_entry("tcp_synack_retries", "5\n"),
    constant_entry("tcp_syncookies", "1\n"),
    constant_entry("tcp_timestamps", "1\n"),
    constant_entry("tcp_tw_reuse", "2\n"),
    constant_entry("tcp_window_scaling", "1\n"),
    constant_entry("tcp_wmem", "4096\t16384\t4194304\n"),
};

constexpr StaticEntry kIpv6Interface[] = {constant_entry("disable_ipv6", "0\n"), constant_entry("forwarding", "0\n"),
                                          constant_entry("hop_limit", "64\n"), constant_entry("mtu", "65536\n")};
constexpr StaticEntry kIpv6Conf[] = {directory_entry("all", kIpv6Interface), directory_entry("default", kIpv6Interface),
                                     directory_entry("lo", kIpv6Interface)};
constexpr StaticEntry kIpv6[] = {constant_entry("bindv6only", "0\n"), directory_entry("conf", kIpv6Conf)};
constexpr StaticEntry kUnix[] = {constant_entry("max_dgram_qlen", "10\n")};

}  // namespace

constinit const StaticEntry kNetSysctlEntries[kNetSysctlCount] = {
    directory_entry("core", kCore), directory_entry("ipv4", kIpv4), directory_entry("ipv6", kIpv6),
    directory_entry("unix", kUnix)};

}  // namespace kvmsbx::fs
