// futex(2) itself.
#include <linux/futex.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>

#include <atomic>

#include "tests/guest/guest_test.hpp"

using namespace guest;

namespace {
long futex(void* word, int operation, unsigned value, const void* timeout = nullptr, void* second = nullptr,
           unsigned value3 = 0) {
    return syscall(SYS_futex, word, operation, value, timeout, second, value3);
}

// Waits until `want` threads sleep in the futex: they say so before, and get time to fall asleep.
void let_sleep(std::atomic<int>& ready, int want) {
    while (ready < want) sleep_ms(1);
    sleep_ms(30);
}
}  // namespace

TEST("wait_value_differs_is_eagain") {
    int word = 1;
    CHECK_ERRNO(futex(&word, FUTEX_WAIT, 0), EAGAIN);
    CHECK_ERRNO(futex(&word, FUTEX_WAIT_PRIVATE, 0), EAGAIN);
    CHECK_ERRNO(futex(&word, FUTEX_WAIT_BITSET, 0, nullptr, nullptr, 1), EAGAIN);
}

TEST("wait_timeout") {
    int word = 0;
    timespec limit = {0, 30000000};
    uint64_t start = now_ns();
    CHECK_ERRNO(futex(&word, FUTEX_WAIT, 0, &limit), ETIMEDOUT);
    CHECK_GE(now_ns() - start, 30000000u);
}

TEST("wait_timeout_invalid") {
    int word = 0;
    timespec limit = {0, 1000000000};
    CHECK_ERRNO(futex(&word, FUTEX_WAIT, 0, &limit), EINVAL);
    limit = {-1, 0};
    CHECK_ERRNO(futex(&word, FUTEX_WAIT, 0, &limit), EINVAL);
}

TEST("wait_bitset_absolute_timeout") {
    int word = 0;
    timespec when;
    OK(clock_gettime(CLOCK_MONOTONIC, &when));
    CHECK_ERRNO(futex(&word, FUTEX_WAIT_BITSET, 0, &when, nullptr, FUTEX_BITSET_MATCH_ANY), ETIMEDOUT);
    OK(clock_gettime(CLOCK_REALTIME, &when));
    when.tv_nsec += 20000000;
    if (when.tv_nsec >= 1000000000) {
        when.tv_nsec -= 1000000000;
        when.tv_sec++;
    }
    CHECK_ERRNO(futex(&word, FUTEX_WAIT_BITSET | FUTEX_CLOCK_REALTIME, 0, &when, nullptr, FUTEX_BITSET_MATCH_ANY),
                ETIMEDOUT);
}

TEST("unaligned_is_einval") {
    int words[2] = {};
    CHECK_ERRNO(futex(reinterpret_cast<char*>(words) + 1, FUTEX_WAIT, 0), EINVAL);
    CHECK_ERRNO(futex(reinterpret_cast<char*>(words) + 1, FUTEX_WAKE, 1), EINVAL);
}

TEST("unknown_operation_is_enosys") {
    int word = 0;
    CHECK_ERRNO(futex(&word, 99, 0), ENOSYS);
}

TEST("zero_bitset_is_einval") {
    int word = 0;
    CHECK_ERRNO(futex(&word, FUTEX_WAIT_BITSET, 0, nullptr, nullptr, 0), EINVAL);
    CHECK_ERRNO(futex(&word, FUTEX_WAKE_BITSET, 1, nullptr, nullptr, 0), EINVAL);
}

TEST("wake_without_waiters_is_zero") {
    int word = 0;
    CHECK_EQ(futex(&word, FUTEX_WAKE, 1), 0);
    CHECK_EQ(futex(&word, FUTEX_WAKE_PRIVATE, 100), 0);
}

TEST("wait_wake") {
    static std::atomic<int> word{0}, ready{0};
    pthread_t thread;
    pthread_create(
        &thread, nullptr,
        [](void*) -> void* {
            ready++;
            while (word == 0) futex(&word, FUTEX_WAIT_PRIVATE, 0);
            return nullptr;
        },
        nullptr);
    let_sleep(ready, 1);
    word = 1;
    CHECK_LE(futex(&word, FUTEX_WAKE_PRIVATE, 1), 1);
    pthread_join(thread, nullptr);
}

TEST("wake_counts_and_limits") {
    static std::atomic<int> word{0}, ready{0}, woken{0};
    pthread_t threads[4];
    for (auto& thread : threads)
        pthread_create(
            &thread, nullptr,
            [](void*) -> void* {
                ready++;
                futex(&word, FUTEX_WAIT_PRIVATE, 0);
                woken++;
                return nullptr;
            },
            nullptr);
    let_sleep(ready, 4);
    CHECK_EQ(futex(&word, FUTEX_WAKE_PRIVATE, 2), 2);
    sleep_ms(30);
    CHECK_EQ(woken.load(), 2);
    CHECK_EQ(futex(&word, FUTEX_WAKE_PRIVATE, 1000), 2);
    for (auto& thread : threads) pthread_join(thread, nullptr);
}

