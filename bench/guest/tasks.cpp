// Tasks: switches between two on one CPU, threads that come and go, a futex between two threads, and the null call
// while every CPU has other work.
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdlib>

#include "bench/guest/bench_guest.hpp"
#include "bench/guest/peers.hpp"

namespace bench {
namespace {

PipePair pipes;

pthread_t start_thread(void* (*function)(void*)) {
    pthread_t thread;
    errno = pthread_create(&thread, nullptr, function, nullptr);
    if (errno != 0) die("pthread_create");
    return thread;
}

// All that starts later inherits it.
void pin_to_one_cpu() {
    cpu_set_t allowed, one;
    if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0) die("sched_getaffinity");
    int cpu = 0;
    while (cpu < CPU_SETSIZE - 1 && !CPU_ISSET(cpu, &allowed)) cpu++;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    if (sched_setaffinity(0, sizeof(one), &one) != 0) die("sched_setaffinity");
}

void start_pinned_process() {
    pin_to_one_cpu();
    pipes = make_pipes();
    if (start_child("fork of the other process") == 0) {
        close(pipes.near.send);
        close(pipes.near.receive);
        echo(pipes.far);
        _exit(0);
    }
    close(pipes.far.send);
    close(pipes.far.receive);
}

void start_pinned_thread() {
    pin_to_one_cpu();
    pipes = make_pipes();
    pthread_detach(start_thread([](void*) -> void* {
        echo(pipes.far);
        return nullptr;
    }));
}

// With one CPU for both, a byte there and back is two switches: neither task can go on before the other has run.
void hand_over(uint64_t operations) { round_trips(pipes.near, (operations + 1) / 2); }

void thread_create_join(uint64_t operations) {
    for (uint64_t i = 0; i < operations; i++) {
        pthread_t thread = start_thread([](void*) -> void* { return nullptr; });
        if (pthread_join(thread, nullptr) != 0) die("pthread_join");
    }
}

// Whose turn it is: 0 the measuring thread's, 1 the other's.
std::atomic<uint32_t> turn;

void wait_for_turn(uint32_t mine) {
    for (uint32_t now = turn.load(); now != mine; now = turn.load())
        if (syscall(SYS_futex, &turn, FUTEX_WAIT_PRIVATE, now, nullptr) != 0 && errno != EAGAIN && errno != EINTR)
            die("FUTEX_WAIT");
}

void give_turn(uint32_t to) {
    turn.store(to);
    if (syscall(SYS_futex, &turn, FUTEX_WAKE_PRIVATE, 1) < 0) die("FUTEX_WAKE");
}

void start_futex_partner() {
    pthread_detach(start_thread([](void*) -> void* {
        for (;;) {
            wait_for_turn(1);
            give_turn(0);
        }
    }));
}

void futex_ping_pong(uint64_t operations) {
    for (uint64_t i = 0; i < operations; i++) {
        give_turn(1);
        wait_for_turn(0);
    }
}

constexpr long kMaxHogs = 256;
constexpr unsigned kHogSeconds = 120;  // longer than a measurement may take
pid_t hogs[kMaxHogs];
long hog_count;

void end_hogs() {
    for (long i = 0; i < hog_count; i++) kill(hogs[i], SIGKILL);
    for (long i = 0; i < hog_count; i++) waitpid(hogs[i], nullptr, 0);
}

// One process per CPU that only computes.
void start_hogs() {
    atexit(end_hogs);
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    while (hog_count < cpus && hog_count < kMaxHogs) {
        pid_t pid = start_child("fork of a CPU hog");
        if (pid == 0) {
            alarm(kHogSeconds);
            for (;;) asm volatile("");
        }
        hogs[hog_count++] = pid;
    }
    usleep(20000);  // until all of them run
}

void null_call(uint64_t operations) {
    for (uint64_t i = 0; i < operations; i++) syscall(SYS_getppid);
}

}  // namespace

const Metric kTaskMetrics[] = {
    {"null_call_busy", "call", 100, start_hogs, null_call},
    {"context_switch_processes", "switch", 50, start_pinned_process, hand_over, nullptr, 2},
    {"context_switch_threads", "switch", 50, start_pinned_thread, hand_over, nullptr, 2},
    {"thread_create_join", "thread", 10, nullptr, thread_create_join},
    {"futex_ping_pong", "round trip", 50, start_futex_partner, futex_ping_pong},
    {},
};

}  // namespace bench
