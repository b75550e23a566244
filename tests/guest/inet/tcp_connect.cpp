// TCP: names, bind(2), listen(2), connect(2), accept(2).
#include "tests/guest/inet/inet_test.hpp"

using namespace guest;
using namespace inet;

TEST("socket_types_and_protocols") {
    OK(socket(AF_INET, SOCK_STREAM, IPPROTO_TCP));
    OK(socket(AF_INET6, SOCK_STREAM, IPPROTO_TCP));
    CHECK_ERRNO(socket(AF_INET, SOCK_STREAM, IPPROTO_UDP), EPROTONOSUPPORT);
    CHECK_ERRNO(socket(AF_INET, SOCK_DGRAM, IPPROTO_TCP), EPROTONOSUPPORT);
    CHECK_ERRNO(socket(AF_INET, SOCK_SEQPACKET, 0), ESOCKTNOSUPPORT);
    CHECK_ERRNO(socket(AF_INET, SOCK_STREAM, -1), EINVAL);
    CHECK_ERRNO(socket(AF_INET, SOCK_STREAM, 1000), EINVAL);
}

TEST("type_domain_protocol_options") {
    const int fd = stream();
    CHECK_EQ(option(fd, SOL_SOCKET, SO_TYPE), SOCK_STREAM);
    CHECK_EQ(option(fd, SOL_SOCKET, SO_DOMAIN), AF_INET);
    CHECK_EQ(option(fd, SOL_SOCKET, SO_PROTOCOL), IPPROTO_TCP);
    const int six = OK(socket(AF_INET6, SOCK_DGRAM, 0));
    CHECK_EQ(option(six, SOL_SOCKET, SO_DOMAIN), AF_INET6);
    CHECK_EQ(option(six, SOL_SOCKET, SO_PROTOCOL), IPPROTO_UDP);
}

TEST("no_socketpair") {
    int pair[2];
    CHECK_ERRNO(socketpair(AF_INET, SOCK_STREAM, 0, pair), EOPNOTSUPP);
}

TEST("raw_sockets_need_a_protocol_and_a_capability") {
    CHECK_ERRNO(socket(AF_INET, SOCK_RAW, 0), EPROTONOSUPPORT);
    CHECK_EXITED(run_child([] {
                     OK(setuid(65534));
                     CHECK_ERRNO(socket(AF_INET, SOCK_RAW, IPPROTO_ICMP), EPERM);
                     CHECK_ERRNO(socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP), EACCES);
                 }),
                 0);
}

TEST("name_before_and_after_bind") {
    const int fd = stream();
    CHECK_STREQ(name_of(fd), "0.0.0.0");
    CHECK_EQ(port_of(fd), 0);
    OK(bind_to(fd, v4("127.0.0.1", 0)));
    CHECK_STREQ(name_of(fd), "127.0.0.1");
    CHECK_GE(port_of(fd), 32768);
    CHECK_LE(port_of(fd), 60999);
}

TEST("bind_twice_is_einval") {
    const int fd = stream();
    OK(bind_to(fd, v4("127.0.0.1", 0)));
    CHECK_ERRNO(bind_to(fd, v4("127.0.0.1", 0)), EINVAL);
}

TEST("bind_checks_the_name") {
    const int fd = stream();
    const sockaddr_in name = v4("127.0.0.1", 0);
    CHECK_ERRNO(bind(fd, as(name), 8), EINVAL);
    sockaddr_in other = name;
    other.sin_family = AF_INET6;
    CHECK_ERRNO(bind_to(fd, other), EAFNOSUPPORT);
    other.sin_family = AF_UNSPEC;
    CHECK_ERRNO(bind_to(fd, other), EAFNOSUPPORT);
    CHECK_ERRNO(bind(fd, nullptr, sizeof name), EFAULT);
    sockaddr_in any = v4("0.0.0.0", 0);
    any.sin_family = AF_UNSPEC;
    OK(bind_to(fd, any));
}

TEST("bind_to_a_foreign_address_is_eaddrnotavail") {
    CHECK_ERRNO(bind_to(stream(), v4("10.1.2.3", 0)), EADDRNOTAVAIL);
    CHECK_ERRNO(bind_to(stream(), v4("192.0.2.1", 80)), EADDRNOTAVAIL);
    CHECK_ERRNO(bind_to(OK(socket(AF_INET6, SOCK_STREAM, 0)), v6("2001:db8::1", 0)), EADDRNOTAVAIL);
}

