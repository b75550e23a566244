// madvise, mremap's other forms, remap_file_pages, /proc/PID/mem and pagemap.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "tests/guest/guest_test.hpp"

using namespace guest;

namespace {
constexpr size_t kPage = 4096;
constexpr int kPopulateRead = 22, kPopulateWrite = 23;

char* map(size_t size, int protection = PROT_READ | PROT_WRITE, int extra = MAP_PRIVATE) {
    return static_cast<char*>(OK(mmap(nullptr, size, protection, MAP_ANONYMOUS | extra, -1, 0)));
}

int pattern_file(int pages) {
    scratch();
    int fd = OK(open("file", O_RDWR | O_CREAT, 0600));
    char page[kPage];
    for (int i = 0; i < pages; i++) {
        memset(page, 'a' + i, kPage);
        CHECK_EQ(write(fd, page, kPage), kPage);
    }
    return fd;
}

bool resident(char* page) {
    unsigned char state = 0;
    OK(mincore(page, kPage, &state));
    return state & 1;
}

int code_of(char* address) {
    return trap_of([=] { (void)*static_cast<volatile char*>(address); }).code;
}
}  // namespace

TEST("madvise_unknown_is_einval") {
    char* memory = map(kPage);
    CHECK_ERRNO(madvise(memory, kPage, 7), EINVAL);
    CHECK_ERRNO(madvise(memory, kPage, 9999), EINVAL);
    CHECK_ERRNO(madvise(memory + 1, kPage, MADV_NORMAL), EINVAL);
    OK(madvise(memory, 0, MADV_NORMAL));
    CHECK_ERRNO(madvise(memory, ~0ul, MADV_NORMAL), EINVAL);
}

TEST("madvise_goes_on_behind_a_hole") {
    char* memory = map(3 * kPage);
    memset(memory, 1, 3 * kPage);
    OK(munmap(memory + kPage, kPage));
    CHECK_ERRNO(madvise(memory, 3 * kPage, MADV_DONTNEED), ENOMEM);
    CHECK_EQ(memory[0], 0);
    CHECK_EQ(memory[2 * kPage], 0);
}

TEST("madvise_hints_are_taken") {
    char* memory = map(16 * kPage);
    for (int advice : {MADV_NORMAL, MADV_RANDOM, MADV_SEQUENTIAL, MADV_WILLNEED, MADV_DONTDUMP, MADV_DODUMP, 20, 21})
        OK(madvise(memory, 16 * kPage, advice));
}

TEST("madvise_free_leaves_old_or_zero") {
    char* memory = map(kPage);
    memory[0] = 5;
    OK(madvise(memory, kPage, MADV_FREE));
    CHECK(memory[0] == 5 || memory[0] == 0);
    memory[0] = 6;
    CHECK_EQ(memory[0], 6);
}

TEST("madvise_free_of_file_or_shared_is_einval") {
    CHECK_ERRNO(madvise(map(kPage, PROT_READ | PROT_WRITE, MAP_SHARED), kPage, MADV_FREE), EINVAL);
    int fd = pattern_file(1);
    char* memory = static_cast<char*>(OK(mmap(nullptr, kPage, PROT_READ, MAP_PRIVATE, fd, 0)));
    CHECK_ERRNO(madvise(memory, kPage, MADV_FREE), EINVAL);
}

TEST("madvise_dontfork_leaves_the_child_without") {
    char* memory = map(3 * kPage);
    OK(madvise(memory + kPage, kPage, MADV_DONTFORK));
    CHECK_EXITED(run_child([=] {
                     memory[0] = memory[2 * kPage] = 1;
                     CHECK_EQ(code_of(memory + kPage), SEGV_MAPERR);
                 }),
                 0);
    memory[kPage] = 1;
    OK(madvise(memory + kPage, kPage, MADV_DOFORK));
    CHECK_EXITED(run_child([=] { CHECK_EQ(memory[kPage], 1); }), 0);
}

TEST("madvise_wipeonfork_zeroes_the_child") {
    char* memory = map(2 * kPage);
    memset(memory, 9, 2 * kPage);
    OK(madvise(memory, kPage, MADV_WIPEONFORK));
    CHECK_EXITED(run_child([=] {
                     CHECK_EQ(memory[0], 0);
                     CHECK_EQ(memory[kPage], 9);
                     memory[0] = 3;
                     CHECK_EXITED(run_child([=] { CHECK_EQ(memory[0], 0); }), 0);  // inherited
                 }),
                 0);
    CHECK_EQ(memory[0], 9);
    OK(madvise(memory, kPage, MADV_KEEPONFORK));
    CHECK_EXITED(run_child([=] { CHECK_EQ(memory[0], 9); }), 0);
}

