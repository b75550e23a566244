// SCM_RIGHTS: files that travel.
#include <sys/eventfd.h>
#include <sys/resource.h>

#include "tests/guest/unix/unix_test.hpp"

TEST("rights_pass_a_file") {
    scratch();
    write_file("file", "contents");
    Pair pair;
    int file = OK(open("file", O_RDONLY));
    send_fd(pair.a, file);
    OK(close(file));
    int received = receive_fd(pair.b);
    char buffer[16] = {};
    CHECK_EQ(read(received, buffer, sizeof buffer), 8);
    CHECK_STREQ(buffer, "contents");
}

TEST("rights_share_the_description") {
    scratch();
    write_file("file", "0123456789");
    Pair pair;
    int file = OK(open("file", O_RDONLY));
    send_fd(pair.a, file);
    int received = receive_fd(pair.b);
    OK(lseek(file, 5, SEEK_SET));
    CHECK_EQ(lseek(received, 0, SEEK_CUR), 5);
}

TEST("rights_to_another_process") {
    Pair pair;
    pid_t child = OK(fork());
    if (child == 0) {
        int fds[2];
        OK(pipe(fds));
        send_fd(pair.a, fds[0]);
        CHECK_EQ(write(fds[1], "through", 7), 7);
        _exit(0);
    }
    int received = receive_fd(pair.b);
    char buffer[8] = {};
    CHECK_EQ(read(received, buffer, 7), 7);
    CHECK_STREQ(buffer, "through");
}

TEST("rights_close_on_exec") {
    Pair pair;
    send_fd(pair.a, 0);
    CHECK_EQ(fcntl(receive_fd(pair.b), F_GETFD), 0);
    send_fd(pair.a, 0);
    Message message(1);
    CHECK_EQ(recvmsg(pair.b, &message.header, MSG_CMSG_CLOEXEC), 1);
    CHECK_EQ(fcntl(message.fd(), F_GETFD), FD_CLOEXEC);
    CHECK_EQ(message.header.msg_flags & MSG_CMSG_CLOEXEC, MSG_CMSG_CLOEXEC);
}

TEST("rights_several_files") {
    Pair pair;
    int fds[3] = {0, OK(eventfd(7, 0)), pair.a};
    send_fds(pair.a, fds, 3);
    Message message(1);
    CHECK_EQ(recvmsg(pair.b, &message.header, 0), 1);
    CHECK_EQ(message.header.msg_controllen, CMSG_SPACE(3 * sizeof(int)));
    CHECK_EQ(message.find(SCM_RIGHTS)->cmsg_len, CMSG_LEN(3 * sizeof(int)));
    uint64_t count = 0;
    CHECK_EQ(read(message.fd(1), &count, sizeof count), sizeof count);
    CHECK_EQ(count, 7);
    send_text(message.fd(2), "x");
    expect_text(pair.b, "x");
}

TEST("rights_limit_per_message") {
    Pair pair;
    int fds[254] = {};
    send_fds(pair.a, fds, 253);
    Message received(1);
    CHECK_EQ(recvmsg(pair.b, &received.header, 0), 1);
    CHECK_EQ(received.find(SCM_RIGHTS)->cmsg_len, CMSG_LEN(253 * sizeof(int)));
    Message message(1);
    message.set_control(SCM_RIGHTS, fds, sizeof fds);
    CHECK_ERRNO(sendmsg(pair.a, &message.header, 0), EINVAL);
}

TEST("rights_of_a_bad_descriptor") {
    Pair pair;
    int fds[2] = {0, 777};
    Message message(1);
    message.set_control(SCM_RIGHTS, fds, sizeof fds);
    CHECK_ERRNO(sendmsg(pair.a, &message.header, 0), EBADF);
    CHECK_ERRNO(recv(pair.b, message.data, 1, MSG_DONTWAIT), EAGAIN);
}

TEST("rights_no_room_for_control") {
    Pair pair;
    send_fd(pair.a, 0);
    Message message(1, 0);
    CHECK_EQ(recvmsg(pair.b, &message.header, 0), 1);
    CHECK_EQ(message.header.msg_flags & MSG_CTRUNC, MSG_CTRUNC);
    CHECK_EQ(message.header.msg_controllen, 0);
}

