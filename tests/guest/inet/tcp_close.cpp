// TCP: close(2), shutdown(2), resets.
#include "tests/guest/inet/inet_test.hpp"

using namespace guest;
using namespace inet;

namespace {
void catch_pipe() {
    struct sigaction action {};
    action.sa_handler = [](int) {};
    OK(sigaction(SIGPIPE, &action, nullptr));
}
}  // namespace

TEST("close_is_end_of_file") {
    const Connection pair;
    char text[8];
    CHECK_EQ(send(pair.client, "bye", 3, 0), 3);
    OK(close(pair.client));
    CHECK_EQ(recv(pair.server, text, 8, MSG_WAITALL), 3);
    CHECK_EQ(recv(pair.server, text, 8, 0), 0);
    CHECK_EQ(events(pair.server), POLLIN | POLLOUT | POLLRDHUP);
    CHECK_EQ(tcp_state(pair.server), TCP_CLOSE_WAIT);
}

TEST("end_of_file_wakes_a_reader") {
    const Connection pair;
    std::thread later([&] {
        sleep_ms(50);
        OK(close(pair.client));
    });
    char byte;
    CHECK_EQ(recv(pair.server, &byte, 1, 0), 0);
    later.join();
}

TEST("writing_to_a_closed_peer_is_told_by_the_second_write") {
    const Connection pair;
    char byte;
    OK(close(pair.client));
    CHECK_EQ(events(pair.server, 1000, POLLRDHUP), POLLRDHUP);
    CHECK_EQ(send(pair.server, "x", 1, MSG_NOSIGNAL), 1);
    CHECK_EQ(events(pair.server, 1000, 0), POLLERR | POLLHUP);
    CHECK_ERRNO(send(pair.server, "x", 1, MSG_NOSIGNAL), EPIPE);
    CHECK_EQ(recv(pair.server, &byte, 1, 0), 0);
}

TEST("broken_stream_raises_sigpipe") {
    const Connection pair;
    OK(close(pair.client));
    CHECK_EQ(events(pair.server, 1000, POLLRDHUP), POLLRDHUP);
    CHECK_SIGNALED(run_child([&] {
                       write(pair.server, "x", 1);
                       events(pair.server, 1000, 0);
                       write(pair.server, "x", 1);
                       write(pair.server, "x", 1);
                   }),
                   SIGPIPE);
}

TEST("close_with_unread_data_resets") {
    const Connection pair;
    char byte;
    CHECK_EQ(send(pair.server, "unread", 6, 0), 6);
    CHECK_EQ(events(pair.client, 1000, POLLIN), POLLIN);
    OK(close(pair.client));
    CHECK_EQ(events(pair.server, 1000), POLLIN | POLLOUT | POLLERR | POLLHUP | POLLRDHUP);
    CHECK_ERRNO(recv(pair.server, &byte, 1, 0), ECONNRESET);
    CHECK_EQ(recv(pair.server, &byte, 1, 0), 0);
    CHECK_ERRNO(send(pair.server, "x", 1, MSG_NOSIGNAL), EPIPE);
    CHECK_EQ(tcp_state(pair.server), TCP_CLOSE);
}

TEST("reset_is_in_so_error") {
    const Connection pair;
    CHECK_EQ(send(pair.server, "unread", 6, 0), 6);
    OK(close(pair.client));
    CHECK_EQ(events(pair.server, 1000, 0), POLLERR | POLLHUP);
    CHECK_EQ(option(pair.server, SOL_SOCKET, SO_ERROR), ECONNRESET);
    CHECK_EQ(option(pair.server, SOL_SOCKET, SO_ERROR), 0);
}

TEST("linger_zero_resets") {
    const Connection pair;
    char byte;
    const linger now = {1, 0};
    OK(setsockopt(pair.client, SOL_SOCKET, SO_LINGER, &now, sizeof now));
    OK(close(pair.client));
    CHECK_ERRNO(recv(pair.server, &byte, 1, 0), ECONNRESET);
}

TEST("data_before_a_reset_can_be_read") {
    const Connection pair;
    char text[8];
    const linger now = {1, 0};
    CHECK_EQ(send(pair.client, "last", 4, 0), 4);
    CHECK_EQ(events(pair.server, 1000, POLLIN), POLLIN);
    OK(setsockopt(pair.client, SOL_SOCKET, SO_LINGER, &now, sizeof now));
    OK(close(pair.client));
    CHECK_EQ(recv(pair.server, text, 8, 0), 4);
    CHECK_ERRNO(recv(pair.server, text, 8, 0), ECONNRESET);
}

TEST("reset_wakes_reader_and_writer") {
    const Connection pair;
    std::thread reader([&] {
        char byte;
        CHECK_ERRNO(recv(pair.server, &byte, 1, 0), ECONNRESET);
    });
    sleep_ms(50);
    const linger now = {1, 0};
    OK(setsockopt(pair.client, SOL_SOCKET, SO_LINGER, &now, sizeof now));
    OK(close(pair.client));
    reader.join();
}

TEST("close_wakes_a_blocked_writer") {
    const Connection pair;
    catch_pipe();
    std::thread later([&] {
        sleep_ms(50);
        OK(close(pair.server));
    });
    static char block[1 << 22];
    ssize_t count;
    while ((count = send(pair.client, block, sizeof block, 0)) > 0) {}
    CHECK_EQ(errno == EPIPE || errno == ECONNRESET, true);
    later.join();
}

