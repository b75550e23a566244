// TCP: send(2), recv(2), urgent data, poll(2), sizes of buffers.
#include <linux/sockios.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/uio.h>

#include "tests/guest/inet/inet_test.hpp"

using namespace guest;
using namespace inet;

namespace {
constexpr unsigned long kSiocinq = 0x541b, kSiocoutq = 0x5411, kSiocatmark = 0x8905;

int ask(int fd, unsigned long request) {
    int value = -1;
    OK(ioctl(fd, request, &value));
    return value;
}
// Sends until it would block; the bytes that went.
size_t fill(int fd) {
    static char block[65536];
    size_t all = 0;
    for (;;) {
        const ssize_t count = send(fd, block, sizeof block, MSG_DONTWAIT);
        if (count < 0) {
            CHECK_EQ(errno, EAGAIN);
            return all;
        }
        all += static_cast<size_t>(count);
    }
}
}  // namespace

TEST("bytes_arrive_in_order_both_ways") {
    const Connection pair;
    char text[16] = {};
    CHECK_EQ(send(pair.client, "abc", 3, 0), 3);
    CHECK_EQ(write(pair.client, "def", 3), 3);
    CHECK_EQ(recv(pair.server, text, 6, MSG_WAITALL), 6);
    CHECK_STREQ(text, "abcdef");
    CHECK_EQ(send(pair.server, "back", 4, 0), 4);
    memset(text, 0, sizeof text);
    CHECK_EQ(read(pair.client, text, 16), 4);
    CHECK_STREQ(text, "back");
}

TEST("a_megabyte_goes_through_unchanged") {
    const Connection pair;
    constexpr size_t kSize = 1 << 22;
    std::thread writer([&] {
        static unsigned out[kSize / 4];
        for (unsigned i = 0; i < kSize / 4; ++i) out[i] = i * 2654435761U;
        size_t done = 0;
        while (done < kSize)
            done += static_cast<size_t>(OK(send(pair.client, reinterpret_cast<char*>(out) + done, kSize - done, 0)));
        OK(shutdown(pair.client, SHUT_WR));
    });
    static unsigned in[kSize / 4];
    size_t done = 0;
    while (done < kSize) {
        const ssize_t count = OK(recv(pair.server, reinterpret_cast<char*>(in) + done, 7777, 0));
        CHECK_GT(count, 0);
        done += static_cast<size_t>(count);
    }
    char byte;
    CHECK_EQ(recv(pair.server, &byte, 1, 0), 0);
    writer.join();
    for (unsigned i = 0; i < kSize / 4; ++i) CHECK_EQ(in[i], i * 2654435761U);
}

TEST("ping_pong_between_processes") {
    const Connection pair;
    const pid_t pid = OK(fork());
    char byte;
    if (pid == 0) {
        OK(close(pair.client));
        while (recv(pair.server, &byte, 1, 0) == 1) CHECK_EQ(send(pair.server, &byte, 1, 0), 1);
        _exit(0);
    }
    OK(close(pair.server));
    for (int i = 0; i < 500; ++i) {
        const char out = static_cast<char>(i);
        CHECK_EQ(send(pair.client, &out, 1, 0), 1);
        CHECK_EQ(recv(pair.client, &byte, 1, 0), 1);
        CHECK_EQ(byte, out);
    }
    OK(close(pair.client));
    int status;
    OK(waitpid(pid, &status, 0));
    CHECK_EXITED(status, 0);
}

TEST("recv_without_data") {
    const Connection pair;
    char byte;
    CHECK_ERRNO(recv(pair.client, &byte, 1, MSG_DONTWAIT), EAGAIN);
    nonblocking(pair.client);
    CHECK_ERRNO(read(pair.client, &byte, 1), EAGAIN);
    CHECK_EQ(read(pair.client, &byte, 0), 0);
}

