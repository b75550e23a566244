// The calls themselves: msghdr, many messages at once, options, poll, ioctl.
#include <sys/epoll.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <climits>

#include "tests/guest/unix/unix_test.hpp"

TEST("sendmsg_gathers_and_recvmsg_scatters") {
    Pair pair;
    char one[] = "ab", two[] = "cdef", x[3] = {}, y[8] = {};
    iovec out[2] = {{one, 2}, {two, 4}}, in[2] = {{x, 2}, {y, 8}};
    msghdr header{};
    header.msg_iov = out, header.msg_iovlen = 2;
    CHECK_EQ(sendmsg(pair.a, &header, 0), 6);
    header.msg_iov = in;
    CHECK_EQ(recvmsg(pair.b, &header, 0), 6);
    CHECK_STREQ(x, "ab");
    CHECK_STREQ(y, "cdef");
}

TEST("writev_is_one_datagram") {
    Pair pair(SOCK_DGRAM);
    char one[] = "ab", two[] = "cdef";
    iovec out[2] = {{one, 2}, {two, 4}};
    CHECK_EQ(writev(pair.a, out, 2), 6);
    expect_text(pair.b, "abcdef");
}

TEST("sendmsg_bad_headers") {
    Pair pair;
    CHECK_ERRNO(sendmsg(pair.a, reinterpret_cast<msghdr*>(8), 0), EFAULT);
    Message message(1);
    message.header.msg_controllen = 0;
    message.header.msg_iovlen = IOV_MAX + 1;
    CHECK_ERRNO(sendmsg(pair.a, &message.header, 0), EMSGSIZE);
    message.header.msg_iovlen = 1;
    message.header.msg_iov = reinterpret_cast<iovec*>(8);
    CHECK_ERRNO(sendmsg(pair.a, &message.header, 0), EFAULT);
    message.header.msg_iov = &message.part;
    message.part.iov_len = static_cast<size_t>(-1);
    CHECK_ERRNO(sendmsg(pair.a, &message.header, 0), EINVAL);
    message.part.iov_len = 1;
    message.header.msg_name = message.data;
    message.header.msg_namelen = static_cast<socklen_t>(-1);
    CHECK_ERRNO(sendmsg(pair.a, &message.header, 0), EINVAL);
}

TEST("sendmsg_bad_control") {
    Pair pair;
    Message message(1);
    int fd = 0;
    message.set_control(SCM_RIGHTS, &fd, sizeof fd);
    cmsghdr* first = reinterpret_cast<cmsghdr*>(message.control);
    first->cmsg_len = 4;
    CHECK_ERRNO(sendmsg(pair.a, &message.header, 0), EINVAL);
    first->cmsg_len = 1000;
    CHECK_ERRNO(sendmsg(pair.a, &message.header, 0), EINVAL);
    first->cmsg_len = CMSG_LEN(sizeof fd);
    message.header.msg_controllen = static_cast<size_t>(INT_MAX) + 1;
    CHECK_ERRNO(sendmsg(pair.a, &message.header, 0), ENOBUFS);
    message.header.msg_controllen = 1 << 20;
    CHECK_ERRNO(sendmsg(pair.a, &message.header, 0), ENOBUFS);
    message.header.msg_control = reinterpret_cast<void*>(8);
    message.header.msg_controllen = 64;
    CHECK_ERRNO(sendmsg(pair.a, &message.header, 0), EFAULT);
    message.header.msg_controllen = 8;  // shorter than a header, but still copied
    message.header.msg_control = message.control;
    CHECK_EQ(sendmsg(pair.a, &message.header, 0), 1);
}

TEST("message_flags_of_32_bit_callers_are_refused") {
    Pair pair;
    Message message(1);
    CHECK_ERRNO(syscall(SYS_sendmsg, pair.a, &message.header, 0x80000000u), EINVAL);
    CHECK_ERRNO(syscall(SYS_recvmsg, pair.a, &message.header, 0x80000000u), EINVAL);
}