TEST("rights_room_for_some") {
    Pair pair;
    int fds[3] = {0, 0, 0};
    send_fds(pair.a, fds, 3);
    int before = OK(dup(0));
    OK(close(before));
    Message message(1, CMSG_LEN(2 * sizeof(int)));
    CHECK_EQ(recvmsg(pair.b, &message.header, 0), 1);
    CHECK_EQ(message.header.msg_flags & MSG_CTRUNC, MSG_CTRUNC);
    CHECK_EQ(message.find(SCM_RIGHTS)->cmsg_len, CMSG_LEN(2 * sizeof(int)));
    CHECK_EQ(message.fd(1), before + 1);
    CHECK(!is_open(before + 2));
}

TEST("rights_beyond_the_descriptor_limit") {
    Pair pair;
    int fds[3] = {0, 0, 0};
    send_fds(pair.a, fds, 3);
    rlimit limit{static_cast<rlim_t>(pair.b) + 2, static_cast<rlim_t>(pair.b) + 2};
    OK(setrlimit(RLIMIT_NOFILE, &limit));
    Message message(1);
    CHECK_EQ(recvmsg(pair.b, &message.header, 0), 1);
    CHECK_EQ(message.header.msg_flags & MSG_CTRUNC, MSG_CTRUNC);
    CHECK_EQ(message.find(SCM_RIGHTS)->cmsg_len, CMSG_LEN(sizeof(int)));
}

TEST("rights_dropped_by_plain_read") {
    Pair pair;
    int pipe_fds[2];
    OK(pipe(pipe_fds));
    send_fd(pair.a, pipe_fds[1]);
    OK(close(pipe_fds[1]));
    CHECK_EQ(events_of(pipe_fds[0], POLLIN), 0);
    char byte;
    CHECK_EQ(read(pair.b, &byte, 1), 1);
    CHECK_EQ(read(pipe_fds[0], &byte, 1), 0);  // the last writer is gone
}

TEST("rights_closed_with_the_queue") {
    Pair pair;
    int pipe_fds[2];
    OK(pipe(pipe_fds));
    send_fd(pair.a, pipe_fds[1]);
    OK(close(pipe_fds[1]));
    OK(close(pair.b));
    char byte;
    CHECK_EQ(read(pipe_fds[0], &byte, 1), 0);
}

TEST("rights_by_peek_come_again") {
    Pair pair;
    send_fd(pair.a, 0);
    int first = receive_fd(pair.b, MSG_PEEK), second = receive_fd(pair.b);
    CHECK_NE(first, second);
    CHECK(is_open(first));
    CHECK(is_open(second));
}

TEST("rights_end_a_stream_read") {
    Pair pair;
    send_text(pair.a, "before");
    send_fd(pair.a, 0);
    send_text(pair.a, "after");
    Message message;
    CHECK_EQ(recvmsg(pair.b, &message.header, 0), 7);  // with the byte that carries the file
    CHECK(message.find(SCM_RIGHTS) != nullptr);
    expect_text(pair.b, "after");
}

TEST("rights_without_bytes_in_a_stream_are_not_sent") {
    Pair pair;
    Message message(0);
    int fd = 0;
    message.set_control(SCM_RIGHTS, &fd, sizeof fd);
    CHECK_EQ(sendmsg(pair.a, &message.header, 0), 0);
    CHECK_ERRNO(recv(pair.b, message.data, 1, MSG_DONTWAIT), EAGAIN);
}

TEST("rights_with_an_empty_datagram") {
    Pair pair(SOCK_DGRAM);
    Message message(0);
    int fd = 0;
    message.set_control(SCM_RIGHTS, &fd, sizeof fd);
    CHECK_EQ(sendmsg(pair.a, &message.header, 0), 0);
    Message received;
    CHECK_EQ(recvmsg(pair.b, &received.header, 0), 0);
    CHECK(is_open(received.fd()));
}

TEST("rights_of_a_listener") {
    int server = listening(abstract_name("kvmsbx-travels"));
    Pair pair;
    send_fd(pair.a, server);
    OK(close(server));
    int client = connected(abstract_name("kvmsbx-travels"));  // while it travels
    int received = receive_fd(pair.b);
    int fd = OK(accept(received, nullptr, nullptr));
    send_text(fd, "found");
    expect_text(client, "found");
}

