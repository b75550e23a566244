// mmap, munmap, mprotect, mremap, brk and what they refuse.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "tests/guest/guest_test.hpp"

using namespace guest;

namespace {
constexpr size_t kPage = 4096;

char* map(size_t size, int protection = PROT_READ | PROT_WRITE, void* where = nullptr, int extra = 0) {
    return static_cast<char*>(OK(mmap(where, size, protection, MAP_PRIVATE | MAP_ANONYMOUS | extra, -1, 0)));
}

void check_segv(volatile char* address, bool write, int code) {
    Trap trap = trap_of([=] {
        if (write)
            *address = 1;
        else
            (void)*address;
    });
    CHECK_EQ(trap.signo, SIGSEGV);
    CHECK_EQ(trap.code, code);
    CHECK_EQ(trap.addr, address);
}
}  // namespace

TEST("anonymous_is_zero") {
    char* memory = map(64 * kPage);
    for (size_t i = 0; i < 64 * kPage; i++) CHECK_EQ(memory[i], 0);
}

TEST("length_is_rounded_up") {
    char* memory = map(1);
    memory[kPage - 1] = 1;
    CHECK_EQ(reinterpret_cast<uintptr_t>(memory) % kPage, 0);
}

TEST("zero_length_is_einval") {
    CHECK_ERRNO(mmap(nullptr, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), EINVAL);
    CHECK_ERRNO(munmap(map(kPage), 0), EINVAL);
}

TEST("flags_without_type_is_einval") { CHECK_ERRNO(mmap(nullptr, kPage, PROT_READ, MAP_ANONYMOUS, -1, 0), EINVAL); }

TEST("huge_length_is_enomem") {
    CHECK_ERRNO(mmap(nullptr, 1ul << 47, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), ENOMEM);
    CHECK_ERRNO(mmap(nullptr, ~0ul, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), ENOMEM);
}

TEST("bad_descriptor_is_ebadf") { CHECK_ERRNO(mmap(nullptr, kPage, PROT_READ, MAP_PRIVATE, 150, 0), EBADF); }

TEST("unaligned_offset_is_einval") {
    int fd = OK(open("/bin/helper_static", O_RDONLY));
    CHECK_ERRNO(syscall(SYS_mmap, nullptr, kPage, PROT_READ, MAP_PRIVATE, fd, 100), EINVAL);
}

TEST("unaligned_fixed_is_einval") {
    char* memory = map(2 * kPage);
    CHECK_ERRNO(mmap(memory + 1, kPage, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), EINVAL);
}

TEST("hint_is_used_when_free") {
    char* memory = map(4 * kPage);
    OK(munmap(memory, 4 * kPage));
    CHECK_EQ(map(kPage, PROT_READ, memory), memory);
}

TEST("hint_is_ignored_when_taken") {
    char* memory = map(kPage);
    *memory = 7;
    CHECK_NE(map(kPage, PROT_READ, memory), memory);
    CHECK_EQ(*memory, 7);
}

TEST("fixed_replaces") {
    char* memory = map(3 * kPage);
    memset(memory, 7, 3 * kPage);
    CHECK_EQ(map(kPage, PROT_READ | PROT_WRITE, memory + kPage, MAP_FIXED), memory + kPage);
    CHECK_EQ(memory[kPage - 1], 7);
    CHECK_EQ(memory[kPage], 0);
    CHECK_EQ(memory[2 * kPage], 7);
}

TEST("fixed_noreplace_is_eexist") {
    char* memory = map(2 * kPage);
    CHECK_ERRNO(mmap(memory + kPage, 2 * kPage, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0),
                EEXIST);
    OK(munmap(memory, 2 * kPage));
    CHECK_EQ(map(kPage, PROT_READ, memory, MAP_FIXED_NOREPLACE), memory);
}

TEST("munmap_makes_segv_maperr") {
    char* memory = map(kPage);
    *memory = 1;
    OK(munmap(memory, kPage));
    check_segv(memory, false, SEGV_MAPERR);
    check_segv(memory + 5, true, SEGV_MAPERR);
}

TEST("munmap_of_nothing_is_fine") {
    char* memory = map(kPage);
    OK(munmap(memory, kPage));
    OK(munmap(memory, kPage));
}

TEST("munmap_unaligned_is_einval") { CHECK_ERRNO(munmap(map(kPage) + 1, kPage), EINVAL); }

TEST("munmap_hole_in_middle") {
    char* memory = map(5 * kPage);
    memset(memory, 3, 5 * kPage);
    OK(munmap(memory + 2 * kPage, kPage));
    CHECK_EQ(memory[2 * kPage - 1], 3);
    CHECK_EQ(memory[3 * kPage], 3);
    check_segv(memory + 2 * kPage, false, SEGV_MAPERR);
}