TEST("bind_to_any_address_of_127") {
    const int fd = stream();
    OK(bind_to(fd, v4("127.1.2.3", 0)));
    CHECK_STREQ(name_of(fd), "127.1.2.3");
}

TEST("low_ports_need_a_capability") {
    OK(bind_to(stream(), v4("127.0.0.1", 1023)));
    CHECK_EXITED(run_child([] {
                     OK(setuid(65534));
                     CHECK_ERRNO(bind_to(stream(), v4("127.0.0.1", 80)), EACCES);
                     OK(bind_to(stream(), v4("127.0.0.1", 1024)));
                 }),
                 0);
}

TEST("port_in_use") {
    const int first = stream(), second = stream();
    OK(bind_to(first, v4("127.0.0.1", 0)));
    CHECK_ERRNO(bind_to(second, v4("127.0.0.1", port_of(first))), EADDRINUSE);
    CHECK_ERRNO(bind_to(second, v4("0.0.0.0", port_of(first))), EADDRINUSE);
    OK(bind_to(second, v4("127.0.0.2", port_of(first))));
}

TEST("port_is_free_after_close") {
    const int first = stream();
    OK(bind_to(first, v4("127.0.0.1", 0)));
    const int port = port_of(first);
    OK(close(first));
    OK(bind_to(stream(), v4("127.0.0.1", port)));
}

TEST("reuse_address_needs_both_and_no_listener") {
    const int first = stream(), second = stream(), third = stream();
    OK(set(first, SOL_SOCKET, SO_REUSEADDR, 1));
    OK(bind_to(first, v4("127.0.0.1", 0)));
    CHECK_ERRNO(bind_to(second, v4("127.0.0.1", port_of(first))), EADDRINUSE);
    OK(set(second, SOL_SOCKET, SO_REUSEADDR, 1));
    OK(bind_to(second, v4("127.0.0.1", port_of(first))));
    OK(listen(first, 1));
    CHECK_ERRNO(listen(second, 1), EADDRINUSE);
    OK(set(third, SOL_SOCKET, SO_REUSEADDR, 1));
    CHECK_ERRNO(bind_to(third, v4("127.0.0.1", port_of(first))), EADDRINUSE);
}

TEST("reuse_port_shares_listeners") {
    const int first = stream(), second = stream(), third = stream();
    OK(set(first, SOL_SOCKET, SO_REUSEPORT, 1));
    OK(set(second, SOL_SOCKET, SO_REUSEPORT, 1));
    OK(bind_to(first, v4("127.0.0.1", 0)));
    OK(listen(first, 64));
    OK(bind_to(second, v4("127.0.0.1", port_of(first))));
    OK(listen(second, 64));
    CHECK_ERRNO(bind_to(third, v4("127.0.0.1", port_of(first))), EADDRINUSE);
    for (int i = 0; i < 60; ++i) OK(connect_to(stream(), v4("127.0.0.1", port_of(first))));
    CHECK_EQ(events(first), POLLIN);
    CHECK_EQ(events(second), POLLIN);
}

TEST("server_restarts_with_reuse_address_while_connections_live") {
    const int listener = stream(), again = stream();
    OK(set(listener, SOL_SOCKET, SO_REUSEADDR, 1));
    OK(bind_to(listener, v4("127.0.0.1", 0)));
    OK(listen(listener, 1));
    const int port = port_of(listener), client = stream();
    OK(connect_to(client, v4("127.0.0.1", port)));
    OK(accept(listener, nullptr, nullptr));
    OK(close(listener));
    CHECK_ERRNO(bind_to(again, v4("127.0.0.1", port)), EADDRINUSE);
    OK(set(again, SOL_SOCKET, SO_REUSEADDR, 1));
    OK(bind_to(again, v4("127.0.0.1", port)));
    OK(listen(again, 1));
}

TEST("listen_binds_a_port") {
    const int fd = stream();
    CHECK_EQ(option(fd, SOL_SOCKET, SO_ACCEPTCONN), 0);
    OK(listen(fd, 1));
    CHECK_NE(port_of(fd), 0);
    CHECK_EQ(option(fd, SOL_SOCKET, SO_ACCEPTCONN), 1);
    CHECK_EQ(tcp_state(fd), TCP_LISTEN);
    OK(listen(fd, 5));
}

