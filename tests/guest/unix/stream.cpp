// SOCK_STREAM: connections, bytes, ends.
#include "tests/guest/unix/unix_test.hpp"

namespace {
void ignore_sigpipe() { signal(SIGPIPE, SIG_IGN); }
size_t fill(int fd) {
    static char block[4096];
    OK(fcntl(fd, F_SETFL, O_NONBLOCK));
    size_t total = 0;
    for (;;) {
        ssize_t sent = send(fd, block, sizeof block, MSG_NOSIGNAL);
        if (sent < 0) break;
        total += static_cast<size_t>(sent);
    }
    CHECK_EQ(errno, EAGAIN);
    return total;
}
void no_handler(int) {}
void catch_alarm(int flags, unsigned milliseconds) {
    struct sigaction action {};
    action.sa_handler = no_handler;
    action.sa_flags = flags;
    OK(sigaction(SIGALRM, &action, nullptr));
    ualarm(milliseconds * 1000, 0);
}
}  // namespace

TEST("stream_has_no_message_borders") {
    Pair pair;
    send_text(pair.a, "one");
    send_text(pair.a, "two");
    char buffer[16];
    CHECK_EQ(recv(pair.b, buffer, 4, 0), 4);
    CHECK_EQ(memcmp(buffer, "onet", 4), 0);
    expect_text(pair.b, "wo");
}

TEST("stream_read_and_write") {
    Pair pair;
    CHECK_EQ(write(pair.b, "hello", 5), 5);
    char buffer[8];
    CHECK_EQ(read(pair.a, buffer, sizeof buffer), 5);
    CHECK_EQ(read(pair.a, buffer, 0), 0);
}

TEST("stream_blocking_read_waits") {
    Pair pair;
    pid_t child = OK(fork());
    if (child == 0) {
        sleep_ms(30);
        send_text(pair.a, "late");
        _exit(0);
    }
    expect_text(pair.b, "late");
}

TEST("stream_end_of_file") {
    Pair pair;
    send_text(pair.a, "last");
    OK(close(pair.a));
    expect_text(pair.b, "last");
    expect_text(pair.b, "");
    expect_text(pair.b, "");
}

TEST("stream_nonblocking_read") {
    Pair pair;
    char byte;
    CHECK_ERRNO(recv(pair.a, &byte, 1, MSG_DONTWAIT), EAGAIN);
    OK(fcntl(pair.a, F_SETFL, O_NONBLOCK));
    CHECK_ERRNO(read(pair.a, &byte, 1), EAGAIN);
}

TEST("stream_write_to_closed_peer_raises_sigpipe") {
    Pair pair;
    OK(close(pair.b));
    CHECK_SIGNALED(run_child([&] { (void)!write(pair.a, "x", 1); }), SIGPIPE);
    CHECK_SIGNALED(run_child([&] { send(pair.a, "x", 1, 0); }), SIGPIPE);
    ignore_sigpipe();
    CHECK_ERRNO(write(pair.a, "x", 1), EPIPE);
}

TEST("stream_msg_nosignal") {
    Pair pair;
    OK(close(pair.b));
    CHECK_ERRNO(send(pair.a, "x", 1, MSG_NOSIGNAL), EPIPE);
    Message message(1);
    message.header.msg_controllen = 0;
    CHECK_ERRNO(sendmsg(pair.a, &message.header, MSG_NOSIGNAL), EPIPE);
}

TEST("stream_unread_data_resets_the_peer") {
    Pair pair;
    send_text(pair.a, "unread");
    OK(close(pair.b));
    char byte;
    CHECK_ERRNO(recv(pair.a, &byte, 1, 0), ECONNRESET);
    CHECK_EQ(recv(pair.a, &byte, 1, 0), 0);
    CHECK_ERRNO(send(pair.a, &byte, 1, MSG_NOSIGNAL), EPIPE);
}

TEST("stream_so_error_tells_of_the_reset") {
    Pair pair;
    send_text(pair.a, "unread");
    OK(close(pair.b));
    CHECK_EQ(int_option(pair.a, SO_ERROR), ECONNRESET);
    CHECK_EQ(int_option(pair.a, SO_ERROR), 0);
}

