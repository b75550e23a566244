// UDP over IPv4 and IPv6.
#include <ctime>  // errqueue.h needs it

#include <linux/errqueue.h>
#include <netinet/udp.h>

#include "tests/guest/inet/inet_test.hpp"

using namespace guest;
using namespace inet;

namespace {

struct Receiver {
    int fd, port;
    explicit Receiver(const char* address = "127.0.0.1") : fd(datagram()) {
        OK(bind_to(fd, v4(address, 0)));
        port = port_of(fd);
    }
    sockaddr_in name() const { return v4("127.0.0.1", port); }
};

template <typename Name>
ssize_t send_to(int fd, const void* bytes, size_t size, const Name& name, int flags = 0) {
    return sendto(fd, bytes, size, flags, as(name), sizeof name);
}

// Receives one datagram with its control messages; the data of the one asked for, or null.
struct Received {
    char control[256];
    char text[64] = {};
    msghdr header{};
    ssize_t size;
    explicit Received(int fd, int flags = 0) {
        static iovec where;
        where = {text, sizeof text - 1};
        header.msg_iov = &where;
        header.msg_iovlen = 1;
        header.msg_control = control;
        header.msg_controllen = sizeof control;
        size = OK(recvmsg(fd, &header, flags));
    }
    const void* find(int level, int type) {
        for (cmsghdr* one = CMSG_FIRSTHDR(&header); one; one = CMSG_NXTHDR(&header, one))
            if (one->cmsg_level == level && one->cmsg_type == type) return CMSG_DATA(one);
        return nullptr;
    }
};

int number(const void* data) {
    int value = -1;
    if (data) memcpy(&value, data, sizeof value);
    return value;
}

}  // namespace

TEST("udp_datagram_keeps_its_borders") {
    const Receiver to;
    const int fd = datagram();
    CHECK_EQ(send_to(fd, "one", 3, to.name()), 3);
    CHECK_EQ(send_to(fd, "three", 5, to.name()), 5);
    char text[16] = {};
    sockaddr_in from{};
    socklen_t size = sizeof from;
    CHECK_EQ(recvfrom(to.fd, text, 16, 0, reinterpret_cast<sockaddr*>(&from), &size), 3);
    CHECK_EQ(size, sizeof from);
    CHECK_EQ(ntohs(from.sin_port), port_of(fd));
    CHECK_EQ(recv(to.fd, text, 16, 0), 5);
    CHECK_STREQ(name_of(fd), "0.0.0.0");
}

TEST("udp_empty_datagram") {
    const Receiver to;
    CHECK_EQ(send_to(datagram(), "", 0, to.name()), 0);
    CHECK_EQ(events(to.fd), POLLIN | POLLOUT);
    char byte;
    CHECK_EQ(recv(to.fd, &byte, 1, 0), 0);
    CHECK_ERRNO(recv(to.fd, &byte, 1, MSG_DONTWAIT), EAGAIN);
}

TEST("udp_truncation") {
    const Receiver to;
    const int fd = datagram();
    char text[4] = {};
    for (int i = 0; i < 3; ++i) CHECK_EQ(send_to(fd, "abcdef", 6, to.name()), 6);
    CHECK_EQ(recv(to.fd, text, 3, 0), 3);
    CHECK_STREQ(text, "abc");
    CHECK_EQ(recv(to.fd, text, 3, MSG_TRUNC), 6);
    iovec where = {text, 2};
    msghdr header{};
    header.msg_iov = &where;
    header.msg_iovlen = 1;
    CHECK_EQ(recvmsg(to.fd, &header, 0), 2);
    CHECK_EQ(header.msg_flags & MSG_TRUNC, MSG_TRUNC);
}

TEST("udp_peek_and_first_size") {
    const Receiver to;
    CHECK_EQ(send_to(datagram(), "abcdef", 6, to.name()), 6);
    CHECK_EQ(send_to(datagram(), "g", 1, to.name()), 1);
    char text[8] = {};
    int first = -1;
    OK(ioctl(to.fd, FIONREAD, &first));
    CHECK_EQ(first, 6);
    CHECK_EQ(recv(to.fd, text, 2, MSG_PEEK | MSG_TRUNC), 6);
    CHECK_EQ(recv(to.fd, text, 8, 0), 6);
    CHECK_EQ(recv(to.fd, text, 8, 0), 1);
}

