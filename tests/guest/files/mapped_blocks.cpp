// Mappings of files that are large enough for 2 MiB pages: what happens to a part of such a page, and to what others
// see of it.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/guest/guest_test.hpp"

using namespace guest;

namespace {
constexpr size_t kPage = 4096, kBlock = 2 << 20, kPages = kBlock / kPage;

uint32_t mark(size_t page) { return static_cast<uint32_t>(page * 2654435761U + 1); }

// A file of `blocks` blocks and `more` bytes; each page begins with its mark, and ends with it.
int marked_file(size_t blocks, size_t more = 0) {
    scratch();
    int fd = OK(open("file", O_RDWR | O_CREAT, 0600));
    static uint32_t page[kPage / 4];
    const size_t size = blocks * kBlock + more;
    for (size_t at = 0; at < size; at += kPage) {
        page[0] = page[kPage / 4 - 1] = mark(at / kPage);
        const size_t count = size - at < kPage ? size - at : kPage;
        CHECK_EQ(write(fd, page, count), count);
    }
    return fd;
}

uint32_t word(const volatile char* at) { return *reinterpret_cast<const volatile uint32_t*>(at); }
void set_word(volatile char* at, uint32_t value) { *reinterpret_cast<volatile uint32_t*>(at) = value; }

char* map_file(int fd, size_t size, int protection, int kind, off_t offset = 0) {
    return static_cast<char*>(OK(mmap(nullptr, size, protection, kind, fd, offset)));
}

// All pages hold their marks: read twice, as 2 MiB pages may come with the second time.
void check_marks(const char* memory, size_t pages, size_t first = 0) {
    for (int round = 0; round < 2; round++)
        for (size_t i = 0; i < pages; i++) CHECK_EQ(word(memory + i * kPage), mark(first + i));
}

uint32_t word_of_file(int fd, size_t offset) {
    uint32_t value = 0;
    CHECK_EQ(pread(fd, &value, sizeof value, static_cast<off_t>(offset)), sizeof value);
    return value;
}

void check_bus(const volatile char* address) {
    Trap trap = trap_of([=] { (void)*address; });
    CHECK_EQ(trap.signo, SIGBUS);
    CHECK_EQ(trap.code, BUS_ADRERR);
}
}  // namespace

TEST("block_shared_and_private_read") {
    int fd = marked_file(3, 5 * kPage);
    for (int kind : {MAP_SHARED, MAP_PRIVATE})
        for (int round = 0; round < 2; round++) {
            char* memory = map_file(fd, 3 * kBlock + 5 * kPage, PROT_READ, kind);
            check_marks(memory, 3 * kPages + 5);
            OK(munmap(memory, 3 * kBlock + 5 * kPage));
        }
}

TEST("block_at_an_offset") {
    int fd = marked_file(4);
    char* memory = map_file(fd, 3 * kBlock, PROT_READ, MAP_SHARED, 3 * kPage);
    check_marks(memory, 3 * kPages, 3);
    char* again = map_file(fd, 2 * kBlock, PROT_READ, MAP_SHARED, kBlock);
    check_marks(again, 2 * kPages, kPages);
}

TEST("block_read_in_any_order") {
    int fd = marked_file(2);
    char* memory = map_file(fd, 2 * kBlock, PROT_READ, MAP_PRIVATE);
    for (size_t i = 0; i < 2 * kPages; i++) {
        const size_t page = i * 389 % (2 * kPages);
        CHECK_EQ(word(memory + page * kPage), mark(page));
    }
    check_marks(memory, 2 * kPages);
}