TEST("unconnected_socket_neither_sends_nor_receives") {
    const int fd = stream();
    char byte;
    CHECK_ERRNO(recv(fd, &byte, 1, 0), ENOTCONN);
    CHECK_ERRNO(send(fd, "x", 1, MSG_NOSIGNAL), EPIPE);
    const sockaddr_in name = v4("127.0.0.1", 9);
    CHECK_ERRNO(sendto(fd, "x", 1, MSG_NOSIGNAL, as(name), sizeof name), EPIPE);
}

TEST("sendto_ignores_the_address") {
    const Connection pair;
    const sockaddr_in name = v4("192.0.2.1", 9);
    char text[4] = {};
    CHECK_EQ(sendto(pair.client, "x", 1, 0, as(name), sizeof name), 1);
    sockaddr_in from{};
    socklen_t size = sizeof from;
    CHECK_EQ(recvfrom(pair.server, text, 4, 0, reinterpret_cast<sockaddr*>(&from), &size), 1);
    CHECK_EQ(size, 0);
}

TEST("peek_leaves_the_data") {
    const Connection pair;
    char text[8] = {};
    CHECK_EQ(send(pair.client, "peek", 4, 0), 4);
    CHECK_EQ(recv(pair.server, text, 2, MSG_PEEK), 2);
    CHECK_STREQ(text, "pe");
    CHECK_EQ(recv(pair.server, text, 8, MSG_PEEK), 4);
    CHECK_EQ(recv(pair.server, text, 8, 0), 4);
    CHECK_STREQ(text, "peek");
}

TEST("trunc_throws_data_away") {
    const Connection pair;
    char text[8] = "-------";
    CHECK_EQ(send(pair.client, "abcdef", 6, 0), 6);
    CHECK_EQ(recv(pair.server, text, 4, MSG_TRUNC), 4);
    CHECK_STREQ(text, "-------");
    CHECK_EQ(recv(pair.server, text, 8, 0), 2);
    CHECK_EQ(text[0], 'e');
}

TEST("waitall_waits_for_all") {
    const Connection pair;
    std::thread later([&] {
        for (int i = 0; i < 4; ++i) {
            sleep_ms(20);
            CHECK_EQ(send(pair.client, "ab", 2, 0), 2);
        }
    });
    char text[16] = {};
    CHECK_EQ(recv(pair.server, text, 8, MSG_WAITALL), 8);
    CHECK_STREQ(text, "abababab");
    later.join();
}

TEST("waitall_ends_at_the_end") {
    const Connection pair;
    CHECK_EQ(send(pair.client, "abc", 3, 0), 3);
    OK(close(pair.client));
    char text[16];
    CHECK_EQ(recv(pair.server, text, 8, MSG_WAITALL), 3);
}

TEST("receive_low_water_mark") {
    const Connection pair;
    OK(set(pair.server, SOL_SOCKET, SO_RCVLOWAT, 4));
    CHECK_EQ(send(pair.client, "abc", 3, 0), 3);
    CHECK_EQ(events(pair.server, 50, POLLIN), 0);
    CHECK_EQ(send(pair.client, "d", 1, 0), 1);
    CHECK_EQ(events(pair.server, 2000, POLLIN), POLLIN);
    char text[8];
    CHECK_EQ(recv(pair.server, text, 8, 0), 4);
}

TEST("receive_timeout_is_eagain") {
    const Connection pair;
    const timeval limit = {0, 50000};
    OK(setsockopt(pair.server, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit));
    char byte;
    const uint64_t start = now_ns();
    CHECK_ERRNO(recv(pair.server, &byte, 1, 0), EAGAIN);
    CHECK_GE(now_ns() - start, 40'000'000u);
}

TEST("send_timeout_counts_what_went") {
    const Connection pair;
    fill(pair.client);
    const timeval limit = {0, 50000};
    OK(setsockopt(pair.client, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit));
    CHECK_ERRNO(send(pair.client, "x", 1, 0), EAGAIN);
}