TEST("sendto_address_arguments") {
    Pair pair(SOCK_DGRAM);
    Name name = abstract_name("kvmsbx-x");
    CHECK_ERRNO(sendto(pair.a, "x", 1, 0, name.get(), static_cast<socklen_t>(-1)), EINVAL);
    CHECK_ERRNO(sendto(pair.a, "x", 1, 0, name.get(), 129), EINVAL);
    CHECK_ERRNO(sendto(pair.a, "x", 1, 0, reinterpret_cast<sockaddr*>(8), 20), EFAULT);
    CHECK_EQ(sendto(pair.a, "x", 1, 0, nullptr, 20), 1);
    CHECK_EQ(sendto(pair.a, "x", 1, 0, name.get(), 0), 1);
}

TEST("recvmsg_name_length_is_set") {
    bound(SOCK_DGRAM, abstract_name("kvmsbx-namelen"));
    Pair pair(SOCK_DGRAM);
    send_text(pair.a, "x");
    Message message;
    sockaddr_un from;
    message.header.msg_name = &from, message.header.msg_namelen = sizeof from;
    CHECK_EQ(recvmsg(pair.b, &message.header, 0), 1);
    CHECK_EQ(message.header.msg_namelen, 0);
    CHECK_EQ(message.header.msg_controllen, 0);
}

TEST("sendmmsg_and_recvmmsg") {
    Pair pair(SOCK_DGRAM);
    char texts[3][4] = {"one", "two", "3"};
    iovec parts[3];
    mmsghdr messages[3] = {};
    for (int i = 0; i < 3; ++i) {
        parts[i] = {texts[i], strlen(texts[i])};
        messages[i].msg_hdr.msg_iov = &parts[i], messages[i].msg_hdr.msg_iovlen = 1;
    }
    CHECK_EQ(sendmmsg(pair.a, messages, 3, 0), 3);
    CHECK_EQ(messages[1].msg_len, 3);
    CHECK_EQ(messages[2].msg_len, 1);
    char room[4][8] = {};
    iovec in[4];
    mmsghdr received[4] = {};
    for (int i = 0; i < 4; ++i) {
        in[i] = {room[i], sizeof room[i]};
        received[i].msg_hdr.msg_iov = &in[i], received[i].msg_hdr.msg_iovlen = 1;
    }
    CHECK_EQ(recvmmsg(pair.b, received, 4, MSG_WAITFORONE, nullptr), 3);
    CHECK_STREQ(room[1], "two");
    CHECK_EQ(received[2].msg_len, 1);
    CHECK_ERRNO(recvmmsg(pair.b, received, 4, MSG_DONTWAIT, nullptr), EAGAIN);
}

TEST("sendmmsg_stops_at_the_first_error") {
    Pair pair(SOCK_DGRAM);
    char text[] = "x";
    iovec good{text, 1}, bad{reinterpret_cast<void*>(8), 1};
    mmsghdr messages[2] = {};
    messages[0].msg_hdr.msg_iov = &good, messages[0].msg_hdr.msg_iovlen = 1;
    messages[1].msg_hdr.msg_iov = &bad, messages[1].msg_hdr.msg_iovlen = 1;
    CHECK_EQ(sendmmsg(pair.a, messages, 2, 0), 1);
    CHECK_ERRNO(sendmmsg(pair.a, messages + 1, 1, 0), EFAULT);
    CHECK_EQ(sendmmsg(pair.a, messages, 0, 0), 0);
}

TEST("recvmmsg_timeout_argument") {
    Pair pair(SOCK_DGRAM);
    send_text(pair.a, "x");
    char room[8];
    iovec in{room, sizeof room};
    mmsghdr received{};
    received.msg_hdr.msg_iov = &in, received.msg_hdr.msg_iovlen = 1;
    timespec bad{0, 1000000000}, good{5, 0};
    CHECK_ERRNO(recvmmsg(pair.b, &received, 1, 0, &bad), EINVAL);
    CHECK_EQ(recvmmsg(pair.b, &received, 1, 0, &good), 1);
    CHECK_LE(good.tv_sec, 5);
}

