// Options of sockets, ioctls of the interface, and /proc/net.
#include <net/if.h>
#include <net/if_arp.h>

#include "tests/guest/inet/inet_test.hpp"

using namespace guest;
using namespace inet;

TEST("tcp_option_defaults") {
    const int fd = stream();
    CHECK_EQ(option(fd, IPPROTO_TCP, TCP_NODELAY), 0);
    CHECK_EQ(option(fd, IPPROTO_TCP, TCP_CORK), 0);
    CHECK_EQ(option(fd, IPPROTO_TCP, TCP_KEEPIDLE), 7200);
    CHECK_EQ(option(fd, IPPROTO_TCP, TCP_KEEPINTVL), 75);
    CHECK_EQ(option(fd, IPPROTO_TCP, TCP_KEEPCNT), 9);
    CHECK_EQ(option(fd, IPPROTO_TCP, TCP_SYNCNT), 6);
    CHECK_EQ(option(fd, IPPROTO_TCP, TCP_LINGER2), 60);
    CHECK_EQ(option(fd, IPPROTO_TCP, TCP_MAXSEG), 536);
    CHECK_EQ(option(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT), 0);
    CHECK_EQ(option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT), 0);
    CHECK_EQ(option(fd, IPPROTO_TCP, TCP_WINDOW_CLAMP), 0);
    CHECK_EQ(option(fd, IPPROTO_TCP, TCP_FASTOPEN), 0);
}

TEST("tcp_options_are_kept") {
    const int fd = stream();
    OK(set(fd, IPPROTO_TCP, TCP_NODELAY, 5));
    CHECK_EQ(option(fd, IPPROTO_TCP, TCP_NODELAY), 1);
    OK(set(fd, IPPROTO_TCP, TCP_KEEPIDLE, 30));
    CHECK_EQ(option(fd, IPPROTO_TCP, TCP_KEEPIDLE), 30);
    OK(set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, 1234));
    CHECK_EQ(option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT), 1234);
    OK(set(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, 5));
    CHECK_EQ(option(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT), 7);
    OK(set(fd, IPPROTO_TCP, TCP_LINGER2, 1000));
    CHECK_EQ(option(fd, IPPROTO_TCP, TCP_LINGER2), 120);
}

TEST("tcp_option_ranges") {
    const int fd = stream();
    CHECK_ERRNO(set(fd, IPPROTO_TCP, TCP_KEEPIDLE, 0), EINVAL);
    CHECK_ERRNO(set(fd, IPPROTO_TCP, TCP_KEEPIDLE, 32768), EINVAL);
    CHECK_ERRNO(set(fd, IPPROTO_TCP, TCP_KEEPCNT, 128), EINVAL);
    CHECK_ERRNO(set(fd, IPPROTO_TCP, TCP_MAXSEG, 10), EINVAL);
    CHECK_ERRNO(set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, -1), EINVAL);
    CHECK_ERRNO(set(fd, IPPROTO_TCP, 999, 1), ENOPROTOOPT);
    const char byte = 1;
    CHECK_ERRNO(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &byte, 1), EINVAL);
    CHECK_ERRNO(set(datagram(), IPPROTO_TCP, TCP_NODELAY, 1), ENOPROTOOPT);
}

TEST("accepted_socket_inherits_options") {
    const Listener listener;
    OK(set(listener.fd, IPPROTO_TCP, TCP_NODELAY, 1));
    OK(set(listener.fd, SOL_SOCKET, SO_KEEPALIVE, 1));
    OK(connect_to(stream(), listener.name()));
    const int server = OK(accept(listener.fd, nullptr, nullptr));
    CHECK_EQ(option(server, IPPROTO_TCP, TCP_NODELAY), 1);
    CHECK_EQ(option(server, SOL_SOCKET, SO_KEEPALIVE), 1);
    CHECK_EQ(option(server, SOL_SOCKET, SO_ACCEPTCONN), 0);
}