TEST("signal_interrupts_recv") {
    const Connection pair;
    struct sigaction action {};
    action.sa_handler = [](int) {};
    OK(sigaction(SIGUSR1, &action, nullptr));
    const pid_t parent = getpid();
    const pid_t pid = OK(fork());
    if (pid == 0) {
        sleep_ms(50);
        kill(parent, SIGUSR1);
        _exit(0);
    }
    char byte;
    CHECK_ERRNO(recv(pair.server, &byte, 1, 0), EINTR);
}

TEST("restarted_recv_goes_on_but_not_with_a_timeout") {
    const Connection pair;
    struct sigaction action {};
    action.sa_handler = [](int) {};
    action.sa_flags = SA_RESTART;
    OK(sigaction(SIGUSR1, &action, nullptr));
    const pid_t parent = getpid();
    const pid_t pid = OK(fork());
    if (pid == 0) {
        sleep_ms(50);
        kill(parent, SIGUSR1);
        sleep_ms(50);
        CHECK_EQ(send(pair.client, "x", 1, 0), 1);
        sleep_ms(50);
        kill(parent, SIGUSR1);
        _exit(0);
    }
    char byte;
    CHECK_EQ(recv(pair.server, &byte, 1, 0), 1);
    const timeval limit = {5, 0};
    OK(setsockopt(pair.server, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit));
    CHECK_ERRNO(recv(pair.server, &byte, 1, 0), EINTR);
}

TEST("full_buffer_blocks_and_room_wakes") {
    const Connection pair;
    const size_t all = fill(pair.client);
    CHECK_GT(all, 65536u);
    CHECK_EQ(events(pair.client, 0, POLLOUT), 0);
    CHECK_EQ(static_cast<size_t>(ask(pair.client, kSiocoutq)) > 0, true);
    std::thread reader([&] {
        static char block[65536];
        size_t done = 0;
        sleep_ms(50);
        while (done < all + 1) done += static_cast<size_t>(OK(recv(pair.server, block, sizeof block, 0)));
    });
    CHECK_EQ(send(pair.client, "x", 1, 0), 1);
    reader.join();
    CHECK_EQ(events(pair.client, 2000, POLLOUT), POLLOUT);
}