TEST("udp_needs_a_destination") {
    const int fd = datagram();
    CHECK_ERRNO(send(fd, "x", 1, 0), EDESTADDRREQ);
    CHECK_ERRNO(write(fd, "x", 1), EDESTADDRREQ);
    CHECK_ERRNO(send_to(fd, "x", 1, v4("127.0.0.1", 0)), EINVAL);
    CHECK_ERRNO(send_to(fd, "x", 1, v4("192.0.2.1", 9)), ENETUNREACH);
    const sockaddr_in name = v4("127.0.0.1", 9);
    CHECK_ERRNO(sendto(fd, "x", 1, 0, as(name), 8), EINVAL);
    sockaddr_in other = name;
    other.sin_family = AF_UNIX;
    CHECK_ERRNO(send_to(fd, "x", 1, other), EAFNOSUPPORT);
    CHECK_ERRNO(send_to(fd, "x", 1, name, MSG_OOB), EOPNOTSUPP);
}

TEST("udp_size_limits") {
    const Receiver to;
    static char block[70000], in[70000];
    for (size_t i = 0; i < sizeof block; ++i) block[i] = static_cast<char>(i * 7);
    const int fd = datagram();
    CHECK_ERRNO(send_to(fd, block, 65508, to.name()), EMSGSIZE);
    CHECK_ERRNO(send_to(fd, block, 65536, to.name()), EMSGSIZE);
    CHECK_EQ(send_to(fd, block, 65507, to.name()), 65507);
    CHECK_EQ(recv(to.fd, in, sizeof in, 0), 65507);
    CHECK_EQ(memcmp(block, in, 65507), 0);
}

TEST("udp_to_nobody_is_lost") {
    const Receiver gone;
    OK(close(gone.fd));
    const int fd = datagram();
    for (int i = 0; i < 3; ++i) CHECK_EQ(send_to(fd, "x", 1, gone.name()), 1);
    CHECK_EQ(events(fd), POLLOUT);
}

TEST("udp_connected_is_told_of_a_dead_port") {
    const Receiver gone;
    OK(close(gone.fd));
    const int fd = datagram();
    char byte;
    OK(connect_to(fd, gone.name()));
    CHECK_EQ(send(fd, "x", 1, 0), 1);
    CHECK_EQ(events(fd, 1000, POLLIN) & POLLERR, POLLERR);
    CHECK_ERRNO(recv(fd, &byte, 1, 0), ECONNREFUSED);
    CHECK_EQ(send(fd, "x", 1, 0), 1);
    CHECK_EQ(events(fd, 1000, 0), POLLERR);
    CHECK_ERRNO(send(fd, "x", 1, 0), ECONNREFUSED);
    CHECK_EQ(send(fd, "x", 1, 0), 1);
    CHECK_EQ(events(fd, 1000, 0), POLLERR);
    CHECK_EQ(option(fd, SOL_SOCKET, SO_ERROR), ECONNREFUSED);
}

TEST("udp_connect_sets_both_names_and_unspec_forgets") {
    const Receiver to;
    const int fd = datagram();
    OK(connect_to(fd, to.name()));
    CHECK_STREQ(peer_of(fd), "127.0.0.1");
    CHECK_STREQ(name_of(fd), "127.0.0.1");
    CHECK_NE(port_of(fd), 0);
    CHECK_EQ(send(fd, "x", 1, 0), 1);
    sockaddr none{};
    none.sa_family = AF_UNSPEC;
    OK(connect(fd, &none, sizeof none));
    sockaddr_in name;
    socklen_t size = sizeof name;
    CHECK_ERRNO(getpeername(fd, reinterpret_cast<sockaddr*>(&name), &size), ENOTCONN);
    CHECK_STREQ(name_of(fd), "0.0.0.0");
    CHECK_EQ(port_of(fd), 0);
}

TEST("udp_connected_takes_only_its_peer") {
    const Receiver first, second;
    OK(connect_to(first.fd, second.name()));
    CHECK_EQ(send_to(datagram(), "no", 2, first.name()), 2);
    CHECK_EQ(send_to(second.fd, "yes", 3, first.name()), 3);
    char text[8] = {};
    CHECK_EQ(recv(first.fd, text, 8, 0), 3);
    CHECK_ERRNO(recv(first.fd, text, 8, MSG_DONTWAIT), EAGAIN);
}

