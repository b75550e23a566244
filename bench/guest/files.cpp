// Files of the root file system; their contents are cached after the first round.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cstdio>
#include <cstring>

#include "bench/guest/bench_guest.hpp"

namespace bench {
namespace {

constexpr const char* kFolder = "/scratch";
constexpr const char* kFile = "/scratch/data";
constexpr uint64_t kSize = 1 << 20;
int file = -1;
char block[65536];

void make_file() {
    file = open(kFile, O_RDWR | O_CREAT | O_TRUNC, 0644);
    if (file < 0) die(kFile);
    memset(block, 'b', sizeof(block));
    for (uint64_t done = 0; done < kSize; done += sizeof(block))
        if (write(file, block, sizeof(block)) != static_cast<ssize_t>(sizeof(block))) die("write");
    for (uint64_t done = 0; done < kSize; done += sizeof(block))
        if (pread(file, block, sizeof(block), static_cast<off_t>(done)) < 0) die("pread");
}

template <uint64_t kBytes>
void read_at(uint64_t operations) {
    uint64_t offset = 0;
    for (uint64_t i = 0; i < operations; i++) {
        if (pread(file, block, kBytes, static_cast<off_t>(offset)) != static_cast<ssize_t>(kBytes)) die("pread");
        offset = (offset + 65536) % kSize;
    }
}

void open_close(uint64_t operations) {
    for (uint64_t i = 0; i < operations; i++) {
        int fd = open(kFile, O_RDONLY);
        if (fd < 0) die("open");
        close(fd);
    }
}

void stat_file(uint64_t operations) {
    struct stat info;
    for (uint64_t i = 0; i < operations; i++)
        if (stat(kFile, &info) != 0) die("stat");
}

void create_write_unlink(uint64_t operations) {
    if (chdir(kFolder) != 0) die(kFolder);
    for (uint64_t i = 0; i < operations; i++) {
        int fd = open("fresh", O_WRONLY | O_CREAT | O_EXCL, 0644);
        if (fd < 0) die("create");
        if (write(fd, block, 4096) != 4096) die("write");
        close(fd);
        if (unlink("fresh") != 0) die("unlink");
    }
}

}  // namespace

const Metric kFileMetrics[] = {
    {"pread_64", "call", 100, make_file, read_at<64>},
    {"pread_64k", "call", 50, make_file, read_at<65536>},
    {"open_close", "pair", 20, make_file, open_close},
    {"stat", "call", 50, make_file, stat_file},
    {"create_write_unlink", "file", 5, make_file, create_write_unlink},
    {},
};

}  // namespace bench