TEST("small_buffers_bound_what_is_queued") {
    const Listener listener;
    const int fd = stream();
    OK(set(listener.fd, SOL_SOCKET, SO_RCVBUF, 8192));
    OK(set(fd, SOL_SOCKET, SO_SNDBUF, 8192));
    OK(connect_to(fd, listener.name()));
    const int server = OK(accept(listener.fd, nullptr, nullptr));
    CHECK_EQ(option(server, SOL_SOCKET, SO_RCVBUF), 16384);
    CHECK_EQ(option(fd, SOL_SOCKET, SO_SNDBUF), 16384);
    CHECK_LT(fill(fd), 400'000u);
}

TEST("bytes_in_the_queue") {
    const Connection pair;
    CHECK_EQ(ask(pair.server, kSiocinq), 0);
    CHECK_EQ(send(pair.client, "12345", 5, 0), 5);
    CHECK_EQ(events(pair.server, 1000, POLLIN), POLLIN);
    CHECK_EQ(ask(pair.server, kSiocinq), 5);
    CHECK_EQ(ask(pair.client, kSiocoutq), 0);
    const Listener listener;
    int value;
    CHECK_ERRNO(ioctl(listener.fd, kSiocinq, &value), EINVAL);
}

TEST("bad_memory_is_efault") {
    const Connection pair;
    CHECK_ERRNO(send(pair.client, reinterpret_cast<void*>(16), 4, 0), EFAULT);
    CHECK_EQ(send(pair.client, "abc", 3, 0), 3);
    CHECK_ERRNO(recv(pair.server, reinterpret_cast<void*>(16), 4, 0), EFAULT);
    char text[4] = {};
    CHECK_EQ(recv(pair.server, text, 3, 0), 3);
    CHECK_STREQ(text, "abc");
}

TEST("vectors_are_gathered_and_scattered") {
    const Connection pair;
    char a[3] = {}, b[5] = {};
    const iovec out[2] = {{const_cast<char*>("ab"), 2}, {const_cast<char*>("cdef"), 4}};
    const iovec in[2] = {{a, 2}, {b, 4}};
    CHECK_EQ(writev(pair.client, out, 2), 6);
    CHECK_EQ(readv(pair.server, in, 2), 6);
    CHECK_STREQ(a, "ab");
    CHECK_STREQ(b, "cdef");
}

TEST("seek_and_pread_are_espipe") {
    const Connection pair;
    char byte;
    CHECK_ERRNO(lseek(pair.client, 0, SEEK_SET), ESPIPE);
    CHECK_ERRNO(pread(pair.client, &byte, 1, 0), ESPIPE);
}

// --- urgent data

TEST("urgent_byte_is_read_on_its_own") {
    const Connection pair;
    char text[8] = {};
    CHECK_EQ(send(pair.client, "abX", 3, MSG_OOB), 3);
    CHECK_EQ(send(pair.client, "cd", 2, 0), 2);
    CHECK_EQ(events(pair.server, 1000, POLLPRI), POLLPRI);
    CHECK_EQ(recv(pair.server, text, 8, MSG_OOB), 1);
    CHECK_EQ(text[0], 'X');
    CHECK_ERRNO(recv(pair.server, text, 8, MSG_OOB), EINVAL);
    memset(text, 0, sizeof text);
    CHECK_EQ(recv(pair.server, text, 8, 0), 2);
    CHECK_STREQ(text, "ab");
    CHECK_EQ(ask(pair.server, kSiocatmark), 1);
    memset(text, 0, sizeof text);
    CHECK_EQ(recv(pair.server, text, 8, 0), 2);
    CHECK_STREQ(text, "cd");
    CHECK_EQ(ask(pair.server, kSiocatmark), 0);
}

TEST("urgent_byte_inline") {
    const Connection pair;
    OK(set(pair.server, SOL_SOCKET, SO_OOBINLINE, 1));
    char text[8] = {};
    CHECK_EQ(send(pair.client, "abX", 3, MSG_OOB), 3);
    CHECK_EQ(events(pair.server, 1000, POLLIN), POLLIN);
    CHECK_ERRNO(recv(pair.server, text, 8, MSG_OOB), EINVAL);
    CHECK_EQ(recv(pair.server, text, 8, 0), 2);
    CHECK_EQ(recv(pair.server, text, 8, 0), 1);
    CHECK_EQ(text[0], 'X');
}

TEST("no_urgent_data_is_einval") {
    const Connection pair;
    char byte;
    CHECK_ERRNO(recv(pair.server, &byte, 1, MSG_OOB), EINVAL);
}

// --- poll and epoll

TEST("poll_of_a_fresh_socket") { CHECK_EQ(events(stream()), POLLOUT | POLLHUP); }

TEST("poll_follows_the_data") {
    const Connection pair;
    CHECK_EQ(events(pair.client), POLLOUT);
    CHECK_EQ(send(pair.server, "x", 1, 0), 1);
    CHECK_EQ(events(pair.client, 1000, POLLIN | POLLOUT), POLLIN | POLLOUT);
}

TEST("edge_triggered_epoll_tells_of_each_arrival") {
    const Connection pair;
    const int epoll = OK(epoll_create1(0));
    epoll_event event{EPOLLIN | EPOLLET, {}}, out[2];
    OK(epoll_ctl(epoll, EPOLL_CTL_ADD, pair.server, &event));
    CHECK_EQ(epoll_wait(epoll, out, 2, 0), 0);
    CHECK_EQ(send(pair.client, "x", 1, 0), 1);
    CHECK_EQ(epoll_wait(epoll, out, 2, 2000), 1);
    CHECK_EQ(epoll_wait(epoll, out, 2, 0), 0);
    CHECK_EQ(send(pair.client, "y", 1, 0), 1);
    CHECK_EQ(epoll_wait(epoll, out, 2, 2000), 1);
}

TEST("edge_triggered_epoll_tells_of_room") {
    const Connection pair;
    const int epoll = OK(epoll_create1(0));
    epoll_event event{EPOLLOUT | EPOLLET, {}}, out[2];
    OK(epoll_ctl(epoll, EPOLL_CTL_ADD, pair.client, &event));
    CHECK_EQ(epoll_wait(epoll, out, 2, 0), 1);
    const size_t all = fill(pair.client);
    CHECK_EQ(epoll_wait(epoll, out, 2, 0), 0);
    static char block[65536];
    for (size_t done = 0; done < all;) done += static_cast<size_t>(OK(recv(pair.server, block, sizeof block, 0)));
    CHECK_EQ(epoll_wait(epoll, out, 2, 2000), 1);
}

TEST("epoll_tells_of_connections") {
    const Listener listener;
    const int epoll = OK(epoll_create1(0));
    epoll_event event{EPOLLIN | EPOLLET, {}}, out[2];
    OK(epoll_ctl(epoll, EPOLL_CTL_ADD, listener.fd, &event));
    OK(connect_to(stream(), listener.name()));
    CHECK_EQ(epoll_wait(epoll, out, 2, 2000), 1);
    CHECK_EQ(epoll_wait(epoll, out, 2, 0), 0);
    OK(connect_to(stream(), listener.name()));
    CHECK_EQ(epoll_wait(epoll, out, 2, 2000), 1);
}

// The same for a connection.
TEST("failing_writer_leaves_room_to_the_next") {
    const Connection pair;
    static char bytes[65536];
    OK(set(pair.client, SOL_SOCKET, SO_SNDBUF, 8192));
    OK(set(pair.server, SOL_SOCKET, SO_RCVBUF, 8192));
    for (int round = 0; round < 3; ++round, sleep_ms(30))
        for (const size_t size : {size_t{4096}, size_t{1}})
            while (send(pair.client, bytes, size, MSG_DONTWAIT) > 0) {}
    CHECK_EQ(errno, EAGAIN);
    char* const page =
        static_cast<char*>(OK(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)));
    ssize_t first = 0, second = 0;
    std::thread bad([&] { first = send(pair.client, page, 4096, 0); });
    sleep_ms(50);
    std::thread good([&] { second = send(pair.client, bytes, 4096, 0); });
    sleep_ms(50);
    OK(munmap(page, 4096));
    OK(fcntl(pair.server, F_SETFL, O_NONBLOCK));
    while (second == 0)
        if (recv(pair.server, bytes, sizeof bytes, 0) < 0) sleep_ms(1);
    good.join();
    bad.join();
    CHECK_EQ(first, -1);
    CHECK_EQ(second, 4096);
}