TEST("stream_shutdown_write") {
    Pair pair;
    send_text(pair.a, "rest");
    OK(shutdown(pair.a, SHUT_WR));
    CHECK_ERRNO(send(pair.a, "x", 1, MSG_NOSIGNAL), EPIPE);
    expect_text(pair.b, "rest");
    expect_text(pair.b, "");
    send_text(pair.b, "answer");
    expect_text(pair.a, "answer");
}

TEST("stream_shutdown_read") {
    Pair pair;
    send_text(pair.b, "there");
    OK(shutdown(pair.a, SHUT_RD));
    CHECK_ERRNO(send(pair.b, "x", 1, MSG_NOSIGNAL), EPIPE);
    expect_text(pair.a, "there");
    expect_text(pair.a, "");
    send_text(pair.a, "out");
    expect_text(pair.b, "out");
}

TEST("stream_shutdown_wakes_a_reader") {
    Pair pair;
    pid_t child = OK(fork());
    if (child == 0) {
        sleep_ms(30);
        OK(shutdown(pair.a, SHUT_RD));
        _exit(0);
    }
    expect_text(pair.a, "");
}

TEST("shutdown_arguments") {
    Pair pair;
    CHECK_ERRNO(shutdown(pair.a, 3), EINVAL);
    CHECK_ERRNO(shutdown(pair.a, -1), EINVAL);
    OK(shutdown(OK(socket(AF_UNIX, SOCK_STREAM, 0)), SHUT_RDWR));
}

TEST("stream_unconnected") {
    int fd = OK(socket(AF_UNIX, SOCK_STREAM, 0));
    char byte = 0;
    CHECK_ERRNO(recv(fd, &byte, 1, 0), EINVAL);
    CHECK_ERRNO(send(fd, &byte, 1, MSG_NOSIGNAL), ENOTCONN);
    Name name = abstract_name("kvmsbx-nobody");
    CHECK_ERRNO(sendto(fd, &byte, 1, MSG_NOSIGNAL, name.get(), name.length), EOPNOTSUPP);
    CHECK_ERRNO(accept(fd, nullptr, nullptr), EINVAL);
}

TEST("stream_sendto_when_connected") {
    Pair pair;
    Name name = abstract_name("kvmsbx-nobody");
    CHECK_ERRNO(sendto(pair.a, "x", 1, 0, name.get(), name.length), EISCONN);
}

TEST("stream_full_buffer") {
    Pair pair;
    size_t total = fill(pair.a);
    CHECK_GE(total, 50000u);
    CHECK_EQ(events_of(pair.a, POLLOUT), 0);
    static char block[65536];
    size_t got = 0;
    while (got < total) got += static_cast<size_t>(OK(recv(pair.b, block, sizeof block, 0)));
    CHECK_EQ(got, total);
    CHECK_EQ(events_of(pair.a, POLLOUT), POLLOUT);
}

TEST("stream_large_transfer_keeps_order") {
    Pair pair;
    constexpr size_t kSize = 3 << 20;
    pid_t child = OK(fork());
    if (child == 0) {
        static unsigned char out[kSize];
        for (size_t i = 0; i < kSize; ++i) out[i] = static_cast<unsigned char>(i * 7 + (i >> 9));
        CHECK_EQ(send(pair.a, out, kSize, 0), kSize);
        _exit(0);
    }
    OK(close(pair.a));
    static unsigned char in[kSize + 1];
    CHECK_EQ(recv(pair.b, in, kSize, MSG_WAITALL), kSize);
    for (size_t i = 0; i < kSize; ++i)
        if (in[i] != static_cast<unsigned char>(i * 7 + (i >> 9))) CHECK_EQ(i, kSize);
    CHECK_EQ(recv(pair.b, in, 1, 0), 0);
}

TEST("stream_blocked_writer_gets_epipe") {
    Pair pair;
    fill(pair.a);
    OK(fcntl(pair.a, F_SETFL, 0));
    pid_t child = OK(fork());
    if (child == 0) {
        OK(close(pair.a));
        sleep_ms(30);
        _exit(0);
    }
    OK(close(pair.b));
    errno = 0;
    CHECK_EQ(send(pair.a, "x", 1, MSG_NOSIGNAL), -1);
    CHECK(errno == EPIPE || errno == ECONNRESET);
}

