// How language runtimes use signals: preemption of busy threads as Go does it, safepoints by a protected page as the JVM
// does them.
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <atomic>

#include "tests/guest/guest_test.hpp"

using namespace guest;

namespace {

constexpr int kThreads = 4;
constexpr size_t kPage = 4096;

struct Worker {
    pthread_t thread;
    std::atomic<pid_t> tid{0};
    std::atomic<unsigned> interruptions{0};
    std::atomic<uint64_t> progress{0};
    std::atomic<bool> wrong{false};
};
Worker workers[kThreads];
std::atomic<bool> stop{false};
thread_local Worker* self = nullptr;

void use_own_signal_stack() {
    const size_t size = 65536;
    void* memory = OK(mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    const stack_t stack = {.ss_sp = memory, .ss_flags = 0, .ss_size = size};
    OK(sigaltstack(&stack, nullptr));
}

// A sum in integer and vector registers with one right result.
bool compute(uint64_t seed) {
    uint64_t whole = 0;
    double sums[2] = {0, 0};
    for (int i = 0; i < 2000; i++) {
        whole += seed * 3 + static_cast<uint64_t>(i);
        sums[i & 1] += static_cast<double>(i);
    }
    return whole == seed * 6000 + 1999000 && sums[0] + sums[1] == 1999000;
}

void start_workers(void* (*work)(void*)) {
    for (auto& worker : workers) CHECK_EQ(pthread_create(&worker.thread, nullptr, work, &worker), 0);
    for (auto& worker : workers)
        while (worker.tid == 0) sched_yield();
}

void join_workers() {
    stop = true;
    for (auto& worker : workers) {
        CHECK_EQ(pthread_join(worker.thread, nullptr), 0);
        CHECK(!worker.wrong);
    }
}

void* compute_until_stopped(void* pointer) {
    self = static_cast<Worker*>(pointer);
    use_own_signal_stack();
    self->tid = static_cast<pid_t>(syscall(SYS_gettid));
    for (uint64_t i = 0; !stop; i++) {
        if (!compute(i)) self->wrong = true;
        self->progress++;
    }
    return nullptr;
}

}  // namespace

TEST("busy_threads_are_interrupted_each_millisecond") {
    struct sigaction action {};
    action.sa_sigaction = [](int, siginfo_t* info, void*) {
        if (info->si_code != SI_TKILL || info->si_pid != getpid()) self->wrong = true;
        self->interruptions++;
    };
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART;
    OK(sigaction(SIGURG, &action, nullptr));
    start_workers(compute_until_stopped);
    const auto interrupt_all = [] {
        bool enough = true;
        for (auto& worker : workers) {
            OK(syscall(SYS_tgkill, getpid(), worker.tid.load(), SIGURG));
            if (worker.interruptions < 40 || worker.progress < 40) enough = false;
        }
        return enough;
    };
    while (!interrupt_all()) {
        const timespec moment = {0, 1'000'000};
        nanosleep(&moment, nullptr);
    }
    join_workers();
}

// Every thread interrupts the next as fast as it can.
TEST("busy_threads_interrupt_each_other") {
    struct sigaction action {};
    action.sa_handler = [](int) { self->interruptions++; };
    action.sa_flags = SA_ONSTACK | SA_RESTART;
    OK(sigaction(SIGURG, &action, nullptr));
    const auto work = [](void* pointer) -> void* {
        self = static_cast<Worker*>(pointer);
        use_own_signal_stack();
        self->tid = static_cast<pid_t>(syscall(SYS_gettid));
        Worker& next = workers[(self - workers + 1) % kThreads];
        while (next.tid == 0) sched_yield();
        for (uint64_t i = 0; !stop; i++) {
            if (syscall(SYS_tgkill, getpid(), next.tid.load(), SIGURG) != 0) self->wrong = !stop;
            if (!compute(i)) self->wrong = true;
            self->progress++;
        }
        return nullptr;
    };
    start_workers(work);
    for (auto& worker : workers)
        while (worker.interruptions < 40) sleep_ms(1);
    join_workers();
}

namespace {

char* polled = nullptr;  // the page that threads read between two steps; nobody may while they shall stop
std::atomic<unsigned> asked{0}, arrived{0}, released{0};

void stop_at_the_page(int, siginfo_t* info, void*) {
    if (info->si_addr != polled || info->si_code != SEGV_ACCERR) _exit(3);
    const unsigned round = asked;
    arrived++;
    while (released < round) sched_yield();
}

void* step_and_poll(void* pointer) {
    self = static_cast<Worker*>(pointer);
    use_own_signal_stack();
    self->tid = static_cast<pid_t>(syscall(SYS_gettid));
    for (uint64_t i = 0; !stop; i++) {
        uint64_t kept = i * 77;
        asm volatile("test %%eax, (%1)" : "+r"(kept) : "r"(polled) : "cc", "memory");
        if (kept != i * 77) self->wrong = true;
        self->progress++;
    }
    return nullptr;
}

}  // namespace

TEST("safepoints_by_a_protected_page_stop_all_threads") {
    polled = static_cast<char*>(OK(mmap(nullptr, kPage, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)));
    struct sigaction action {};
    action.sa_sigaction = stop_at_the_page;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    OK(sigaction(SIGSEGV, &action, nullptr));
    start_workers(step_and_poll);
    uint64_t reached[kThreads] = {};
    for (unsigned round = 1; round <= 20; round++) {
        asked = round;
        OK(mprotect(polled, kPage, PROT_NONE));
        while (arrived < round * kThreads) sched_yield();
        for (int i = 0; i < kThreads; i++) reached[i] = workers[i].progress;
        sched_yield();
        for (int i = 0; i < kThreads; i++) CHECK_EQ(workers[i].progress.load(), reached[i]);
        OK(mprotect(polled, kPage, PROT_READ));
        released = round;
    }
    for (int i = 0; i < kThreads; i++)
        while (workers[i].progress == reached[i]) sched_yield();
    join_workers();
    CHECK_EQ(arrived.load(), 20u * kThreads);
}

// Implicit null checks and write barriers: the handler continues somewhere else, or gives the access what it lacks.
TEST("faults_that_a_handler_repairs_in_all_threads") {
    struct sigaction action {};
    action.sa_sigaction = [](int, siginfo_t* info, void*) {
        void* const page = reinterpret_cast<void*>(reinterpret_cast<uintptr_t>(info->si_addr) & ~(kPage - 1));
        if (mprotect(page, kPage, PROT_READ | PROT_WRITE) != 0) _exit(3);
        self->interruptions++;
    };
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    OK(sigaction(SIGSEGV, &action, nullptr));
    const auto work = [](void* pointer) -> void* {
        constexpr size_t kPages = 16;
        self = static_cast<Worker*>(pointer);
        use_own_signal_stack();
        self->tid = static_cast<pid_t>(syscall(SYS_gettid));
        auto* memory = static_cast<volatile char*>(
            OK(mmap(nullptr, kPages * kPage, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)));
        for (unsigned round = 1; round <= 10; round++) {
            for (size_t i = 0; i < kPages; i++) memory[i * kPage] = memory[i * kPage] + 1;
            if (self->interruptions != round * kPages) self->wrong = true;
            OK(mprotect(const_cast<char*>(memory), kPages * kPage, PROT_READ));
            for (size_t i = 0; i < kPages; i++)
                if (memory[i * kPage] != static_cast<char>(round)) self->wrong = true;
        }
        return nullptr;
    };
    start_workers(work);
    join_workers();
}