TEST("segment_size_of_a_connection") {
    const Connection pair;
    CHECK_GE(option(pair.client, IPPROTO_TCP, TCP_MAXSEG), 32000);
    CHECK_LE(option(pair.client, IPPROTO_TCP, TCP_MAXSEG), 65483);
}

TEST("congestion_control_has_a_name") {
    const int fd = stream();
    char name[16] = {};
    socklen_t size = sizeof name;
    OK(getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &size));
    CHECK_NE(name[0], 0);
    OK(setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4));
    OK(getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &size));
    CHECK_STREQ(name, "reno");
    CHECK_ERRNO(setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "nosuch", 6), ENOENT);
}

TEST("ip_option_defaults_and_ranges") {
    const int fd = datagram();
    CHECK_EQ(option(fd, IPPROTO_IP, IP_TTL), 64);
    CHECK_EQ(option(fd, IPPROTO_IP, IP_TOS), 0);
    CHECK_EQ(option(fd, IPPROTO_IP, IP_MULTICAST_TTL), 1);
    CHECK_EQ(option(fd, IPPROTO_IP, IP_MULTICAST_LOOP), 1);
    CHECK_ERRNO(set(fd, IPPROTO_IP, IP_TTL, 0), EINVAL);
    CHECK_ERRNO(set(fd, IPPROTO_IP, IP_TTL, 256), EINVAL);
    OK(set(fd, IPPROTO_IP, IP_TTL, 9));
    OK(set(fd, IPPROTO_IP, IP_TTL, -1));
    CHECK_EQ(option(fd, IPPROTO_IP, IP_TTL), 64);
    const unsigned char one = 1;
    OK(setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &one, 1));
    CHECK_EQ(option(fd, IPPROTO_IP, IP_PKTINFO), 1);
    CHECK_ERRNO(set(fd, IPPROTO_IP, 150, 1), ENOPROTOOPT);
}

TEST("ip_option_as_a_byte") {
    const int fd = datagram();
    unsigned char byte = 0;
    socklen_t size = 1;
    OK(getsockopt(fd, IPPROTO_IP, IP_TTL, &byte, &size));
    CHECK_EQ(size, 1);
    CHECK_EQ(byte, 64);
}

TEST("mtu_of_a_connected_socket") {
    const int fd = datagram();
    int value;
    socklen_t size = sizeof value;
    CHECK_ERRNO(getsockopt(fd, IPPROTO_IP, IP_MTU, &value, &size), ENOTCONN);
    OK(connect_to(fd, v4("127.0.0.1", 9)));
    CHECK_GE(option(fd, IPPROTO_IP, IP_MTU), 65535);
}

TEST("v6_options") {
    const int fd = OK(socket(AF_INET6, SOCK_DGRAM, 0));
    CHECK_EQ(option(fd, IPPROTO_IPV6, IPV6_V6ONLY), 0);
    CHECK_EQ(option(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS), 64);
    CHECK_ERRNO(set(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, 256), EINVAL);
    OK(set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1));
    CHECK_EQ(option(fd, IPPROTO_IPV6, IPV6_V6ONLY), 1);
    CHECK_ERRNO(set(datagram(), IPPROTO_IPV6, IPV6_V6ONLY, 1), ENOPROTOOPT);
}

// --- the interface

namespace {
ifreq request_of(const char* name) {
    ifreq request{};
    strcpy(request.ifr_name, name);
    return request;
}
}  // namespace

TEST("bind_to_device") {
    const int fd = datagram();
    char name[16] = "?";
    socklen_t length = sizeof name;
    OK(getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, &length));
    CHECK_EQ(length, 0);
    CHECK_ERRNO(setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "nosuch0", 7), ENODEV);
    OK(setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "lo", 2));
    length = sizeof name;
    OK(getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, &length));
    CHECK_EQ(length, 3);
    CHECK_STREQ(name, "lo");
    length = 4;
    CHECK_ERRNO(getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, &length), EINVAL);
}