TEST("stream_peek_leaves_data") {
    Pair pair;
    send_text(pair.a, "peek");
    send_text(pair.a, "more");
    char buffer[16];
    CHECK_EQ(recv(pair.b, buffer, 2, MSG_PEEK), 2);
    expect_text(pair.b, "peekmore", MSG_PEEK);
    expect_text(pair.b, "peekmore");
}

TEST("stream_peek_offset") {
    Pair pair;
    send_text(pair.a, "abcdef");
    CHECK_EQ(int_option(pair.b, SO_PEEK_OFF), -1);
    set_int_option(pair.b, SO_PEEK_OFF, 1);
    char buffer[8] = {};
    CHECK_EQ(recv(pair.b, buffer, 2, MSG_PEEK), 2);
    CHECK_STREQ(buffer, "bc");
    CHECK_EQ(int_option(pair.b, SO_PEEK_OFF), 3);
    CHECK_EQ(recv(pair.b, buffer, 2, MSG_PEEK), 2);
    CHECK_STREQ(buffer, "de");
    CHECK_EQ(recv(pair.b, buffer, 2, 0), 2);
    CHECK_STREQ(buffer, "ab");
    CHECK_EQ(int_option(pair.b, SO_PEEK_OFF), 3);
    expect_text(pair.b, "f", MSG_PEEK);
    CHECK_ERRNO(recv(pair.b, buffer, 2, MSG_PEEK | MSG_DONTWAIT), EAGAIN);
}

TEST("stream_waitall_waits_for_all") {
    Pair pair;
    pid_t child = OK(fork());
    if (child == 0) {
        send_text(pair.a, "abc");
        sleep_ms(30);
        send_text(pair.a, "def");
        _exit(0);
    }
    char buffer[6];
    CHECK_EQ(recv(pair.b, buffer, 6, MSG_WAITALL), 6);
    CHECK_EQ(memcmp(buffer, "abcdef", 6), 0);
}

TEST("stream_waitall_ends_with_the_stream") {
    Pair pair;
    send_text(pair.a, "abc");
    OK(close(pair.a));
    char buffer[6];
    CHECK_EQ(recv(pair.b, buffer, 6, MSG_WAITALL), 3);
}

TEST("stream_receive_timeout") {
    Pair pair;
    timeval time{0, 30000};
    OK(setsockopt(pair.a, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time));
    uint64_t start = now_ns();
    char byte;
    CHECK_ERRNO(recv(pair.a, &byte, 1, 0), EAGAIN);
    CHECK_GE(now_ns() - start, 29000000u);
}

TEST("stream_send_timeout") {
    Pair pair;
    fill(pair.a);
    OK(fcntl(pair.a, F_SETFL, 0));
    timeval time{0, 30000};
    OK(setsockopt(pair.a, SOL_SOCKET, SO_SNDTIMEO, &time, sizeof time));
    CHECK_ERRNO(send(pair.a, "x", 1, 0), EAGAIN);
}

TEST("stream_receive_is_restarted") {
    Pair pair;
    pid_t child = OK(fork());
    if (child == 0) {
        sleep_ms(100);
        send_text(pair.a, "x");
        _exit(0);
    }
    catch_alarm(SA_RESTART, 20);
    expect_text(pair.b, "x");
}

TEST("stream_receive_is_interrupted") {
    Pair pair;
    char byte;
    catch_alarm(0, 20);
    CHECK_ERRNO(recv(pair.b, &byte, 1, 0), EINTR);
}

TEST("stream_receive_with_timeout_is_never_restarted") {
    Pair pair;
    timeval time{10, 0};
    OK(setsockopt(pair.b, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time));
    char byte;
    catch_alarm(SA_RESTART, 20);
    CHECK_ERRNO(recv(pair.b, &byte, 1, 0), EINTR);
}

