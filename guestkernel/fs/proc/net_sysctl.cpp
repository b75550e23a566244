// /proc/sys/net: what servers look up before they start. The numbers are those that the sockets keep to.
#include "guestkernel/fs/proc/net_directory.hpp"
#include "guestkernel/fs/proc/sysvipc.hpp"
#include "guestkernel/net/settings.hpp"

namespace kvmsbx::fs {
namespace {

template <int32_t net::Settings::*kField>
Result<> put_setting(TextSink& sink) {
    format_to(sink, "{}\n", net::settings.*kField);
    return {};
}
template <int32_t net::Settings::*kField, uint64_t kLeast, uint64_t kMost>
Result<> store_setting(std::string_view text) {
    uint64_t value[1];
    TRY(parse_numbers(text, value, kMost));
    if (value[0] < kLeast) return Errno::kINVAL;
    net::settings.*kField = static_cast<int32_t>(value[0]);
    return {};
}
template <int32_t net::Settings::*kField, uint64_t kLeast, uint64_t kMost>
constexpr StaticEntry setting_entry(std::string_view name) {
    return text_entry(name, put_setting<kField>, 0644, store_setting<kField, kLeast, kMost>);
}
constexpr uint64_t kMostNumber = 0x7fffffff, kMostSeconds = kMostNumber / 1000, kMostByte = 255;

Result<> put_first_port(TextSink& sink) {
    format_to(sink, "{}\n", net::settings.first_unprivileged_port);
    return {};
}

// Not above the ports that the stack gives away itself (ipv4_privileged_ports).
Result<> store_first_port(std::string_view text) {
    uint64_t port[1];
    TRY(parse_numbers(text, port, net::settings.first_local_port));
    net::settings.first_unprivileged_port = static_cast<uint32_t>(port[0]);
    return {};
}

Result<> put_local_ports(TextSink& sink) {
    format_to(sink, "{}\t{}\n", net::settings.first_local_port, net::settings.last_local_port);
    return {};
}

// ipv4_local_port_range.
Result<> store_local_ports(std::string_view text) {
    uint64_t ports[2];
    TRY(parse_numbers(text, ports, UINT16_MAX));
    if (ports[0] == 0 || ports[1] < ports[0] || ports[0] < net::settings.first_unprivileged_port) return Errno::kINVAL;
    net::settings.first_local_port = static_cast<uint16_t>(ports[0]);
    net::settings.last_local_port = static_cast<uint16_t>(ports[1]);
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
    constant_entry("rmem_max", "4194304\n"),    setting_entry<&net::Settings::somaxconn, 0, kMostNumber>("somaxconn"),
    constant_entry("wmem_default", "212992\n"), constant_entry("wmem_max", "4194304\n"),
};

constexpr StaticEntry kIpv4[] = {
    constant_entry("igmp_max_memberships", "20\n"),
    constant_entry("ip_default_ttl", "64\n"),
    constant_entry("ip_forward", "0\n"),
    text_entry("ip_local_port_range", put_local_ports, 0644, store_local_ports),
    constant_entry("ip_local_reserved_ports", "\n"),
    constant_entry("ip_nonlocal_bind", "0\n"),
    text_entry("ip_unprivileged_port_start", put_first_port, 0644, store_first_port),
    text_entry("ping_group_range", put_ping_groups, 0644, store_ping_groups),
    constant_entry("tcp_allowed_congestion_control", "cubic reno\n"),
    constant_entry("tcp_available_congestion_control", "cubic reno\n"),
    constant_entry("tcp_congestion_control", "cubic\n"),
    constant_entry("tcp_fastopen", "0\n"),
    setting_entry<&net::Settings::fin_timeout, 0, kMostSeconds>("tcp_fin_timeout"),
    setting_entry<&net::Settings::keepalive_interval, 0, kMostSeconds>("tcp_keepalive_intvl"),
    setting_entry<&net::Settings::keepalive_probes, 0, kMostByte>("tcp_keepalive_probes"),
    setting_entry<&net::Settings::keepalive_time, 0, kMostSeconds>("tcp_keepalive_time"),
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