TEST("madvise_wipeonfork_of_shared_is_einval") {
    CHECK_ERRNO(madvise(map(kPage, PROT_READ, MAP_SHARED), kPage, MADV_WIPEONFORK), EINVAL);
}

TEST("madvise_populate_write_makes_pages") {
    char* memory = map(8 * kPage);
    OK(madvise(memory, 4 * kPage, kPopulateWrite));
    CHECK(resident(memory) && resident(memory + 3 * kPage));
    OK(madvise(memory, 8 * kPage, kPopulateRead));
}

TEST("madvise_populate_errors") {
    char* memory = map(3 * kPage);
    CHECK_ERRNO(madvise(map(kPage, PROT_READ), kPage, kPopulateWrite), EINVAL);
    CHECK_ERRNO(madvise(map(kPage, PROT_NONE), kPage, kPopulateRead), EINVAL);
    OK(munmap(memory + kPage, kPage));
    CHECK_ERRNO(madvise(memory, 3 * kPage, kPopulateRead), ENOMEM);
    int fd = pattern_file(1);
    char* file = static_cast<char*>(OK(mmap(nullptr, 3 * kPage, PROT_READ, MAP_PRIVATE, fd, 0)));
    CHECK_ERRNO(madvise(file, 3 * kPage, kPopulateRead), EFAULT);
}

TEST("madvise_remove_punches_a_hole_in_shared_memory") {
    char* memory = map(4 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED);
    memset(memory, 4, 4 * kPage);
    OK(madvise(memory + kPage, 2 * kPage, MADV_REMOVE));
    CHECK_EQ(memory[kPage - 1], 4);
    CHECK_EQ(memory[kPage], 0);
    CHECK_EQ(memory[3 * kPage - 1], 0);
    CHECK_EQ(memory[3 * kPage], 4);
}

TEST("madvise_remove_punches_a_hole_in_memfd") {
    int fd = OK(memfd_create("x", 0));
    OK(ftruncate(fd, 4 * kPage));
    char* memory = static_cast<char*>(OK(mmap(nullptr, 4 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)));
    memset(memory, 4, 4 * kPage);
    OK(madvise(memory + kPage, kPage, MADV_REMOVE));
    char byte = 9;
    CHECK_EQ(pread(fd, &byte, 1, kPage), 1);
    CHECK_EQ(byte, 0);
    CHECK_EQ(memory[2 * kPage], 4);
}

TEST("madvise_remove_errors") {
    CHECK_ERRNO(madvise(map(kPage), kPage, MADV_REMOVE), EINVAL);
    int fd = pattern_file(1);
    int reader = OK(open("file", O_RDONLY));
    (void)fd;
    void* memory = OK(mmap(nullptr, kPage, PROT_READ, MAP_SHARED, reader, 0));
    CHECK_ERRNO(madvise(memory, kPage, MADV_REMOVE), EACCES);
}

TEST("madvise_hwpoison_needs_privileges") {
    char* memory = map(kPage);
    OK(setuid(1000));
    for (int advice : {100, 101}) {
        CHECK_EQ(madvise(memory, kPage, advice), -1);
        CHECK(errno == EPERM || errno == EINVAL);  // EINVAL: not configured
    }
}

TEST("mremap_dontunmap_leaves_an_empty_range") {
    char* memory = map(2 * kPage);
    memset(memory, 3, 2 * kPage);
    char* moved = static_cast<char*>(OK(mremap(memory, 2 * kPage, 2 * kPage, MREMAP_MAYMOVE | 4, nullptr)));
    CHECK_NE(moved, memory);
    CHECK_EQ(moved[kPage], 3);
    CHECK_EQ(memory[0], 0);
    CHECK_EQ(memory[kPage], 0);
    memory[0] = 8;
    CHECK_EQ(moved[0], 3);
}

TEST("mremap_dontunmap_of_a_shared_file") {
    int fd = pattern_file(2);
    char* memory = static_cast<char*>(OK(mmap(nullptr, 2 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)));
    memory[0] = 'X';
    char* moved = static_cast<char*>(OK(mremap(memory, 2 * kPage, 2 * kPage, MREMAP_MAYMOVE | 4, nullptr)));
    CHECK_EQ(moved[0], 'X');
    CHECK_EQ(memory[0], 'X');  // the file's page again
    CHECK_EQ(memory[kPage], 'b');
}

