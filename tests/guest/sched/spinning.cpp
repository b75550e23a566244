// Threads that wait for each other by nothing but reading memory: the scheduler must take the processor from them.
#include <pthread.h>
#include <sys/mman.h>

#include <atomic>

#include "tests/guest/guest_test.hpp"

using namespace guest;

namespace {

// `count` parties hand a turn around `rounds` times.
struct Ring {
    alignas(64) std::atomic<unsigned> turn{0};
    unsigned count, rounds;
};

void take_turns(Ring& ring, unsigned own) {
    for (unsigned i = 0; i < ring.rounds; i++) {
        while (ring.turn.load(std::memory_order_acquire) % ring.count != own) {}
        ring.turn.fetch_add(1, std::memory_order_acq_rel);
    }
}

Ring* new_ring(unsigned count, unsigned rounds) {
    void* memory = OK(mmap(nullptr, sizeof(Ring), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    auto* ring = static_cast<Ring*>(memory);
    ring->count = count;
    ring->rounds = rounds;
    return ring;
}

struct Party {
    Ring* ring;
    unsigned own;
    pthread_t thread;
};

void run_ring(unsigned count, unsigned rounds) {
    Ring* const ring = new_ring(count, rounds);
    Party parties[8];
    for (unsigned i = 0; i < count; i++) {
        parties[i] = {ring, i, {}};
        const auto work = [](void* pointer) -> void* {
            auto& party = *static_cast<Party*>(pointer);
            take_turns(*party.ring, party.own);
            return nullptr;
        };
        CHECK_EQ(pthread_create(&parties[i].thread, nullptr, work, &parties[i]), 0);
    }
    for (unsigned i = 0; i < count; i++) pthread_join(parties[i].thread, nullptr);
    CHECK_EQ(ring->turn.load(), count * rounds);
}

}  // namespace

TEST("two_threads_that_spin_on_each_other_progress") { run_ring(2, 40); }

TEST("more_spinning_threads_than_processors_progress") { run_ring(5, 8); }

TEST("two_processes_that_spin_on_each_other_progress") {
    Ring* const ring = new_ring(2, 40);
    const pid_t pid = OK(fork());
    if (pid == 0) {
        take_turns(*ring, 1);
        _exit(0);
    }
    take_turns(*ring, 0);
    int status;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EXITED(status, 0);
    CHECK_EQ(ring->turn.load(), 80);
}
