// vfork: the child works in its parent's memory until it execs or ends.
#include <pthread.h>
#include <spawn.h>
#include <sys/mman.h>

#include <atomic>

#include "tests/guest/guest_test.hpp"

using namespace guest;

namespace {
constexpr size_t kPage = 4096;
}  // namespace

TEST("vfork_child_changes_memory_and_execs") {
    constexpr size_t kPages = 64;
    auto* memory = static_cast<volatile char*>(
        OK(mmap(nullptr, kPages * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)));
    memory[0] = 1;
    static void* volatile made;
    static char* const arguments[] = {const_cast<char*>("sh"), const_cast<char*>("-c"), const_cast<char*>("exit 23"),
                                      nullptr};
    for (int round = 1; round <= 5; round++) {
        const pid_t pid = vfork();
        if (pid == 0) {
            for (size_t i = 0; i < kPages; i++) memory[i * kPage] = static_cast<char>(round + static_cast<int>(i));
            made = mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            *static_cast<volatile char*>(made) = static_cast<char>(round);
            execve("/bin/sh", arguments, environ);
            _exit(1);
        }
        for (size_t i = 0; i < kPages; i++) CHECK_EQ(memory[i * kPage], static_cast<char>(round + static_cast<int>(i)));
        CHECK_EQ(*static_cast<volatile char*>(made), static_cast<char>(round));  // the mapping stays the parent's
        memory[0] = 0;
        int status;
        CHECK_EQ(waitpid(pid, &status, 0), pid);
        CHECK_EXITED(status, 23);
        CHECK_EQ(memory[0], 0);
    }
}

TEST("vfork_leaves_the_parents_other_threads_running") {
    static std::atomic<unsigned long> count{0};
    static std::atomic<bool> stop{false};
    pthread_t thread;
    CHECK_EQ(pthread_create(
                 &thread, nullptr,
                 [](void*) -> void* {
                     while (!stop) count++;
                     return nullptr;
                 },
                 nullptr),
             0);
    static volatile unsigned long before, after;
    const pid_t pid = vfork();
    if (pid == 0) {
        before = count;
        while (count < before + 1000) usleep(100);
        after = count;
        _exit(4);
    }
    CHECK_GT(after, before);
    int status;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EXITED(status, 4);
    stop = true;
    pthread_join(thread, nullptr);
}

TEST("vfork_child_that_is_killed_lets_the_parent_go_on") {
    const pid_t pid = vfork();
    if (pid == 0) {
        kill(getpid(), SIGKILL);
        _exit(1);
    }
    int status;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_SIGNALED(status, SIGKILL);
}

TEST("spawn_from_several_threads") {
    static std::atomic<int> wrong{0};
    const auto work = [](void*) -> void* {
        static char* const arguments[] = {const_cast<char*>("true"), nullptr};
        for (int i = 0; i < 10; i++) {
            pid_t pid;
            int status = 0;
            if (posix_spawn(&pid, "/bin/true", nullptr, nullptr, arguments, environ) != 0 ||
                waitpid(pid, &status, 0) != pid || status != 0)
                wrong++;
        }
        return nullptr;
    };
    pthread_t threads[4];
    for (auto& thread : threads) CHECK_EQ(pthread_create(&thread, nullptr, work, nullptr), 0);
    for (auto thread : threads) pthread_join(thread, nullptr);
    CHECK_EQ(wrong.load(), 0);
}