TEST("mremap_dontunmap_errors") {
    char* memory = map(2 * kPage);
    CHECK_ERRNO(mremap(memory, kPage, kPage, 4, nullptr), EINVAL);
    CHECK_ERRNO(mremap(memory, kPage, 2 * kPage, MREMAP_MAYMOVE | 4, nullptr), EINVAL);
    CHECK_ERRNO(mremap(memory, kPage, kPage, 8), EINVAL);
}

TEST("mremap_old_size_zero_duplicates_shared") {
    char* memory = map(2 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED);
    memory[0] = 1;
    char* second = static_cast<char*>(OK(mremap(memory, 0, 2 * kPage, MREMAP_MAYMOVE)));
    CHECK_NE(second, memory);
    CHECK_EQ(second[0], 1);
    second[kPage] = 2;
    CHECK_EQ(memory[kPage], 2);
}

TEST("mremap_old_size_zero_of_private_is_einval") { CHECK_ERRNO(mremap(map(kPage), 0, kPage, MREMAP_MAYMOVE), EINVAL); }

// What lies at the new place goes first, the source here.
TEST("mremap_old_size_zero_onto_itself_is_efault") {
    char* memory =
        static_cast<char*>(OK(mmap(nullptr, 2 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)));
    CHECK_ERRNO(mremap(memory, 0, kPage, MREMAP_MAYMOVE | MREMAP_FIXED, memory), EFAULT);
    CHECK_ERRNO(msync(memory, kPage, MS_ASYNC), ENOMEM);
    OK(msync(memory + kPage, kPage, MS_ASYNC));
}

TEST("mremap_grows_a_file_mapping") {
    int fd = pattern_file(8);
    char* memory = static_cast<char*>(OK(mmap(nullptr, kPage, PROT_READ, MAP_PRIVATE, fd, 2 * kPage)));
    CHECK_EQ(memory[0], 'c');
    memory = static_cast<char*>(OK(mremap(memory, kPage, 4 * kPage, MREMAP_MAYMOVE)));
    CHECK_EQ(memory[3 * kPage], 'f');
}

TEST("mremap_keeps_advice") {
    char* memory = map(2 * kPage);
    OK(madvise(memory, 2 * kPage, MADV_DONTFORK));
    char* moved = static_cast<char*>(OK(mremap(memory, 2 * kPage, 64 * kPage, MREMAP_MAYMOVE)));
    CHECK_EXITED(run_child([=] { CHECK_EQ(code_of(moved), SEGV_MAPERR); }), 0);
}

TEST("mremap_fixed_over_itself_is_einval") {
    char* memory = map(4 * kPage);
    CHECK_ERRNO(mremap(memory, 2 * kPage, 2 * kPage, MREMAP_MAYMOVE | MREMAP_FIXED, memory + kPage), EINVAL);
}

TEST("mremap_shared_anonymous_grown_is_sigbus") {
    char* memory = map(kPage, PROT_READ | PROT_WRITE, MAP_SHARED);
    char* grown = static_cast<char*>(OK(mremap(memory, kPage, 2 * kPage, MREMAP_MAYMOVE)));
    CHECK_EQ(trap_of([=] { grown[kPage] = 1; }).signo, SIGBUS);
}

TEST("remap_file_pages_moves_the_window") {
    int fd = pattern_file(4);
    char* memory = static_cast<char*>(OK(mmap(nullptr, 4 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)));
    OK(syscall(SYS_remap_file_pages, memory, kPage, 0, 2, 0));
    CHECK_EQ(memory[0], 'c');
    CHECK_EQ(memory[kPage], 'b');
    CHECK_ERRNO(syscall(SYS_remap_file_pages, memory, kPage, PROT_READ, 2, 0), EINVAL);
    CHECK_ERRNO(syscall(SYS_remap_file_pages, map(kPage), kPage, 0, 0, 0), EINVAL);
}

TEST("map_populate_makes_pages") {
    char* memory = map(8 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_POPULATE);
    for (int i = 0; i < 8; i++) CHECK(resident(memory + i * kPage));
}

TEST("map_32bit_is_low") {
    char* memory = map(16 * kPage, PROT_READ, MAP_PRIVATE | MAP_32BIT);
    CHECK_LT(reinterpret_cast<uintptr_t>(memory), 0x80000000ul);
}

TEST("map_growsdown_grows") {
    char* memory = map(64 * kPage, PROT_NONE);
    OK(munmap(memory, 64 * kPage));
    char* top = memory + 60 * kPage;
    OK(mmap(top, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_GROWSDOWN, -1, 0));
    top[0] = 1;
    top[-1] = 2;
    CHECK_EQ(top[-1], 2);
}

