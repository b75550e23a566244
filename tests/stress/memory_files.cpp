// Operations on memory and files.
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>

#include "tests/stress/stress.hpp"

using namespace stress;

namespace {

constexpr size_t kPage = 4096;

char* map(size_t size, int flags = MAP_PRIVATE | MAP_ANONYMOUS, int fd = -1) {
    void* address = mmap(nullptr, size, PROT_READ | PROT_WRITE, flags, fd, 0);
    EXPECT(address != MAP_FAILED);
    return static_cast<char*>(address);
}

}  // namespace

OPERATION(copy_on_write) {
    const size_t size = (1 + random.below(600)) * kPage;
    char* bytes = map(size);
    fill(bytes, size, random.next());
    const uint64_t before = checksum(bytes, size);
    const pid_t pid = fork();
    EXPECT(pid >= 0);
    if (pid == 0) {
        EXPECT(checksum(bytes, size) == before);
        unsigned changed[50];
        for (unsigned& at : changed) bytes[at = random.below(size)]++;
        const uint64_t mine = checksum(bytes, size);
        const pid_t inner = fork();
        EXPECT(inner >= 0);
        if (inner == 0) {
            memset(bytes, 1, size);
            _exit(0);
        }
        EXPECT(exit_code_of(inner) == 0);
        EXPECT(checksum(bytes, size) == mine);
        for (const unsigned at : changed) bytes[at]--;
        EXPECT(checksum(bytes, size) == before);  // the copies are whole
        _exit(11);
    }
    if (random.below(2)) {
        volatile char& written = bytes[random.below(size)];
        written = written;
        EXPECT(checksum(bytes, size) == before);
    }
    EXPECT(exit_code_of(pid) == 11);
    EXPECT(checksum(bytes, size) == before);
    EXPECT(munmap(bytes, size) == 0);
}

