#pragma once
// What the cases about AF_INET and AF_INET6 share: sockets on loopback in short.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <thread>

#include "tests/guest/guest_test.hpp"

namespace inet {

inline sockaddr_in v4(const char* address, int port) {
    sockaddr_in name{};
    name.sin_family = AF_INET;
    name.sin_port = htons(static_cast<uint16_t>(port));
    inet_pton(AF_INET, address, &name.sin_addr);
    return name;
}
inline sockaddr_in6 v6(const char* address, int port) {
    sockaddr_in6 name{};
    name.sin6_family = AF_INET6;
    name.sin6_port = htons(static_cast<uint16_t>(port));
    inet_pton(AF_INET6, address, &name.sin6_addr);
    return name;
}
template <typename Name>
const sockaddr* as(const Name& name) {
    return reinterpret_cast<const sockaddr*>(&name);
}
template <typename Name>
int bind_to(int fd, const Name& name) {
    return bind(fd, as(name), sizeof name);
}
template <typename Name>
int connect_to(int fd, const Name& name) {
    return connect(fd, as(name), sizeof name);
}
inline int stream(int flags = 0) { return OK(socket(AF_INET, SOCK_STREAM | flags, 0)); }
inline int datagram(int flags = 0) { return OK(socket(AF_INET, SOCK_DGRAM | flags, 0)); }

inline int port_of(int fd) {
    sockaddr_in6 name{};
    socklen_t size = sizeof name;
    OK(getsockname(fd, reinterpret_cast<sockaddr*>(&name), &size));
    return ntohs(name.sin6_port);
}
// "ADDRESS:PORT" of a socket's name or its peer's.
inline const char* text_of(const sockaddr_storage& name) {
    static char text[2][80];
    static int turn = 0;
    char address[64] = "?";
    char* out = text[turn ^= 1];
    if (name.ss_family == AF_INET) {
        const auto& in = reinterpret_cast<const sockaddr_in&>(name);
        inet_ntop(AF_INET, &in.sin_addr, address, sizeof address);
        snprintf(out, 80, "%s", address);
    } else {
        const auto& in = reinterpret_cast<const sockaddr_in6&>(name);
        inet_ntop(AF_INET6, &in.sin6_addr, address, sizeof address);
        snprintf(out, 80, "%s", address);
    }
    return out;
}
inline const char* name_of(int fd) {
    sockaddr_storage name{};
    socklen_t size = sizeof name;
    OK(getsockname(fd, reinterpret_cast<sockaddr*>(&name), &size));
    return text_of(name);
}
inline const char* peer_of(int fd) {
    sockaddr_storage name{};
    socklen_t size = sizeof name;
    OK(getpeername(fd, reinterpret_cast<sockaddr*>(&name), &size));
    return text_of(name);
}

// A listening socket on 127.0.0.1 and a port that the kernel chose.
struct Listener {
    int fd, port;
    explicit Listener(int backlog = 16, const char* address = "127.0.0.1") : fd(stream()) {
        OK(bind_to(fd, v4(address, 0)));
        OK(listen(fd, backlog));
        port = port_of(fd);
    }
    sockaddr_in name() const { return v4("127.0.0.1", port); }
};

// Two connected sockets.
struct Connection {
    int client, server;
    Connection() {
        const Listener listener;
        client = stream();
        OK(connect_to(client, listener.name()));
        server = OK(accept(listener.fd, nullptr, nullptr));
        OK(close(listener.fd));
    }
};

inline int option(int fd, int level, int name) {
    int value = -1;
    socklen_t size = sizeof value;
    OK(getsockopt(fd, level, name, &value, &size));
    return value;
}
inline int set(int fd, int level, int name, int value) { return setsockopt(fd, level, name, &value, sizeof value); }

// The events now, or after at most `timeout` ms.
inline int events(int fd, int timeout = 0, int wanted = POLLIN | POLLOUT | POLLPRI | POLLRDHUP) {
    pollfd one = {fd, static_cast<short>(wanted), 0};
    OK(poll(&one, 1, timeout));
    return one.revents;
}
inline int tcp_state(int fd) {
    tcp_info info{};
    socklen_t size = sizeof info;
    OK(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size));
    return info.tcpi_state;
}
inline void nonblocking(int fd) { OK(fcntl(fd, F_SETFL, O_NONBLOCK)); }

}  // namespace inet