TEST("munmap_across_several_areas") {
    char* memory = map(6 * kPage);
    OK(mprotect(memory + kPage, kPage, PROT_READ));
    OK(munmap(memory + 3 * kPage, kPage));
    OK(munmap(memory, 6 * kPage));
    for (int i = 0; i < 6; i++) check_segv(memory + i * kPage, false, SEGV_MAPERR);
}

TEST("mprotect_read_only_write_is_accerr") {
    char* memory = map(kPage);
    *memory = 9;
    OK(mprotect(memory, kPage, PROT_READ));
    CHECK_EQ(*memory, 9);
    check_segv(memory, true, SEGV_ACCERR);
    OK(mprotect(memory, kPage, PROT_READ | PROT_WRITE));
    *memory = 10;
    CHECK_EQ(*memory, 10);
}

TEST("prot_none_read_is_accerr") {
    char* memory = map(kPage, PROT_NONE);
    check_segv(memory + 100, false, SEGV_ACCERR);
}

TEST("prot_none_keeps_contents") {
    char* memory = map(kPage);
    *memory = 5;
    OK(mprotect(memory, kPage, PROT_NONE));
    check_segv(memory, false, SEGV_ACCERR);
    OK(mprotect(memory, kPage, PROT_READ));
    CHECK_EQ(*memory, 5);
}

TEST("mprotect_middle_page") {
    char* memory = map(3 * kPage);
    memset(memory, 1, 3 * kPage);
    OK(mprotect(memory + kPage, kPage, PROT_READ));
    memory[0] = memory[2 * kPage] = 2;
    check_segv(memory + kPage, true, SEGV_ACCERR);
}

TEST("mprotect_unmapped_is_enomem") {
    char* memory = map(2 * kPage);
    OK(munmap(memory + kPage, kPage));
    CHECK_ERRNO(mprotect(memory, 2 * kPage, PROT_READ), ENOMEM);
    CHECK_ERRNO(mprotect(memory + 1, kPage, PROT_READ), EINVAL);
    OK(mprotect(memory, 0, PROT_READ));
}

TEST("execute_needs_prot_exec") {
    char* memory = map(kPage);
    memory[0] = static_cast<char>(0xc3);  // ret
    Trap trap = trap_of([=] { reinterpret_cast<void (*)()>(memory)(); });
    CHECK_EQ(trap.signo, SIGSEGV);
    CHECK_EQ(trap.code, SEGV_ACCERR);
    CHECK_EQ(trap.addr, memory);
    CHECK_EQ(trap.rip, memory);
    OK(mprotect(memory, kPage, PROT_READ | PROT_EXEC));
    reinterpret_cast<void (*)()>(memory)();
}

TEST("generated_code_runs") {
    unsigned char code[] = {0xb8, 0x2a, 0, 0, 0, 0xc3};  // mov eax, 42; ret
    char* memory = map(kPage, PROT_READ | PROT_WRITE | PROT_EXEC);
    memcpy(memory, code, sizeof(code));
    CHECK_EQ(reinterpret_cast<int (*)()>(memory)(), 42);
    memory[1] = 43;
    CHECK_EQ(reinterpret_cast<int (*)()>(memory)(), 43);
}

TEST("null_page_is_maperr") {
    check_segv(nullptr, false, SEGV_MAPERR);
    check_segv(reinterpret_cast<char*>(16), true, SEGV_MAPERR);
}

TEST("mremap_grow_may_move") {
    char* memory = map(2 * kPage);
    memset(memory, 4, 2 * kPage);
    char* bigger = static_cast<char*>(OK(mremap(memory, 2 * kPage, 100 * kPage, MREMAP_MAYMOVE)));
    CHECK_EQ(bigger[0], 4);
    CHECK_EQ(bigger[2 * kPage - 1], 4);
    CHECK_EQ(bigger[2 * kPage], 0);
    bigger[100 * kPage - 1] = 1;
}

TEST("mremap_shrink_in_place") {
    char* memory = map(4 * kPage);
    memset(memory, 4, 4 * kPage);
    CHECK_EQ(mremap(memory, 4 * kPage, kPage, 0), memory);
    CHECK_EQ(*memory, 4);
    check_segv(memory + kPage, false, SEGV_MAPERR);
}

TEST("mremap_blocked_without_maymove_is_enomem") {
    char* memory = map(3 * kPage);
    OK(mprotect(memory + kPage, kPage, PROT_READ));
    CHECK_ERRNO(mremap(memory, kPage, 2 * kPage, 0), ENOMEM);
}

