// The threads library's locks under load.
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <sys/mman.h>
#include <time.h>

#include <atomic>
#include <vector>

#include "tests/guest/guest_test.hpp"

using namespace guest;

namespace {
template <typename Body>
void in_threads(int count, Body body) {
    struct Start {
        Body* body;
        int index;
    };
    std::vector<pthread_t> threads(static_cast<size_t>(count));
    std::vector<Start> starts(static_cast<size_t>(count));
    for (int i = 0; i < count; i++) {
        starts[static_cast<size_t>(i)] = {&body, i};
        CHECK_EQ(pthread_create(
                     &threads[static_cast<size_t>(i)], nullptr,
                     [](void* pointer) -> void* {
                         auto* start = static_cast<Start*>(pointer);
                         (*start->body)(start->index);
                         return nullptr;
                     },
                     &starts[static_cast<size_t>(i)]),
                 0);
    }
    for (auto thread : threads) CHECK_EQ(pthread_join(thread, nullptr), 0);
}

timespec realtime_in(long ms) {
    timespec when;
    OK(clock_gettime(CLOCK_REALTIME, &when));
    when.tv_nsec += ms * 1000000;
    when.tv_sec += when.tv_nsec / 1000000000;
    when.tv_nsec %= 1000000000;
    return when;
}
}  // namespace

TEST("mutex_under_load") {
    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    long counter = 0;
    in_threads(4, [&](int) {
        for (int i = 0; i < 20000; i++) {
            pthread_mutex_lock(&mutex);
            counter++;
            pthread_mutex_unlock(&mutex);
        }
    });
    CHECK_EQ(counter, 80000);
}

TEST("mutex_handed_over_with_yield_inside") {
    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    long counter = 0;
    in_threads(3, [&](int) {
        for (int i = 0; i < 100; i++) {
            pthread_mutex_lock(&mutex);
            long before = counter;
            sched_yield();
            counter = before + 1;
            pthread_mutex_unlock(&mutex);
        }
    });
    CHECK_EQ(counter, 300);
}

TEST("mutex_timedlock_times_out") {
    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&mutex);
    int result = 0;
    in_threads(1, [&](int) {
        timespec when = realtime_in(30);
        result = pthread_mutex_timedlock(&mutex, &when);
    });
    CHECK_EQ(result, ETIMEDOUT);
}

TEST("condition_producer_consumer") {
    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    pthread_cond_t not_empty = PTHREAD_COND_INITIALIZER, not_full = PTHREAD_COND_INITIALIZER;
    int queued = 0;
    long produced = 0, consumed = 0;
    constexpr int kEach = 1000;
    in_threads(4, [&](int index) {
        for (int i = 0; i < kEach; i++) {
            pthread_mutex_lock(&mutex);
            if (index % 2 == 0) {
                while (queued == 8) pthread_cond_wait(&not_full, &mutex);
                queued++;
                produced++;
                pthread_cond_signal(&not_empty);
            } else {
                while (queued == 0) pthread_cond_wait(&not_empty, &mutex);
                queued--;
                consumed++;
                pthread_cond_signal(&not_full);
            }
            pthread_mutex_unlock(&mutex);
        }
    });
    CHECK_EQ(produced, 2 * kEach);
    CHECK_EQ(consumed, 2 * kEach);
}

TEST("condition_broadcast_wakes_all") {
    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
    int waiting = 0;
    bool go = false;
    in_threads(6, [&](int index) {
        pthread_mutex_lock(&mutex);
        if (index == 5) {
            while (waiting < 5) {
                pthread_mutex_unlock(&mutex);
                sleep_ms(1);
                pthread_mutex_lock(&mutex);
            }
            go = true;
            pthread_cond_broadcast(&condition);
        } else {
            waiting++;
            while (!go) pthread_cond_wait(&condition, &mutex);
        }
        pthread_mutex_unlock(&mutex);
    });
}

TEST("condition_timedwait_times_out") {
    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
    pthread_mutex_lock(&mutex);
    timespec when = realtime_in(30);
    CHECK_EQ(pthread_cond_timedwait(&condition, &mutex, &when), ETIMEDOUT);
}