TEST("listen_on_a_connected_socket_is_einval") {
    const Connection pair;
    CHECK_ERRNO(listen(pair.client, 1), EINVAL);
}

TEST("listener_does_not_bind_connect_send_or_receive") {
    const Listener listener;
    char byte;
    CHECK_ERRNO(bind_to(listener.fd, v4("127.0.0.1", 0)), EINVAL);
    CHECK_ERRNO(connect_to(listener.fd, listener.name()), EISCONN);
    CHECK_ERRNO(recv(listener.fd, &byte, 1, 0), ENOTCONN);
    CHECK_ERRNO(send(listener.fd, "x", 1, MSG_NOSIGNAL), EPIPE);
    sockaddr_in name;
    socklen_t size = sizeof name;
    CHECK_ERRNO(getpeername(listener.fd, reinterpret_cast<sockaddr*>(&name), &size), ENOTCONN);
}

TEST("connect_and_accept_tell_both_names") {
    const Listener listener;
    const int client = stream();
    OK(connect_to(client, listener.name()));
    sockaddr_in peer{};
    socklen_t size = sizeof peer;
    const int server = OK(accept(listener.fd, reinterpret_cast<sockaddr*>(&peer), &size));
    CHECK_EQ(size, sizeof peer);
    CHECK_EQ(peer.sin_family, AF_INET);
    CHECK_EQ(ntohs(peer.sin_port), port_of(client));
    CHECK_EQ(port_of(server), listener.port);
    CHECK_STREQ(peer_of(client), "127.0.0.1");
    CHECK_STREQ(name_of(client), "127.0.0.1");
    CHECK_EQ(tcp_state(client), TCP_ESTABLISHED);
    CHECK_EQ(tcp_state(server), TCP_ESTABLISHED);
}

TEST("accept_name_is_cut") {
    const Listener listener;
    OK(connect_to(stream(), listener.name()));
    struct {
        sockaddr_in name;
        char behind[8];
    } peer;
    memset(&peer, 0x55, sizeof peer);
    socklen_t size = 4;
    OK(accept(listener.fd, reinterpret_cast<sockaddr*>(&peer), &size));
    CHECK_EQ(size, sizeof(sockaddr_in));
    CHECK_EQ(reinterpret_cast<unsigned char*>(&peer)[3] != 0x55 || reinterpret_cast<unsigned char*>(&peer)[2] != 0x55,
             true);
    CHECK_EQ(reinterpret_cast<unsigned char*>(&peer)[4], 0x55);
}

