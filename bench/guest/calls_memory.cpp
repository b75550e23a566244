// System calls without work, and memory.
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <algorithm>

#include "bench/guest/bench_guest.hpp"

namespace bench {
namespace {

constexpr uint64_t kPage = 4096;
constexpr uint64_t kArea = 256ull << 20;

void null_call(uint64_t operations) {
    for (uint64_t i = 0; i < operations; i++) syscall(SYS_getppid);
}

void read_clock(uint64_t operations) {
    timespec now;
    for (uint64_t i = 0; i < operations; i++) clock_gettime(CLOCK_MONOTONIC, &now);
}

// A mix of integer work and reads of 32 KiB; no system call, no page fault.
void cpu_loop(uint64_t operations) {
    static uint64_t table[4096];
    uint64_t value = 88172645463325252ull, sum = 0;
    for (uint64_t i = 0; i < operations; i++) {
        value ^= value << 13;
        value ^= value >> 7;
        value ^= value << 17;
        sum += table[value & 4095] + value;
        table[i & 4095] = sum;
    }
    asm volatile("" : : "r"(sum));
}

char* map(uint64_t size, int rights = PROT_READ | PROT_WRITE, char* where = nullptr) {
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | (where == nullptr ? 0 : MAP_FIXED);
    void* memory = mmap(where, size, rights, flags, -1, 0);
    if (memory == MAP_FAILED) die("mmap");
    return static_cast<char*>(memory);
}

// First write to each 4 KiB of a fresh 256 MiB area; mapping and unmapping are not counted.
uint64_t page_touch(uint64_t operations) {
    uint64_t took = 0;
    while (operations > 0) {
        char* memory = map(kArea);
        uint64_t pages = operations < kArea / kPage ? operations : kArea / kPage;
        uint64_t start = now_ns();
        for (uint64_t i = 0; i < pages; i++) memory[i * kPage] = 1;
        took += now_ns() - start;
        munmap(memory, kArea);
        operations -= pages;
    }
    return took;
}

constexpr uint64_t kSmall = 64 << 10;
constexpr uint64_t kSmallTotal = 8 << 20;
constexpr uint64_t kLarge = 2 << 20;  // and aligned to it: the smallest area that one large page can back
constexpr uint64_t kLargeTotal = 64 << 20;

// First write to each 4 KiB of fresh areas. What lies between them is not accessible, so that they cannot become one.
// Mapping and unmapping are not counted.
template <uint64_t kSize, uint64_t kTotal>
uint64_t touch_areas(uint64_t operations) {
    constexpr uint64_t kStride = 2 * kSize, kReserved = kTotal * 2 + kSize;
    uint64_t took = 0;
    while (operations > 0) {
        char* reserved = map(kReserved, PROT_NONE);
        char* first = reserved + (kSize - reinterpret_cast<uint64_t>(reserved) % kSize) % kSize;
        for (uint64_t at = 0; at < 2 * kTotal; at += kStride) map(kSize, PROT_READ | PROT_WRITE, first + at);
        uint64_t pages = std::min(operations, kTotal / kPage);
        uint64_t start = now_ns();
        for (uint64_t i = 0; i < pages; i++) first[i * kPage / kSize * kStride + i * kPage % kSize] = 1;
        took += now_ns() - start;
        munmap(reserved, kReserved);
        operations -= pages;
    }
    return took;
}

// What an allocator does: 64 KiB mapped, each page written, unmapped.
void map_touch_unmap(uint64_t operations) {
    for (uint64_t i = 0; i < operations; i++) {
        char* memory = map(16 * kPage);
        for (uint64_t page = 0; page < 16; page++) memory[page * kPage] = 1;
        munmap(memory, 16 * kPage);
    }
}

}  // namespace

const Metric kCallMetrics[] = {
    {"null_call", "call", 100, nullptr, null_call},
    {"clock_gettime", "call", 1000, nullptr, read_clock},
    {"cpu_loop", "iteration", 100000, nullptr, cpu_loop},
    {},
};

const Metric kMemoryMetrics[] = {
    {"page_touch", "4 KiB page", kArea / kPage, nullptr, nullptr, page_touch, kArea / kPage},
    {"page_touch_64k", "4 KiB page", kSmallTotal / kPage, nullptr, nullptr, touch_areas<kSmall, kSmallTotal>,
     kSmallTotal / kPage},
    {"page_touch_2m", "4 KiB page", kLargeTotal / kPage, nullptr, nullptr, touch_areas<kLarge, kLargeTotal>,
     kLargeTotal / kPage},
    {"mmap_touch_munmap", "64 KiB area", 10, nullptr, map_touch_unmap},
    {},
};

}  // namespace bench