TEST("shutdown_write_is_half_a_close") {
    const Connection pair;
    char text[8] = {};
    OK(shutdown(pair.client, SHUT_WR));
    CHECK_EQ(recv(pair.server, text, 8, 0), 0);
    CHECK_ERRNO(send(pair.client, "x", 1, MSG_NOSIGNAL), EPIPE);
    CHECK_EQ(send(pair.server, "still", 5, 0), 5);
    CHECK_EQ(recv(pair.client, text, 8, MSG_WAITALL | MSG_DONTWAIT) >= 0 || errno == EAGAIN, true);
    CHECK_EQ(tcp_state(pair.server), TCP_CLOSE_WAIT);
    CHECK_EQ(tcp_state(pair.client), TCP_FIN_WAIT2);
    CHECK_EQ(events(pair.client), POLLOUT);
}

TEST("both_ends_shut_down") {
    const Connection pair;
    OK(shutdown(pair.client, SHUT_WR));
    CHECK_EQ(events(pair.server, 1000, POLLRDHUP), POLLRDHUP);
    OK(shutdown(pair.server, SHUT_WR));
    CHECK_EQ(events(pair.client, 1000, POLLRDHUP), POLLRDHUP | POLLHUP);
    CHECK_EQ(events(pair.client), POLLIN | POLLOUT | POLLRDHUP | POLLHUP);
    CHECK_EQ(events(pair.server), POLLIN | POLLOUT | POLLRDHUP | POLLHUP);
    sockaddr_in name;
    socklen_t size = sizeof name;
    CHECK_ERRNO(getpeername(pair.server, reinterpret_cast<sockaddr*>(&name), &size), ENOTCONN);
    CHECK_ERRNO(shutdown(pair.server, SHUT_WR), ENOTCONN);
}

TEST("shutdown_read_gives_what_is_there") {
    const Connection pair;
    char text[8] = {};
    CHECK_EQ(send(pair.client, "ab", 2, 0), 2);
    CHECK_EQ(events(pair.server, 1000, POLLIN), POLLIN);
    OK(shutdown(pair.server, SHUT_RD));
    CHECK_EQ(events(pair.server), POLLIN | POLLOUT | POLLRDHUP);
    CHECK_EQ(recv(pair.server, text, 8, 0), 2);
    CHECK_EQ(recv(pair.server, text, 8, 0), 0);
    CHECK_EQ(send(pair.client, "cd", 2, MSG_NOSIGNAL), 2);
    CHECK_EQ(send(pair.server, "ok", 2, 0), 2);
}

TEST("shutdown_wakes_a_reader") {
    const Connection pair;
    std::thread later([&] {
        sleep_ms(50);
        OK(shutdown(pair.server, SHUT_RD));
    });
    char byte;
    CHECK_EQ(recv(pair.server, &byte, 1, 0), 0);
    later.join();
}

TEST("shutdown_errors") {
    CHECK_ERRNO(shutdown(stream(), SHUT_RDWR), ENOTCONN);
    const Connection pair;
    CHECK_ERRNO(shutdown(pair.client, 3), EINVAL);
    CHECK_ERRNO(shutdown(pair.client, -1), EINVAL);
}

TEST("shutdown_of_both_then_data_resets") {
    const Connection pair;
    OK(shutdown(pair.client, SHUT_RDWR));
    CHECK_EQ(events(pair.server, 1000, POLLRDHUP), POLLRDHUP);
    CHECK_EQ(send(pair.server, "x", 1, MSG_NOSIGNAL), 1);
    CHECK_EQ(events(pair.server, 1000, 0), POLLERR | POLLHUP);
    CHECK_ERRNO(send(pair.server, "x", 1, MSG_NOSIGNAL), EPIPE);
}

TEST("listener_can_listen_again_after_shutdown") {
    const Listener listener;
    OK(shutdown(listener.fd, SHUT_RD));
    CHECK_ERRNO(accept(listener.fd, nullptr, nullptr), EINVAL);
    OK(listen(listener.fd, 4));
    OK(connect_to(stream(), v4("127.0.0.1", port_of(listener.fd))));
    OK(accept(listener.fd, nullptr, nullptr));
}

TEST("duplicate_keeps_the_connection") {
    const Connection pair;
    const int copy = OK(dup(pair.client));
    char text[4];
    OK(close(pair.client));
    CHECK_EQ(send(copy, "x", 1, 0), 1);
    CHECK_EQ(recv(pair.server, text, 4, 0), 1);
    CHECK_ERRNO(recv(pair.server, text, 4, MSG_DONTWAIT), EAGAIN);
}

TEST("exit_closes_connections") {
    const Listener listener;
    const pid_t pid = OK(fork());
    if (pid == 0) {
        OK(connect_to(stream(), listener.name()));
        _exit(0);
    }
    const int server = OK(accept(listener.fd, nullptr, nullptr));
    char byte;
    CHECK_EQ(recv(server, &byte, 1, 0), 0);
}

TEST("many_connections_come_and_go") {
    const Listener listener(64);
    for (int i = 0; i < 300; ++i) {
        const int fd = stream();
        OK(connect_to(fd, listener.name()));
        const int server = OK(accept(listener.fd, nullptr, nullptr));
        CHECK_EQ(send(fd, "x", 1, 0), 1);
        OK(close(fd));
        char text[4];
        CHECK_EQ(recv(server, text, 4, MSG_WAITALL), 1);
        OK(close(server));
    }
}
