// Large files, mapped and read to the end: one that is a hole, one with data.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <algorithm>
#include <cstring>

#include "bench/guest/bench_guest.hpp"

namespace bench {

uint64_t mapped_mib = 1024;

namespace {

constexpr uint64_t kMib = 1 << 20;
constexpr const char* kSparse = "/scratch/sparse";
constexpr const char* kReal = "/scratch/real";

bool has_size(const char* path) {
    struct stat info;
    return stat(path, &info) == 0 && static_cast<uint64_t>(info.st_size) == mapped_mib * kMib;
}

int create(const char* path) {
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0644);
    if (fd < 0) die(path);
    return fd;
}

void make_sparse() {
    if (has_size(kSparse)) return;
    int fd = create(kSparse);
    if (ftruncate(fd, static_cast<off_t>(mapped_mib * kMib)) != 0) die("ftruncate");
    close(fd);
}

void make_real() {
    if (has_size(kReal)) return;
    static char data[kMib];
    memset(data, 'r', sizeof(data));
    int fd = create(kReal);
    for (uint64_t i = 0; i < mapped_mib; i++)
        if (write(fd, data, sizeof(data)) != static_cast<ssize_t>(sizeof(data))) die("write");
    close(fd);
}

// Every word of the first `mib` MiB; all of the file is mapped.
void map_and_read(const char* path, uint64_t mib) {
    int fd = open(path, O_RDONLY);
    if (fd < 0) die(path);
    void* memory = mmap(nullptr, mapped_mib * kMib, PROT_READ, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED) die("mmap");
    const auto* words = static_cast<const uint64_t*>(memory);
    uint64_t sum = 0;
    for (uint64_t i = 0; i < mib * kMib / sizeof(uint64_t); i++) sum += words[i];
    asm volatile("" : : "r"(sum));
    munmap(memory, mapped_mib * kMib);
    close(fd);
}

void read_again(const char* path, uint64_t operations) {
    for (; operations > 0; operations -= std::min(operations, mapped_mib))
        map_and_read(path, std::min(operations, mapped_mib));
}

}  // namespace

const Metric kMappedMetrics[] = {
    {"mmap_sparse_1g", "MiB", 1024, make_sparse, [](uint64_t mib) { read_again(kSparse, mib); }, nullptr, 1024, kMib},
    {"mmap_file_1g", "MiB", 1024, make_real, [](uint64_t mib) { read_again(kReal, mib); }, nullptr, 1024, kMib},
    {},
};

}  // namespace bench