TEST("accept4_flags") {
    const Listener listener;
    OK(connect_to(stream(), listener.name()));
    OK(connect_to(stream(), listener.name()));
    const int first = OK(accept4(listener.fd, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    CHECK_EQ(fcntl(first, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
    CHECK_EQ(fcntl(first, F_GETFD), FD_CLOEXEC);
    CHECK_ERRNO(accept4(listener.fd, nullptr, nullptr, 1), EINVAL);
    nonblocking(listener.fd);
    const int second = OK(accept(listener.fd, nullptr, nullptr));
    CHECK_EQ(fcntl(second, F_GETFL), O_RDWR);
}

TEST("accept_without_connection") {
    const Listener listener;
    CHECK_EQ(events(listener.fd), 0);
    nonblocking(listener.fd);
    CHECK_ERRNO(accept(listener.fd, nullptr, nullptr), EAGAIN);
    CHECK_ERRNO(accept(stream(), nullptr, nullptr), EINVAL);
}

TEST("accept_waits_for_a_connection") {
    const Listener listener;
    std::thread later([&] {
        sleep_ms(50);
        OK(connect_to(stream(), listener.name()));
    });
    OK(accept(listener.fd, nullptr, nullptr));
    later.join();
}

TEST("accept_timeout_is_eagain") {
    const Listener listener;
    const timeval limit = {0, 50000};
    OK(setsockopt(listener.fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit));
    const uint64_t start = now_ns();
    CHECK_ERRNO(accept(listener.fd, nullptr, nullptr), EAGAIN);
    CHECK_GE(now_ns() - start, 40'000'000u);
}

TEST("accept_ends_when_the_listener_is_shut_down") {
    const Listener listener;
    std::thread later([&] {
        sleep_ms(50);
        OK(shutdown(listener.fd, SHUT_RDWR));
    });
    CHECK_ERRNO(accept(listener.fd, nullptr, nullptr), EINVAL);
    later.join();
    CHECK_EQ(option(listener.fd, SOL_SOCKET, SO_ACCEPTCONN), 0);
}

TEST("connect_to_nobody_is_econnrefused") {
    int port;
    {
        const Listener listener;
        port = listener.port;
        close(listener.fd);
    }
    const int fd = stream();
    CHECK_ERRNO(connect_to(fd, v4("127.0.0.1", port)), ECONNREFUSED);
    CHECK_EQ(option(fd, SOL_SOCKET, SO_ERROR), 0);
    const Listener other;
    OK(connect_to(fd, other.name()));
}

TEST("connect_to_other_hosts_is_enetunreach") {
    CHECK_ERRNO(connect_to(stream(), v4("192.0.2.1", 80)), ENETUNREACH);
    CHECK_ERRNO(connect_to(stream(), v4("255.255.255.255", 80)), ENETUNREACH);
    CHECK_ERRNO(connect_to(OK(socket(AF_INET6, SOCK_STREAM, 0)), v6("2001:db8::1", 80)), ENETUNREACH);
}

TEST("connect_checks_the_name") {
    const int fd = stream();
    sockaddr_in name = v4("127.0.0.1", 9);
    CHECK_ERRNO(connect(fd, as(name), 1), EINVAL);
    CHECK_ERRNO(connect(fd, as(name), 8), EINVAL);
    name.sin_family = AF_INET6;
    CHECK_ERRNO(connect_to(fd, name), EAFNOSUPPORT);
    CHECK_ERRNO(connect(fd, nullptr, sizeof name), EFAULT);
}

TEST("connect_to_any_reaches_this_host") {
    const Listener listener(4, "0.0.0.0");
    const int fd = stream();
    OK(connect_to(fd, v4("0.0.0.0", listener.port)));
    CHECK_STREQ(peer_of(fd), "127.0.0.1");
    CHECK_STREQ(name_of(fd), "127.0.0.1");
}

TEST("connect_to_another_address_of_127") {
    const Listener listener(4, "0.0.0.0");
    const int fd = stream();
    OK(connect_to(fd, v4("127.9.8.7", listener.port)));
    CHECK_STREQ(peer_of(fd), "127.9.8.7");
    CHECK_STREQ(name_of(fd), "127.0.0.1");
    const int server = OK(accept(listener.fd, nullptr, nullptr));
    CHECK_STREQ(name_of(server), "127.9.8.7");
}

TEST("connect_from_a_bound_address") {
    const Listener listener(4, "0.0.0.0");
    const int fd = stream();
    OK(bind_to(fd, v4("127.0.0.77", 0)));
    const int port = port_of(fd);
    OK(connect_to(fd, listener.name()));
    const int server = OK(accept(listener.fd, nullptr, nullptr));
    CHECK_STREQ(peer_of(server), "127.0.0.77");
    CHECK_EQ(port_of(fd), port);
}

TEST("connect_twice_is_eisconn") {
    const Listener listener;
    const int fd = stream();
    OK(connect_to(fd, listener.name()));
    CHECK_ERRNO(connect_to(fd, listener.name()), EISCONN);
}

TEST("nonblocking_connect_is_einprogress_then_done") {
    const Listener listener;
    const int fd = stream(SOCK_NONBLOCK);
    CHECK_ERRNO(connect_to(fd, listener.name()), EINPROGRESS);
    CHECK_EQ(events(fd, 2000), POLLOUT);
    CHECK_EQ(option(fd, SOL_SOCKET, SO_ERROR), 0);
    OK(connect_to(fd, listener.name()));
    CHECK_ERRNO(connect_to(fd, listener.name()), EISCONN);
}

TEST("nonblocking_connect_refused") {
    const int fd = stream(SOCK_NONBLOCK), unused = stream();
    OK(bind_to(unused, v4("127.0.0.1", 0)));
    CHECK_ERRNO(connect_to(fd, v4("127.0.0.1", port_of(unused))), EINPROGRESS);
    CHECK_EQ(events(fd, 2000), POLLIN | POLLOUT | POLLERR | POLLHUP | POLLRDHUP);
    CHECK_EQ(option(fd, SOL_SOCKET, SO_ERROR), ECONNREFUSED);
    CHECK_EQ(option(fd, SOL_SOCKET, SO_ERROR), 0);
    CHECK_ERRNO(connect_to(fd, v4("127.0.0.1", port_of(unused))), ECONNABORTED);
}

TEST("nonblocking_connect_refused_is_told_by_the_next_connect") {
    const int fd = stream(SOCK_NONBLOCK), unused = stream();
    OK(bind_to(unused, v4("127.0.0.1", 0)));
    CHECK_ERRNO(connect_to(fd, v4("127.0.0.1", port_of(unused))), EINPROGRESS);
    events(fd, 2000);
    CHECK_ERRNO(connect_to(fd, v4("127.0.0.1", port_of(unused))), ECONNREFUSED);
    const Listener listener;
    CHECK_ERRNO(connect_to(fd, listener.name()), EINPROGRESS);
    CHECK_EQ(events(fd, 2000), POLLOUT);
}

TEST("full_backlog_keeps_connect_waiting") {
    const Listener listener(0);
    const int first = stream(), second = stream(SOCK_NONBLOCK);
    OK(connect_to(first, listener.name()));
    CHECK_ERRNO(connect_to(second, listener.name()), EINPROGRESS);
    CHECK_EQ(events(second, 100), 0);
    CHECK_ERRNO(connect_to(second, listener.name()), EALREADY);
    CHECK_ERRNO(send(second, "x", 1, 0), EAGAIN);
    CHECK_EQ(tcp_state(second), TCP_SYN_SENT);
    OK(accept(listener.fd, nullptr, nullptr));
    CHECK_EQ(events(second, 5000), POLLOUT);
    OK(accept(listener.fd, nullptr, nullptr));
}

TEST("connect_timeout_is_einprogress") {
    const Listener listener(0);
    OK(connect_to(stream(), listener.name()));
    const int fd = stream();
    const timeval limit = {0, 50000};
    OK(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit));
    CHECK_ERRNO(connect_to(fd, listener.name()), EINPROGRESS);
}

TEST("waiting_connect_is_refused_when_the_listener_closes") {
    const Listener listener(0);
    OK(connect_to(stream(), listener.name()));
    const int fd = stream(SOCK_NONBLOCK);
    CHECK_ERRNO(connect_to(fd, listener.name()), EINPROGRESS);
    OK(close(listener.fd));
    CHECK_EQ(events(fd, 5000) & POLLERR, POLLERR);
    CHECK_EQ(option(fd, SOL_SOCKET, SO_ERROR), ECONNREFUSED);
}

TEST("queued_connections_are_reset_when_the_listener_closes") {
    const Listener listener;
    const int fd = stream();
    char byte;
    OK(connect_to(fd, listener.name()));
    OK(close(listener.fd));
    CHECK_ERRNO(recv(fd, &byte, 1, 0), ECONNRESET);
}

TEST("data_can_be_sent_before_accept") {
    const Listener listener;
    const int fd = stream();
    char text[8] = {};
    OK(connect_to(fd, listener.name()));
    CHECK_EQ(send(fd, "early", 5, 0), 5);
    OK(close(fd));
    const int server = OK(accept(listener.fd, nullptr, nullptr));
    CHECK_EQ(recv(server, text, 8, MSG_WAITALL), 5);
    CHECK_STREQ(text, "early");
}

TEST("defer_accept_waits_for_data") {
    const Listener listener;
    OK(set(listener.fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, 30));
    const int fd = stream();
    OK(connect_to(fd, listener.name()));
    CHECK_EQ(events(listener.fd, 100), 0);
    CHECK_EQ(send(fd, "x", 1, 0), 1);
    CHECK_EQ(events(listener.fd, 5000), POLLIN);
    OK(accept(listener.fd, nullptr, nullptr));
}

TEST("unspec_disconnects") {
    const Connection pair;
    sockaddr none{};
    none.sa_family = AF_UNSPEC;
    char byte;
    OK(connect(pair.client, &none, sizeof none));
    CHECK_ERRNO(recv(pair.server, &byte, 1, 0), ECONNRESET);
    sockaddr_in name;
    socklen_t size = sizeof name;
    CHECK_ERRNO(getpeername(pair.client, reinterpret_cast<sockaddr*>(&name), &size), ENOTCONN);
    CHECK_EQ(tcp_state(pair.client), TCP_CLOSE);
    option(pair.client, SOL_SOCKET, SO_ERROR);
    const Listener listener;
    OK(connect_to(pair.client, listener.name()));
}

TEST("two_connections_from_one_port") {
    const Listener one, two;
    const int first = stream(), second = stream(), third = stream();
    for (int fd : {first, second, third}) OK(set(fd, SOL_SOCKET, SO_REUSEADDR, 1));
    OK(bind_to(first, v4("127.0.0.1", 0)));
    OK(bind_to(second, v4("127.0.0.1", port_of(first))));
    OK(bind_to(third, v4("127.0.0.1", port_of(first))));
    OK(connect_to(first, one.name()));
    OK(connect_to(second, two.name()));
    CHECK_ERRNO(connect_to(third, one.name()), EADDRNOTAVAIL);
}

// --- IPv6

TEST("v6_loopback") {
    const int listener = OK(socket(AF_INET6, SOCK_STREAM, 0)), client = OK(socket(AF_INET6, SOCK_STREAM, 0));
    OK(bind_to(listener, v6("::1", 0)));
    OK(listen(listener, 1));
    OK(connect_to(client, v6("::1", port_of(listener))));
    sockaddr_in6 peer{};
    socklen_t size = sizeof peer;
    const int server = OK(accept(listener, reinterpret_cast<sockaddr*>(&peer), &size));
    CHECK_EQ(size, sizeof peer);
    CHECK_STREQ(peer_of(server), "::1");
    CHECK_STREQ(name_of(client), "::1");
    CHECK_EQ(send(client, "hi", 2, 0), 2);
    char text[4] = {};
    CHECK_EQ(recv(server, text, 4, 0), 2);
}

TEST("v6_any_takes_v4_mapped") {
    const int listener = OK(socket(AF_INET6, SOCK_STREAM, 0)), client = stream();
    OK(bind_to(listener, v6("::", 0)));
    OK(listen(listener, 1));
    OK(connect_to(client, v4("127.0.0.1", port_of(listener))));
    const int server = OK(accept(listener, nullptr, nullptr));
    CHECK_STREQ(peer_of(server), "::ffff:127.0.0.1");
    CHECK_STREQ(name_of(server), "::ffff:127.0.0.1");
}

TEST("v6_only_refuses_v4") {
    // A socket that is not V6ONLY gets a port that is free in both families: no TIME_WAIT of an earlier case holds it.
    const int both = OK(socket(AF_INET6, SOCK_STREAM, 0));
    OK(bind_to(both, v6("::", 0)));
    const int port = port_of(both);
    OK(close(both));
    const int listener = OK(socket(AF_INET6, SOCK_STREAM, 0));
    OK(set(listener, IPPROTO_IPV6, IPV6_V6ONLY, 1));
    OK(bind_to(listener, v6("::", port)));
    OK(listen(listener, 1));
    CHECK_ERRNO(connect_to(stream(), v4("127.0.0.1", port_of(listener))), ECONNREFUSED);
    OK(bind_to(stream(), v4("0.0.0.0", port_of(listener))));
    CHECK_ERRNO(set(listener, IPPROTO_IPV6, IPV6_V6ONLY, 0), EINVAL);
}

TEST("v6_and_v4_any_conflict_unless_v6_only") {
    const int six = OK(socket(AF_INET6, SOCK_STREAM, 0));
    OK(bind_to(six, v6("::", 0)));
    CHECK_ERRNO(bind_to(stream(), v4("0.0.0.0", port_of(six))), EADDRINUSE);
    CHECK_ERRNO(bind_to(stream(), v4("127.0.0.1", port_of(six))), EADDRINUSE);
}

TEST("v6_socket_connects_to_mapped_v4") {
    const Listener listener;
    const int fd = OK(socket(AF_INET6, SOCK_STREAM, 0));
    OK(connect_to(fd, v6("::ffff:127.0.0.1", listener.port)));
    CHECK_STREQ(name_of(fd), "::ffff:127.0.0.1");
    const int server = OK(accept(listener.fd, nullptr, nullptr));
    CHECK_STREQ(peer_of(server), "127.0.0.1");
}

TEST("v6_names_are_checked") {
    const int fd = OK(socket(AF_INET6, SOCK_STREAM, 0));
    CHECK_ERRNO(bind_to(fd, v4("127.0.0.1", 0)), EINVAL);
    sockaddr_in6 name = v6("::1", 0);
    CHECK_ERRNO(bind(fd, as(name), 20), EINVAL);
    name.sin6_family = AF_INET;
    CHECK_ERRNO(bind_to(fd, name), EAFNOSUPPORT);
    CHECK_ERRNO(bind_to(fd, v6("fe80::1", 0)), EINVAL);
}
