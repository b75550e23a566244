// What ends while its threads are busy with it.
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include "tests/guest/guest_test.hpp"

using namespace guest;

namespace {

constexpr size_t kPage = 4096, kPages = 64;
char* shared = nullptr;

char* map(size_t size) {
    return static_cast<char*>(OK(mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)));
}

void* spin(void*) {
    for (;;) asm volatile("");
}

void* fault(void*) {
    for (;;) {
        for (size_t i = 0; i < kPages; i++) shared[i * kPage] = 1;
        madvise(shared, kPages * kPage, MADV_DONTNEED);
    }
}

void* map_and_unmap(void*) {
    for (;;) {
        char* memory = map(kPages * kPage);
        for (size_t i = 0; i < kPages; i += 7) memory[i * kPage] = 1;
        mprotect(memory + kPage, kPage, PROT_READ);
        munmap(memory, kPages * kPage);
    }
}

void* protect(void*) {
    char* const page = map(kPage);
    for (;;) {
        mprotect(page, kPage, PROT_NONE);
        mprotect(page, kPage, PROT_READ | PROT_WRITE);
        *page = 1;
    }
}

void* fork_and_wait(void*) {
    for (;;) {
        const pid_t pid = fork();
        if (pid == 0) _exit(0);
        if (pid > 0) waitpid(pid, nullptr, 0);
    }
}

// A process with a thread for each; runs until it is killed.
void be_busy(std::initializer_list<void* (*)(void*)> works) {
    shared = map(kPages * kPage);
    for (auto work : works) {
        pthread_t thread;
        CHECK_EQ(pthread_create(&thread, nullptr, work, nullptr), 0);
    }
    spin(nullptr);
}

void kill_at_different_moments(int rounds, std::initializer_list<void* (*)(void*)> works) {
    for (int round = 0; round < rounds; round++) {
        const pid_t pid = OK(fork());
        if (pid == 0) be_busy(works);
        usleep(static_cast<useconds_t>(round * 1777 % 9000));
        OK(kill(pid, SIGKILL));
        int status;
        CHECK_EQ(waitpid(pid, &status, 0), pid);
        CHECK_SIGNALED(status, SIGKILL);
    }
}

}  // namespace

TEST("killed_while_threads_run_fault_and_map") { kill_at_different_moments(12, {spin, fault, map_and_unmap, protect}); }

TEST("killed_while_threads_fault_the_same_pages") { kill_at_different_moments(8, {fault, fault, fault}); }

TEST("killed_while_a_thread_forks") {
    OK(prctl(PR_SET_CHILD_SUBREAPER, 1));
    kill_at_different_moments(10, {fork_and_wait, fault});
    while (waitpid(-1, nullptr, 0) > 0) {}
}

TEST("fatal_fault_in_one_of_busy_threads_ends_all") {
    for (int round = 0; round < 5; round++) {
        const int status = run_child([=] {
            pthread_t thread;
            pthread_create(
                &thread, nullptr,
                [](void*) -> void* {
                    usleep(2000);
                    *reinterpret_cast<volatile char*>(8) = 1;
                    return nullptr;
                },
                nullptr);
            be_busy({fault, map_and_unmap});
        });
        CHECK_SIGNALED(status, SIGSEGV);
    }
}
