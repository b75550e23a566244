// Operations on processes, threads, signals and pipes.
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <ctime>

#include "tests/stress/stress.hpp"

using namespace stress;

OPERATION(fork_wait) {
    pid_t pids[8];
    const unsigned count = 1 + random.below(8);
    const uint64_t base = random.next();
    for (unsigned i = 0; i < count; i++) {
        pids[i] = fork();
        EXPECT(pids[i] >= 0);
        if (pids[i] == 0) {
            Random mine(base + i);
            uint64_t sum = 0;
            for (unsigned k = 0; k < 1000; k++) sum += mine.next();
            _exit(sum % 90);
        }
    }
    for (unsigned i = 0; i < count; i++) {
        Random mine(base + i);
        uint64_t sum = 0;
        for (unsigned k = 0; k < 1000; k++) sum += mine.next();
        EXPECT(exit_code_of(pids[i]) == static_cast<int>(sum % 90));
    }
}

OPERATION(fork_exec) {
    int ends[2];
    EXPECT(pipe2(ends, O_CLOEXEC) == 0);
    char seed_text[32], add_text[8];
    const uint64_t start = random.below(1 << 20);
    const int add = random.below(50);
    snprintf(seed_text, sizeof seed_text, "%llu", static_cast<unsigned long long>(start));
    snprintf(add_text, sizeof add_text, "%d", add);
    const pid_t pid = random.below(2) ? fork() : vfork();
    EXPECT(pid >= 0);
    if (pid == 0) {
        dup2(ends[0], 0);
        execl("/proc/self/exe", "stress", "--child", seed_text, add_text, nullptr);
        _exit(98);
    }
    close(ends[0]);
    char bytes[4096];
    uint64_t sum = start;
    for (unsigned i = 0, blocks = random.below(20); i < blocks; i++) {
        fill(bytes, sizeof bytes, start + i);
        sum = checksum(bytes, sizeof bytes, sum);
        EXPECT(write(ends[1], bytes, sizeof bytes) == sizeof bytes);
    }
    close(ends[1]);
    EXPECT(exit_code_of(pid) == static_cast<int>(sum % 199) + add);
}

namespace {

struct Crowd {
    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
    unsigned turn = 0, count = 0, rounds = 0;
    uint64_t sum = 0;
    std::atomic<uint64_t> atomic_sum{0};
};
struct Member {
    Crowd* crowd;
    unsigned index;
};

void* take_turns(void* argument) {
    auto* member = static_cast<Member*>(argument);
    Crowd& crowd = *member->crowd;
    for (unsigned round = 0; round < crowd.rounds; round++) {
        pthread_mutex_lock(&crowd.mutex);
        while (crowd.turn % crowd.count != member->index) pthread_cond_wait(&crowd.condition, &crowd.mutex);
        crowd.turn++;
        crowd.sum += member->index * round;
        pthread_cond_broadcast(&crowd.condition);
        pthread_mutex_unlock(&crowd.mutex);
        crowd.atomic_sum += member->index * round;
        if (round % 8 == 7) sched_yield();
    }
    return nullptr;
}

}  // namespace

OPERATION(threads_take_turns) {
    Crowd crowd;
    crowd.count = 2 + random.below(6);
    crowd.rounds = 5 + random.below(30);
    pthread_t threads[8];
    Member members[8];
    uint64_t expected = 0;
    for (unsigned i = 0; i < crowd.count; i++) {
        members[i] = {&crowd, i};
        EXPECT(pthread_create(&threads[i], nullptr, take_turns, &members[i]) == 0);
        for (unsigned round = 0; round < crowd.rounds; round++) expected += i * round;
    }
    for (unsigned i = 0; i < crowd.count; i++) EXPECT(pthread_join(threads[i], nullptr) == 0);
    EXPECT(crowd.turn == crowd.count * crowd.rounds && crowd.sum == expected && crowd.atomic_sum == expected);
}