TEST("socket_cookie_is_its_own") {
    uint64_t a = 0, b = 0, again = 0;
    const int one = datagram(), two = stream();
    socklen_t length = sizeof a;
    OK(getsockopt(one, SOL_SOCKET, SO_COOKIE, &a, &length));
    OK(getsockopt(one, SOL_SOCKET, SO_COOKIE, &again, &length));
    OK(getsockopt(two, SOL_SOCKET, SO_COOKIE, &b, &length));
    CHECK_EQ(length, sizeof a);
    CHECK_EQ(a, again);
    CHECK_NE(a, b);
    length = 4;
    CHECK_ERRNO(getsockopt(one, SOL_SOCKET, SO_COOKIE, &a, &length), EINVAL);
}

TEST("interface_flags_and_address") {
    const int fd = datagram();
    ifreq request = request_of("lo");
    OK(ioctl(fd, SIOCGIFFLAGS, &request));
    CHECK_EQ(request.ifr_flags & (IFF_UP | IFF_LOOPBACK | IFF_RUNNING | IFF_BROADCAST),
             IFF_UP | IFF_LOOPBACK | IFF_RUNNING);
    OK(ioctl(fd, SIOCGIFADDR, &request));
    CHECK_EQ(reinterpret_cast<sockaddr_in&>(request.ifr_addr).sin_addr.s_addr, htonl(INADDR_LOOPBACK));
    OK(ioctl(fd, SIOCGIFNETMASK, &request));
    CHECK_EQ(reinterpret_cast<sockaddr_in&>(request.ifr_addr).sin_addr.s_addr, htonl(0xff000000));
}

TEST("interface_numbers") {
    const int fd = stream();
    ifreq request = request_of("lo");
    OK(ioctl(fd, SIOCGIFINDEX, &request));
    CHECK_EQ(request.ifr_ifindex, 1);
    OK(ioctl(fd, SIOCGIFMTU, &request));
    CHECK_EQ(request.ifr_mtu, 65536);
    OK(ioctl(fd, SIOCGIFTXQLEN, &request));
    CHECK_EQ(request.ifr_qlen, 1000);
    OK(ioctl(fd, SIOCGIFHWADDR, &request));
    CHECK_EQ(request.ifr_hwaddr.sa_family, ARPHRD_LOOPBACK);
    ifreq named{};
    named.ifr_ifindex = 1;
    OK(ioctl(fd, SIOCGIFNAME, &named));
    CHECK_STREQ(named.ifr_name, "lo");
    named.ifr_ifindex = 77;
    CHECK_ERRNO(ioctl(fd, SIOCGIFNAME, &named), ENODEV);
}

TEST("unknown_interface_is_enodev") {
    ifreq request = request_of("eth7");
    CHECK_ERRNO(ioctl(datagram(), SIOCGIFFLAGS, &request), ENODEV);
    CHECK_ERRNO(ioctl(datagram(), SIOCGIFINDEX, &request), ENODEV);
    CHECK_EQ(if_nametoindex("lo"), 1);
    CHECK_EQ(if_nametoindex("eth7"), 0);
}

TEST("interface_list") {
    const int fd = datagram();
    ifreq entries[4];
    ifconf list{};
    list.ifc_len = sizeof entries;
    list.ifc_req = entries;
    OK(ioctl(fd, SIOCGIFCONF, &list));
    CHECK_EQ(list.ifc_len, sizeof(ifreq));
    CHECK_STREQ(entries[0].ifr_name, "lo");
    list.ifc_req = nullptr;
    OK(ioctl(fd, SIOCGIFCONF, &list));
    CHECK_EQ(list.ifc_len, sizeof(ifreq));
    list.ifc_req = entries;
    list.ifc_len = 10;
    OK(ioctl(fd, SIOCGIFCONF, &list));
    CHECK_EQ(list.ifc_len, 0);
}

TEST("interface_cannot_be_changed") {
    const int fd = datagram();
    ifreq request = request_of("lo");
    request.ifr_mtu = 1500;
    CHECK_ERRNO(ioctl(fd, SIOCSIFMTU, &request), EPERM);
    request.ifr_flags = 0;
    CHECK_ERRNO(ioctl(fd, SIOCSIFFLAGS, &request), EPERM);
}