TEST("udp_connected_can_still_name_another") {
    const Receiver first, second;
    const int fd = datagram();
    OK(connect_to(fd, first.name()));
    CHECK_EQ(send_to(fd, "x", 1, second.name()), 1);
    CHECK_EQ(events(second.fd, 0, POLLIN), POLLIN);
    CHECK_EQ(events(first.fd, 0, POLLIN), 0);
}

TEST("udp_port_in_use_and_reuse") {
    const Receiver first;
    const int second = datagram();
    CHECK_ERRNO(bind_to(second, first.name()), EADDRINUSE);
    OK(set(first.fd, SOL_SOCKET, SO_REUSEADDR, 1));
    OK(set(second, SOL_SOCKET, SO_REUSEADDR, 1));
    OK(bind_to(second, first.name()));
    CHECK_EQ(send_to(datagram(), "x", 1, first.name()), 1);
    CHECK_EQ(events(second, 0, POLLIN), POLLIN);
    CHECK_EQ(events(first.fd, 0, POLLIN), 0);
}

TEST("udp_and_tcp_ports_are_apart") {
    // A TCP connection of another test may still hold the number: one of a few must go.
    int result = -1;
    for (int attempt = 0; attempt < 20 && result < 0; ++attempt) {
        const Receiver first;
        result = bind_to(stream(), first.name());
    }
    OK(result);
}

TEST("udp_reuse_port_shares") {
    const int first = datagram(), second = datagram();
    OK(set(first, SOL_SOCKET, SO_REUSEPORT, 1));
    OK(set(second, SOL_SOCKET, SO_REUSEPORT, 1));
    OK(bind_to(first, v4("127.0.0.1", 0)));
    const sockaddr_in name = v4("127.0.0.1", port_of(first));
    OK(bind_to(second, name));
    for (int i = 0; i < 60; ++i) CHECK_EQ(send_to(datagram(), "x", 1, name), 1);
    CHECK_EQ(events(first, 0, POLLIN), POLLIN);
    CHECK_EQ(events(second, 0, POLLIN), POLLIN);
}

TEST("udp_exact_address_beats_any") {
    const Receiver any("0.0.0.0");
    const int exact = datagram();
    OK(set(any.fd, SOL_SOCKET, SO_REUSEADDR, 1));
    OK(set(exact, SOL_SOCKET, SO_REUSEADDR, 1));
    OK(bind_to(exact, v4("127.0.0.5", any.port)));
    CHECK_EQ(send_to(datagram(), "x", 1, v4("127.0.0.5", any.port)), 1);
    CHECK_EQ(send_to(datagram(), "y", 1, v4("127.0.0.6", any.port)), 1);
    char text[4] = {};
    CHECK_EQ(recv(exact, text, 4, 0), 1);
    CHECK_EQ(text[0], 'x');
    CHECK_EQ(recv(any.fd, text, 4, 0), 1);
    CHECK_EQ(text[0], 'y');
}

TEST("udp_full_queue_drops") {
    const Receiver to;
    OK(set(to.fd, SOL_SOCKET, SO_RCVBUF, 4096));
    const int fd = datagram();
    static char block[1024];
    for (int i = 0; i < 100; ++i) CHECK_EQ(send_to(fd, block, sizeof block, to.name()), 1024);
    int count = 0;
    while (recv(to.fd, block, sizeof block, MSG_DONTWAIT) > 0) ++count;
    CHECK_GE(count, 1);
    CHECK_LT(count, 30);
}

TEST("udp_recv_waits") {
    const Receiver to;
    std::thread later([&] {
        sleep_ms(50);
        CHECK_EQ(send_to(datagram(), "x", 1, to.name()), 1);
    });
    char text[4];
    CHECK_EQ(recv(to.fd, text, 4, 0), 1);
    later.join();
}

TEST("udp_receive_timeout") {
    const Receiver to;
    const timeval limit = {0, 50000};
    OK(setsockopt(to.fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit));
    char byte;
    CHECK_ERRNO(recv(to.fd, &byte, 1, 0), EAGAIN);
}