TEST("buffer_sizes_are_doubled") {
    Pair pair;
    CHECK_EQ(int_option(pair.a, SO_SNDBUF), 212992);
    CHECK_EQ(int_option(pair.a, SO_RCVBUF), 212992);
    set_int_option(pair.a, SO_SNDBUF, 10000);
    set_int_option(pair.a, SO_RCVBUF, 20000);
    CHECK_EQ(int_option(pair.a, SO_SNDBUF), 20000);
    CHECK_EQ(int_option(pair.a, SO_RCVBUF), 40000);
    set_int_option(pair.a, SO_SNDBUF, 1);
    set_int_option(pair.a, SO_RCVBUF, 1);
    CHECK_EQ(int_option(pair.a, SO_SNDBUF), 4608);
    CHECK_EQ(int_option(pair.a, SO_RCVBUF), 2304);
}

TEST("send_buffer_bounds_what_is_in_flight") {
    Pair pair;
    set_int_option(pair.a, SO_SNDBUF, 4096);
    static char block[1 << 16];
    ssize_t sent = send(pair.a, block, sizeof block, MSG_DONTWAIT);
    CHECK_GT(sent, 0);
    CHECK_LT(sent, 20000);
}

TEST("option_arguments") {
    Pair pair;
    int value = 1;
    socklen_t length = sizeof value;
    CHECK_ERRNO(setsockopt(pair.a, SOL_SOCKET, SO_SNDBUF, &value, 3), EINVAL);
    CHECK_ERRNO(setsockopt(pair.a, SOL_SOCKET, SO_SNDBUF, &value, static_cast<socklen_t>(-1)), EINVAL);
    CHECK_ERRNO(setsockopt(pair.a, SOL_SOCKET, SO_SNDBUF, reinterpret_cast<void*>(8), 4), EFAULT);
    CHECK_ERRNO(setsockopt(pair.a, SOL_SOCKET, 9999, &value, sizeof value), ENOPROTOOPT);
    CHECK_ERRNO(setsockopt(pair.a, SOL_SOCKET, SO_TYPE, &value, sizeof value), ENOPROTOOPT);
    CHECK_ERRNO(getsockopt(pair.a, SOL_SOCKET, 9999, &value, &length), ENOPROTOOPT);
    CHECK_ERRNO(getsockopt(pair.a, SOL_SOCKET, SO_TYPE, &value, nullptr), EFAULT);
    CHECK_ERRNO(getsockopt(pair.a, SOL_SOCKET, SO_TYPE, reinterpret_cast<void*>(8), &length), EFAULT);
    length = static_cast<socklen_t>(-1);
    CHECK_ERRNO(getsockopt(pair.a, SOL_SOCKET, SO_TYPE, &value, &length), EINVAL);
}

TEST("options_of_other_levels") {
    Pair pair;
    int value = 1;
    socklen_t length = sizeof value;
    CHECK_ERRNO(setsockopt(pair.a, 6, 1, &value, sizeof value), EOPNOTSUPP);
    CHECK_ERRNO(getsockopt(pair.a, 6, 1, &value, &length), EOPNOTSUPP);
}

TEST("getsockopt_cuts_the_value") {
    Pair pair;
    unsigned char bytes[4] = {0x55, 0x55, 0x55, 0x55};
    socklen_t length = 2;
    OK(getsockopt(pair.a, SOL_SOCKET, SO_SNDBUF, bytes, &length));
    CHECK_EQ(length, 2);
    CHECK_EQ(bytes[0] | bytes[1] << 8, 212992 & 0xffff);
    CHECK_EQ(bytes[2], 0x55);
}

TEST("flags_that_are_kept") {
    int fd = OK(socket(AF_UNIX, SOCK_STREAM, 0));
    for (int option :
         {SO_REUSEADDR, SO_KEEPALIVE, SO_OOBINLINE, SO_BROADCAST, SO_DONTROUTE, SO_PASSCRED, SO_TIMESTAMP}) {
        CHECK_EQ(int_option(fd, option), 0);
        set_int_option(fd, option, 5);
        CHECK_EQ(int_option(fd, option), 1);
        set_int_option(fd, option, 0);
        CHECK_EQ(int_option(fd, option), 0);
    }
}