OPERATION(pipe_transfer) {
    int ends[2];
    EXPECT(pipe(ends) == 0);
    const uint64_t seed = random.next();
    const size_t total = 1 + random.below(300'000);
    const pid_t pid = fork();
    EXPECT(pid >= 0);
    if (pid == 0) {
        close(ends[0]);
        char* bytes = static_cast<char*>(malloc(total));
        fill(bytes, total, seed);
        for (size_t at = 0; at < total;) {
            const size_t piece = 1 + random.below(9000);
            const ssize_t put = write(ends[1], bytes + at, piece < total - at ? piece : total - at);
            EXPECT(put > 0);
            at += put;
        }
        _exit(0);
    }
    close(ends[1]);
    char* bytes = static_cast<char*>(malloc(total + 1));
    char* wanted = static_cast<char*>(malloc(total));
    fill(wanted, total, seed);
    size_t got = 0;
    while (got <= total) {
        const ssize_t piece = read(ends[0], bytes + got, 1 + random.below(total + 1 - got));
        EXPECT(piece >= 0);
        if (piece == 0) break;
        got += piece;
    }
    EXPECT(got == total && memcmp(bytes, wanted, total) == 0);
    EXPECT(exit_code_of(pid) == 0);
    free(bytes);
    free(wanted);
    close(ends[0]);
}

namespace {

volatile sig_atomic_t caught;
volatile uint64_t caught_sum;

void on_queued(int, siginfo_t* info, void*) {
    caught = caught + 1;
    caught_sum = caught_sum + info->si_value.sival_int;
}

}  // namespace

OPERATION(queued_signals) {
    int ready[2];
    EXPECT(pipe(ready) == 0);
    const unsigned count = 1 + random.below(40);
    const uint64_t base = random.below(1000);
    const pid_t pid = fork();
    EXPECT(pid >= 0);
    if (pid == 0) {
        struct sigaction action = {};
        action.sa_sigaction = on_queued;
        action.sa_flags = SA_SIGINFO;
        caught = 0;
        caught_sum = 0;
        sigset_t set, old;
        sigemptyset(&set);
        sigaddset(&set, SIGRTMIN + 3);
        sigprocmask(SIG_BLOCK, &set, &old);
        sigaction(SIGRTMIN + 3, &action, nullptr);
        EXPECT(write(ready[1], "x", 1) == 1);
        while (caught < static_cast<int>(count)) sigsuspend(&old);
        uint64_t expected = 0;
        for (unsigned i = 0; i < count; i++) expected += base + i;
        EXPECT(caught_sum == expected);
        _exit(7);
    }
    char byte;
    EXPECT(read(ready[0], &byte, 1) == 1);
    for (unsigned i = 0; i < count; i++) {
        sigval value = {};
        value.sival_int = static_cast<int>(base + i);
        EXPECT(sigqueue(pid, SIGRTMIN + 3, value) == 0);
    }
    EXPECT(exit_code_of(pid) == 7);
    close(ready[0]);
    close(ready[1]);
}

OPERATION(stop_continue_kill) {
    const pid_t pid = fork();
    EXPECT(pid >= 0);
    if (pid == 0)
        for (;;) sched_yield();
    int status;
    for (unsigned i = 0, rounds = 1 + random.below(4); i < rounds; i++) {
        EXPECT(kill(pid, SIGSTOP) == 0);
        EXPECT(waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
        EXPECT(kill(pid, SIGCONT) == 0);
        EXPECT(waitpid(pid, &status, WCONTINUED) == pid && WIFCONTINUED(status));
    }
    EXPECT(kill(pid, SIGKILL) == 0);
    EXPECT(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

OPERATION(sleep_interrupted) {
    struct sigaction action = {};
    action.sa_sigaction = on_queued;
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGALRM, &action, nullptr);
    caught = 0;
    timer_t timer;
    sigevent event = {};
    event.sigev_notify = SIGEV_SIGNAL;
    event.sigev_signo = SIGALRM;
    EXPECT(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
    itimerspec setting = {{0, 0}, {0, static_cast<long>(1 + random.below(3'000'000))}};
    EXPECT(timer_settime(timer, 0, &setting, nullptr) == 0);
    // The signal may come before the sleep begins, which then lasts its whole time.
    timespec rest = {0, 50'000'000};
    if (nanosleep(&rest, &rest) != 0) EXPECT(errno == EINTR && rest.tv_sec == 0 && rest.tv_nsec <= 50'000'000);
    EXPECT(caught == 1);
    EXPECT(timer_delete(timer) == 0);
    signal(SIGALRM, SIG_DFL);
}

OPERATION(affinity_moves) {
    cpu_set_t all, one;
    EXPECT(sched_getaffinity(0, sizeof all, &all) == 0);
    for (unsigned i = 0; i < 4; i++) {
        unsigned cpu = random.below(CPU_COUNT(&all));
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        if (!CPU_ISSET(cpu, &all)) continue;
        EXPECT(sched_setaffinity(0, sizeof one, &one) == 0);
        EXPECT(sched_getcpu() == static_cast<int>(cpu));
    }
    EXPECT(sched_setaffinity(0, sizeof all, &all) == 0);
}

namespace {

void* exit_soon(void* argument) {
    if (argument) pthread_exit(argument);
    return nullptr;
}

}  // namespace

OPERATION(thread_churn) {
    for (unsigned i = 0, rounds = 1 + random.below(20); i < rounds; i++) {
        pthread_t thread;
        void* const value = reinterpret_cast<void*>(random.below(1000));
        EXPECT(pthread_create(&thread, nullptr, exit_soon, value) == 0);
        void* result = nullptr;
        EXPECT(pthread_join(thread, &result) == 0 && result == value);
    }
}

OPERATION(exit_with_threads) {
    const pid_t pid = fork();
    EXPECT(pid >= 0);
    if (pid == 0) {
        for (unsigned i = 0; i < 4; i++) {
            pthread_t thread;
            pthread_create(
                &thread, nullptr,
                [](void*) -> void* {
                    for (volatile uint64_t spin = 0;;) spin = spin + 1;
                },
                nullptr);
        }
        if (random.below(2)) execl("/proc/self/exe", "stress", "--child", "1", "3", nullptr);
        _exit(42);
    }
    const int code = exit_code_of(pid);
    EXPECT(code == 42 || code >= 3);
}

OPERATION(eventfd_ping_pong) {
    const int there = eventfd(0, 0), back = eventfd(0, 0);
    EXPECT(there >= 0 && back >= 0);
    const unsigned rounds = 1 + random.below(50);
    const pid_t pid = fork();
    EXPECT(pid >= 0);
    uint64_t value;
    if (pid == 0) {
        for (unsigned i = 0; i < rounds; i++) {
            EXPECT(read(there, &value, 8) == 8);
            EXPECT(write(back, &value, 8) == 8);
        }
        _exit(0);
    }
    for (unsigned i = 0; i < rounds; i++) {
        const uint64_t sent = 1 + random.below(1000);
        EXPECT(write(there, &sent, 8) == 8);
        pollfd wait = {back, POLLIN, 0};
        if (random.below(2)) EXPECT(poll(&wait, 1, -1) == 1);
        EXPECT(read(back, &value, 8) == 8 && value == sent);
    }
    EXPECT(exit_code_of(pid) == 0);
    close(there);
    close(back);
}