TEST("bitset_selects_waiters") {
    static std::atomic<int> word{0}, ready{0}, woken{0};
    pthread_t threads[2];
    for (long i = 0; i < 2; i++)
        pthread_create(
            &threads[i], nullptr,
            [](void* bit) -> void* {
                ready++;
                futex(&word, FUTEX_WAIT_BITSET_PRIVATE, 0, nullptr, nullptr,
                      static_cast<unsigned>(reinterpret_cast<uintptr_t>(bit)));
                woken |= static_cast<int>(reinterpret_cast<uintptr_t>(bit));
                return nullptr;
            },
            reinterpret_cast<void*>(1l << i));
    let_sleep(ready, 2);
    CHECK_EQ(futex(&word, FUTEX_WAKE_BITSET_PRIVATE, 10, nullptr, nullptr, 2), 1);
    pthread_join(threads[1], nullptr);
    CHECK_EQ(woken.load(), 2);
    CHECK_EQ(futex(&word, FUTEX_WAKE_BITSET_PRIVATE, 10, nullptr, nullptr, 1), 1);
    pthread_join(threads[0], nullptr);
}

TEST("requeue_moves_waiters") {
    static std::atomic<int> first{0}, second{0}, ready{0};
    pthread_t threads[3];
    for (auto& thread : threads)
        pthread_create(
            &thread, nullptr,
            [](void*) -> void* {
                ready++;
                futex(&first, FUTEX_WAIT_PRIVATE, 0);
                return nullptr;
            },
            nullptr);
    let_sleep(ready, 3);
    CHECK_EQ(futex(&first, FUTEX_REQUEUE_PRIVATE, 1, reinterpret_cast<void*>(10l), &second), 3);
    CHECK_EQ(futex(&first, FUTEX_WAKE_PRIVATE, 10), 0);
    CHECK_EQ(futex(&second, FUTEX_WAKE_PRIVATE, 10), 2);
    for (auto& thread : threads) pthread_join(thread, nullptr);
}

TEST("cmp_requeue_checks_value") {
    std::atomic<int> first{5}, second{0};
    CHECK_ERRNO(futex(&first, FUTEX_CMP_REQUEUE_PRIVATE, 1, reinterpret_cast<void*>(1l), &second, 4), EAGAIN);
    CHECK_EQ(futex(&first, FUTEX_CMP_REQUEUE_PRIVATE, 1, reinterpret_cast<void*>(1l), &second, 5), 0);
}

TEST("wake_op") {
    static std::atomic<int> first{0}, second{3}, ready{0};
    pthread_t thread;
    pthread_create(
        &thread, nullptr,
        [](void*) -> void* {
            ready++;
            while (first == 0) futex(&first, FUTEX_WAIT_PRIVATE, 0);
            return nullptr;
        },
        nullptr);
    let_sleep(ready, 1);
    first = 1;
    // second += 4 (was 3); wakes on second if the old value was > 100: no.
    CHECK_EQ(futex(&first, FUTEX_WAKE_OP_PRIVATE, 1, reinterpret_cast<void*>(1l), &second,
                   FUTEX_OP(FUTEX_OP_ADD, 4, FUTEX_OP_CMP_GT, 100)),
             1);
    CHECK_EQ(second.load(), 7);
    pthread_join(thread, nullptr);
}

TEST("shared_between_processes") {
    auto* word = static_cast<std::atomic<int>*>(
        OK(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)));
    pid_t pid = OK(fork());
    if (pid == 0) {
        while (*word == 0) futex(word, FUTEX_WAIT, 0);
        _exit(6);
    }
    sleep_ms(20);
    *word = 1;
    futex(word, FUTEX_WAKE, 1);
    int status;
    OK(waitpid(pid, &status, 0));
    CHECK_EXITED(status, 6);
}

TEST("private_memory_does_not_cross_fork") {
    // After fork the same address is another futex.
    static std::atomic<int> word{0};
    pid_t pid = OK(fork());
    if (pid == 0) {
        timespec limit = {0, 100000000};
        long result = futex(&word, FUTEX_WAIT, 0, &limit);
        _exit(result == -1 && errno == ETIMEDOUT ? 0 : 1);
    }
    sleep_ms(20);
    CHECK_EQ(futex(&word, FUTEX_WAKE, 10), 0);
    int status;
    OK(waitpid(pid, &status, 0));
    CHECK_EXITED(status, 0);
}

TEST("ping_pong_between_threads") {
    static std::atomic<int> turn{0};
    constexpr int kRounds = 500;
    pthread_t thread;
    pthread_create(
        &thread, nullptr,
        [](void*) -> void* {
            for (int i = 0; i < kRounds; i++) {
                while (turn != 2 * i + 1) futex(&turn, FUTEX_WAIT_PRIVATE, static_cast<unsigned>(2 * i));
                turn = 2 * i + 2;
                futex(&turn, FUTEX_WAKE_PRIVATE, 1);
            }
            return nullptr;
        },
        nullptr);
    for (int i = 0; i < kRounds; i++) {
        turn = 2 * i + 1;
        futex(&turn, FUTEX_WAKE_PRIVATE, 1);
        while (turn != 2 * i + 2) futex(&turn, FUTEX_WAIT_PRIVATE, static_cast<unsigned>(2 * i + 1));
    }
    pthread_join(thread, nullptr);
}

TEST("robust_list_marks_dead_owner") {
    static pthread_mutex_t mutex;
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(&mutex, &attributes);
    pthread_t thread;
    pthread_create(
        &thread, nullptr,
        [](void*) -> void* {
            pthread_mutex_lock(&mutex);
            return nullptr;
        },
        nullptr);
    pthread_join(thread, nullptr);
    CHECK_EQ(pthread_mutex_lock(&mutex), EOWNERDEAD);
    CHECK_EQ(pthread_mutex_consistent(&mutex), 0);
    CHECK_EQ(pthread_mutex_unlock(&mutex), 0);
}
