// Mappings of files beside what other threads and calls do to them.
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/guest/guest_test.hpp"

using namespace guest;

namespace {
constexpr size_t kPage = 4096, kBlock = 2 << 20;
constexpr uint64_t kSecond = 1'000'000'000;

char* map(size_t size, int protection, int flags, int fd = -1, void* at = nullptr) {
    return static_cast<char*>(OK(mmap(at, size, protection, flags, fd, 0)));
}

int file_of(size_t size) {
    scratch();
    int fd = OK(open("file", O_RDWR | O_CREAT, 0600));
    static char block[1 << 16];
    for (size_t at = 0; at < size; at += sizeof block) {
        memset(block, static_cast<char>(at / sizeof block + 1), sizeof block);
        const size_t count = size - at < sizeof block ? size - at : sizeof block;
        CHECK_EQ(write(fd, block, count), count);
    }
    return fd;
}

// Runs body() in a thread; the destructor waits for its end.
class Beside {
  public:
    template <typename Body>
    explicit Beside(Body& body) {
        CHECK_EQ(pthread_create(
                     &thread_, nullptr,
                     [](void* pointer) -> void* {
                         (*static_cast<Body*>(pointer))();
                         return nullptr;
                     },
                     &body),
                 0);
    }
    ~Beside() { pthread_join(thread_, nullptr); }

  private:
    pthread_t thread_;
};

bool is_set(const bool& flag) { return __atomic_load_n(&flag, __ATOMIC_ACQUIRE); }
void set(bool& flag) { __atomic_store_n(&flag, true, __ATOMIC_RELEASE); }

// Maps memory, fills it, and finds it unchanged, until `stop`.
void use_fresh_memory(const bool& stop) {
    for (unsigned round = 1; !is_set(stop); round++) {
        volatile char* memory = map(4 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
        for (size_t i = 0; i < 4; i++) memory[i * kPage] = static_cast<char>(round);
        for (int look = 0; look < 20; look++)
            for (size_t i = 0; i < 4; i++) CHECK_EQ(memory[i * kPage], static_cast<char>(round));
        OK(munmap(const_cast<char*>(memory), 4 * kPage));
    }
}

void check_bus(const volatile char* address) {
    Trap trap = trap_of([=] { (void)*address; });
    CHECK_EQ(trap.signo, SIGBUS);
}
}  // namespace

TEST("mapped_failed_write_beyond_the_end_adds_no_page") {
    int fd = file_of(kPage);
    char* memory = map(4 * kPage, PROT_READ, MAP_SHARED, fd);
    const auto bad = reinterpret_cast<void*>(0x10);
    CHECK_ERRNO(pwrite(fd, bad, kPage, kPage), EFAULT);
    CHECK_EQ(lseek(fd, 0, SEEK_END), kPage);
    check_bus(memory + kPage);
    CHECK_EQ(memory[0], 1);
}

TEST("mapped_private_copy_survives_a_hole") {
    int fd = file_of(4 * kPage);
    char* copied = map(4 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd);
    copied[kPage] = 99;
    if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 3 * kPage) < 0)
        SKIP("no holes in this file system");
    CHECK_EQ(copied[kPage], 99);
    CHECK_EQ(copied[3 * kPage], 1);
}