TEST("udp_shutdown") {
    const int fd = datagram();
    CHECK_ERRNO(shutdown(fd, SHUT_RDWR), ENOTCONN);
    const Receiver to;
    const int other = datagram();
    OK(connect_to(other, to.name()));
    OK(shutdown(other, SHUT_WR));
    CHECK_ERRNO(send(other, "x", 1, 0), EPIPE);
    OK(shutdown(other, SHUT_RD));
    char byte;
    CHECK_EQ(recv(other, &byte, 1, 0), 0);
    CHECK_EQ(events(other), POLLIN | POLLOUT | POLLRDHUP | POLLHUP);
}

TEST("udp_shutdown_wakes_a_reader") {
    const Receiver to;
    OK(connect_to(to.fd, v4("127.0.0.1", 9)));
    std::thread later([&] {
        sleep_ms(50);
        OK(shutdown(to.fd, SHUT_RD));
    });
    char byte;
    CHECK_EQ(recv(to.fd, &byte, 1, 0), 0);
    later.join();
}

TEST("udp_does_not_listen_or_accept") {
    CHECK_ERRNO(listen(datagram(), 1), EOPNOTSUPP);
    CHECK_ERRNO(accept(datagram(), nullptr, nullptr), EOPNOTSUPP);
}

TEST("udp_broadcast_needs_the_option") {
    const Receiver to("0.0.0.0");
    const int fd = datagram();
    CHECK_ERRNO(send_to(fd, "x", 1, v4("127.255.255.255", to.port)), EACCES);
    OK(set(fd, SOL_SOCKET, SO_BROADCAST, 1));
    CHECK_EQ(send_to(fd, "x", 1, v4("127.255.255.255", to.port)), 1);
    CHECK_EQ(events(to.fd, 0, POLLIN), POLLIN);
    CHECK_ERRNO(send_to(fd, "x", 1, v4("255.255.255.255", to.port)), ENETUNREACH);
}

TEST("udp_multicast_over_loopback") {
    const Receiver to("0.0.0.0");
    const int fd = datagram();
    CHECK_ERRNO(send_to(fd, "x", 1, v4("239.1.2.3", to.port)), ENETUNREACH);
    ip_mreqn group{};
    inet_pton(AF_INET, "239.1.2.3", &group.imr_multiaddr);
    CHECK_ERRNO(setsockopt(to.fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &group, sizeof group), ENODEV);
    inet_pton(AF_INET, "127.0.0.1", &group.imr_address);
    OK(setsockopt(to.fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &group, sizeof group));
    CHECK_ERRNO(setsockopt(to.fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &group, sizeof group), EADDRINUSE);
    OK(setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &group.imr_address, sizeof(in_addr)));
    CHECK_EQ(send_to(fd, "x", 1, v4("239.1.2.3", to.port)), 1);
    CHECK_EQ(events(to.fd, 1000, POLLIN), POLLIN);
    OK(setsockopt(to.fd, IPPROTO_IP, IP_DROP_MEMBERSHIP, &group, sizeof group));
    CHECK_ERRNO(setsockopt(to.fd, IPPROTO_IP, IP_DROP_MEMBERSHIP, &group, sizeof group), EADDRNOTAVAIL);
}

TEST("udp_packet_info") {
    const Receiver to("0.0.0.0");
    OK(set(to.fd, IPPROTO_IP, IP_PKTINFO, 1));
    CHECK_EQ(send_to(datagram(), "x", 1, v4("127.0.0.9", to.port)), 1);
    Received message(to.fd);
    in_pktinfo info{};
    const void* const data = message.find(IPPROTO_IP, IP_PKTINFO);
    CHECK(data != nullptr);
    memcpy(&info, data, sizeof info);
    CHECK_EQ(info.ipi_ifindex, 1);
    CHECK_EQ(ntohl(info.ipi_addr.s_addr), 0x7f000009u);
}