TEST("unknown_ioctl_is_enotty") {
    int value = 0;
    CHECK_ERRNO(ioctl(datagram(), TCGETS, &value), ENOTTY);
    CHECK_ERRNO(ioctl(stream(), 0x12345, &value), ENOTTY);
}

// --- /proc

TEST("proc_net_tcp_shows_sockets") {
    const Listener listener;
    const int client = stream();
    OK(connect_to(client, listener.name()));
    static char text[65536];
    CHECK_GT(read_file("/proc/net/tcp", text, sizeof text), 0);
    char line[80];
    snprintf(line, sizeof line, "0100007F:%04X 00000000:0000 0A ", listener.port);
    CHECK(strstr(text, line) != nullptr);
    snprintf(line, sizeof line, "0100007F:%04X 0100007F:%04X 01 ", port_of(client), listener.port);
    CHECK(strstr(text, line) != nullptr);
    snprintf(line, sizeof line, "0100007F:%04X 0100007F:%04X 01 ", listener.port, port_of(client));
    CHECK(strstr(text, line) != nullptr);
}

TEST("proc_net_tcp6_and_udp_show_sockets") {
    const int six = OK(socket(AF_INET6, SOCK_STREAM, 0)), udp = datagram();
    OK(bind_to(six, v6("::1", 0)));
    OK(listen(six, 1));
    OK(bind_to(udp, v4("127.0.0.1", 0)));
    static char text[65536];
    char line[80];
    CHECK_GT(read_file("/proc/net/tcp6", text, sizeof text), 0);
    snprintf(line, sizeof line, "00000000000000000000000001000000:%04X ", port_of(six));
    CHECK(strstr(text, line) != nullptr);
    CHECK_GT(read_file("/proc/self/net/udp", text, sizeof text), 0);
    snprintf(line, sizeof line, "0100007F:%04X 00000000:0000 07 ", port_of(udp));
    CHECK(strstr(text, line) != nullptr);
}

TEST("proc_net_dev_route_and_if_inet6") {
    static char text[8192];
    CHECK_GT(read_file("/proc/net/dev", text, sizeof text), 0);
    CHECK(strstr(text, "    lo:") != nullptr);
    CHECK_GT(read_file("/proc/net/route", text, sizeof text), 0);
    CHECK(strstr(text, "Iface\tDestination") == text);
    CHECK_GT(read_file("/proc/net/if_inet6", text, sizeof text), 0);
    CHECK(strstr(text, "00000000000000000000000000000001 01 80 10 80       lo") != nullptr);
    CHECK_GT(read_file("/proc/net/snmp", text, sizeof text), 0);
    CHECK(strstr(text, "\nUdp: ") != nullptr);
    CHECK_GT(read_file("/proc/net/sockstat", text, sizeof text), 0);
    CHECK(strstr(text, "TCP: inuse") != nullptr);
}

namespace {

bool set_sysctl(const std::string& name, const std::string& value) {
    const int fd = open(("/proc/sys/net/" + name).c_str(), O_WRONLY);
    const bool done = fd >= 0 && write(fd, value.data(), value.size()) == static_cast<ssize_t>(value.size());
    close(fd);
    return done;
}

// Runs the body with a sysctl changed, which does not outlive a body that fails.
template <typename Body>
void with_sysctl(const std::string& name, const char* value, Body body) {
    static char text[256];
    const std::string path = "/proc/sys/net/" + name;
    if (access(path.c_str(), W_OK) < 0) SKIP("sysctls are read-only here");
    CHECK_GT(read_file(path.c_str(), text, sizeof text), 0);
    const std::string before = text;
    CHECK(set_sysctl(name, value));
    const int status = run_child(body);
    CHECK(set_sysctl(name, before));
    CHECK_EXITED(status, 0);
}

int option_of(int fd, int name) {
    int value = -1;
    socklen_t size = sizeof value;
    OK(getsockopt(fd, IPPROTO_TCP, name, &value, &size));
    return value;
}

// The port that the kernel chose; 0: there was none.
int bind_any_port(int fd) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    if (bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) < 0) return 0;
    socklen_t size = sizeof address;
    OK(getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size));
    return ntohs(address.sin_port);
}

}  // namespace

