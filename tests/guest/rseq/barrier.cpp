// What membarrier(2) is for: of two threads that write one word and then read the other's, one sees the other's write,
// though only one of them has a barrier.
#include <linux/membarrier.h>
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>

#include <atomic>

#include "tests/guest/guest_test.hpp"

using namespace guest;

namespace {

constexpr int kRounds = 150;
alignas(64) std::atomic<int> slow_word{0};
alignas(64) std::atomic<int> fast_word{0};
alignas(64) std::atomic<int> fast_saw{0};
alignas(64) std::atomic<int> round_of_slow{0};
alignas(64) std::atomic<int> round_of_fast{0};
int command = 0;

// The side without a barrier instruction.
void* fast_side(void*) {
    for (int round = 1; round <= kRounds; round++) {
        for (int i = 0; round_of_slow.load(std::memory_order_acquire) < round; i++)
            if (i > 2000) sched_yield();
        fast_word.store(round, std::memory_order_relaxed);
        asm volatile("" : : : "memory");
        fast_saw.store(slow_word.load(std::memory_order_relaxed), std::memory_order_relaxed);
        round_of_fast.store(round, std::memory_order_release);
    }
    return nullptr;
}

void run_rounds() {
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, nullptr, fast_side, nullptr), 0);
    for (int round = 1; round <= kRounds; round++) {
        round_of_slow.store(round, std::memory_order_release);
        for (int i = 0; i < round % 40; i++) asm volatile("");
        slow_word.store(round, std::memory_order_relaxed);
        OK(syscall(SYS_membarrier, command, 0, 0));
        const int saw = fast_word.load(std::memory_order_relaxed);
        for (int i = 0; round_of_fast.load(std::memory_order_acquire) < round; i++)
            if (i > 2000) sched_yield();
        CHECK(saw == round || fast_saw.load(std::memory_order_relaxed) == round);
    }
    pthread_join(thread, nullptr);
}

}  // namespace

TEST("membarrier_private_expedited_orders_another_thread") {
    OK(syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0));
    command = MEMBARRIER_CMD_PRIVATE_EXPEDITED;
    run_rounds();
}

TEST("membarrier_global_expedited_orders_another_thread") {
    OK(syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED, 0, 0));
    command = MEMBARRIER_CMD_GLOBAL_EXPEDITED;
    run_rounds();
}
