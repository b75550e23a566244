// What one thread does to the address space is so for the others at once, and a child sees one moment of it.
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/guest/guest_test.hpp"

using namespace guest;

namespace {
constexpr size_t kPage = 4096, kBlock = 2 << 20;
constexpr uint64_t kSecond = 1'000'000'000;

char* map(size_t size) {
    return static_cast<char*>(OK(mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)));
}

struct Watched {
    volatile char* at;
    char until;
    bool reads = false;
};

void* watch(void* pointer) {
    Watched& watched = *static_cast<Watched*>(pointer);
    const uint64_t end = now_ns() + 2 * kSecond;
    for (unsigned i = 0; *watched.at != watched.until; i++) {
        if (i == 1000) __atomic_store_n(&watched.reads, true, __ATOMIC_RELEASE);
        if (i % 65536 == 0) CHECK(now_ns() < end);
    }
    __atomic_store_n(&watched.reads, true, __ATOMIC_RELEASE);
    return nullptr;
}

// A thread reads `at` until it is `until`; meanwhile act().
template <typename Act>
void act_beside_a_reader(volatile char* at, char until, Act act) {
    Watched watched{at, until};
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, nullptr, watch, &watched), 0);
    while (!__atomic_load_n(&watched.reads, __ATOMIC_ACQUIRE)) usleep(100);
    act();
    pthread_join(thread, nullptr);
}
}  // namespace

TEST("coherence_of_a_discard_that_fails_behind") {
    for (int round = 0; round < 20; round++) {
        char* memory = map(4 * kPage);
        memset(memory, 1, 4 * kPage);
        OK(mlock(memory + 2 * kPage, kPage));
        act_beside_a_reader(memory, 0, [=] { CHECK_ERRNO(madvise(memory, 4 * kPage, MADV_DONTNEED), EINVAL); });
        CHECK_EQ(memory[2 * kPage], 1);
        OK(munmap(memory, 4 * kPage));
    }
}

TEST("coherence_of_a_large_page_over_an_emptied_area") {
    for (int round = 0; round < 20; round++) {
        char* memory = map(2 * kBlock);
        char* block = memory + (kBlock - reinterpret_cast<uintptr_t>(memory) % kBlock) % kBlock;
        OK(madvise(block, kBlock, MADV_NOHUGEPAGE));
        memset(block, 1, 16 * kPage);
        OK(madvise(block, kBlock, MADV_DONTNEED));
        OK(madvise(block, kBlock, MADV_HUGEPAGE));
        act_beside_a_reader(block + 5 * kPage, 3, [=] {
            for (size_t at = 0; at < kBlock; at += kPage) block[at] = 3;
        });
        OK(munmap(memory, 2 * kBlock));
    }
}

TEST("coherence_of_a_part_of_a_large_page_unmapped") {
    for (int round = 0; round < 20; round++) {
        char* memory = map(3 * kBlock);
        memset(memory, 1, 3 * kBlock);
        char* block = memory + (kBlock - reinterpret_cast<uintptr_t>(memory) % kBlock) % kBlock;
        act_beside_a_reader(block + kBlock - kPage, 4, [=] {
            OK(munmap(memory, static_cast<size_t>(block - memory) + kBlock / 2));
            block[kBlock - kPage] = 4;
        });
        for (size_t at = kBlock / 2; at < kBlock - kPage; at += kPage) CHECK_EQ(block[at], 1);
        OK(munmap(block + kBlock / 2, 3 * kBlock - static_cast<size_t>(block - memory) - kBlock / 2));
    }
}

// A thread writes one page, then another: no child has the second write without the first.
TEST("coherence_of_a_child_made_beside_a_writer") {
    static volatile uint64_t* counters[8];
    static bool stop = false;
    char* memory = map(64 * kPage);
    for (size_t i = 0; i < 8; i++) counters[i] = reinterpret_cast<volatile uint64_t*>(memory + i * 8 * kPage);
    pthread_t thread;
    auto write = [](void*) -> void* {
        for (uint64_t i = 1; !__atomic_load_n(&stop, __ATOMIC_ACQUIRE); i++)
            for (auto* counter : counters) *counter = i;
        return nullptr;
    };
    CHECK_EQ(pthread_create(&thread, nullptr, write, nullptr), 0);
    for (int round = 0; round < 60; round++) {
        const int status = run_child([] {
            for (size_t i = 1; i < 8; i++) {
                CHECK(*counters[i] <= *counters[i - 1]);
                CHECK(*counters[i] + 1 >= *counters[0]);
            }
        });
        CHECK_EQ(status, 0);
    }
    __atomic_store_n(&stop, true, __ATOMIC_RELEASE);
    pthread_join(thread, nullptr);
}