OPERATION(map_pieces) {
    const unsigned pages = 2 + random.below(300);
    char* bytes = map(pages * kPage);
    bool* there = static_cast<bool*>(calloc(pages, 1));
    for (unsigned step = 0; step < 40; step++) {
        const unsigned page = random.below(pages), count = 1 + random.below(pages - page);
        switch (random.below(4)) {
            case 0:
                for (unsigned i = page; i < page + count; i++) {
                    memset(bytes + i * kPage, static_cast<int>(i), kPage);
                    there[i] = true;
                }
                break;
            case 1:
                EXPECT(madvise(bytes + page * kPage, count * kPage, MADV_DONTNEED) == 0);
                memset(there + page, 0, count);
                break;
            case 2:
                EXPECT(mmap(bytes + page * kPage, count * kPage, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == bytes + page * kPage);
                memset(there + page, 0, count);
                break;
            default:
                EXPECT(mprotect(bytes + page * kPage, count * kPage, PROT_READ) == 0);
                EXPECT(mprotect(bytes + page * kPage, count * kPage, PROT_READ | PROT_WRITE) == 0);
        }
    }
    for (unsigned i = 0; i < pages; i++)
        for (unsigned at : {0U, 17U, 4095U}) EXPECT(bytes[i * kPage + at] == (there[i] ? static_cast<char>(i) : 0));
    free(there);
    EXPECT(munmap(bytes, pages * kPage) == 0);
}

// A thread that writes all the time meets the page table's changes at once: what it writes is seen by others.
OPERATION(pages_change_below_a_writer) {
    struct Writer {
        std::atomic<uint64_t>* page;
        std::atomic<uint64_t> written{0};
        std::atomic<bool> over{false};
    } writer;
    char* bytes = map(kPage);
    writer.page = reinterpret_cast<std::atomic<uint64_t>*>(bytes);
    pthread_t thread;
    const auto write_on = [](void* argument) -> void* {
        Writer& mine = *static_cast<Writer*>(argument);
        for (uint64_t next = 1; !mine.over; ++next) {
            *mine.page = next;
            mine.written = next;
        }
        return nullptr;
    };
    EXPECT(pthread_create(&thread, nullptr, write_on, &writer) == 0);
    for (unsigned i = 0; i < 10; i++) {
        if (random.below(2))
            EXPECT(madvise(bytes, kPage, MADV_DONTNEED) == 0);
        else
            EXPECT(mmap(bytes, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == bytes);
        const uint64_t before = writer.written;
        while (writer.written < before + 2) sched_yield();
        EXPECT(*writer.page >= before + 2);
    }
    writer.over = true;
    EXPECT(pthread_join(thread, nullptr) == 0);
    EXPECT(munmap(bytes, kPage) == 0);
}

OPERATION(remap) {
    size_t size = (1 + random.below(100)) * kPage;
    char* bytes = map(size);
    fill(bytes, size, 5);
    for (unsigned i = 0; i < 6; i++) {
        const size_t other = (1 + random.below(200)) * kPage;
        const size_t common = size < other ? size : other;
        const uint64_t before = checksum(bytes, common);
        void* moved = mremap(bytes, size, other, MREMAP_MAYMOVE);
        EXPECT(moved != MAP_FAILED);
        bytes = static_cast<char*>(moved);
        EXPECT(checksum(bytes, common) == before);
        for (size_t at = common; at < other; at += 512) EXPECT(bytes[at] == 0);
        size = other;
        fill(bytes, size, i);
    }
    EXPECT(munmap(bytes, size) == 0);
}

OPERATION(shared_counters) {
    auto* counters = reinterpret_cast<std::atomic<uint64_t>*>(map(kPage, MAP_SHARED | MAP_ANONYMOUS));
    const unsigned children = 2 + random.below(4), rounds = 200;
    pid_t pids[6];
    for (unsigned i = 0; i < children; i++) {
        pids[i] = fork();
        EXPECT(pids[i] >= 0);
        if (pids[i] == 0) {
            for (unsigned k = 0; k < rounds; k++) counters[k % 16]++;
            _exit(0);
        }
    }
    for (unsigned i = 0; i < children; i++) EXPECT(exit_code_of(pids[i]) == 0);
    uint64_t sum = 0;
    for (unsigned k = 0; k < 16; k++) sum += counters[k];
    EXPECT(sum == children * rounds);
    EXPECT(munmap(counters, kPage) == 0);
}

OPERATION(large_memory) {
    const size_t size = (1 + random.below(8)) << 20;
    char* bytes = map(size);
    if (random.below(2)) madvise(bytes, size, MADV_HUGEPAGE);
    for (size_t at = 0; at < size; at += kPage) bytes[at] = static_cast<char>(at / kPage);
    const size_t hole = random.below(size / kPage) * kPage;
    EXPECT(munmap(bytes + hole, kPage) == 0);
    for (size_t at = 0; at < size; at += kPage)
        if (at != hole) EXPECT(bytes[at] == static_cast<char>(at / kPage));
    EXPECT(munmap(bytes, size) == 0);
}

OPERATION(file_against_model) {
    constexpr size_t kMaximum = 200'000;
    char name[64];
    snprintf(name, sizeof name, "file%llu", static_cast<unsigned long long>(random.below(1 << 30)));
    int fd = open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
    EXPECT(fd >= 0);
    char* model = static_cast<char*>(calloc(1, kMaximum));
    char* piece = static_cast<char*>(malloc(kMaximum));
    size_t size = 0;
    for (unsigned step = 0; step < 30; step++) {
        const size_t at = random.below(kMaximum), length = random.below(kMaximum - at) % 20'000;
        switch (random.below(6)) {
            case 0:
            case 1:
                fill(piece, length, random.next());
                EXPECT(pwrite(fd, piece, length, at) == static_cast<ssize_t>(length));
                memcpy(model + at, piece, length);
                if (length && at + length > size) size = at + length;
                break;
            case 2: {
                const ssize_t got = pread(fd, piece, length, at);
                const size_t there = at >= size ? 0 : size - at < length ? size - at : length;
                EXPECT(got == static_cast<ssize_t>(there) && memcmp(piece, model + at, there) == 0);
                break;
            }
            case 3:
                EXPECT(ftruncate(fd, at) == 0);
                if (at < size) memset(model + at, 0, size - at);
                size = at;
                break;
            case 4: {
                if (size == 0) break;
                char* view = map(size, MAP_SHARED, fd);
                EXPECT(memcmp(view, model, size) == 0);
                const size_t where = random.below(size);
                view[where] = model[where] = static_cast<char>(step);
                EXPECT(munmap(view, size) == 0);
                break;
            }
            default:
                close(fd);
                fd = open(name, O_RDWR);
                EXPECT(fd >= 0);
        }
        struct stat status;
        EXPECT(fstat(fd, &status) == 0 && static_cast<size_t>(status.st_size) == size);
    }
    EXPECT(unlink(name) == 0);
    EXPECT(pread(fd, piece, kMaximum, 0) == static_cast<ssize_t>(size) && memcmp(piece, model, size) == 0);
    close(fd);
    free(model);
    free(piece);
}

OPERATION(tree_of_files) {
    char base[64], path[128], other[128];
    snprintf(base, sizeof base, "tree%llu", static_cast<unsigned long long>(random.below(1 << 30)));
    EXPECT(mkdir(base, 0755) == 0);
    const unsigned count = 1 + random.below(20);
    for (unsigned i = 0; i < count; i++) {
        snprintf(path, sizeof path, "%s/f%u", base, i);
        const int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0644);
        EXPECT(fd >= 0 && write(fd, path, strlen(path)) == static_cast<ssize_t>(strlen(path)));
        close(fd);
        snprintf(other, sizeof other, "%s/g%u", base, i);
        if (i % 3 == 0) EXPECT(link(path, other) == 0 && unlink(path) == 0);
        if (i % 3 == 1) EXPECT(rename(path, other) == 0);
        if (i % 3 == 2) EXPECT(symlink(path, other) == 0);
    }
    for (unsigned i = 0; i < count; i++) {
        char text[128] = {};
        snprintf(path, sizeof path, "%s/f%u", base, i);
        snprintf(other, sizeof other, "%s/g%u", base, i);
        const int fd = open(other, O_RDONLY);
        // A link's target is relative to the link's folder, where it does not exist.
        if (i % 3 == 2) {
            EXPECT(fd < 0 && errno == ENOENT);
            EXPECT(unlink(path) == 0);
        } else {
            EXPECT(fd >= 0 && read(fd, text, sizeof text) == static_cast<ssize_t>(strlen(path)) && !strcmp(text, path));
            close(fd);
        }
        EXPECT(unlink(other) == 0);
    }
    EXPECT(rmdir(base) == 0);
}