TEST("block_private_write_copies") {
    int fd = marked_file(2);
    char* memory = map_file(fd, 2 * kBlock, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    char* other = map_file(fd, 2 * kBlock, PROT_READ, MAP_SHARED);
    check_marks(memory, 2 * kPages);
    check_marks(other, 2 * kPages);
    const size_t at = kBlock + 7 * kPage;
    set_word(memory + at, 42);
    CHECK_EQ(word(memory + at), 42);
    CHECK_EQ(word(memory + at + kPage - 4), mark(kPages + 7));
    CHECK_EQ(word(other + at), mark(kPages + 7));
    CHECK_EQ(word_of_file(fd, at), mark(kPages + 7));
    // What is written to the file is seen in pages that were not copied.
    const uint32_t value = 43;
    CHECK_EQ(pwrite(fd, &value, 4, at), 4);
    CHECK_EQ(pwrite(fd, &value, 4, at + kPage), 4);
    CHECK_EQ(word(memory + at), 42);
    CHECK_EQ(word(memory + at + kPage), 43);
    CHECK_EQ(word(other + at), 43);
    CHECK_EQ(word(memory + at - kPage), mark(kPages + 6));
}

TEST("block_shared_write_is_seen") {
    int fd = marked_file(2);
    char* memory = map_file(fd, 2 * kBlock, PROT_READ | PROT_WRITE, MAP_SHARED);
    char* other = map_file(fd, 2 * kBlock, PROT_READ, MAP_SHARED);
    check_marks(other, 2 * kPages);
    check_marks(memory, 2 * kPages);
    for (size_t page : {size_t{0}, size_t{3}, kPages - 1, kPages, 2 * kPages - 1}) {
        set_word(memory + page * kPage, 7);
        CHECK_EQ(word(other + page * kPage), 7);
        CHECK_EQ(word_of_file(fd, page * kPage), 7);
    }
    OK(msync(memory, 2 * kBlock, MS_SYNC));
    set_word(memory + kPage, 8);
    OK(munmap(memory, 2 * kBlock));
    OK(munmap(other, 2 * kBlock));
    CHECK_EQ(word_of_file(fd, kPage), 8);
    CHECK_EQ(word_of_file(fd, 2 * kPage), mark(2));
}

TEST("block_truncate_gives_sigbus") {
    int fd = marked_file(2);
    for (int kind : {MAP_SHARED, MAP_PRIVATE}) {
        OK(ftruncate(fd, 2 * kBlock));
        char* memory = map_file(fd, 2 * kBlock, PROT_READ, kind);
        (void)word(memory);
        (void)word(memory + kBlock);
        OK(ftruncate(fd, kBlock + 3 * kPage + 100));
        CHECK_EQ(word(memory + kBlock + 2 * kPage), mark(kPages + 2));
        CHECK_EQ(word(memory + kBlock + 3 * kPage), mark(kPages + 3));
        CHECK_EQ(word(memory + kBlock + 4 * kPage - 4), 0);
        check_bus(memory + kBlock + 4 * kPage);
        check_bus(memory + 2 * kBlock - 1);
        OK(ftruncate(fd, 2 * kBlock));
        CHECK_EQ(word(memory + kBlock + 4 * kPage), 0);
        CHECK_EQ(word(memory + 2 * kBlock - 4), 0);
        CHECK_EQ(word(memory + kBlock + 2 * kPage), mark(kPages + 2));
        check_marks(memory, kPages);
        OK(munmap(memory, 2 * kBlock));
    }
}

TEST("block_filled_again_after_truncate") {
    int fd = marked_file(1);
    char* memory = map_file(fd, kBlock, PROT_READ, MAP_SHARED);
    check_marks(memory, kPages);
    OK(ftruncate(fd, 100 * kPage));
    OK(ftruncate(fd, kBlock));
    for (size_t i = 100; i < kPages; i++) {
        const uint32_t value = mark(i);
        CHECK_EQ(pwrite(fd, &value, 4, static_cast<off_t>(i * kPage)), 4);
    }
    check_marks(memory, kPages);
    char* again = map_file(fd, kBlock, PROT_READ, MAP_PRIVATE);
    check_marks(again, kPages);
    check_marks(memory, kPages);
}

TEST("block_hole_is_punched") {
    int fd = marked_file(2);
    char* memory = map_file(fd, 2 * kBlock, PROT_READ, MAP_SHARED);
    check_marks(memory, 2 * kPages);
    OK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, kBlock - 2 * kPage, 4 * kPage));
    for (size_t i = kPages - 2; i < kPages + 2; i++) CHECK_EQ(word(memory + i * kPage), 0);
    check_marks(memory, kPages - 2);
    check_marks(memory + kBlock + 2 * kPage, kPages - 2, kPages + 2);
}

