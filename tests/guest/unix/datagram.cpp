// SOCK_DGRAM and SOCK_SEQPACKET: messages, peers, queues.
#include "tests/guest/unix/unix_test.hpp"

namespace {
ssize_t send_to(int fd, const Name& name, const char* text, int flags = 0) {
    return sendto(fd, text, strlen(text), flags, name.get(), name.length);
}
}  // namespace

TEST("datagram_keeps_borders") {
    Pair pair(SOCK_DGRAM);
    send_text(pair.a, "one");
    send_text(pair.a, "");
    send_text(pair.a, "two");
    expect_text(pair.b, "one");
    expect_text(pair.b, "");
    expect_text(pair.b, "two");
}

TEST("datagram_sendto_and_source") {
    int server = bound(SOCK_DGRAM, abstract_name("kvmsbx-server"));
    int client = bound(SOCK_DGRAM, abstract_name("kvmsbx-source"));
    CHECK_EQ(send_to(client, abstract_name("kvmsbx-server"), "hi"), 2);
    Name from;
    from.length = sizeof from.address;
    char buffer[8];
    CHECK_EQ(recvfrom(server, buffer, sizeof buffer, 0, reinterpret_cast<sockaddr*>(&from.address), &from.length), 2);
    CHECK_EQ(from.length, kPathAt + 14);
    CHECK_EQ(memcmp(from.address.sun_path, "\0kvmsbx-source", 14), 0);
    CHECK_EQ(sendto(server, "yo", 2, 0, from.get(), from.length), 2);
    expect_text(client, "yo");
}

TEST("datagram_from_an_unbound_socket") {
    int server = bound(SOCK_DGRAM, abstract_name("kvmsbx-unbound"));
    int client = OK(socket(AF_UNIX, SOCK_DGRAM, 0));
    CHECK_EQ(send_to(client, abstract_name("kvmsbx-unbound"), "hi"), 2);
    sockaddr_un from;
    socklen_t length = sizeof from;
    char buffer[8];
    CHECK_EQ(recvfrom(server, buffer, sizeof buffer, 0, reinterpret_cast<sockaddr*>(&from), &length), 2);
    CHECK_EQ(length, 0);
}

TEST("datagram_truncation") {
    Pair pair(SOCK_DGRAM);
    send_text(pair.a, "longer");
    send_text(pair.a, "longer");
    send_text(pair.a, "next");
    Message message(3);
    CHECK_EQ(recvmsg(pair.b, &message.header, 0), 3);
    CHECK_EQ(message.header.msg_flags & MSG_TRUNC, MSG_TRUNC);
    char buffer[3];
    CHECK_EQ(recv(pair.b, buffer, sizeof buffer, MSG_TRUNC), 6);
    Message whole;
    CHECK_EQ(recvmsg(pair.b, &whole.header, 0), 4);
    CHECK_EQ(whole.header.msg_flags & MSG_TRUNC, 0);
}

TEST("datagram_length_by_peek_and_trunc") {
    Pair pair(SOCK_DGRAM);
    send_text(pair.a, "longer");
    CHECK_EQ(recv(pair.b, nullptr, 0, MSG_PEEK | MSG_TRUNC), 6);
    expect_text(pair.b, "longer", MSG_PEEK);
    expect_text(pair.b, "longer");
}

TEST("datagram_to_nobody") {
    int fd = OK(socket(AF_UNIX, SOCK_DGRAM, 0));
    CHECK_ERRNO(send(fd, "x", 1, 0), ENOTCONN);
    CHECK_ERRNO(send_to(fd, abstract_name("kvmsbx-nobody"), "x"), ECONNREFUSED);
    scratch();
    CHECK_ERRNO(send_to(fd, path_name("missing"), "x"), ENOENT);
    listening(path_name("stream"));
    CHECK_ERRNO(send_to(fd, path_name("stream"), "x"), EPROTOTYPE);
    sockaddr_un address{};
    address.sun_family = AF_INET;
    CHECK_ERRNO(sendto(fd, "x", 1, 0, reinterpret_cast<sockaddr*>(&address), sizeof address), EINVAL);
}

TEST("datagram_connect_sets_the_peer") {
    int server = bound(SOCK_DGRAM, abstract_name("kvmsbx-peer"));
    int client = connected(abstract_name("kvmsbx-peer"), SOCK_DGRAM);
    send_text(client, "direct");
    expect_text(server, "direct");
    Name peer;
    peer.length = sizeof peer.address;
    OK(getpeername(client, reinterpret_cast<sockaddr*>(&peer.address), &peer.length));
    CHECK_EQ(peer.length, kPathAt + 12);
}