TEST("mapped_munmap_of_written_pages_leaves_the_place_to_others") {
    int fd = file_of(8 * kPage);
    bool stop = false;
    auto others = [&] { use_fresh_memory(stop); };
    Beside beside(others);
    const uint64_t end = now_ns() + kSecond;
    for (char value = 0; now_ns() < end; value++) {
        char* memory = map(8 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
        for (size_t i = 0; i < 8; i++) memory[i * kPage] = value;
        OK(munmap(memory, 8 * kPage));
    }
    set(stop);
}

TEST("mapped_fixed_mapping_over_written_pages_keeps_its_place") {
    int fd = file_of(8 * kPage);
    bool stop = false;
    auto others = [&] { use_fresh_memory(stop); };
    Beside beside(others);
    const uint64_t end = now_ns() + kSecond;
    for (char value = 1; now_ns() < end; value++) {
        char* memory = map(8 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
        for (size_t i = 0; i < 8; i++) memory[i * kPage] = value;
        volatile char* over =
            map(8 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, memory);
        for (size_t i = 0; i < 8; i++) CHECK_EQ(over[i * kPage], 0);
        over[0] = value;
        CHECK_EQ(over[0], value);
        OK(munmap(memory, 8 * kPage));
    }
    set(stop);
}

// A write copies pages around it: who has read them must see what is written to the copies.
TEST("mapped_private_writes_are_seen_by_threads_that_read_before") {
    int fd = file_of(8 * kPage);
    for (int round = 0; round < 50; round++) {
        volatile char* memory = map(8 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd);
        for (size_t i = 0; i < 8; i++) (void)memory[i * kPage];
        OK(madvise(const_cast<char*>(memory), kPage, MADV_DONTNEED));
        bool reads = false;
        auto read = [&] {
            const uint64_t end = now_ns() + 2 * kSecond;
            for (unsigned i = 0; memory[3 * kPage] != 77; i++) {
                if (i == 1000) set(reads);
                if (i % 65536 == 0) CHECK(now_ns() < end);
            }
            set(reads);
        };
        {
            Beside beside(read);
            while (!is_set(reads)) usleep(100);
            memory[0] = 1;
            memory[3 * kPage] = 77;
        }
        OK(munmap(const_cast<char*>(memory), 8 * kPage));
    }
}

// A fault that reads the file while it is cut off and filled again maps no page that was.
TEST("mapped_faults_beside_truncation_map_the_files_own_pages") {
    const size_t size = 2 * kBlock;
    int fd = file_of(size);
    char* memory = map(size, PROT_READ, MAP_SHARED, fd);
    bool stop = false;
    auto cut = [&] {
        static char block[kPage];
        for (unsigned round = 1; !is_set(stop); round++) {
            OK(ftruncate(fd, 0));
            OK(ftruncate(fd, static_cast<off_t>(size)));
            memset(block, static_cast<char>(round), sizeof block);
            for (size_t at = 0; at < size; at += 8 * kPage)
                CHECK_EQ(pwrite(fd, block, kPage, static_cast<off_t>(at)), kPage);
        }
    };
    const uint64_t end = now_ns() + 2 * kSecond;
    {
        Beside beside(cut);
        char got[64];
        for (size_t i = 0; now_ns() < end; i++) {
            // By a system call: beyond the end it fails, where an access would be a signal.
            int zero = OK(open("/dev/null", O_WRONLY));
            (void)!write(zero, memory + i * 37 % (size / kPage) * kPage, 1);
            (void)!pread(fd, got, sizeof got, static_cast<off_t>(i * 41 % (size / kPage) * kPage));
            close(zero);
        }
        set(stop);
    }
    for (size_t at = 0; at < size; at += kPage) {
        char of_file = 1;
        CHECK_EQ(pread(fd, &of_file, 1, static_cast<off_t>(at)), 1);
        CHECK_EQ(memory[at], of_file);
    }
}

// ftruncate(2) and write(2) are one after the other: what the size covers was written.
TEST("mapped_write_beside_truncation_is_whole") {
    scratch();
    int fd = OK(open("file", O_RDWR | O_CREAT, 0600));
    int source = OK(open("source", O_RDWR | O_CREAT, 0600));
    OK(ftruncate(source, 64 * kPage));
    bool stop = false;
    auto cut = [&] {
        while (!is_set(stop)) OK(ftruncate(fd, 0));
    };
    const uint64_t end = now_ns() + kSecond;
    Beside beside(cut);
    static char got[16 * kPage];
    while (now_ns() < end) {
        char* memory = map(16 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE, source);
        memset(memory, 5, 16 * kPage);
        CHECK_EQ(pwrite(fd, memory, 16 * kPage, 0), 16 * kPage);
        const ssize_t count = OK(pread(fd, got, sizeof got, 0));
        for (ssize_t i = 0; i < count; i++) CHECK_EQ(got[i], 5);
        OK(munmap(memory, 16 * kPage));
    }
    set(stop);
}
