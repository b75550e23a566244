// Stream sockets to another process: a pair of AF_UNIX, and TCP over the loopback device.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/guest/bench_guest.hpp"
#include "bench/guest/peers.hpp"

namespace bench {
namespace {

using Serve = void (*)(Ends);

int connection = -1;

void serve_and_exit(Serve serve, int fd) {
    serve({fd, fd});
    _exit(0);
}

void connect_unix(Serve serve) {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0) die("socketpair");
    if (start_child("fork of the peer") == 0) {
        close(pair[0]);
        serve_and_exit(serve, pair[1]);
    }
    close(pair[1]);
    connection = pair[0];
}

// A segment leaves when it is written.
void send_at_once(int fd) {
    int yes = 1;
    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes)) != 0) die("TCP_NODELAY");
}

int listen_on_loopback(sockaddr_in& address) {
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (listener < 0) die("socket of AF_INET");
    address = {.sin_family = AF_INET, .sin_port = 0, .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_zero = {}};
    socklen_t size = sizeof(address);
    auto* generic = reinterpret_cast<sockaddr*>(&address);
    if (bind(listener, generic, size) != 0) die("bind to 127.0.0.1");
    if (listen(listener, 1) != 0) die("listen");
    if (getsockname(listener, generic, &size) != 0) die("getsockname");
    return listener;
}

void connect_tcp(Serve serve) {
    sockaddr_in address;
    int listener = listen_on_loopback(address);
    if (start_child("fork of the peer") == 0) {
        int fd = accept(listener, nullptr, nullptr);
        if (fd < 0) die("accept");
        close(listener);
        send_at_once(fd);
        serve_and_exit(serve, fd);
    }
    connection = socket(AF_INET, SOCK_STREAM, 0);
    if (connection < 0) die("socket of AF_INET");
    if (connect(connection, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) die("connect to 127.0.0.1");
    close(listener);
    send_at_once(connection);
}

void ask(uint64_t operations) { round_trips({connection, connection}, operations); }

void stream(uint64_t operations) { send_blocks({connection, connection}, operations); }

}  // namespace

const Metric kSocketMetrics[] = {
    {"unix_round_trip", "round trip", 50, [] { connect_unix(echo); }, ask},
    {"tcp_round_trip", "round trip", 50, [] { connect_tcp(echo); }, ask},
    {"unix_throughput", "64 KiB block", 50, [] { connect_unix(swallow); }, stream, nullptr, 1, kBlock},
    {"tcp_throughput", "64 KiB block", 50, [] { connect_tcp(swallow); }, stream, nullptr, 1, kBlock},
    {},
};

}  // namespace bench
