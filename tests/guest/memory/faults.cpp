// Demand paging, copy-on-write, the stack, large areas, file mappings and SIGBUS, madvise.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "tests/guest/guest_test.hpp"

using namespace guest;

namespace {
constexpr size_t kPage = 4096, kHuge = 2 * 1024 * 1024;

char* map(size_t size, int protection = PROT_READ | PROT_WRITE) {
    return static_cast<char*>(OK(mmap(nullptr, size, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)));
}

// A file of `pages` pages; page n is filled with 'a' + n.
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

__attribute__((noinline)) int deep(int levels) {
    volatile char frame[1000];
    frame[0] = static_cast<char>(levels);
    return levels == 0 ? frame[0] : deep(levels - 1) + (frame[0] != static_cast<char>(levels));
}
}  // namespace

TEST("large_area_touch_every_page") {
    constexpr size_t kSize = 64 * 1024 * 1024;
    char* memory = map(kSize);
    for (size_t i = 0; i < kSize; i += kPage) memory[i] = static_cast<char>(i >> 12);
    for (size_t i = 0; i < kSize; i += kPage) CHECK_EQ(memory[i], static_cast<char>(i >> 12));
    OK(munmap(memory, kSize));
}

TEST("large_area_freed_memory_comes_back_zero") {
    for (int round = 0; round < 3; round++) {
        char* memory = map(8 * kHuge);
        for (size_t i = 0; i < 8 * kHuge; i += kPage) CHECK_EQ(memory[i], 0);
        memset(memory, 0x77, 8 * kHuge);
        OK(munmap(memory, 8 * kHuge));
    }
}

TEST("large_area_split_by_munmap") {
    char* memory = map(4 * kHuge);
    memset(memory, 1, 4 * kHuge);
    OK(munmap(memory + kHuge + 5 * kPage, kPage));
    for (size_t i = 0; i < 4 * kHuge; i += kPage)
        if (i != kHuge + 5 * kPage) CHECK_EQ(memory[i], 1);
    Trap trap = trap_of([=] { memory[kHuge + 5 * kPage] = 1; });
    CHECK_EQ(trap.code, SEGV_MAPERR);
}

TEST("large_area_split_by_mprotect") {
    char* memory = map(4 * kHuge);
    memset(memory, 1, 4 * kHuge);
    OK(mprotect(memory + kHuge + 7 * kPage, kPage, PROT_READ));
    memory[kHuge + 6 * kPage] = memory[kHuge + 8 * kPage] = 2;
    Trap trap = trap_of([=] { memory[kHuge + 7 * kPage] = 2; });
    CHECK_EQ(trap.code, SEGV_ACCERR);
    CHECK_EQ(memory[kHuge + 7 * kPage], 1);
}

TEST("large_area_copy_on_write_one_page") {
    char* memory = map(4 * kHuge);
    memset(memory, 1, 4 * kHuge);
    CHECK_EXITED(run_child([=] {
                     memory[kHuge] = 2;
                     CHECK_EQ(memory[kHuge - 1], 1);
                     CHECK_EQ(memory[kHuge + 1], 1);
                     CHECK_EQ(memory[3 * kHuge], 1);
                 }),
                 0);
    for (size_t i = 0; i < 4 * kHuge; i += kPage) CHECK_EQ(memory[i], 1);
}

TEST("large_area_mremap") {
    char* memory = map(2 * kHuge);
    memset(memory, 3, 2 * kHuge);
    char* moved = static_cast<char*>(OK(mremap(memory, 2 * kHuge, 6 * kHuge, MREMAP_MAYMOVE)));
    for (size_t i = 0; i < 2 * kHuge; i += kPage) CHECK_EQ(moved[i], 3);
    for (size_t i = 2 * kHuge; i < 6 * kHuge; i += kPage) CHECK_EQ(moved[i], 0);
}

TEST("read_before_write_shares_zero_page") {
    char* memory = map(1024 * kPage);
    for (size_t i = 0; i < 1024 * kPage; i += kPage) CHECK_EQ(memory[i], 0);
    memory[5 * kPage] = 1;
    CHECK_EQ(memory[4 * kPage], 0);
    CHECK_EQ(memory[6 * kPage], 0);
    CHECK_EQ(memory[5 * kPage], 1);
}