TEST("rights_own_end_in_own_queue_is_collected") {
    int pipe_fds[2];
    OK(pipe(pipe_fds));
    Pair pair;
    int fds[2] = {pair.a, pipe_fds[1]};
    send_fds(pair.b, fds, 2);  // waits in a's queue
    OK(close(pipe_fds[1]));
    OK(close(pair.b));
    OK(close(pair.a));
    Pair other;
    OK(close(other.a));
    OK(close(other.b));
    char byte;
    CHECK_EQ(read(pipe_fds[0], &byte, 1), 0);
}

TEST("rights_cycle_of_two_pairs_is_collected") {
    int pipe_fds[2];
    OK(pipe(pipe_fds));
    Pair one, two;
    int first[2] = {two.a, pipe_fds[1]}, second[2] = {one.a, pipe_fds[1]};
    send_fds(one.b, first, 2);   // one.a's queue holds two.a
    send_fds(two.b, second, 2);  // two.a's queue holds one.a
    for (int fd : {pipe_fds[1], one.a, one.b, two.a, two.b}) OK(close(fd));
    Pair other;
    OK(close(other.a));
    OK(close(other.b));
    char byte;
    CHECK_EQ(read(pipe_fds[0], &byte, 1), 0);
}

TEST("rights_cycle_with_an_outside_reference_stays") {
    Pair one, two;
    send_fd(one.b, two.a);
    send_fd(two.b, one.a);
    OK(close(two.a));
    OK(close(two.b));
    Pair other;
    OK(close(other.a));
    OK(close(other.b));
    int received = receive_fd(one.a);  // two.a
    int again = receive_fd(received);  // one.a
    send_text(one.b, "alive");
    expect_text(again, "alive");
}

TEST("rights_in_a_connection_nobody_accepted_are_collected") {
    int pipe_fds[2];
    OK(pipe(pipe_fds));
    Name name = abstract_name("kvmsbx-embryo");
    int server = listening(name), client = connected(name);
    int fds[2] = {server, pipe_fds[1]};
    send_fds(client, fds, 2);
    for (int fd : {pipe_fds[1], client, server}) OK(close(fd));
    Pair other;
    OK(close(other.a));
    OK(close(other.b));
    char byte;
    CHECK_EQ(read(pipe_fds[0], &byte, 1), 0);
}

TEST("rights_deep_chain_of_sockets_ends") {
    int pipe_fds[2];
    OK(pipe(pipe_fds));
    int carried = pipe_fds[1];
    for (int i = 0; i < 500; ++i) {
        Pair pair;
        send_fd(pair.a, carried);
        OK(close(carried));
        OK(close(pair.a));
        carried = pair.b;
    }
    OK(close(carried));
    char byte;
    CHECK_EQ(read(pipe_fds[0], &byte, 1), 0);
}

TEST("rights_too_many_in_flight") {
    CHECK_EXITED(run_child([] {
                     rlimit limit{64, 64};
                     OK(setrlimit(RLIMIT_NOFILE, &limit));
                     OK(setresuid(1234, 1234, 1234));
                     Pair pair;
                     int fds[40] = {};
                     send_fds(pair.a, fds, 40);
                     send_fds(pair.a, fds, 40);
                     Message message(1);
                     message.set_control(SCM_RIGHTS, fds, sizeof fds);
                     CHECK_ERRNO(sendmsg(pair.a, &message.header, 0), ETOOMANYREFS);
                     CHECK_EQ(recv(pair.b, message.data, 2, 0), 1);
                     CHECK_EQ(recv(pair.b, message.data, 2, 0), 1);
                     send_fds(pair.a, fds, 40);
                 }),
                 0);
}

TEST("epoll_forgets_a_socket_that_only_travels") {
    Pair pair, watched;
    send_fd(pair.a, watched.a);
    OK(close(watched.a));
    OK(close(pair.a));
    OK(close(pair.b));
    char byte;
    CHECK_EQ(recv(watched.b, &byte, 1, 0), 0);
}
