// Many of everything at once: threads, processes, areas, address space.
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <atomic>

#include "tests/guest/guest_test.hpp"

using namespace guest;

namespace {

constexpr size_t kPage = 4096;
constexpr int kPopulateRead = 22;  // MADV_POPULATE_READ

char* map(size_t size, int protection, int flags = 0) {
    return static_cast<char*>(OK(mmap(nullptr, size, protection, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0)));
}

// One area per page: every second one is read-only.
char* map_small_areas(size_t count) {
    char* memory = map(count * kPage, PROT_READ | PROT_WRITE);
    for (size_t i = 0; i < count; i += 2) OK(mprotect(memory + i * kPage, kPage, PROT_READ));
    return memory;
}

// All pages are there then, and one of 16 is written. A fault for each would take long on some platforms.
void write_some(char* memory, size_t count) {
    madvise(memory, count * kPage, kPopulateRead);
    for (size_t i = 1; i < count; i += 16) memory[i * kPage + i % kPage] = static_cast<char>(i / 16 % 127 + 1);
}

bool is_written(const char* memory, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (memory[i * kPage + i % kPage] != (i % 16 == 1 ? static_cast<char>(i / 16 % 127 + 1) : 0)) return false;
    return true;
}

int threads_in_status() {
    char text[4096];
    CHECK_GT(read_file("/proc/self/status", text, sizeof(text)), 0);
    const char* line = strstr(text, "\nThreads:");
    CHECK(line != nullptr);
    int count = 0;
    CHECK_EQ(sscanf(line, "\nThreads: %d", &count), 1);
    return count;
}

}  // namespace

TEST("two_thousand_threads_at_once") {
    constexpr int kThreads = 2000;
    static std::atomic<int> arrived{0};
    static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
    static thread_local int own = 0;
    static pthread_t threads[kThreads];
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    CHECK_EQ(pthread_attr_setstacksize(&attributes, 32768), 0);
    pthread_mutex_lock(&gate);
    for (long i = 0; i < kThreads; i++)
        CHECK_EQ(pthread_create(
                     &threads[i], &attributes,
                     [](void* number) -> void* {
                         own = static_cast<int>(reinterpret_cast<long>(number));
                         arrived++;
                         pthread_mutex_lock(&gate);
                         pthread_mutex_unlock(&gate);
                         return reinterpret_cast<void*>(static_cast<long>(own));
                     },
                     reinterpret_cast<void*>(i)),
                 0);
    while (arrived < kThreads) sleep_ms(1);
    CHECK_EQ(threads_in_status(), kThreads + 1);
    pthread_mutex_unlock(&gate);
    for (long i = 0; i < kThreads; i++) {
        void* result;
        CHECK_EQ(pthread_join(threads[i], &result), 0);
        CHECK_EQ(result, i);
    }
}

TEST("five_hundred_processes_at_once") {
    constexpr int kProcesses = 500;
    static pid_t pids[kProcesses];
    int gate[2], ready[2];
    OK(pipe(gate));
    OK(pipe(ready));
    char* memory = map(16 * kPage, PROT_READ | PROT_WRITE);
    for (int i = 0; i < kProcesses; i++) {
        memory[0] = static_cast<char>(i);
        pids[i] = OK(fork());
        if (pids[i] != 0) continue;
        close(gate[1]);
        for (size_t page = 0; page < 16; page++) memory[page * kPage + 1] = static_cast<char>(i);
        char byte = 0;
        CHECK_EQ(write(ready[1], &byte, 1), 1);
        CHECK_EQ(read(gate[0], &byte, 1), 0);
        for (size_t page = 0; page < 16; page++) CHECK_EQ(memory[page * kPage + 1], static_cast<char>(i));
        _exit(memory[0] == static_cast<char>(i) ? i % 100 : 255);
    }
    char byte;
    for (int i = 0; i < kProcesses; i++) CHECK_EQ(read(ready[0], &byte, 1), 1);
    for (pid_t pid : pids) OK(kill(pid, 0));
    close(gate[1]);
    for (int i = 0; i < kProcesses; i++) {
        int status;
        CHECK_EQ(waitpid(pids[i], &status, 0), pids[i]);
        CHECK_EXITED(status, i % 100);
    }
}

TEST("sparse_pages_of_100_gib") {
    constexpr size_t kSize = 100ul << 30, kPages = 300, kStep = kSize / kPages;
    char* memory = map(kSize, PROT_NONE, MAP_NORESERVE);
    const auto page = [=](size_t i) { return memory + i * kStep / kPage * kPage; };
    for (size_t i = 0; i < kPages; i += 2) OK(mprotect(page(i), kPage, PROT_READ | PROT_WRITE));
    for (size_t i = 0; i < kPages; i += 2) memcpy(page(i), &i, sizeof(i));
    OK(mprotect(memory, kSize, PROT_READ | PROT_WRITE));
    for (size_t i = 1; i < kPages; i += 2) memcpy(page(i), &i, sizeof(i));
    const auto check = [=] {
        for (size_t i = 0; i < kPages; i++) {
            CHECK_EQ(memcmp(page(i), &i, sizeof(i)), 0);
            CHECK_EQ(page(i)[kPage], 0);
        }
    };
    check();
    CHECK_EXITED(run_child(check), 0);
    OK(munmap(memory, kSize));
}

TEST("sixty_thousand_areas") {
    constexpr size_t kAreas = 60000;
    char* memory = map_small_areas(kAreas);
    write_some(memory, kAreas);
    CHECK(is_written(memory, kAreas));
    CHECK_EQ(trap_of([=] { memory[kAreas / 2 * kPage] = 1; }).signo, SIGSEGV);
    OK(mprotect(memory, kAreas * kPage, PROT_READ));
    CHECK(is_written(memory, kAreas));
    OK(munmap(memory, kAreas * kPage));
}

TEST("fork_with_twenty_thousand_areas") {
    constexpr size_t kAreas = 20000;
    char* memory = map_small_areas(kAreas);
    write_some(memory, kAreas);
    for (int round = 0; round < 2; round++) {
        CHECK_EXITED(run_child([=] {
                         CHECK(is_written(memory, kAreas));
                         for (size_t i = 1; i < kAreas; i += 160) memory[i * kPage] = 55;
                         CHECK_EQ(trap_of([=] { memory[kAreas / 2 * kPage] = 1; }).signo, SIGSEGV);
                         OK(munmap(memory, kAreas / 2 * kPage));
                     }),
                     0);
        CHECK(is_written(memory, kAreas));
    }
}
