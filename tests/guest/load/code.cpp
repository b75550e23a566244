// Code that changes while other threads run it: W^X by mprotect and by two mappings, and mappings laid over it.
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>

#include <atomic>

#include "tests/guest/guest_test.hpp"

using namespace guest;

namespace {

constexpr size_t kPage = 4096;
using Function = int (*)();

// mov $value, %eax; ret
void write_code(void* at, int value) {
    auto* code = static_cast<unsigned char*>(at);
    code[0] = 0xb8;
    memcpy(code + 1, &value, sizeof(value));
    code[5] = 0xc3;
}

// Another thread, which calls `code` once per round and says what it returned. CPUID makes what was written visible to
// the instruction stream.
struct Caller {
    Function code;
    std::atomic<int> asked{0}, done{0};
    std::atomic<int> result{0};
    pthread_t thread;

    explicit Caller(void* at) : code(reinterpret_cast<Function>(at)) {
        CHECK_EQ(pthread_create(&thread, nullptr, run, this), 0);
    }
    static void* run(void* pointer) {
        auto& self = *static_cast<Caller*>(pointer);
        for (int round = 1;; round++) {
            while (self.asked < round) {
                if (self.asked < 0) return nullptr;
                sched_yield();
            }
            unsigned a = 0, b, c = 0, d;
            asm volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d) : : "memory");
            self.result = self.code();
            self.done = round;
        }
    }
    int call(int round) {
        asked = round;
        while (done < round) sched_yield();
        return result;
    }
    void stop() {
        asked = -1;
        pthread_join(thread, nullptr);
    }
};

}  // namespace

TEST("code_flipped_by_mprotect_runs_in_another_thread") {
    char* page = static_cast<char*>(OK(mmap(nullptr, kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)));
    Caller caller(page);
    for (int round = 1; round <= 80; round++) {
        OK(mprotect(page, kPage, PROT_READ | PROT_WRITE));
        write_code(page, round);
        OK(mprotect(page, kPage, PROT_READ | PROT_EXEC));
        CHECK_EQ(caller.call(round), round);
        CHECK_EQ(reinterpret_cast<Function>(page)(), round);
    }
    caller.stop();
    CHECK_EQ(trap_of([=] { *page = 1; }).signo, SIGSEGV);
    OK(mprotect(page, kPage, PROT_READ | PROT_WRITE));
    CHECK_EQ(trap_of([=] { reinterpret_cast<Function>(page)(); }).signo, SIGSEGV);
}

TEST("code_written_through_a_second_mapping_runs_in_another_thread") {
    const int fd = OK(memfd_create("code", 0));
    OK(ftruncate(fd, kPage));
    char* writable = static_cast<char*>(OK(mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)));
    void* code = OK(mmap(nullptr, kPage, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0));
    write_code(writable, 0);
    Caller caller(code);
    for (int round = 1; round <= 80; round++) {
        write_code(writable, round);
        CHECK_EQ(caller.call(round), round);
    }
    caller.stop();
}

TEST("code_mapped_writable_in_turns_runs_in_another_thread") {
    const int fd = OK(memfd_create("code", 0));
    OK(ftruncate(fd, kPage));
    void* code = OK(mmap(nullptr, kPage, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0));
    Caller caller(code);
    for (int round = 1; round <= 60; round++) {
        void* writable = OK(mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
        write_code(writable, round);
        OK(munmap(writable, kPage));
        CHECK_EQ(caller.call(round), round);
    }
    caller.stop();
}

// MAP_FIXED replaces at once: whoever runs there runs the old or the new code, and nothing faults.
TEST("mappings_laid_over_code_that_runs") {
    constexpr int kVersions = 8;
    const int fd = OK(memfd_create("code", 0));
    OK(ftruncate(fd, kVersions * kPage));
    char* all = static_cast<char*>(OK(mmap(nullptr, kVersions * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)));
    for (int i = 0; i < kVersions; i++) write_code(all + i * kPage, i);
    static void* place;
    place = OK(mmap(nullptr, kPage, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0));
    static std::atomic<bool> stop{false};
    static std::atomic<int> calls{0};
    pthread_t thread;
    const auto run = [](void*) -> void* {
        while (!stop) {
            const int value = reinterpret_cast<Function>(place)();
            if (value < 0 || value >= kVersions) return reinterpret_cast<void*>(1);
            calls++;
        }
        return nullptr;
    };
    CHECK_EQ(pthread_create(&thread, nullptr, run, nullptr), 0);
    for (int i = 0; i < 300; i++) {
        const int flags = i % 3 == 0 ? MAP_SHARED : MAP_PRIVATE;
        OK(mmap(place, kPage, PROT_READ | PROT_EXEC, flags | MAP_FIXED, fd, i % kVersions * static_cast<off_t>(kPage)));
        CHECK_EQ(reinterpret_cast<Function>(place)(), i % kVersions);
    }
    const int before = calls;
    while (calls == before) sched_yield();
    stop = true;
    void* result;
    CHECK_EQ(pthread_join(thread, &result), 0);
    CHECK_EQ(result, nullptr);
}

// Kinds of memory that take turns at one place, while another thread reads there: it sees one of their first bytes.
TEST("kinds_of_memory_take_turns_under_a_reader") {
    const int fd = OK(memfd_create("bytes", 0));
    CHECK_EQ(write(fd, "AAAAAAAA", 8), 8);
    static volatile char* place;
    place = static_cast<char*>(OK(mmap(nullptr, 4 * kPage, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)));
    static std::atomic<bool> stop{false};
    pthread_t thread;
    const auto read_it = [](void*) -> void* {
        while (!stop)
            if (const char byte = *place; byte != 0 && byte != 'A') return reinterpret_cast<void*>(1);
        return nullptr;
    };
    CHECK_EQ(pthread_create(&thread, nullptr, read_it, nullptr), 0);
    void* const at = const_cast<char*>(place);
    for (int i = 0; i < 150; i++) {
        OK(mmap(at, kPage, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0));
        CHECK_EQ(*place, 'A');
        OK(mmap(at, 2 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
        CHECK_EQ(*place, 0);
        *static_cast<volatile char*>(at) = 'A';
        OK(mmap(at, kPage, PROT_READ, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
        CHECK_EQ(*place, 0);
    }
    stop = true;
    void* result;
    CHECK_EQ(pthread_join(thread, &result), 0);
    CHECK_EQ(result, nullptr);
}