TEST("stream_bad_memory") {
    Pair pair;
    send_text(pair.a, "data");
    CHECK_ERRNO(recv(pair.b, reinterpret_cast<void*>(8), 4, 0), EFAULT);
    expect_text(pair.b, "data");
    CHECK_ERRNO(send(pair.a, reinterpret_cast<void*>(8), 4, 0), EFAULT);
    CHECK_ERRNO(recv(pair.b, reinterpret_cast<void*>(8), 4, MSG_DONTWAIT), EAGAIN);
}

TEST("stream_send_nothing") {
    Pair pair;
    CHECK_EQ(send(pair.a, "", 0, 0), 0);
    char byte;
    CHECK_ERRNO(recv(pair.b, &byte, 1, MSG_DONTWAIT), EAGAIN);
}

TEST("listen_wants_a_name") {
    int fd = OK(socket(AF_UNIX, SOCK_STREAM, 0));
    CHECK_ERRNO(listen(fd, 1), EINVAL);
    Pair pair;
    CHECK_ERRNO(listen(pair.a, 1), EINVAL);
    CHECK_ERRNO(listen(bound(SOCK_DGRAM, abstract_name("kvmsbx-dgram-listen")), 1), EOPNOTSUPP);
}

TEST("accept_gives_the_addresses") {
    int server = listening(abstract_name("kvmsbx-accept"));
    int client = bound(SOCK_STREAM, abstract_name("kvmsbx-client"));
    Name to = abstract_name("kvmsbx-accept");
    OK(connect(client, to.get(), to.length));
    Name peer, own, far;
    peer.length = own.length = far.length = sizeof(sockaddr_un);
    int fd = OK(accept(server, reinterpret_cast<sockaddr*>(&peer.address), &peer.length));
    CHECK_EQ(peer.length, kPathAt + 14);
    CHECK_EQ(memcmp(peer.address.sun_path, "\0kvmsbx-client", 14), 0);
    OK(getsockname(fd, reinterpret_cast<sockaddr*>(&own.address), &own.length));
    CHECK_EQ(memcmp(own.address.sun_path, "\0kvmsbx-accept", 14), 0);
    OK(getpeername(client, reinterpret_cast<sockaddr*>(&far.address), &far.length));
    CHECK_EQ(memcmp(far.address.sun_path, "\0kvmsbx-accept", 14), 0);
}

TEST("getpeername_after_the_peer_is_gone") {
    int server = listening(abstract_name("kvmsbx-gone"));
    int client = connected(abstract_name("kvmsbx-gone"));
    int fd = OK(accept(server, nullptr, nullptr));
    OK(close(fd));
    Name far;
    far.length = sizeof far.address;
    OK(getpeername(client, reinterpret_cast<sockaddr*>(&far.address), &far.length));
    CHECK_EQ(far.length, kPathAt + 12);
}

TEST("accept4_flags") {
    int server = listening(abstract_name("kvmsbx-accept4"));
    connected(abstract_name("kvmsbx-accept4"));
    connected(abstract_name("kvmsbx-accept4"));
    OK(fcntl(server, F_SETFL, O_NONBLOCK));
    CHECK_ERRNO(accept4(server, nullptr, nullptr, 0x40), EINVAL);
    int fd = OK(accept4(server, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    CHECK_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
    CHECK_EQ(fcntl(fd, F_GETFL), O_RDWR | O_NONBLOCK);
    int plain = OK(accept(server, nullptr, nullptr));
    CHECK_EQ(fcntl(plain, F_GETFL), O_RDWR);
    CHECK_ERRNO(accept(server, nullptr, nullptr), EAGAIN);
}

TEST("accept_waits") {
    int server = listening(abstract_name("kvmsbx-waits"));
    pid_t child = OK(fork());
    if (child == 0) {
        sleep_ms(30);
        send_text(connected(abstract_name("kvmsbx-waits")), "here");
        _exit(0);
    }
    int fd = OK(accept(server, nullptr, nullptr));
    expect_text(fd, "here");
}

TEST("data_sent_before_accept") {
    int server = listening(abstract_name("kvmsbx-early"));
    int client = connected(abstract_name("kvmsbx-early"));
    send_text(client, "early");
    OK(close(client));
    int fd = OK(accept(server, nullptr, nullptr));
    expect_text(fd, "early");
    expect_text(fd, "");
}

TEST("backlog_bounds_waiting_connections") {
    Name name = abstract_name("kvmsbx-backlog");
    int server = listening(name, SOCK_STREAM, 1);
    connected(name);
    connected(name);
    int third = OK(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0));
    CHECK_ERRNO(connect(third, name.get(), name.length), EAGAIN);
    OK(accept(server, nullptr, nullptr));
    OK(connect(third, name.get(), name.length));
}

TEST("blocking_connect_waits_for_the_backlog") {
    Name name = abstract_name("kvmsbx-full");
    int server = listening(name, SOCK_STREAM, 0);
    connected(name);
    pid_t child = OK(fork());
    if (child == 0) {
        sleep_ms(30);
        OK(accept(server, nullptr, nullptr));
        sleep_ms(100);
        _exit(0);
    }
    connected(name);
}

TEST("blocking_connect_has_a_timeout") {
    Name name = abstract_name("kvmsbx-timeout");
    listening(name, SOCK_STREAM, 0);
    connected(name);
    int fd = OK(socket(AF_UNIX, SOCK_STREAM, 0));
    timeval time{0, 30000};
    OK(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &time, sizeof time));
    CHECK_ERRNO(connect(fd, name.get(), name.length), EAGAIN);
}