TEST("datagram_connect_again_and_disconnect") {
    int first = bound(SOCK_DGRAM, abstract_name("kvmsbx-first"));
    int second = bound(SOCK_DGRAM, abstract_name("kvmsbx-second"));
    int client = connected(abstract_name("kvmsbx-first"), SOCK_DGRAM);
    send_text(client, "1");
    Name name = abstract_name("kvmsbx-second");
    OK(connect(client, name.get(), name.length));
    send_text(client, "2");
    expect_text(first, "1");
    expect_text(second, "2");
    sockaddr none{AF_UNSPEC, {}};
    OK(connect(client, &none, sizeof none));
    CHECK_ERRNO(send(client, "3", 1, 0), ENOTCONN);
    CHECK_ERRNO(connect(client, &none, 1), EINVAL);
}

TEST("datagram_connected_takes_from_its_peer_only") {
    int a = bound(SOCK_DGRAM, abstract_name("kvmsbx-only-a"));
    bound(SOCK_DGRAM, abstract_name("kvmsbx-only-b"));
    Name b_name = abstract_name("kvmsbx-only-b");
    OK(connect(a, b_name.get(), b_name.length));
    int other = OK(socket(AF_UNIX, SOCK_DGRAM, 0));
    CHECK_ERRNO(send_to(other, abstract_name("kvmsbx-only-a"), "x"), EPERM);
    Name a_name = abstract_name("kvmsbx-only-a");
    CHECK_ERRNO(connect(other, a_name.get(), a_name.length), EPERM);
}

TEST("datagram_peer_that_is_gone") {
    int server = bound(SOCK_DGRAM, abstract_name("kvmsbx-leaving"));
    int client = connected(abstract_name("kvmsbx-leaving"), SOCK_DGRAM);
    OK(close(server));
    CHECK_ERRNO(send(client, "x", 1, 0), ECONNREFUSED);
    CHECK_ERRNO(send(client, "x", 1, 0), ENOTCONN);
}

TEST("datagram_pair_with_closed_end") {
    Pair pair(SOCK_DGRAM);
    send_text(pair.b, "kept");
    OK(close(pair.b));
    expect_text(pair.a, "kept");
    CHECK_ERRNO(recv(pair.a, nullptr, 0, MSG_DONTWAIT), EAGAIN);
    CHECK_ERRNO(send(pair.a, "x", 1, 0), ECONNREFUSED);
}

TEST("datagram_too_long") {
    Pair pair(SOCK_DGRAM);
    set_int_option(pair.a, SO_SNDBUF, 4096);
    static char block[16384];
    CHECK_ERRNO(send(pair.a, block, sizeof block, 0), EMSGSIZE);
    CHECK_EQ(send(pair.a, block, 4096, 0), 4096);
}

TEST("datagram_queue_is_bounded") {
    int server = bound(SOCK_DGRAM, abstract_name("kvmsbx-queue"));
    int client = connected(abstract_name("kvmsbx-queue"), SOCK_DGRAM);
    OK(fcntl(client, F_SETFL, O_NONBLOCK));
    int count = 0;
    while (count < 1000 && send(client, "x", 1, 0) == 1) ++count;
    CHECK_EQ(errno, EAGAIN);
    CHECK_EQ(count, 11);  // net.unix.max_dgram_qlen + 1
    CHECK_EQ(events_of(client, POLLOUT), 0);
    expect_text(server, "x");
    CHECK_EQ(events_of(client, POLLOUT), POLLOUT);
}

TEST("datagram_sender_waits_for_room") {
    int server = bound(SOCK_DGRAM, abstract_name("kvmsbx-room"));
    pid_t child = OK(fork());
    if (child == 0) {
        int client = connected(abstract_name("kvmsbx-room"), SOCK_DGRAM);
        for (int i = 0; i < 50; ++i) CHECK_EQ(send(client, &i, sizeof i, 0), sizeof i);
        _exit(0);
    }
    sleep_ms(30);
    for (int i = 0; i < 50; ++i) {
        int got = -1;
        CHECK_EQ(recv(server, &got, sizeof got, 0), sizeof got);
        CHECK_EQ(got, i);
    }
}

TEST("datagram_waiting_sender_is_told_of_the_end") {
    int server = bound(SOCK_DGRAM, abstract_name("kvmsbx-ends"));
    pid_t child = OK(fork());
    if (child == 0) {
        OK(close(server));
        int client = connected(abstract_name("kvmsbx-ends"), SOCK_DGRAM);
        int result = 0;
        for (int i = 0; i < 20 && result >= 0; ++i) result = static_cast<int>(send(client, "x", 1, 0));
        CHECK_EQ(result, -1);
        CHECK_EQ(errno, ECONNREFUSED);
        _exit(0);
    }
    sleep_ms(50);
    OK(close(server));
    int status;
    OK(waitpid(child, &status, 0));
    CHECK_EXITED(status, 0);
}

TEST("datagram_shutdown") {
    Pair pair(SOCK_DGRAM);
    OK(shutdown(pair.a, SHUT_WR));
    CHECK_ERRNO(send(pair.a, "x", 1, 0), EPIPE);
    Pair other(SOCK_DGRAM);
    OK(shutdown(other.b, SHUT_RD));
    CHECK_ERRNO(send(other.a, "x", 1, 0), EPIPE);
    char byte;
    CHECK_EQ(recv(other.b, &byte, 1, 0), 0);
    CHECK_ERRNO(recv(other.b, &byte, 1, MSG_DONTWAIT), EAGAIN);
}