TEST("copy_on_write_over_generations") {
    char* memory = map(16 * kPage);
    memset(memory, 1, 16 * kPage);
    CHECK_EXITED(run_child([=] {
                     memory[0] = 2;
                     CHECK_EXITED(run_child([=] {
                                      CHECK_EQ(memory[0], 2);
                                      memory[0] = 3;
                                      memory[kPage] = 3;
                                  }),
                                  0);
                     CHECK_EQ(memory[0], 2);
                     CHECK_EQ(memory[kPage], 1);
                 }),
                 0);
    CHECK_EQ(memory[0], 1);
    CHECK_EQ(memory[kPage], 1);
}

TEST("copy_on_write_by_kernel_write") {
    // read(2) into a shared page must copy it first.
    char* memory = map(kPage);
    memset(memory, 1, kPage);
    CHECK_EXITED(run_child([=] {
                     int fd = OK(open("/dev/zero", O_RDONLY));
                     CHECK_EQ(read(fd, memory, kPage), kPage);
                     CHECK_EQ(memory[17], 0);
                 }),
                 0);
    for (size_t i = 0; i < kPage; i++) CHECK_EQ(memory[i], 1);
}

TEST("shared_anonymous_is_shared_with_child") {
    char* memory =
        static_cast<char*>(OK(mmap(nullptr, 4 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)));
    memory[0] = 1;
    CHECK_EXITED(run_child([=] {
                     CHECK_EQ(memory[0], 1);
                     memory[0] = 2;
                     memory[3 * kPage] = 9;
                 }),
                 0);
    CHECK_EQ(memory[0], 2);
    CHECK_EQ(memory[3 * kPage], 9);
}

TEST("stack_grows_on_demand") { CHECK_EQ(deep(3000), 0); }

TEST("stack_overflow_is_segv") {
    Trap trap = trap_of([] { deep(1000000); });
    CHECK_EQ(trap.signo, SIGSEGV);
    CHECK_EQ(trap.code, SEGV_MAPERR);
}

TEST("stack_limit_is_used") {
    rlimit limit = {256 * 1024, RLIM_INFINITY};
    Trap trap = trap_of([=] {
        setrlimit(RLIMIT_STACK, &limit);
        deep(1000);
    });
    CHECK_EQ(trap.signo, SIGSEGV);
}

TEST("stack_overflow_without_handler_kills") {
    CHECK_SIGNALED(run_child([] { deep(1000000); }), SIGSEGV);
}

TEST("guard_page_between_areas") {
    char* memory = map(3 * kPage);
    OK(mprotect(memory + kPage, kPage, PROT_NONE));
    Trap trap = trap_of([=] { memset(memory, 1, 3 * kPage); });
    CHECK_EQ(trap.signo, SIGSEGV);
    CHECK_EQ(trap.code, SEGV_ACCERR);
    CHECK_EQ(trap.addr & ~(kPage - 1), memory + kPage);
}

TEST("page_fault_error_code_in_context") {
    char* memory = map(kPage, PROT_READ);
    (void)*static_cast<volatile char*>(memory);
    Trap write_trap = trap_of([=] { *memory = 1; });
    CHECK_EQ(write_trap.trapno, 14);
    CHECK_EQ(write_trap.error & ~1ul, 6);  // user, write
    Trap read_trap = trap_of([=] { (void)*reinterpret_cast<volatile char*>(8); });
    CHECK_EQ(read_trap.trapno, 14);
    CHECK_EQ(read_trap.error, 4);  // user, read, not present
}

TEST("noncanonical_address_is_general_protection") {
    Trap trap = trap_of([] { (void)*reinterpret_cast<volatile char*>(0x8000000000001000ul); });
    CHECK_EQ(trap.signo, SIGSEGV);
    CHECK_EQ(trap.code, SI_KERNEL);
    CHECK_EQ(trap.addr, 0);
    CHECK_EQ(trap.trapno, 13);
}

TEST("handler_can_repair_and_retry") {
    static char* page;
    static volatile sig_atomic_t hits;
    hits = 0;
    page = map(kPage, PROT_NONE);
    struct sigaction action = {};
    action.sa_sigaction = [](int, siginfo_t*, void*) {
        hits = hits + 1;
        mprotect(page, kPage, PROT_READ | PROT_WRITE);
    };
    action.sa_flags = SA_SIGINFO;
    OK(sigaction(SIGSEGV, &action, nullptr));
    *static_cast<volatile char*>(page) = 1;
    CHECK_EQ(hits, 1);
    CHECK_EQ(*page, 1);
}