TEST("barrier_rounds") {
    pthread_barrier_t barrier;
    pthread_barrier_init(&barrier, nullptr, 4);
    std::atomic<int> arrived{0}, serial{0};
    in_threads(4, [&](int) {
        for (int round = 1; round <= 50; round++) {
            arrived++;
            if (pthread_barrier_wait(&barrier) == PTHREAD_BARRIER_SERIAL_THREAD) serial++;
            CHECK_GE(arrived.load(), 4 * round);
            pthread_barrier_wait(&barrier);
        }
    });
    CHECK_EQ(arrived.load(), 200);
    CHECK_EQ(serial.load(), 50);
}

TEST("read_write_lock") {
    pthread_rwlock_t lock = PTHREAD_RWLOCK_INITIALIZER;
    long a = 0, b = 0;
    std::atomic<int> torn{0};
    in_threads(4, [&](int index) {
        for (int i = 0; i < 2000; i++) {
            if (index == 0) {
                pthread_rwlock_wrlock(&lock);
                a++;
                b++;
            } else {
                pthread_rwlock_rdlock(&lock);
                if (a != b) torn++;
            }
            pthread_rwlock_unlock(&lock);
        }
    });
    CHECK_EQ(torn.load(), 0);
    CHECK_EQ(a, 2000);
}

TEST("semaphore_between_processes") {
    auto* semaphore =
        static_cast<sem_t*>(OK(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)));
    OK(sem_init(semaphore, 1, 0));
    pid_t pid = OK(fork());
    if (pid == 0) {
        for (int i = 0; i < 20; i++) OK(sem_wait(semaphore));
        _exit(0);
    }
    for (int i = 0; i < 20; i++) OK(sem_post(semaphore));
    int status;
    OK(waitpid(pid, &status, 0));
    CHECK_EXITED(status, 0);
}

TEST("shared_mutex_between_processes") {
    struct Shared {
        pthread_mutex_t mutex;
        long counter;
    };
    auto* shared =
        static_cast<Shared*>(OK(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)));
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutex_init(&shared->mutex, &attributes);
    pid_t pids[3];
    for (auto& pid : pids) {
        pid = OK(fork());
        if (pid != 0) continue;
        for (int i = 0; i < 5000; i++) {
            pthread_mutex_lock(&shared->mutex);
            shared->counter++;
            pthread_mutex_unlock(&shared->mutex);
        }
        _exit(0);
    }
    for (auto pid : pids) OK(waitpid(pid, nullptr, 0));
    CHECK_EQ(shared->counter, 15000);
}

TEST("priority_inheritance_mutex") {
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setprotocol(&attributes, PTHREAD_PRIO_INHERIT);
    pthread_mutex_t mutex;
    int made = pthread_mutex_init(&mutex, &attributes);
    if (made == ENOTSUP) SKIP("no FUTEX_LOCK_PI");
    CHECK_EQ(made, 0);
    long counter = 0;
    in_threads(3, [&](int) {
        for (int i = 0; i < 500; i++) {
            pthread_mutex_lock(&mutex);
            counter++;
            pthread_mutex_unlock(&mutex);
        }
    });
    CHECK_EQ(counter, 1500);
}

TEST("once_and_thread_specific_data") {
    static std::atomic<int> initialised{0}, destroyed{0};
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_key_t key;
    CHECK_EQ(pthread_key_create(&key, [](void*) { destroyed++; }), 0);
    in_threads(5, [&](int index) {
        pthread_once(&once, [] { initialised++; });
        pthread_setspecific(key, reinterpret_cast<void*>(static_cast<intptr_t>(index + 1)));
    });
    CHECK_EQ(initialised.load(), 1);
    CHECK_EQ(destroyed.load(), 5);
}

TEST("cancel_blocked_thread") {
    int fds[2];
    OK(pipe(fds));
    static int end;
    end = fds[0];
    pthread_t thread;
    pthread_create(
        &thread, nullptr,
        [](void*) -> void* {
            char byte;
            return read(end, &byte, 1) == 1 ? nullptr : nullptr;
        },
        nullptr);
    sleep_ms(20);
    CHECK_EQ(pthread_cancel(thread), 0);
    void* result;
    CHECK_EQ(pthread_join(thread, &result), 0);
    CHECK_EQ(result, PTHREAD_CANCELED);
}