TEST("udp_packet_info_chooses_the_source") {
    const Receiver to;
    const int fd = datagram();
    char control[CMSG_SPACE(sizeof(in_pktinfo))] = {};
    iovec bytes = {const_cast<char*>("x"), 1};
    sockaddr_in name = to.name();
    msghdr header{};
    header.msg_name = &name;
    header.msg_namelen = sizeof name;
    header.msg_iov = &bytes;
    header.msg_iovlen = 1;
    header.msg_control = control;
    header.msg_controllen = sizeof control;
    cmsghdr* one = CMSG_FIRSTHDR(&header);
    one->cmsg_level = IPPROTO_IP;
    one->cmsg_type = IP_PKTINFO;
    one->cmsg_len = CMSG_LEN(sizeof(in_pktinfo));
    in_pktinfo info{};
    inet_pton(AF_INET, "127.0.0.44", &info.ipi_spec_dst);
    memcpy(CMSG_DATA(one), &info, sizeof info);
    CHECK_EQ(sendmsg(fd, &header, 0), 1);
    sockaddr_storage from{};
    socklen_t size = sizeof from;
    char text[4];
    CHECK_EQ(recvfrom(to.fd, text, 4, 0, reinterpret_cast<sockaddr*>(&from), &size), 1);
    CHECK_STREQ(text_of(from), "127.0.0.44");
}

TEST("udp_ttl_and_tos") {
    const Receiver to;
    const int fd = datagram();
    OK(set(to.fd, IPPROTO_IP, IP_RECVTTL, 1));
    OK(set(to.fd, IPPROTO_IP, IP_RECVTOS, 1));
    OK(set(fd, IPPROTO_IP, IP_TTL, 7));
    OK(set(fd, IPPROTO_IP, IP_TOS, 0x10));
    CHECK_EQ(send_to(fd, "x", 1, to.name()), 1);
    Received message(to.fd);
    CHECK_EQ(number(message.find(IPPROTO_IP, IP_TTL)), 7);
    const void* const tos = message.find(IPPROTO_IP, IP_TOS);
    CHECK(tos != nullptr);
    CHECK_EQ(*static_cast<const unsigned char*>(tos), 0x10);
}

TEST("udp_timestamp") {
    const Receiver to;
    OK(set(to.fd, SOL_SOCKET, SO_TIMESTAMP, 1));
    CHECK_EQ(send_to(datagram(), "x", 1, to.name()), 1);
    Received message(to.fd);
    const void* const data = message.find(SOL_SOCKET, SCM_TIMESTAMP);
    CHECK(data != nullptr);
    timeval stamp;
    memcpy(&stamp, data, sizeof stamp);
    CHECK_LE(time(nullptr) - stamp.tv_sec, 10);
    CHECK_GE(time(nullptr) - stamp.tv_sec, 0);
}

TEST("udp_without_options_no_control_messages") {
    const Receiver to;
    CHECK_EQ(send_to(datagram(), "x", 1, to.name()), 1);
    Received message(to.fd);
    CHECK_EQ(message.header.msg_controllen, 0);
    CHECK_EQ(message.header.msg_flags, 0);
}

TEST("udp_v6_and_mapped") {
    const int to = OK(socket(AF_INET6, SOCK_DGRAM, 0));
    OK(bind_to(to, v6("::", 0)));
    const int port = port_of(to), six = OK(socket(AF_INET6, SOCK_DGRAM, 0));
    CHECK_EQ(send_to(six, "a", 1, v6("::1", port)), 1);
    CHECK_EQ(send_to(datagram(), "b", 1, v4("127.0.0.1", port)), 1);
    char text[4];
    sockaddr_storage from{};
    socklen_t size = sizeof from;
    CHECK_EQ(recvfrom(to, text, 4, 0, reinterpret_cast<sockaddr*>(&from), &size), 1);
    CHECK_STREQ(text_of(from), "::1");
    size = sizeof from;
    CHECK_EQ(recvfrom(to, text, 4, 0, reinterpret_cast<sockaddr*>(&from), &size), 1);
    CHECK_STREQ(text_of(from), "::ffff:127.0.0.1");
    CHECK_EQ(send_to(six, "c", 1, v4("127.0.0.1", port)), 1);
}

TEST("udp_v6_packet_info_and_hop_limit") {
    const int to = OK(socket(AF_INET6, SOCK_DGRAM, 0)), fd = OK(socket(AF_INET6, SOCK_DGRAM, 0));
    OK(bind_to(to, v6("::1", 0)));
    OK(set(to, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1));
    OK(set(to, IPPROTO_IPV6, IPV6_RECVHOPLIMIT, 1));
    OK(set(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, 9));
    CHECK_EQ(send_to(fd, "x", 1, v6("::1", port_of(to))), 1);
    Received message(to);
    in6_pktinfo info{};
    const void* const data = message.find(IPPROTO_IPV6, IPV6_PKTINFO);
    CHECK(data != nullptr);
    memcpy(&info, data, sizeof info);
    CHECK_EQ(info.ipi6_ifindex, 1);
    CHECK_EQ(info.ipi6_addr.s6_addr[15], 1);
    CHECK_EQ(number(message.find(IPPROTO_IPV6, IPV6_HOPLIMIT)), 9);
}