TEST("datagram_epipe_has_no_signal") {
    Pair pair(SOCK_DGRAM);
    OK(shutdown(pair.a, SHUT_WR));
    CHECK_EXITED(run_child([&] { CHECK_ERRNO(write(pair.a, "x", 1), EPIPE); }), 0);
}

TEST("datagram_write_of_nothing_is_a_message") {
    Pair pair(SOCK_DGRAM);
    CHECK_EQ(write(pair.a, "", 0), 0);
    char byte;
    CHECK_EQ(recv(pair.b, &byte, 1, MSG_DONTWAIT), 0);
}

TEST("datagram_bad_memory_loses_the_message") {
    Pair pair(SOCK_DGRAM);
    send_text(pair.a, "lost");
    CHECK_ERRNO(recv(pair.b, reinterpret_cast<void*>(8), 4, 0), EFAULT);
    CHECK_ERRNO(recv(pair.b, nullptr, 0, MSG_DONTWAIT), EAGAIN);
}

TEST("datagram_timestamp") {
    Pair pair(SOCK_DGRAM);
    set_int_option(pair.b, SO_TIMESTAMP, 1);
    timeval before, stamp;
    timespec now;
    OK(clock_gettime(CLOCK_REALTIME, &now));
    before = {now.tv_sec, now.tv_nsec / 1000};
    send_text(pair.a, "timed");
    Message message;
    CHECK_EQ(recvmsg(pair.b, &message.header, 0), 5);
    cmsghdr* found = message.find(SCM_TIMESTAMP);
    CHECK(found != nullptr);
    memcpy(&stamp, CMSG_DATA(found), sizeof stamp);
    CHECK_GE(stamp.tv_sec, before.tv_sec - 1);
    CHECK_LE(stamp.tv_sec, before.tv_sec + 20);
}

TEST("datagram_receive_of_accept_calls") {
    Pair pair(SOCK_DGRAM);
    CHECK_ERRNO(accept(pair.a, nullptr, nullptr), EOPNOTSUPP);
    CHECK_ERRNO(listen(pair.a, 1), EOPNOTSUPP);
}

TEST("seqpacket_keeps_borders_in_connections") {
    Name name = abstract_name("kvmsbx-seq");
    int server = listening(name, SOCK_SEQPACKET);
    int client = connected(name, SOCK_SEQPACKET);
    int fd = OK(accept(server, nullptr, nullptr));
    send_text(client, "one");
    send_text(client, "two");
    char buffer[2];
    CHECK_EQ(recv(fd, buffer, sizeof buffer, 0), 2);
    expect_text(fd, "two");
}

TEST("seqpacket_end") {
    Pair pair(SOCK_SEQPACKET);
    send_text(pair.a, "last");
    OK(close(pair.a));
    expect_text(pair.b, "last");
    expect_text(pair.b, "");
    expect_text(pair.b, "", MSG_DONTWAIT);
    CHECK_EXITED(run_child([&] { CHECK_ERRNO(send(pair.b, "x", 1, 0), EPIPE); }), 0);
}

TEST("seqpacket_unread_data_resets_the_peer") {
    Pair pair(SOCK_SEQPACKET);
    send_text(pair.a, "unread");
    OK(close(pair.b));
    char byte;
    CHECK_ERRNO(recv(pair.a, &byte, 1, 0), ECONNRESET);
    CHECK_EQ(recv(pair.a, &byte, 1, 0), 0);
}

TEST("seqpacket_unconnected") {
    int fd = OK(socket(AF_UNIX, SOCK_SEQPACKET, 0));
    char byte = 0;
    CHECK_ERRNO(recv(fd, &byte, 1, 0), ENOTCONN);
    CHECK_ERRNO(send(fd, &byte, 1, 0), ENOTCONN);
}

TEST("seqpacket_ignores_an_address") {
    Pair pair(SOCK_SEQPACKET);
    CHECK_EQ(send_to(pair.a, abstract_name("kvmsbx-nobody"), "x"), 1);
    expect_text(pair.b, "x");
}

TEST("seqpacket_shutdown_write_is_end_of_file") {
    Pair pair(SOCK_SEQPACKET);
    OK(shutdown(pair.a, SHUT_WR));
    expect_text(pair.b, "");
    CHECK_ERRNO(send(pair.a, "x", 1, 0), EPIPE);
}

TEST("peek_offset_of_messages") {
    Pair pair(SOCK_DGRAM);
    send_text(pair.a, "first");
    send_text(pair.a, "second");
    set_int_option(pair.b, SO_PEEK_OFF, 2);
    expect_text(pair.b, "rst", MSG_PEEK);
    expect_text(pair.b, "second", MSG_PEEK);
    expect_text(pair.b, "first");
}