TEST("linger_option") {
    Pair pair;
    linger wanted{1, 7}, shown{};
    socklen_t length = sizeof shown;
    OK(setsockopt(pair.a, SOL_SOCKET, SO_LINGER, &wanted, sizeof wanted));
    OK(getsockopt(pair.a, SOL_SOCKET, SO_LINGER, &shown, &length));
    CHECK_EQ(shown.l_onoff, 1);
    CHECK_EQ(shown.l_linger, 7);
    CHECK_ERRNO(setsockopt(pair.a, SOL_SOCKET, SO_LINGER, &wanted, 4), EINVAL);
}

TEST("timeout_options") {
    Pair pair;
    timeval wanted{3, 250000}, shown{};
    socklen_t length = sizeof shown;
    OK(setsockopt(pair.a, SOL_SOCKET, SO_RCVTIMEO, &wanted, sizeof wanted));
    OK(getsockopt(pair.a, SOL_SOCKET, SO_RCVTIMEO, &shown, &length));
    CHECK_EQ(length, sizeof shown);
    CHECK_EQ(shown.tv_sec, 3);
    CHECK(shown.tv_usec >= 250000 && shown.tv_usec <= 260000);  // Linux rounds up to its ticks
    OK(getsockopt(pair.a, SOL_SOCKET, SO_SNDTIMEO, &shown, &length));
    CHECK_EQ(shown.tv_sec, 0);
    wanted = {0, 1000000};
    CHECK_ERRNO(setsockopt(pair.a, SOL_SOCKET, SO_RCVTIMEO, &wanted, sizeof wanted), EDOM);
    wanted = {-1, 0};
    OK(setsockopt(pair.a, SOL_SOCKET, SO_RCVTIMEO, &wanted, sizeof wanted));
    char byte;
    CHECK_ERRNO(recv(pair.a, &byte, 1, 0), EAGAIN);
}

TEST("receive_low_water_mark") {
    Pair pair;
    CHECK_EQ(int_option(pair.a, SO_RCVLOWAT), 1);
    set_int_option(pair.b, SO_RCVLOWAT, 4);
    pid_t child = OK(fork());
    if (child == 0) {
        send_text(pair.a, "ab");
        sleep_ms(30);
        send_text(pair.a, "cd");
        _exit(0);
    }
    expect_text(pair.b, "abcd");
}

TEST("poll_of_a_pair") {
    Pair pair;
    constexpr short kAll = POLLIN | POLLOUT | POLLRDHUP | POLLRDNORM | POLLWRNORM;
    CHECK_EQ(events_of(pair.a, kAll), POLLOUT | POLLWRNORM);
    send_text(pair.b, "x");
    CHECK_EQ(events_of(pair.a, kAll), POLLOUT | POLLWRNORM | POLLIN | POLLRDNORM);
    OK(shutdown(pair.b, SHUT_WR));
    CHECK_EQ(events_of(pair.a, kAll), POLLOUT | POLLWRNORM | POLLIN | POLLRDNORM | POLLRDHUP);
    OK(close(pair.b));
    CHECK_EQ(events_of(pair.a, POLLIN | POLLRDHUP), POLLIN | POLLRDHUP | POLLHUP);
}

TEST("poll_of_unconnected_sockets") {
    CHECK_EQ(events_of(OK(socket(AF_UNIX, SOCK_STREAM, 0)), POLLIN | POLLOUT), POLLOUT | POLLHUP);
    CHECK_EQ(events_of(OK(socket(AF_UNIX, SOCK_DGRAM, 0)), POLLIN | POLLOUT), POLLOUT);
    CHECK_EQ(events_of(OK(socket(AF_UNIX, SOCK_SEQPACKET, 0)), POLLIN | POLLOUT), POLLOUT | POLLHUP);
}

TEST("poll_of_a_listener") {
    Name name = abstract_name("kvmsbx-poll");
    int server = listening(name);
    CHECK_EQ(events_of(server, POLLIN | POLLOUT), 0);
    connected(name);
    CHECK_EQ(events_of(server, POLLIN | POLLOUT), POLLIN);
}

TEST("poll_shows_a_reset") {
    Pair pair;
    send_text(pair.a, "unread");
    OK(close(pair.b));
    CHECK_EQ(events_of(pair.a, 0), POLLERR | POLLHUP);
}