TEST("block_part_unmapped") {
    int fd = marked_file(2);
    char* memory = map_file(fd, 2 * kBlock, PROT_READ, MAP_PRIVATE);
    check_marks(memory, 2 * kPages);
    OK(munmap(memory + 5 * kPage, kPage));
    Trap trap = trap_of([=] { (void)word(memory + 5 * kPage); });
    CHECK_EQ(trap.signo, SIGSEGV);
    CHECK_EQ(trap.code, SEGV_MAPERR);
    check_marks(memory, 5);
    check_marks(memory + 6 * kPage, 2 * kPages - 6, 6);
}

TEST("block_part_protected") {
    int fd = marked_file(2);
    char* memory = map_file(fd, 2 * kBlock, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    check_marks(memory, 2 * kPages);
    OK(mprotect(memory + kBlock + kPage, kPage, PROT_NONE));
    Trap trap = trap_of([=] { (void)word(memory + kBlock + kPage); });
    CHECK_EQ(trap.signo, SIGSEGV);
    CHECK_EQ(trap.code, SEGV_ACCERR);
    set_word(memory + kBlock, 5);
    OK(mprotect(memory, 2 * kBlock, PROT_READ));
    trap = trap_of([=] { set_word(memory + kBlock + kPage, 1); });
    CHECK_EQ(trap.signo, SIGSEGV);
    CHECK_EQ(word(memory + kBlock), 5);
    check_marks(memory + kBlock + kPage, kPages - 1, kPages + 1);
    OK(mprotect(memory, 2 * kBlock, PROT_READ | PROT_WRITE));
    set_word(memory, 6);
    CHECK_EQ(word(memory), 6);
    CHECK_EQ(word_of_file(fd, 0), mark(0));
}

TEST("block_whole_protected_and_back") {
    int fd = marked_file(1);
    char* memory = map_file(fd, kBlock, PROT_READ, MAP_SHARED);
    check_marks(memory, kPages);
    OK(mprotect(memory, kBlock, PROT_NONE));
    CHECK_EQ(trap_of([=] { (void)word(memory); }).signo, SIGSEGV);
    OK(mprotect(memory, kBlock, PROT_READ | PROT_WRITE));
    check_marks(memory, kPages);
    set_word(memory + 9 * kPage, 1);
    CHECK_EQ(word_of_file(fd, 9 * kPage), 1);
}

TEST("block_moved_by_mremap") {
    int fd = marked_file(3);
    char* memory = map_file(fd, 3 * kBlock, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    check_marks(memory, 3 * kPages);
    set_word(memory + 4 * kPage, 77);
    char* target = map_file(fd, 4 * kBlock, PROT_NONE, MAP_PRIVATE);
    char* moved = static_cast<char*>(
        OK(mremap(memory, 3 * kBlock, 3 * kBlock, MREMAP_MAYMOVE | MREMAP_FIXED, target + 3 * kPage)));
    CHECK_EQ(word(moved + 4 * kPage), 77);
    check_marks(moved, 4);
    check_marks(moved + 5 * kPage, 3 * kPages - 5, 5);
    CHECK_EQ(trap_of([=] { (void)word(memory); }).signo, SIGSEGV);
}

TEST("block_after_fork") {
    int fd = marked_file(2);
    char* mine = map_file(fd, 2 * kBlock, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    char* shared = map_file(fd, 2 * kBlock, PROT_READ | PROT_WRITE, MAP_SHARED);
    check_marks(mine, 2 * kPages);
    check_marks(shared, 2 * kPages);
    CHECK_EQ(run_child([=] {
                 check_marks(mine, 2 * kPages);
                 set_word(mine + 3 * kPage, 9);
                 set_word(shared + kBlock, 10);
                 OK(munmap(mine, kBlock));
                 check_marks(mine + kBlock + kPage, kPages - 1, kPages + 1);
             }),
             0);
    CHECK_EQ(word(shared + kBlock), 10);
    CHECK_EQ(word(mine + kBlock), 10);
    check_marks(mine, kPages);
    set_word(mine + kPage, 11);
    CHECK_EQ(word_of_file(fd, kPage), mark(1));
}

TEST("block_discarded_by_madvise") {
    int fd = marked_file(2);
    char* memory = map_file(fd, 2 * kBlock, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    check_marks(memory, 2 * kPages);
    set_word(memory + kPage, 1);
    set_word(memory + kBlock, 1);
    OK(madvise(memory + kPage, kBlock, MADV_DONTNEED));
    check_marks(memory, 2 * kPages);
    OK(madvise(memory + 3 * kPage, kPage, MADV_DONTFORK));
    check_marks(memory, 2 * kPages);
    set_word(memory + 4 * kPage, 2);
    CHECK_EQ(word(memory + 4 * kPage), 2);
    CHECK_EQ(word(memory + 5 * kPage), mark(5));
}

TEST("block_is_in_core") {
    int fd = marked_file(1);
    char* memory = map_file(fd, kBlock, PROT_READ, MAP_SHARED);
    check_marks(memory, kPages);
    static unsigned char in_core[kPages];
    OK(mincore(memory, kBlock, in_core));
    for (unsigned char each : in_core) CHECK_EQ(each & 1, 1);
}

TEST("block_read_into_by_a_system_call") {
    int fd = marked_file(1);
    char* memory = map_file(fd, kBlock, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    check_marks(memory, kPages);
    CHECK_EQ(pread(fd, memory + 10 * kPage, 2 * kPage, 0), 2 * kPage);
    CHECK_EQ(word(memory + 10 * kPage), mark(0));
    CHECK_EQ(word(memory + 11 * kPage), mark(1));
    CHECK_EQ(word(memory + 12 * kPage), mark(12));
    CHECK_EQ(word_of_file(fd, 10 * kPage), mark(10));
    OK(mprotect(memory, kBlock, PROT_READ));
    CHECK_ERRNO(pread(fd, memory + 20 * kPage, kPage, 0), EFAULT);
    CHECK_EQ(word(memory + 20 * kPage), mark(20));
}

TEST("shared_anonymous_blocks") {
    char* memory =
        static_cast<char*>(OK(mmap(nullptr, 3 * kBlock, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)));
    for (size_t i = 0; i < 3 * kPages; i++) CHECK_EQ(word(memory + i * kPage), 0);
    for (size_t i = 0; i < 3 * kPages; i++) set_word(memory + i * kPage, mark(i));
    CHECK_EQ(run_child([=] {
                 check_marks(memory, 3 * kPages);
                 set_word(memory + kBlock + kPage, 4);
                 OK(munmap(memory, kBlock + kPage));
                 CHECK_EQ(word(memory + kBlock + kPage), 4);
             }),
             0);
    CHECK_EQ(word(memory + kBlock + kPage), 4);
    check_marks(memory, kPages + 1);
    OK(madvise(memory + kPage, kBlock, MADV_REMOVE));
    CHECK_EQ(word(memory), mark(0));
    CHECK_EQ(word(memory + kPage), 0);
    CHECK_EQ(word(memory + kBlock), 0);
    CHECK_EQ(word(memory + kBlock + kPage), 4);
    set_word(memory + kPage, 3);
    CHECK_EQ(run_child([=] { CHECK_EQ(word(memory + kPage), 3); }), 0);
    OK(mprotect(memory + kBlock, kPage, PROT_READ));
    CHECK_EQ(trap_of([=] { set_word(memory + kBlock, 1); }).signo, SIGSEGV);
    set_word(memory + kBlock + 2 * kPage, 12);
    check_marks(memory + 2 * kBlock, kPages, 2 * kPages);
}