TEST("failing_or_peeking_reader_leaves_data_to_the_next") {
    for (const bool peeks : {false, true}) {
        const Connection pair;
        char* const page =
            static_cast<char*>(OK(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)));
        char byte = 0;
        ssize_t second = 0;
        std::thread odd([&] { (void)!recv(pair.server, page, 1, peeks ? MSG_PEEK : 0); });
        sleep_ms(50);
        std::thread good([&] { second = recv(pair.server, &byte, 1, 0); });
        sleep_ms(50);
        if (!peeks) OK(munmap(page, 4096));
        CHECK_EQ(OK(send(pair.client, "a", 1, 0)), 1);
        good.join();
        OK(shutdown(pair.client, SHUT_WR));  // the odd one may still wait, if the other was quicker
        odd.join();
        CHECK_EQ(second, 1);
        CHECK_EQ(byte, 'a');
    }
}

// Memory that comes from a file may keep a transfer waiting, and the connection can end meanwhile.
TEST("disconnect_during_a_transfer") {
    const int fd = OK(open("/proc/self/exe", O_RDONLY));
    const size_t size = static_cast<size_t>(OK(lseek(fd, 0, SEEK_END)));
    for (int i = 0; i < 20; ++i) {
        const Connection pair;
        OK(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) == 0 ? 0 : -1);
        const void* const memory = OK(mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0));
        std::thread writer([&] { (void)!send(pair.client, memory, size, MSG_NOSIGNAL); });
        std::thread second([&] { (void)!send(pair.client, "x", 1, MSG_NOSIGNAL); });
        if (i % 2) sched_yield();
        sockaddr none{};
        none.sa_family = AF_UNSPEC;
        OK(connect(pair.client, &none, sizeof none));
        writer.join();
        second.join();
        OK(munmap(const_cast<void*>(memory), size));
        OK(close(pair.client));
        OK(close(pair.server));
    }
}