TEST("file_mapping_private_reads_file") {
    int fd = pattern_file(8);
    char* memory = static_cast<char*>(OK(mmap(nullptr, 8 * kPage, PROT_READ, MAP_PRIVATE, fd, 0)));
    OK(close(fd));
    for (int i = 0; i < 8; i++) CHECK_EQ(memory[i * kPage + 100], 'a' + i);
}

TEST("file_mapping_with_offset") {
    int fd = pattern_file(8);
    char* memory = static_cast<char*>(OK(mmap(nullptr, 2 * kPage, PROT_READ, MAP_PRIVATE, fd, 5 * kPage)));
    CHECK_EQ(memory[0], 'f');
    CHECK_EQ(memory[kPage], 'g');
}

TEST("file_mapping_private_write_does_not_reach_file") {
    int fd = pattern_file(2);
    char* memory = static_cast<char*>(OK(mmap(nullptr, 2 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0)));
    memory[10] = 'X';
    char byte;
    CHECK_EQ(pread(fd, &byte, 1, 10), 1);
    CHECK_EQ(byte, 'a');
    CHECK_EQ(memory[10], 'X');
    CHECK_EQ(memory[11], 'a');
}

TEST("file_mapping_tail_of_last_page_is_zero") {
    scratch();
    CHECK(write_file("file", "hello"));
    int fd = OK(open("file", O_RDONLY));
    char* memory = static_cast<char*>(OK(mmap(nullptr, kPage, PROT_READ, MAP_PRIVATE, fd, 0)));
    CHECK_STREQ(memory, "hello");
    for (size_t i = 5; i < kPage; i++) CHECK_EQ(memory[i], 0);
}

TEST("file_mapping_beyond_end_is_sigbus") {
    int fd = pattern_file(1);
    char* memory = static_cast<char*>(OK(mmap(nullptr, 3 * kPage, PROT_READ, MAP_PRIVATE, fd, 0)));
    CHECK_EQ(memory[0], 'a');
    Trap trap = trap_of([=] { (void)*static_cast<volatile char*>(memory + 2 * kPage + 9); });
    CHECK_EQ(trap.signo, SIGBUS);
    CHECK_EQ(trap.code, BUS_ADRERR);
    CHECK_EQ(trap.addr, memory + 2 * kPage + 9);
}

TEST("file_mapping_shared_readonly") {
    int fd = pattern_file(2);
    char* memory = static_cast<char*>(OK(mmap(nullptr, 2 * kPage, PROT_READ, MAP_SHARED, fd, 0)));
    CHECK_EQ(memory[kPage], 'b');
    CHECK_EQ(pwrite(fd, "Z", 1, kPage), 1);
    CHECK_EQ(memory[kPage], 'Z');
}

TEST("file_mapping_shared_write_reaches_file") {
    int fd = pattern_file(2);
    char* memory = static_cast<char*>(OK(mmap(nullptr, 2 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)));
    memory[kPage + 1] = 'Q';
    OK(msync(memory, 2 * kPage, MS_SYNC));
    char byte;
    CHECK_EQ(pread(fd, &byte, 1, kPage + 1), 1);
    CHECK_EQ(byte, 'Q');
}

TEST("file_mapping_permissions") {
    int fd = pattern_file(1);
    int write_only = OK(open("file", O_WRONLY)), read_only = OK(open("file", O_RDONLY));
    CHECK_ERRNO(mmap(nullptr, kPage, PROT_READ, MAP_PRIVATE, write_only, 0), EACCES);
    CHECK_ERRNO(mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, read_only, 0), EACCES);
    char* memory = static_cast<char*>(OK(mmap(nullptr, kPage, PROT_READ, MAP_SHARED, read_only, 0)));
    CHECK_ERRNO(mprotect(memory, kPage, PROT_READ | PROT_WRITE), EACCES);
    OK(mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE, read_only, 0));
    OK(close(fd));
}