TEST("poll_waits_for_data_and_hang_up") {
    Pair pair;
    pid_t child = OK(fork());
    if (child == 0) {
        OK(close(pair.b));
        sleep_ms(30);
        send_text(pair.a, "x");
        sleep_ms(30);
        _exit(0);
    }
    OK(close(pair.a));
    pollfd one{pair.b, POLLIN, 0};
    CHECK_EQ(poll(&one, 1, 10000), 1);
    CHECK_EQ(one.revents, POLLIN);
    expect_text(pair.b, "x");
    one.events = POLLRDHUP;
    CHECK_EQ(poll(&one, 1, 10000), 1);
    CHECK_EQ(one.revents & POLLRDHUP, POLLRDHUP);
}

TEST("epoll_edges_of_a_stream") {
    Pair pair;
    int epoll = OK(epoll_create1(0));
    epoll_event event{EPOLLIN | EPOLLRDHUP | EPOLLET, {}}, got{};
    OK(epoll_ctl(epoll, EPOLL_CTL_ADD, pair.b, &event));
    CHECK_EQ(epoll_wait(epoll, &got, 1, 0), 0);
    send_text(pair.a, "x");
    CHECK_EQ(epoll_wait(epoll, &got, 1, 1000), 1);
    CHECK_EQ(epoll_wait(epoll, &got, 1, 0), 0);
    send_text(pair.a, "y");
    CHECK_EQ(epoll_wait(epoll, &got, 1, 1000), 1);
    OK(close(pair.a));
    CHECK_EQ(epoll_wait(epoll, &got, 1, 1000), 1);
    CHECK_EQ(got.events, EPOLLIN | EPOLLRDHUP | EPOLLHUP);
}

TEST("fionread") {
    Pair stream, messages(SOCK_DGRAM);
    int count = -1;
    OK(ioctl(stream.a, FIONREAD, &count));
    CHECK_EQ(count, 0);
    for (const Pair& pair : {stream, messages}) {
        send_text(pair.a, "abc");
        send_text(pair.a, "de");
    }
    OK(ioctl(stream.b, FIONREAD, &count));
    CHECK_EQ(count, 5);
    OK(ioctl(messages.b, FIONREAD, &count));
    CHECK_EQ(count, 3);
    CHECK_ERRNO(ioctl(listening(abstract_name("kvmsbx-inq")), FIONREAD, &count), EINVAL);
    CHECK_ERRNO(ioctl(stream.a, FIONREAD, reinterpret_cast<int*>(8)), EFAULT);
}

TEST("outq") {
    Pair pair;
    int count = -1;
    OK(ioctl(pair.a, TIOCOUTQ, &count));
    CHECK_EQ(count, 0);
    send_text(pair.a, "abc");
    OK(ioctl(pair.a, TIOCOUTQ, &count));
    CHECK_GE(count, 3);
    expect_text(pair.b, "abc");
    OK(ioctl(pair.a, TIOCOUTQ, &count));
    CHECK_EQ(count, 0);
}

TEST("fionbio") {
    Pair pair;
    int on = 1;
    OK(ioctl(pair.a, FIONBIO, &on));
    char byte;
    CHECK_ERRNO(read(pair.a, &byte, 1), EAGAIN);
    CHECK_EQ(fcntl(pair.a, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
}

TEST("unknown_ioctl") {
    Pair pair;
    int value = 0;
    CHECK_ERRNO(ioctl(pair.a, 0x5413 /* TIOCGWINSZ */, &value), ENOTTY);
    CHECK_EQ(isatty(pair.a), 0);
}

TEST("sendfile_to_a_socket") {
    scratch();
    write_file("file", "0123456789");
    Pair pair;
    int file = OK(open("file", O_RDONLY));
    off_t offset = 2;
    CHECK_EQ(sendfile(pair.a, file, &offset, 5), 5);
    CHECK_EQ(offset, 7);
    expect_text(pair.b, "23456");
}

TEST("many_sockets_come_and_go") {
    for (int i = 0; i < 2000; ++i) {
        Pair pair;
        send_text(pair.a, "x");
        OK(close(pair.a));
        OK(close(pair.b));
    }
}
