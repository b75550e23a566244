// Locks with an owner (FUTEX_LOCK_PI and kin), futex_waitv(2), futex_wait, futex_wake and futex_requeue of futex2.
#include <linux/futex.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ctime>

#include <atomic>

#include "tests/guest/guest_test.hpp"

using namespace guest;

namespace {

using Word = std::atomic<uint32_t>;
constexpr uint32_t kWaiters = 0x80000000, kDied = 0x40000000;

long futex(Word& word, int operation, uint32_t value = 0, const timespec* timeout = nullptr) {
    return syscall(SYS_futex, &word, operation, value, timeout, nullptr, 0);
}
uint32_t self() { return static_cast<uint32_t>(syscall(SYS_gettid)); }
Word& shared_word() {
    return *new (OK(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0))) Word(0);
}
timespec realtime_in_ms(long ms) {
    timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    t.tv_nsec += ms * 1'000'000;
    t.tv_sec += t.tv_nsec / 1'000'000'000;
    t.tv_nsec %= 1'000'000'000;
    return t;
}
pthread_t start(void* (*body)(void*), void* argument = nullptr) {
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, nullptr, body, argument), 0);
    return thread;
}

struct Wait {
    uint64_t value, address;
    uint32_t flags, reserved;
};
Wait wait_for(Word& word, uint32_t value, uint32_t flags = 2 | 128) {
    return {value, reinterpret_cast<uint64_t>(&word), flags, 0};
}
long waitv(Wait* waits, unsigned count, unsigned flags = 0, const timespec* timeout = nullptr, int clock = 1) {
    return syscall(449, waits, count, flags, timeout, clock);
}

}  // namespace

TEST("pi_lock_writes_tid_and_unlock_clears") {
    Word word{0};
    OK(futex(word, FUTEX_LOCK_PI));
    CHECK_EQ(word.load(), self());
    OK(futex(word, FUTEX_UNLOCK_PI));
    CHECK_EQ(word.load(), 0);
}

TEST("pi_lock_twice_is_edeadlk") {
    Word word{0};
    OK(futex(word, FUTEX_LOCK_PI));
    CHECK_ERRNO(futex(word, FUTEX_LOCK_PI), EDEADLK);
    CHECK_ERRNO(futex(word, FUTEX_TRYLOCK_PI), EDEADLK);
}

TEST("pi_unlock_of_foreign_lock_is_eperm") {
    Word word{1};
    CHECK_ERRNO(futex(word, FUTEX_UNLOCK_PI), EPERM);
    word = 0;
    CHECK_ERRNO(futex(word, FUTEX_UNLOCK_PI), EPERM);
}

TEST("pi_lock_of_nobody_is_esrch") {
    Word word{4000000};
    CHECK_ERRNO(futex(word, FUTEX_LOCK_PI), ESRCH);
}

TEST("pi_bad_addresses") {
    CHECK_ERRNO(syscall(SYS_futex, 8, FUTEX_LOCK_PI, 0, nullptr, nullptr, 0), EFAULT);
    alignas(8) static char bytes[8];
    CHECK_ERRNO(syscall(SYS_futex, bytes + 1, FUTEX_LOCK_PI, 0, nullptr, nullptr, 0), EINVAL);
    CHECK_ERRNO(syscall(SYS_futex, bytes, FUTEX_LOCK_PI | FUTEX_CLOCK_REALTIME, 0, nullptr, nullptr, 0), ENOSYS);
}

TEST("pi_trylock_of_held_lock_is_eagain") {
    static Word word{0};
    OK(futex(word, FUTEX_LOCK_PI));
    pthread_join(start([](void*) -> void* {
                     CHECK_ERRNO(futex(word, FUTEX_TRYLOCK_PI), EAGAIN);
                     return nullptr;
                 }),
                 nullptr);
}

TEST("pi_unlock_hands_the_lock_over") {
    static Word word{0};
    static std::atomic<uint32_t> tid{0}, seen{0};
    OK(futex(word, FUTEX_LOCK_PI));
    pthread_t thread = start([](void*) -> void* {
        tid = self();
        OK(futex(word, FUTEX_LOCK_PI));
        seen = word.load();
        OK(futex(word, FUTEX_UNLOCK_PI));
        return nullptr;
    });
    while (!tid) sleep_ms(1);
    sleep_ms(50);
    CHECK_EQ(word.load(), self() | kWaiters);
    OK(futex(word, FUTEX_UNLOCK_PI));
    pthread_join(thread, nullptr);
    CHECK_EQ(seen.load() & 0x3fffffff, tid.load());
    CHECK_EQ(word.load(), 0);
}