TEST("udp_mmsg") {
    const Receiver to;
    const int fd = datagram();
    OK(connect_to(fd, to.name()));
    iovec bytes[3] = {{const_cast<char*>("a"), 1}, {const_cast<char*>("bb"), 2}, {const_cast<char*>("ccc"), 3}};
    mmsghdr out[3] = {}, in[4] = {};
    char text[4][8];
    iovec where[4];
    for (int i = 0; i < 3; ++i) out[i].msg_hdr.msg_iov = &bytes[i], out[i].msg_hdr.msg_iovlen = 1;
    for (int i = 0; i < 4; ++i) {
        where[i] = {text[i], 8};
        in[i].msg_hdr.msg_iov = &where[i], in[i].msg_hdr.msg_iovlen = 1;
    }
    CHECK_EQ(sendmmsg(fd, out, 3, 0), 3);
    CHECK_EQ(out[2].msg_len, 3);
    CHECK_EQ(recvmmsg(to.fd, in, 4, MSG_DONTWAIT, nullptr), 3);
    CHECK_EQ(in[1].msg_len, 2);
}

TEST("udp_timestamp_in_nanoseconds") {
    const Receiver to;
    const int from = datagram();
    OK(set(to.fd, SOL_SOCKET, SO_TIMESTAMPNS, 1));
    CHECK_EQ(option(to.fd, SOL_SOCKET, SO_TIMESTAMPNS), 1);
    CHECK_EQ(option(to.fd, SOL_SOCKET, SO_TIMESTAMP), 0);
    timespec before, after, told;
    OK(clock_gettime(CLOCK_REALTIME, &before));
    CHECK_EQ(OK(send_to(from, "x", 1, to.name())), 1);
    Received received(to.fd);
    OK(clock_gettime(CLOCK_REALTIME, &after));
    const void* const data = received.find(SOL_SOCKET, SCM_TIMESTAMPNS);
    CHECK(data != nullptr);
    memcpy(&told, data, sizeof told);
    const auto ns = [](const timespec& time) { return time.tv_sec * 1'000'000'000 + time.tv_nsec; };
    CHECK_GE(ns(told), ns(before) - 20'000'000);
    CHECK_LE(ns(told), ns(after) + 20'000'000);
}

TEST("udp_error_queue") {
    const int fd = datagram(), dead = datagram();
    OK(bind_to(dead, v4("127.0.0.1", 0)));
    const int port = port_of(dead);
    OK(close(dead));
    OK(set(fd, IPPROTO_IP, IP_RECVERR, 1));
    CHECK_EQ(OK(send_to(fd, "lost", 4, v4("127.0.0.1", port))), 4);
    CHECK_EQ(events(fd, 5000, POLLIN) & POLLERR, POLLERR);
    char text[16] = {}, control[256];
    sockaddr_in name{};
    iovec vector = {text, sizeof text};
    msghdr message{};
    message.msg_name = &name, message.msg_namelen = sizeof name;
    message.msg_iov = &vector, message.msg_iovlen = 1;
    message.msg_control = control, message.msg_controllen = sizeof control;
    CHECK_EQ(OK(recvmsg(fd, &message, MSG_ERRQUEUE)), 4);
    CHECK_STREQ(text, "lost");
    CHECK(message.msg_flags & MSG_ERRQUEUE);
    CHECK_EQ(ntohs(name.sin_port), port);
    const cmsghdr* const header = CMSG_FIRSTHDR(&message);
    CHECK(header && header->cmsg_level == IPPROTO_IP && header->cmsg_type == IP_RECVERR);
    CHECK_EQ(header->cmsg_len, CMSG_LEN(sizeof(sock_extended_err) + sizeof(sockaddr_in)));
    sock_extended_err error;
    memcpy(&error, CMSG_DATA(header), sizeof error);
    CHECK_EQ(error.ee_errno, ECONNREFUSED);
    CHECK_EQ(error.ee_origin, SO_EE_ORIGIN_ICMP);
    CHECK_EQ(error.ee_type, 3);
    CHECK_EQ(error.ee_code, 3);
    sockaddr_in offender;
    memcpy(&offender, CMSG_DATA(header) + sizeof error, sizeof offender);
    CHECK_EQ(offender.sin_addr.s_addr, htonl(INADDR_LOOPBACK));
    CHECK_EQ(option(fd, SOL_SOCKET, SO_ERROR), 0);
    CHECK_EQ(events(fd, 0, POLLIN), 0);
    CHECK_ERRNO(recvmsg(fd, &message, MSG_ERRQUEUE), EAGAIN);
    // Switched off, it forgets.
    CHECK_EQ(OK(send_to(fd, "lost", 4, v4("127.0.0.1", port))), 4);
    CHECK_EQ(events(fd, 5000, POLLIN) & POLLERR, POLLERR);
    OK(set(fd, IPPROTO_IP, IP_RECVERR, 0));
    CHECK_ERRNO(recvmsg(fd, &message, MSG_ERRQUEUE), EAGAIN);
    CHECK_EQ(option(fd, SOL_SOCKET, SO_ERROR), ECONNREFUSED);
}

TEST("udp_error_queue_v6") {
    const int fd = OK(socket(AF_INET6, SOCK_DGRAM, 0));
    OK(set(fd, IPPROTO_IPV6, IPV6_RECVERR, 1));
    const int dead = OK(socket(AF_INET6, SOCK_DGRAM, 0));
    OK(bind_to(dead, v6("::1", 0)));
    const int port = port_of(dead);
    OK(close(dead));
    CHECK_EQ(OK(send_to(fd, "lost", 4, v6("::1", port))), 4);
    CHECK_EQ(events(fd, 5000, POLLIN) & POLLERR, POLLERR);
    char text[2], control[256];
    iovec vector = {text, sizeof text};
    msghdr message{};
    message.msg_iov = &vector, message.msg_iovlen = 1;
    message.msg_control = control, message.msg_controllen = sizeof control;
    CHECK_EQ(OK(recvmsg(fd, &message, MSG_ERRQUEUE)), 2);
    CHECK_EQ(message.msg_flags & (MSG_ERRQUEUE | MSG_TRUNC), MSG_ERRQUEUE | MSG_TRUNC);
    const cmsghdr* const header = CMSG_FIRSTHDR(&message);
    CHECK(header && header->cmsg_level == IPPROTO_IPV6 && header->cmsg_type == IPV6_RECVERR);
    sock_extended_err error;
    memcpy(&error, CMSG_DATA(header), sizeof error);
    CHECK_EQ(error.ee_origin, SO_EE_ORIGIN_ICMP6);
    CHECK_EQ(error.ee_type, 1);
    CHECK_EQ(error.ee_code, 4);
}

// Control messages of other protocols are not this socket's.
TEST("udp_ignores_foreign_control_messages") {
    const int to = datagram(), fd = datagram();
    OK(bind_to(to, v4("127.0.0.1", 0)));
    OK(connect_to(fd, v4("127.0.0.1", port_of(to))));
    char text = 'x';
    iovec vector = {&text, 1};
    const auto send_with = [&](int level, int type) {
        alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
        msghdr message{};
        message.msg_iov = &vector, message.msg_iovlen = 1;
        message.msg_control = control, message.msg_controllen = sizeof control;
        cmsghdr* const header = CMSG_FIRSTHDR(&message);
        *header = {};
        header->cmsg_len = CMSG_LEN(sizeof(int)), header->cmsg_level = level, header->cmsg_type = type;
        return sendmsg(fd, &message, 0);
    };
    CHECK_EQ(send_with(IPPROTO_IPV6, IPV6_HOPLIMIT), 1);
    CHECK_EQ(send_with(IPPROTO_TCP, 1), 1);
    CHECK_EQ(send_with(SOL_SOCKET, SCM_RIGHTS), 1);
    CHECK_ERRNO(send_with(SOL_SOCKET, 9999), EINVAL);
    CHECK_ERRNO(send_with(IPPROTO_IP, 9999), EINVAL);
    CHECK_ERRNO(send_with(IPPROTO_UDP, 9999), EINVAL);
}