TEST("mmap_offset_overflow_is_eoverflow") {
    int fd = pattern_file(1);
    CHECK_ERRNO(syscall(SYS_mmap, nullptr, 2 * kPage, PROT_READ, MAP_PRIVATE, fd, ~0ul & ~(kPage - 1)), EOVERFLOW);
}

TEST("proc_mem_reads_and_writes") {
    char* memory = map(2 * kPage);
    strcpy(memory, "hello");
    int fd = OK(open("/proc/self/mem", O_RDWR));
    char text[6];
    CHECK_EQ(pread(fd, text, 6, reinterpret_cast<off_t>(memory)), 6);
    CHECK_STREQ(text, "hello");
    CHECK_EQ(pwrite(fd, "world", 6, reinterpret_cast<off_t>(memory) + kPage - 3), 6);
    CHECK_STREQ(memory + kPage - 3, "world");
    CHECK_ERRNO(pread(fd, text, 6, 8), EIO);
}

TEST("proc_mem_writes_read_only_memory") {
    char* memory = map(kPage);
    memory[0] = 1;
    OK(mprotect(memory, kPage, PROT_READ));
    int fd = OK(open("/proc/self/mem", O_RDWR));
    CHECK_EQ(pwrite(fd, "\7", 1, reinterpret_cast<off_t>(memory)), 1);
    CHECK_EQ(memory[0], 7);
    CHECK_EQ(trap_of([=] { memory[0] = 2; }).code, SEGV_ACCERR);
}

TEST("proc_mem_writes_a_private_file_mapping_only") {
    int fd = pattern_file(1);
    char* memory = static_cast<char*>(OK(mmap(nullptr, kPage, PROT_READ, MAP_PRIVATE, fd, 0)));
    CHECK_EQ(memory[0], 'a');
    int mem = OK(open("/proc/self/mem", O_RDWR));
    CHECK_EQ(pwrite(mem, "Z", 1, reinterpret_cast<off_t>(memory)), 1);
    CHECK_EQ(memory[0], 'Z');
    char byte;
    CHECK_EQ(pread(fd, &byte, 1, 0), 1);
    CHECK_EQ(byte, 'a');
}

TEST("proc_mem_of_a_read_only_shared_mapping_is_eio") {
    int fd = pattern_file(1);
    char* memory = static_cast<char*>(OK(mmap(nullptr, kPage, PROT_READ, MAP_SHARED, fd, 0)));
    int mem = OK(open("/proc/self/mem", O_RDWR));
    CHECK_ERRNO(pwrite(mem, "Z", 1, reinterpret_cast<off_t>(memory)), EIO);
    CHECK_EQ(memory[0], 'a');
}

TEST("proc_mem_reads_prot_none") {
    char* memory = map(kPage);
    memory[0] = 9;
    OK(mprotect(memory, kPage, PROT_NONE));
    int mem = OK(open("/proc/self/mem", O_RDONLY));
    char byte = 0;
    CHECK_EQ(pread(mem, &byte, 1, reinterpret_cast<off_t>(memory)), 1);
    CHECK_EQ(byte, 9);
}

TEST("pagemap_tells_presence_without_frames") {
    char* memory = map(2 * kPage);
    memory[0] = 1;
    OK(madvise(memory, 2 * kPage, MADV_NOHUGEPAGE));
    int fd = OK(open("/proc/self/pagemap", O_RDONLY));
    uint64_t entry = 0;
    CHECK_EQ(pread(fd, &entry, 8, reinterpret_cast<uintptr_t>(memory) / kPage * 8), 8);
    CHECK_EQ(entry >> 63, 1);
    CHECK_ERRNO(pread(fd, &entry, 4, 0), EINVAL);
    CHECK_ERRNO(pread(fd, &entry, 8, 3), EINVAL);
}

TEST("smaps_rollup_sums_up") {
    char* memory = map(256 * kPage);
    memset(memory, 1, 256 * kPage);
    static char text[8192];
    CHECK_GT(read_file("/proc/self/smaps_rollup", text, sizeof text), 0);
    CHECK(strstr(text, "[rollup]"));
    long kb = 0;
    CHECK_EQ(sscanf(strstr(text, "Rss:"), "Rss: %ld kB", &kb), 1);
    CHECK_GE(kb, 1024);
    CHECK_EQ(sscanf(strstr(text, "Private_Dirty:"), "Private_Dirty: %ld kB", &kb), 1);
    CHECK_GE(kb, 1024);
}