TEST("waiting_connect_is_refused_when_the_listener_closes") {
    Name name = abstract_name("kvmsbx-refused");
    int server = listening(name, SOCK_STREAM, 0);
    connected(name);
    pid_t child = OK(fork());
    if (child == 0) {
        OK(close(server));
        int fd = OK(socket(AF_UNIX, SOCK_STREAM, 0));
        CHECK_ERRNO(connect(fd, name.get(), name.length), ECONNREFUSED);
        _exit(0);
    }
    sleep_ms(50);
    OK(close(server));
    int status;
    OK(waitpid(child, &status, 0));
    CHECK_EXITED(status, 0);
}

TEST("closing_a_listener_resets_unaccepted_connections") {
    Name name = abstract_name("kvmsbx-unaccepted");
    int server = listening(name);
    int client = connected(name);
    OK(close(server));
    char byte;
    CHECK_ERRNO(recv(client, &byte, 1, 0), ECONNRESET);
    CHECK_EQ(recv(client, &byte, 1, 0), 0);
}

TEST("connect_errors_by_state") {
    Name name = abstract_name("kvmsbx-states");
    int server = listening(name);
    int client = connected(name);
    CHECK_ERRNO(connect(client, name.get(), name.length), EISCONN);
    CHECK_ERRNO(connect(server, name.get(), name.length), EINVAL);
    Name unspecified;
    unspecified.address.sun_family = AF_UNSPEC;
    unspecified.length = kPathAt;
    CHECK_ERRNO(connect(client, unspecified.get(), unspecified.length), EINVAL);
    unspecified.length = kPathAt + 3;
    CHECK_ERRNO(connect(client, unspecified.get(), unspecified.length), EINVAL);
}

TEST("shutdown_of_a_listener") {
    Name name = abstract_name("kvmsbx-shut");
    int server = listening(name);
    OK(shutdown(server, SHUT_RD));
    CHECK_ERRNO(accept(server, nullptr, nullptr), EINVAL);
    int client = OK(socket(AF_UNIX, SOCK_STREAM, 0));
    CHECK_ERRNO(connect(client, name.get(), name.length), ECONNREFUSED);
}

TEST("acceptconn_tells_of_listeners") {
    int fd = bound(SOCK_STREAM, abstract_name("kvmsbx-acceptconn"));
    CHECK_EQ(int_option(fd, SO_ACCEPTCONN), 0);
    OK(listen(fd, 1));
    CHECK_EQ(int_option(fd, SO_ACCEPTCONN), 1);
}

TEST("stream_over_fork_ends_with_the_last_descriptor") {
    Pair pair;
    pid_t child = OK(fork());
    if (child == 0) {
        sleep_ms(40);
        send_text(pair.a, "child");
        _exit(0);
    }
    OK(close(pair.a));
    expect_text(pair.b, "child");
    expect_text(pair.b, "");
}