namespace {
volatile sig_atomic_t urgent_signals;
}

TEST("urgent_data_raises_sigurg") {
    const Connection pair;
    struct sigaction action {};
    action.sa_handler = [](int) { urgent_signals = urgent_signals + 1; };
    OK(sigaction(SIGURG, &action, nullptr));
    CHECK_EQ(OK(send(pair.client, "a", 1, MSG_OOB)), 1);  // nobody is the owner
    CHECK_EQ(events(pair.server, 5000, POLLPRI), POLLPRI);
    CHECK_EQ(urgent_signals, 0);
    const int self = getpid();
    int owner = 0;
    OK(ioctl(pair.server, SIOCSPGRP, &self));
    OK(ioctl(pair.server, SIOCGPGRP, &owner));
    CHECK_EQ(owner, self);
    CHECK_EQ(fcntl(pair.server, F_GETOWN), self);
    CHECK_EQ(OK(send(pair.client, "b", 1, MSG_OOB)), 1);
    while (urgent_signals == 0) sleep_ms(1);
    char byte = 0;
    CHECK_EQ(OK(recv(pair.server, &byte, 1, MSG_OOB)), 1);
    CHECK_EQ(byte, 'b');
    const int group = -getpgrp();
    OK(ioctl(pair.server, FIOSETOWN, &group));
    OK(ioctl(pair.server, FIOGETOWN, &owner));
    CHECK_EQ(owner, group);
    int pipe_ends[2];
    OK(pipe(pipe_ends));
    CHECK_ERRNO(ioctl(pipe_ends[0], FIOSETOWN, &self), ENOTTY);
}

TEST("sigio_of_a_socket") {
    const Connection pair;
    static volatile sig_atomic_t came;
    struct sigaction action {};
    action.sa_handler = [](int) { came = came + 1; };
    OK(sigaction(SIGIO, &action, nullptr));
    int on = 1;
    OK(ioctl(pair.server, FIOASYNC, &on));
    CHECK(fcntl(pair.server, F_GETFL) & O_ASYNC);
    OK(fcntl(pair.server, F_SETOWN, getpid()));
    CHECK_EQ(OK(send(pair.client, "a", 1, 0)), 1);
    while (came == 0) sleep_ms(1);
}

TEST("peek_with_trunc_counts_without_copying") {
    const Connection pair;
    CHECK_EQ(OK(send(pair.client, "abcd", 4, 0)), 4);
    char text[4] = "...";
    CHECK_EQ(events(pair.server, 5000, POLLIN), POLLIN);
    CHECK_EQ(OK(recv(pair.server, text, 4, MSG_PEEK | MSG_TRUNC)), 4);
    CHECK_EQ(text[0], '.');
    CHECK_EQ(OK(recv(pair.server, text, 4, 0)), 4);
    CHECK_EQ(text[3], 'd');
}
