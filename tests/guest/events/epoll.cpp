// epoll(7).
#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "tests/guest/guest_test.hpp"

using namespace guest;

namespace {

struct Pipe {
    int in, out;
    Pipe() {
        int fds[2];
        OK(pipe2(fds, O_NONBLOCK));
        in = fds[0];
        out = fds[1];
    }
};

void control(int epoll, int operation, int fd, uint32_t events, uint64_t data = 0) {
    epoll_event event = {};
    event.events = events;
    event.data.u64 = data;
    OK(epoll_ctl(epoll, operation, fd, &event));
}

int wait_now(int epoll, epoll_event* event, int timeout = 0) { return OK(epoll_wait(epoll, event, 1, timeout)); }

}  // namespace

TEST("epoll_level_triggered") {
    const int epoll = OK(epoll_create1(EPOLL_CLOEXEC));
    CHECK_EQ(OK(fcntl(epoll, F_GETFD)), FD_CLOEXEC);
    Pipe pipe;
    control(epoll, EPOLL_CTL_ADD, pipe.in, EPOLLIN, 42);
    epoll_event event = {};
    CHECK_EQ(wait_now(epoll, &event), 0);
    OK(write(pipe.out, "xy", 2));
    for (int i = 0; i < 2; ++i) {
        CHECK_EQ(wait_now(epoll, &event), 1);
        CHECK_EQ(event.events, EPOLLIN);
        CHECK_EQ(event.data.u64, 42);
    }
    char buffer[4];
    OK(read(pipe.in, buffer, 4));
    CHECK_EQ(wait_now(epoll, &event), 0);
    OK(close(pipe.out));
    CHECK_EQ(wait_now(epoll, &event), 1);
    CHECK_EQ(event.events, EPOLLHUP);
}

TEST("epoll_edge_triggered") {
    const int epoll = OK(epoll_create1(0));
    Pipe pipe;
    control(epoll, EPOLL_CTL_ADD, pipe.in, EPOLLIN | EPOLLET);
    epoll_event event = {};
    OK(write(pipe.out, "x", 1));
    CHECK_EQ(wait_now(epoll, &event), 1);
    CHECK_EQ(wait_now(epoll, &event), 0);
    OK(write(pipe.out, "y", 1));
    CHECK_EQ(wait_now(epoll, &event), 1);
    CHECK_EQ(wait_now(epoll, &event), 0);
    control(epoll, EPOLL_CTL_MOD, pipe.in, EPOLLIN | EPOLLET);
    CHECK_EQ(wait_now(epoll, &event), 1);
}

TEST("epoll_oneshot") {
    const int epoll = OK(epoll_create1(0));
    Pipe pipe;
    control(epoll, EPOLL_CTL_ADD, pipe.in, EPOLLIN | EPOLLONESHOT);
    epoll_event event = {};
    OK(write(pipe.out, "x", 1));
    CHECK_EQ(wait_now(epoll, &event), 1);
    OK(write(pipe.out, "y", 1));
    CHECK_EQ(wait_now(epoll, &event), 0);
    control(epoll, EPOLL_CTL_MOD, pipe.in, EPOLLIN | EPOLLONESHOT);
    CHECK_EQ(wait_now(epoll, &event), 1);
}

TEST("epoll_errors") {
    const int epoll = OK(epoll_create1(0));
    Pipe pipe;
    epoll_event event = {};
    event.events = EPOLLIN;
    CHECK_ERRNO(epoll_create1(1), EINVAL);
    CHECK_ERRNO(epoll_create(0), EINVAL);
    CHECK_ERRNO(epoll_ctl(epoll, EPOLL_CTL_DEL, pipe.in, nullptr), ENOENT);
    CHECK_ERRNO(epoll_ctl(epoll, EPOLL_CTL_MOD, pipe.in, &event), ENOENT);
    OK(epoll_ctl(epoll, EPOLL_CTL_ADD, pipe.in, &event));
    CHECK_ERRNO(epoll_ctl(epoll, EPOLL_CTL_ADD, pipe.in, &event), EEXIST);
    CHECK_ERRNO(epoll_ctl(epoll, 99, pipe.in, &event), EINVAL);
    CHECK_ERRNO(epoll_ctl(epoll, EPOLL_CTL_ADD, epoll, &event), EINVAL);
    CHECK_ERRNO(epoll_ctl(pipe.in, EPOLL_CTL_ADD, pipe.out, &event), EINVAL);
    CHECK_ERRNO(epoll_ctl(epoll, EPOLL_CTL_ADD, 999, &event), EBADF);
    CHECK_ERRNO(epoll_ctl(999, EPOLL_CTL_ADD, pipe.in, &event), EBADF);
    CHECK_ERRNO(epoll_ctl(epoll, EPOLL_CTL_ADD, pipe.out, nullptr), EFAULT);
    CHECK_ERRNO(epoll_wait(epoll, &event, 0, 0), EINVAL);
    CHECK_ERRNO(epoll_wait(pipe.in, &event, 1, 0), EINVAL);
    CHECK_ERRNO(epoll_wait(999, &event, 1, 0), EBADF);
    const int file = OK(open("/proc/self/exe", O_RDONLY));
    CHECK_ERRNO(epoll_ctl(epoll, EPOLL_CTL_ADD, file, &event), EPERM);
}