TEST("pi_lock_times_out_on_realtime") {
    static Word word{0};
    OK(futex(word, FUTEX_LOCK_PI));
    pthread_join(start([](void*) -> void* {
                     const timespec soon = realtime_in_ms(40);
                     CHECK_ERRNO(futex(word, FUTEX_LOCK_PI, 0, &soon), ETIMEDOUT);
                     CHECK_ERRNO(futex(word, 13 | FUTEX_CLOCK_REALTIME, 0, &soon), ETIMEDOUT);
                     timespec bad{0, -1};
                     CHECK_ERRNO(futex(word, FUTEX_LOCK_PI, 0, &bad), EINVAL);
                     return nullptr;
                 }),
                 nullptr);
}

TEST("pi_circle_of_two_locks_is_edeadlk") {
    static Word one{0}, two{0};
    static std::atomic<int> ready{0};
    OK(futex(one, FUTEX_LOCK_PI));
    pthread_t thread = start([](void*) -> void* {
        OK(futex(two, FUTEX_LOCK_PI));
        ready = 1;
        OK(futex(one, FUTEX_LOCK_PI));
        OK(futex(one, FUTEX_UNLOCK_PI));
        OK(futex(two, FUTEX_UNLOCK_PI));
        return nullptr;
    });
    while (!ready) sleep_ms(1);
    sleep_ms(50);
    CHECK_ERRNO(futex(two, FUTEX_LOCK_PI), EDEADLK);
    OK(futex(one, FUTEX_UNLOCK_PI));
    pthread_join(thread, nullptr);
}

TEST("pi_lock_of_dying_owner_goes_to_the_waiter") {
    Word& word = shared_word();
    const pid_t owner = OK(fork());
    if (owner == 0) {
        futex(word, FUTEX_LOCK_PI);
        sleep_ms(80);
        _exit(0);
    }
    while (!word.load()) sleep_ms(1);
    OK(futex(word, FUTEX_LOCK_PI));
    CHECK_EQ(word.load() & 0x3fffffff, self());
    CHECK(word.load() & kDied);
}

TEST("pi_lock_is_fair_among_processes") {
    Word& word = shared_word();
    Word& count = shared_word();
    for (int i = 0; i < 3; ++i) {
        if (OK(fork())) continue;
        for (int round = 0; round < 200; ++round) {
            uint32_t free = 0;
            if (!word.compare_exchange_strong(free, self())) OK(futex(word, FUTEX_LOCK_PI));
            count = count.load() + 1;
            uint32_t mine = self();
            if (!word.compare_exchange_strong(mine, 0)) OK(futex(word, FUTEX_UNLOCK_PI));
        }
        _exit(0);
    }
    for (int i = 0; i < 3; ++i) {
        int status;
        OK(wait(&status));
        CHECK_EXITED(status, 0);
    }
    CHECK_EQ(count.load(), 600);
}

TEST("pi_mutex_of_pthreads") {
    static pthread_mutex_t mutex;
    static int counter = 0;
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    CHECK_EQ(pthread_mutexattr_setprotocol(&attributes, PTHREAD_PRIO_INHERIT), 0);
    CHECK_EQ(pthread_mutex_init(&mutex, &attributes), 0);
    pthread_t threads[4];
    for (auto& thread : threads)
        thread = start([](void*) -> void* {
            for (int i = 0; i < 500; ++i) {
                pthread_mutex_lock(&mutex);
                ++counter;
                pthread_mutex_unlock(&mutex);
            }
            return nullptr;
        });
    for (auto& thread : threads) pthread_join(thread, nullptr);
    CHECK_EQ(counter, 2000);
}

TEST("robust_pi_mutex_tells_of_a_dead_owner") {
    static pthread_mutex_t mutex;
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setprotocol(&attributes, PTHREAD_PRIO_INHERIT);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    CHECK_EQ(pthread_mutex_init(&mutex, &attributes), 0);
    pthread_join(start([](void*) -> void* {
                     pthread_mutex_lock(&mutex);
                     return nullptr;
                 }),
                 nullptr);
    CHECK_EQ(pthread_mutex_lock(&mutex), EOWNERDEAD);
    CHECK_EQ(pthread_mutex_consistent(&mutex), 0);
    CHECK_EQ(pthread_mutex_unlock(&mutex), 0);
}

TEST("signal_does_not_end_a_pi_wait") {
    static Word word{0};
    static std::atomic<int> handled{0};
    struct sigaction action = {};
    action.sa_handler = [](int) { ++handled; };
    OK(sigaction(SIGUSR1, &action, nullptr));
    OK(futex(word, FUTEX_LOCK_PI));
    pthread_t thread = start([](void*) -> void* {
        OK(futex(word, FUTEX_LOCK_PI));
        return nullptr;
    });
    sleep_ms(40);
    pthread_kill(thread, SIGUSR1);
    sleep_ms(40);
    CHECK_EQ(handled.load(), 1);
    OK(futex(word, FUTEX_UNLOCK_PI));
    pthread_join(thread, nullptr);
}