TEST("sysctl_keepalive_is_the_default_of_sockets") {
    const int fd = OK(socket(AF_INET, SOCK_STREAM, 0)), own = OK(socket(AF_INET, SOCK_STREAM, 0));
    const int chosen = 55;
    OK(setsockopt(own, IPPROTO_TCP, TCP_KEEPIDLE, &chosen, sizeof chosen));
    const struct {
        const char *name, *value;
        int option, shown;
    } rows[] = {{"ipv4/tcp_keepalive_time", "600", TCP_KEEPIDLE, 600},
                {"ipv4/tcp_keepalive_intvl", "20", TCP_KEEPINTVL, 20},
                {"ipv4/tcp_keepalive_probes", "4", TCP_KEEPCNT, 4},
                {"ipv4/tcp_fin_timeout", "30", TCP_LINGER2, 30}};
    for (const auto& row : rows)
        with_sysctl(row.name, row.value, [&] {
            CHECK_EQ(option_of(fd, row.option), row.shown);
            CHECK_EQ(option_of(own, TCP_KEEPIDLE), 55);
            CHECK(!set_sysctl(row.name, "soon"));
        });
    CHECK(!set_sysctl("ipv4/tcp_keepalive_probes", "256"));
}

TEST("sysctl_local_ports_are_those_that_are_chosen_from") {
    with_sysctl("ipv4/ip_local_port_range", "41000 41001", [] {
        const int a = OK(socket(AF_INET, SOCK_STREAM, 0)), b = OK(socket(AF_INET, SOCK_STREAM, 0));
        const int first = bind_any_port(a), second = bind_any_port(b);
        CHECK(first + second == 41000 + 41001 && first != second);
        const int none = OK(socket(AF_INET, SOCK_STREAM, 0));
        CHECK_EQ(bind_any_port(none), 0);
        CHECK_EQ(errno, EADDRINUSE);
        for (const char* wrong : {"41000 40000", "0 100", "100 41000", "40000 65536"})
            CHECK(!set_sysctl("ipv4/ip_local_port_range", wrong));
    });
}

TEST("sysctl_first_unprivileged_port_is_not_above_the_local_ports") {
    with_sysctl("ipv4/ip_unprivileged_port_start", "80", [] {
        CHECK(set_sysctl("ipv4/ip_unprivileged_port_start", "32768"));
        CHECK(!set_sysctl("ipv4/ip_unprivileged_port_start", "32769"));
    });
}

TEST("sysctl_somaxconn_bounds_backlogs") {
    with_sysctl("core/somaxconn", "1", [] {
        const int listener = OK(socket(AF_INET, SOCK_STREAM, 0));
        CHECK(bind_any_port(listener) > 0);
        OK(listen(listener, 100));
        tcp_info info{};
        socklen_t size = sizeof info;
        OK(getsockopt(listener, IPPROTO_TCP, TCP_INFO, &info, &size));
        CHECK_EQ(info.tcpi_sacked, 1);  // of a listener: its backlog
        CHECK(!set_sysctl("core/somaxconn", "-1"));
    });
}

TEST("proc_sys_net_numbers") {
    static char text[256];
    CHECK_GT(read_file("/proc/sys/net/core/somaxconn", text, sizeof text), 0);
    CHECK_STREQ(text, "4096\n");
    CHECK_GT(read_file("/proc/sys/net/ipv4/ip_local_port_range", text, sizeof text), 0);
    CHECK_STREQ(text, "32768\t60999\n");
    CHECK_GT(read_file("/proc/sys/net/ipv4/tcp_keepalive_time", text, sizeof text), 0);
    CHECK_STREQ(text, "7200\n");
    CHECK_GT(read_file("/proc/sys/net/ipv6/conf/all/disable_ipv6", text, sizeof text), 0);
    CHECK_STREQ(text, "0\n");
}