TEST("epoll_forgets_files_when_they_die") {
    const int epoll = OK(epoll_create1(0));
    Pipe pipe;
    OK(write(pipe.out, "x", 1));
    control(epoll, EPOLL_CTL_ADD, pipe.in, EPOLLIN);
    const int copy = OK(dup(pipe.in));
    OK(close(pipe.in));
    epoll_event event = {};
    CHECK_EQ(wait_now(epoll, &event), 1);  // the description lives on
    OK(close(copy));
    CHECK_EQ(wait_now(epoll, &event), 0);
}

TEST("epoll_same_file_by_two_descriptors") {
    const int epoll = OK(epoll_create1(0));
    Pipe pipe;
    const int copy = OK(dup(pipe.in));
    control(epoll, EPOLL_CTL_ADD, pipe.in, EPOLLIN, 1);
    control(epoll, EPOLL_CTL_ADD, copy, EPOLLIN, 2);
    OK(write(pipe.out, "x", 1));
    epoll_event events[4];
    CHECK_EQ(OK(epoll_wait(epoll, events, 4, 0)), 2);
    CHECK_EQ(events[0].data.u64 + events[1].data.u64, 3);
}

TEST("epoll_nested") {
    const int inner = OK(epoll_create1(0)), outer = OK(epoll_create1(0));
    Pipe pipe;
    control(inner, EPOLL_CTL_ADD, pipe.in, EPOLLIN);
    control(outer, EPOLL_CTL_ADD, inner, EPOLLIN);
    epoll_event event = {};
    CHECK_EQ(wait_now(outer, &event), 0);
    OK(write(pipe.out, "x", 1));
    CHECK_EQ(wait_now(outer, &event), 1);
    pollfd one = {outer, POLLIN, 0};
    CHECK_EQ(poll(&one, 1, 0), 1);
    event.events = EPOLLIN;
    CHECK_ERRNO(epoll_ctl(inner, EPOLL_CTL_ADD, outer, &event), ELOOP);
    int deepest = outer;
    int depth = 2;
    while (depth < 10) {
        const int next = OK(epoll_create1(0));
        if (epoll_ctl(next, EPOLL_CTL_ADD, deepest, &event) < 0) break;
        deepest = next;
        ++depth;
    }
    CHECK_LE(depth, 6);
    CHECK_EQ(errno, ELOOP);
}

TEST("epoll_wait_wakes_and_times_out") {
    const int epoll = OK(epoll_create1(0));
    Pipe pipe;
    control(epoll, EPOLL_CTL_ADD, pipe.in, EPOLLIN);
    epoll_event event = {};
    const uint64_t start = now_ns();
    CHECK_EQ(wait_now(epoll, &event, 30), 0);
    CHECK_GE(now_ns() - start, 30'000'000u);
    if (OK(fork()) == 0) {
        sleep_ms(50);
        OK(write(pipe.out, "x", 1));
        _exit(0);
    }
    CHECK_EQ(wait_now(epoll, &event, 5000), 1);
}

TEST("epoll_pwait_swaps_the_signal_mask") {
    const int epoll = OK(epoll_create1(0));
    struct sigaction action = {};
    action.sa_handler = [](int) {};
    OK(sigaction(SIGUSR1, &action, nullptr));
    sigset_t blocked, none;
    sigemptyset(&none);
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR1);
    OK(sigprocmask(SIG_BLOCK, &blocked, nullptr));
    OK(raise(SIGUSR1));
    epoll_event event = {};
    CHECK_ERRNO(epoll_pwait(epoll, &event, 1, 5000, &none), EINTR);
    CHECK_EQ(OK(epoll_pwait(epoll, &event, 1, 0, &none)), 0);
}