TEST("waitv_argument_errors") {
    static Word word{0};
    Wait wait = wait_for(word, 0);
    CHECK_ERRNO(waitv(&wait, 0), EINVAL);
    CHECK_ERRNO(waitv(&wait, 129), EINVAL);
    CHECK_ERRNO(waitv(&wait, 1, 1), EINVAL);
    CHECK_ERRNO(waitv(nullptr, 1), EINVAL);
    CHECK_ERRNO(waitv(reinterpret_cast<Wait*>(8), 1), EFAULT);
    timespec soon{0, 1};
    CHECK_ERRNO(waitv(&wait, 1, 0, &soon, 7), EINVAL);
    wait.reserved = 1;
    CHECK_ERRNO(waitv(&wait, 1), EINVAL);
    wait = wait_for(word, 0, 1);
    CHECK_ERRNO(waitv(&wait, 1), EINVAL);
}

TEST("waitv_sees_a_changed_word") {
    static Word one{0}, two{5};
    Wait waits[] = {wait_for(one, 0), wait_for(two, 4)};
    CHECK_ERRNO(waitv(waits, 2), EAGAIN);
}

TEST("waitv_times_out") {
    static Word one{0}, two{0};
    Wait waits[] = {wait_for(one, 0), wait_for(two, 0)};
    timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    CHECK_ERRNO(waitv(waits, 2, 0, &t), ETIMEDOUT);
}

TEST("waitv_tells_which_word_was_woken") {
    static Word words[3];
    static long result = -1;
    pthread_t thread = start([](void*) -> void* {
        Wait waits[] = {wait_for(words[0], 0), wait_for(words[1], 0), wait_for(words[2], 0)};
        result = waitv(waits, 3);
        return nullptr;
    });
    while (futex(words[2], FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1) == 0) sleep_ms(2);
    pthread_join(thread, nullptr);
    CHECK_EQ(result, 2);
    CHECK_EQ(futex(words[0], FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1), 0);
}

TEST("waitv_of_128_words") {
    static Word words[128];
    static long result = -1;
    pthread_t thread = start([](void*) -> void* {
        static Wait waits[128];
        for (int i = 0; i < 128; ++i) waits[i] = wait_for(words[i], 0);
        result = waitv(waits, 128);
        return nullptr;
    });
    while (futex(words[127], FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1) == 0) sleep_ms(2);
    pthread_join(thread, nullptr);
    CHECK_EQ(result, 127);
}

TEST("futex2_wait_and_wake") {
    static Word word{0};
    CHECK_ERRNO(syscall(455, &word, 1, ~0U, 2 | 128, nullptr, 0), EAGAIN);
    timespec past{0, 1};
    CHECK_ERRNO(syscall(455, &word, 0, ~0U, 2 | 128, &past, CLOCK_MONOTONIC), ETIMEDOUT);
    CHECK_ERRNO(syscall(455, &word, 0, 0, 2 | 128, &past, CLOCK_MONOTONIC), EINVAL);
    pthread_t thread = start([](void*) -> void* {
        OK(syscall(455, &word, 0, 2, 2 | 128, nullptr, 0));
        return nullptr;
    });
    sleep_ms(40);
    CHECK_EQ(syscall(454, &word, 1, 1, 2 | 128), 0);
    CHECK_EQ(syscall(454, &word, 2, 0, 2 | 128), 0);
    while (syscall(454, &word, 2, 1, 2 | 128) == 0) sleep_ms(2);
    pthread_join(thread, nullptr);
}

TEST("futex2_argument_errors") {
    static Word word{0};
    CHECK_ERRNO(syscall(454, &word, ~0U, 1, 0), EINVAL);
    CHECK_ERRNO(syscall(454, &word, 0, 1, 2), EINVAL);
    CHECK_ERRNO(syscall(454, &word, 1ULL << 32, 1, 2), EINVAL);
    CHECK_ERRNO(syscall(455, &word, 1ULL << 32, ~0U, 2, nullptr, 0), EINVAL);
}

TEST("futex2_requeue_moves_waiters") {
    static Word one{0}, two{0};
    pthread_t thread = start([](void*) -> void* {
        OK(futex(one, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, 0));
        return nullptr;
    });
    Wait pair[] = {wait_for(one, 0), wait_for(two, 0)};
    while (syscall(456, pair, 0, 0, 1) == 0) sleep_ms(2);
    CHECK_EQ(futex(one, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1), 0);
    CHECK_EQ(futex(two, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1), 1);
    pthread_join(thread, nullptr);
    pair[0].value = 3;
    CHECK_ERRNO(syscall(456, pair, 0, 0, 1), EAGAIN);
    CHECK_ERRNO(syscall(456, pair, 1, 0, 1), EINVAL);
}
