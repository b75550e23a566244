// Events: one of many descriptors becomes ready, and a signal to oneself.
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>

#include "bench/guest/bench_guest.hpp"

namespace bench {
namespace {

constexpr uint32_t kDescriptors = 1000;
int poller = -1;
int counters[kDescriptors];

// The counters, the poller, the standard streams, and a few to spare.
void allow_descriptors() {
    rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) die("getrlimit");
    limit.rlim_cur = std::max<rlim_t>(limit.rlim_cur, std::min<rlim_t>(limit.rlim_max, kDescriptors + 24));
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0) die("setrlimit");
}

void watch_descriptors() {
    allow_descriptors();
    poller = epoll_create1(0);
    if (poller < 0) die("epoll_create1");
    for (uint32_t i = 0; i < kDescriptors; i++) {
        counters[i] = eventfd(0, EFD_NONBLOCK);
        if (counters[i] < 0) die("eventfd");
        epoll_event event{.events = EPOLLIN, .data = {.u32 = i}};
        if (epoll_ctl(poller, EPOLL_CTL_ADD, counters[i], &event) != 0) die("epoll_ctl");
    }
}

// One descriptor of the thousand becomes ready, is found and is emptied: three calls.
void find_ready(uint64_t operations) {
    uint64_t value = 1;
    epoll_event events[16];
    for (uint64_t i = 0; i < operations; i++) {
        auto chosen = static_cast<uint32_t>(i * 617 % kDescriptors);
        if (write(counters[chosen], &value, sizeof(value)) != sizeof(value)) die("write to an eventfd");
        if (epoll_wait(poller, events, 16, -1) != 1 || events[0].data.u32 != chosen) die("epoll_wait");
        if (read(counters[chosen], &value, sizeof(value)) != sizeof(value)) die("read of an eventfd");
    }
}

volatile sig_atomic_t delivered;
pid_t self;

void install_handler() {
    struct sigaction action {};
    action.sa_handler = [](int) { delivered = delivered + 1; };
    if (sigaction(SIGUSR1, &action, nullptr) != 0) die("sigaction");
    self = getpid();
}

// A single thread has handled its signal when kill returns.
void signal_self(uint64_t operations) {
    for (uint64_t i = 0; i < operations; i++) {
        delivered = 0;
        if (kill(self, SIGUSR1) != 0) die("kill");
        if (delivered == 1) continue;
        fprintf(stderr, "bench_guest: the signal was not delivered before kill returned\n");
        exit(1);
    }
}

}  // namespace

const Metric kEventMetrics[] = {
    {"epoll_1000", "event", 50, watch_descriptors, find_ready},
    {"signal_self", "signal", 50, install_handler, signal_self},
    {},
};

}  // namespace bench