TEST("epoll_exclusive") {
    const int epoll = OK(epoll_create1(0));
    const int counter = OK(eventfd(0, EFD_NONBLOCK));
    control(epoll, EPOLL_CTL_ADD, counter, EPOLLIN | EPOLLEXCLUSIVE);
    epoll_event event = {};
    event.events = EPOLLIN;
    CHECK_ERRNO(epoll_ctl(epoll, EPOLL_CTL_MOD, counter, &event), EINVAL);
    for (int i = 0; i < 2; ++i) {
        OK(eventfd_write(counter, 1));
        CHECK_EQ(wait_now(epoll, &event), 1);
        eventfd_t value;
        OK(eventfd_read(counter, &value));
        CHECK_EQ(wait_now(epoll, &event), 0);
    }
}

// An event may go up by so many ways only: five layers of epolls that all watch all of the next would be searched and
// woken for ever.
TEST("epoll_nested_ways_are_bounded") {
    constexpr int kLayers = 4, kEach = 40;
    int layers[kLayers][kEach];
    for (auto& layer : layers)
        for (int& one : layer) one = OK(epoll_create1(0));
    int failure = 0;
    for (int layer = 1; layer < kLayers && !failure; ++layer)
        for (const int above : layers[layer])
            for (const int below : layers[layer - 1]) {
                epoll_event event = {EPOLLIN, {}};
                if (epoll_ctl(above, EPOLL_CTL_ADD, below, &event) < 0 && !failure) failure = errno;
            }
    CHECK_EQ(failure, 0);  // no file yet, no way
    Pipe pipe;
    epoll_event event = {EPOLLIN, {}};
    CHECK_ERRNO(epoll_ctl(layers[0][0], EPOLL_CTL_ADD, pipe.in, &event), EINVAL);
    control(layers[kLayers - 1][0], EPOLL_CTL_ADD, pipe.in, EPOLLIN);
    OK(write(pipe.out, "x", 1));
    CHECK_EQ(wait_now(layers[kLayers - 1][0], &event), 1);
    CHECK_ERRNO(epoll_ctl(layers[0][0], EPOLL_CTL_ADD, layers[kLayers - 1][0], &event), ELOOP);
}

TEST("epoll_keeps_what_bad_memory_cannot_take") {
    const int epoll = OK(epoll_create1(0));
    Pipe edge, once;
    control(epoll, EPOLL_CTL_ADD, edge.in, EPOLLIN | EPOLLET, 1);
    control(epoll, EPOLL_CTL_ADD, once.in, EPOLLIN | EPOLLONESHOT, 2);
    OK(write(edge.out, "x", 1));
    OK(write(once.out, "x", 1));
    char* const pages =
        static_cast<char*>(OK(mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)));
    OK(mprotect(pages + 4096, 4096, PROT_NONE));
    CHECK_ERRNO(epoll_wait(epoll, reinterpret_cast<epoll_event*>(pages + 4096), 4, 0), EFAULT);
    auto* const last = reinterpret_cast<epoll_event*>(pages + 4096 - sizeof(epoll_event));
    CHECK_EQ(OK(epoll_wait(epoll, last, 4, 0)), 1);
    const uint64_t first = last->data.u64;
    epoll_event found[4];
    CHECK_EQ(OK(epoll_wait(epoll, found, 4, 0)), 1);
    CHECK_EQ(found[0].data.u64 + first, 3);
    CHECK_EQ(OK(epoll_wait(epoll, found, 4, 0)), 0);
}

TEST("epoll_many_files_in_a_watched_epoll") {
    const int inner = OK(epoll_create1(0)), outer = OK(epoll_create1(0));
    control(outer, EPOLL_CTL_ADD, inner, EPOLLIN);
    for (int i = 0; i < 50; ++i) {
        const int fd = OK(eventfd(1, 0));
        control(inner, EPOLL_CTL_ADD, fd, EPOLLIN);
        control(outer, EPOLL_CTL_ADD, fd, EPOLLIN);
    }
    epoll_event found[200];
    CHECK_EQ(OK(epoll_wait(inner, found, 200, 0)), 50);
    CHECK_EQ(OK(epoll_wait(outer, found, 200, 0)), 51);
}

TEST("epoll_tells_of_all_that_is_ready_at_once") {
    constexpr int kMany = 500;
    const int epoll = OK(epoll_create1(0));
    for (int i = 0; i < kMany; i++) {
        const int fd = OK(eventfd(1, 0));
        epoll_event event{EPOLLIN, {.u64 = static_cast<uint64_t>(i)}};
        OK(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event));
    }
    static epoll_event events[kMany + 10];
    CHECK_EQ(epoll_wait(epoll, events, kMany + 10, 0), kMany);
    static bool seen[kMany];
    for (int i = 0; i < kMany; i++) {
        CHECK(!seen[events[i].data.u64]);
        seen[events[i].data.u64] = true;
    }
    CHECK_EQ(epoll_wait(epoll, events, 300, 0), 300);
}