TEST("mremap_fixed_moves") {
    char* memory = map(2 * kPage);
    char* target = map(2 * kPage);
    memset(memory, 6, 2 * kPage);
    CHECK_EQ(mremap(memory, 2 * kPage, 2 * kPage, MREMAP_MAYMOVE | MREMAP_FIXED, target), target);
    CHECK_EQ(target[2 * kPage - 1], 6);
    check_segv(memory, false, SEGV_MAPERR);
}

TEST("mremap_errors") {
    char* memory = map(kPage);
    CHECK_ERRNO(mremap(memory + 1, kPage, kPage, 0), EINVAL);
    CHECK_ERRNO(mremap(memory, kPage, 0, 0), EINVAL);
    CHECK_ERRNO(mremap(memory, kPage, kPage, MREMAP_FIXED, memory), EINVAL);
    OK(munmap(memory, kPage));
    CHECK_ERRNO(mremap(memory, kPage, 2 * kPage, MREMAP_MAYMOVE), EFAULT);
}

TEST("brk_grows_and_shrinks") {
    char* start = static_cast<char*>(sbrk(0));
    CHECK_EQ(brk(start + 10 * kPage), 0);
    for (size_t i = 0; i < 10 * kPage; i++) CHECK_EQ(start[i] | 0, start[i]);
    start[10 * kPage - 1] = 1;
    CHECK_EQ(brk(start), 0);
    CHECK_EQ(sbrk(0), start);
    CHECK_EQ(syscall(SYS_brk, 0), start);
    CHECK_EQ(syscall(SYS_brk, 0x1000), start);  // below the heap: refused by returning the old break
}

TEST("brk_memory_is_zero_after_shrink_and_grow") {
    char* start = static_cast<char*>(sbrk(0));
    char* page = reinterpret_cast<char*>((reinterpret_cast<uintptr_t>(start) + kPage - 1) & ~(kPage - 1));
    CHECK_EQ(brk(page + 2 * kPage), 0);
    memset(page, 0xff, 2 * kPage);
    CHECK_EQ(brk(page), 0);
    CHECK_EQ(brk(page + 2 * kPage), 0);
    for (size_t i = 0; i < 2 * kPage; i++) CHECK_EQ(page[i], 0);
}

TEST("rlimit_as_is_enforced") {
    rlimit limit = {256 * 1024 * 1024, RLIM_INFINITY};
    OK(setrlimit(RLIMIT_AS, &limit));
    CHECK_ERRNO(mmap(nullptr, 512ul * 1024 * 1024, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), ENOMEM);
}

TEST("msync_and_mincore") {
    char* memory = map(4 * kPage);
    memory[0] = 1;
    OK(msync(memory, kPage, MS_SYNC));
    CHECK_ERRNO(msync(memory + 1, kPage, MS_SYNC), EINVAL);
    unsigned char resident[4];
    OK(mincore(memory, 4 * kPage, resident));
    CHECK_EQ(resident[0] & 1, 1);
}

TEST("mlock_succeeds_for_root") {
    char* memory = map(kPage);
    OK(mlock(memory, kPage));
    OK(munlock(memory, kPage));
}

TEST("many_areas") {
    // Alternating protections make an area each; all must be found again.
    constexpr int kAreas = 2000;
    char* memory = map(kAreas * kPage);
    for (int i = 0; i < kAreas; i += 2) OK(mprotect(memory + i * kPage, kPage, PROT_READ));
    for (int i = 1; i < kAreas; i += 2) memory[i * kPage] = static_cast<char>(i);
    for (int i = 1; i < kAreas; i += 2) CHECK_EQ(memory[i * kPage], static_cast<char>(i));
    OK(munmap(memory, kAreas * kPage));
}

TEST("maps_shows_areas_merged") {
    char* memory = map(4 * kPage, PROT_READ);
    OK(mprotect(memory + kPage, kPage, PROT_READ | PROT_WRITE));
    OK(mprotect(memory + kPage, kPage, PROT_READ));
    static char text[65536];
    CHECK_GT(read_file("/proc/self/maps", text, sizeof(text)), 0);
    auto address = reinterpret_cast<uintptr_t>(memory);
    bool found = false;
    for (char* line = strtok(text, "\n"); line != nullptr; line = strtok(nullptr, "\n")) {
        unsigned long start, end;
        CHECK_EQ(sscanf(line, "%lx-%lx r", &start, &end), 2);
        if (start <= address && address < end) found = end >= address + 4 * kPage;
    }
    CHECK(found);
}

TEST("noreserve_of_a_terabyte") {
    // Address space alone costs nothing; runtimes count on it.
    char* memory =
        static_cast<char*>(OK(mmap(nullptr, 1ul << 40, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)));
    OK(mprotect(memory + (1ul << 39), kPage, PROT_READ | PROT_WRITE));
    memory[1ul << 39] = 1;
    OK(munmap(memory, 1ul << 40));
}