TEST("directory_and_pipe_cannot_be_mapped") {
    int directory = OK(open("/", O_RDONLY));
    CHECK_ERRNO(mmap(nullptr, kPage, PROT_READ, MAP_PRIVATE, directory, 0), ENODEV);
    int fds[2];
    OK(pipe(fds));
    CHECK_ERRNO(mmap(nullptr, kPage, PROT_READ, MAP_PRIVATE, fds[0], 0), ENODEV);
}

TEST("dev_zero_mapping_is_anonymous") {
    int fd = OK(open("/dev/zero", O_RDWR));
    char* memory = static_cast<char*>(OK(mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0)));
    CHECK_EQ(memory[9], 0);
    memory[9] = 1;
}

TEST("madvise_dontneed_zeroes_anonymous") {
    char* memory = map(4 * kPage);
    memset(memory, 1, 4 * kPage);
    OK(madvise(memory + kPage, 2 * kPage, MADV_DONTNEED));
    CHECK_EQ(memory[0], 1);
    CHECK_EQ(memory[kPage], 0);
    CHECK_EQ(memory[3 * kPage - 1], 0);
    CHECK_EQ(memory[3 * kPage], 1);
}

TEST("madvise_dontneed_inside_large_page") {
    char* memory = map(4 * kHuge);
    memset(memory, 1, 4 * kHuge);
    OK(madvise(memory + kHuge + 3 * kPage, kPage, MADV_DONTNEED));
    CHECK_EQ(memory[kHuge + 3 * kPage], 0);
    CHECK_EQ(memory[kHuge + 2 * kPage], 1);
    CHECK_EQ(memory[kHuge + 4 * kPage], 1);
}

TEST("madvise_dontneed_restores_file_contents") {
    int fd = pattern_file(1);
    char* memory = static_cast<char*>(OK(mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0)));
    memory[0] = 'X';
    OK(madvise(memory, kPage, MADV_DONTNEED));
    CHECK_EQ(memory[0], 'a');
}

TEST("madvise_errors_and_hints") {
    char* memory = map(2 * kPage);
    CHECK_ERRNO(madvise(memory + 1, kPage, MADV_DONTNEED), EINVAL);
    CHECK_ERRNO(madvise(memory, kPage, 9999), EINVAL);
    OK(madvise(memory, kPage, MADV_WILLNEED));
    OK(madvise(memory, kPage, MADV_HUGEPAGE));
    OK(madvise(memory, kPage, MADV_NOHUGEPAGE));
    OK(madvise(memory, kPage, MADV_RANDOM));
    OK(munmap(memory + kPage, kPage));
    CHECK_ERRNO(madvise(memory, 2 * kPage, MADV_DONTNEED), ENOMEM);
}

TEST("madvise_wipeonfork_and_dontfork") {
    char* wiped = map(kPage);
    char* missing = map(kPage);
    *wiped = *missing = 1;
    OK(madvise(missing, kPage, MADV_DONTFORK));
    CHECK_EXITED(run_child([=] {
                     Trap trap = trap_of([=] { (void)*static_cast<volatile char*>(missing); });
                     CHECK_EQ(trap.code, SEGV_MAPERR);
                 }),
                 0);
    CHECK_EQ(*missing, 1);
    OK(madvise(wiped, kPage, MADV_WIPEONFORK));
    CHECK_EXITED(run_child([=] { CHECK_EQ(*wiped, 0); }), 0);
    CHECK_EQ(*wiped, 1);
}

TEST("unmap_in_child_leaves_parent") {
    char* memory = map(kPage);
    *memory = 3;
    CHECK_EXITED(run_child([=] { OK(munmap(memory, kPage)); }), 0);
    CHECK_EQ(*memory, 3);
}

TEST("access_crossing_pages") {
    char* memory = map(2 * kPage);
    auto* word = reinterpret_cast<uint64_t*>(memory + kPage - 3);
    __atomic_store_n(word, 0x1122334455667788ul, __ATOMIC_RELAXED);
    CHECK_EQ(*word, 0x1122334455667788ul);
}

TEST("repeated_fork_with_large_memory") {
    char* memory = map(16 * kHuge);
    memset(memory, 1, 16 * kHuge);
    for (int i = 0; i < 5; i++) {
        CHECK_EXITED(run_child([=] { memory[i * kHuge] = 5; }), 0);
        memory[i * kHuge + 1] = 6;
    }
    for (int i = 0; i < 5; i++) CHECK_EQ(memory[i * kHuge], 1);
}
