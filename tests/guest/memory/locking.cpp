// mlock and kin, mseal, limits, protection keys, memory policies.
#include <fcntl.h>
#include <linux/capability.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <cstdlib>

#include "tests/guest/guest_test.hpp"

using namespace guest;

namespace {
constexpr size_t kPage = 4096;
constexpr long kMseal = 462;

char* map(size_t size, int protection = PROT_READ | PROT_WRITE, int extra = 0) {
    return static_cast<char*>(OK(mmap(nullptr, size, protection, MAP_PRIVATE | MAP_ANONYMOUS | extra, -1, 0)));
}

// A line's number of /proc/self/status, in kB.
long status_kb(const char* name) {
    static char text[8192];
    CHECK_GT(read_file("/proc/self/status", text, sizeof text), 0);
    const char* line = strstr(text, name);
    CHECK(line);
    long value = -1;
    sscanf(line + strlen(name), " %ld", &value);
    return value;
}

void drop_privileges() {
    OK(setgid(1000));
    OK(setuid(1000));
}

void memlock(rlim_t bytes) {
    rlimit limit = {bytes, bytes};
    OK(setrlimit(RLIMIT_MEMLOCK, &limit));
}

// A flag of the mapping in smaps.
bool has_flag(const void* address, const char* flag) {
    static char text[1 << 18];
    CHECK_GT(read_file("/proc/self/smaps", text, sizeof text), 0);
    char want[32];
    snprintf(want, sizeof want, " %s ", flag);
    bool inside = false;
    for (char* line = strtok(text, "\n"); line; line = strtok(nullptr, "\n")) {
        unsigned long start, end;
        if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
            inside = start <= reinterpret_cast<uintptr_t>(address) && reinterpret_cast<uintptr_t>(address) < end;
        if (inside && strncmp(line, "VmFlags:", 8) == 0) return strstr(line, want);
    }
    fail(__FILE__, __LINE__, "no mapping of %p in smaps", address);
}
}  // namespace

TEST("mlock_counts_in_vmlck") {
    char* memory = map(16 * kPage);
    CHECK_EQ(status_kb("VmLck:"), 0);
    OK(mlock(memory, 8 * kPage));
    CHECK_EQ(status_kb("VmLck:"), 32);
    OK(mlock(memory, 8 * kPage));
    CHECK_EQ(status_kb("VmLck:"), 32);
    OK(munlock(memory + 2 * kPage, kPage));
    CHECK_EQ(status_kb("VmLck:"), 28);
    OK(munmap(memory, 16 * kPage));
    CHECK_EQ(status_kb("VmLck:"), 0);
}

TEST("mlock_takes_whole_pages") {
    char* memory = map(4 * kPage);
    OK(mlock(memory + kPage - 1, 2));
    CHECK_EQ(status_kb("VmLck:"), 8);
    CHECK(has_flag(memory + kPage, "lo"));
    CHECK(!has_flag(memory + 2 * kPage, "lo"));
}

TEST("mlock_faults_pages_in") {
    char* memory = map(8 * kPage);
    OK(mlock(memory, 8 * kPage));
    unsigned char resident[8];
    OK(mincore(memory, 8 * kPage, resident));
    for (unsigned char page : resident) CHECK_EQ(page & 1, 1);
}

TEST("mlock_of_a_hole_is_enomem") {
    char* memory = map(3 * kPage);
    OK(munmap(memory + kPage, kPage));
    CHECK_ERRNO(mlock(memory, 3 * kPage), ENOMEM);
    CHECK_ERRNO(munlock(memory, 3 * kPage), ENOMEM);
}

TEST("mlock_of_prot_none_is_enomem") { CHECK_ERRNO(mlock(map(kPage, PROT_NONE), kPage), ENOMEM); }

TEST("mlock_wrapping_range_is_einval") { CHECK_ERRNO(syscall(SYS_mlock, map(kPage), ~0ul - 3 * kPage), EINVAL); }

TEST("mlock_of_nothing_succeeds") { OK(mlock(map(kPage), 0)); }

TEST("mlock_beyond_the_limit_is_enomem") {
    char* memory = map(32 * kPage);
    memlock(8 * kPage);
    drop_privileges();
    CHECK_ERRNO(mlock(memory, 9 * kPage), ENOMEM);
    OK(mlock(memory, 6 * kPage));
    CHECK_ERRNO(mlock(memory + 16 * kPage, 3 * kPage), ENOMEM);
    OK(mlock(memory, 8 * kPage));  // overlaps what is locked
}

TEST("mlock_with_limit_zero_is_eperm") {
    char* memory = map(kPage);
    memlock(0);
    drop_privileges();
    CHECK_ERRNO(mlock(memory, kPage), EPERM);
    CHECK_ERRNO(mlockall(MCL_CURRENT), EPERM);
    CHECK_ERRNO(mmap(nullptr, kPage, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED, -1, 0), EPERM);
}

TEST("mlock2_flags") {
    char* memory = map(4 * kPage);
    CHECK_ERRNO(syscall(SYS_mlock2, memory, kPage, 2), EINVAL);
    OK(syscall(SYS_mlock2, memory, 2 * kPage, 1));  // MLOCK_ONFAULT
    CHECK_EQ(status_kb("VmLck:"), 8);
    unsigned char resident[2];
    OK(mincore(memory, 2 * kPage, resident));
    CHECK_EQ(resident[0] & 1, 0);
    OK(syscall(SYS_mlock2, memory, kPage, 0));
    OK(mincore(memory, kPage, resident));
    CHECK_EQ(resident[0] & 1, 1);
}

TEST("map_locked_is_locked") {
    char* memory = map(4 * kPage, PROT_READ | PROT_WRITE, MAP_LOCKED);
    CHECK_EQ(status_kb("VmLck:"), 16);
    unsigned char resident[4];
    OK(mincore(memory, 4 * kPage, resident));
    CHECK_EQ(resident[3] & 1, 1);
}

TEST("map_locked_beyond_the_limit_is_eagain") {
    memlock(4 * kPage);
    drop_privileges();
    CHECK_ERRNO(mmap(nullptr, 5 * kPage, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED, -1, 0), EAGAIN);
    map(4 * kPage, PROT_READ, MAP_LOCKED);
}

TEST("mremap_of_locked_memory_beyond_the_limit_is_eagain") {
    memlock(4 * kPage);
    drop_privileges();
    char* memory = map(4 * kPage, PROT_READ | PROT_WRITE, MAP_LOCKED);
    CHECK_ERRNO(mremap(memory, 4 * kPage, 8 * kPage, MREMAP_MAYMOVE), EAGAIN);
}

TEST("mremap_keeps_locked") {
    char* memory = map(4 * kPage, PROT_READ | PROT_WRITE, MAP_LOCKED);
    char* moved = static_cast<char*>(OK(mremap(memory, 4 * kPage, 64 * kPage, MREMAP_MAYMOVE)));
    CHECK_EQ(status_kb("VmLck:"), 256);
    CHECK(has_flag(moved, "lo"));
}

TEST("locked_memory_is_not_inherited") {
    char* memory = map(4 * kPage, PROT_READ | PROT_WRITE, MAP_LOCKED);
    memory[0] = 1;
    CHECK_EXITED(run_child([=] { CHECK_EQ(status_kb("VmLck:"), 0); }), 0);
    CHECK_EQ(status_kb("VmLck:"), 16);
}

TEST("mlockall_flags_are_checked") {
    CHECK_ERRNO(mlockall(0), EINVAL);
    CHECK_ERRNO(mlockall(8), EINVAL);
    CHECK_ERRNO(mlockall(4), EINVAL);  // MCL_ONFAULT alone
}

TEST("mlockall_future_locks_new_maps") {
    OK(mlockall(MCL_FUTURE));
    char* memory = map(4 * kPage);
    CHECK(has_flag(memory, "lo"));
    OK(munlockall());
    CHECK(!has_flag(memory, "lo"));
    CHECK(!has_flag(map(kPage), "lo"));
}

TEST("mlockall_future_counts_against_the_limit") {
    memlock(64 * kPage);
    drop_privileges();
    OK(mlockall(MCL_FUTURE));
    CHECK_ERRNO(mmap(nullptr, 65 * kPage, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), EAGAIN);
}

TEST("mlockall_current_locks_everything") {
    char* memory = map(4 * kPage);
    OK(mlockall(MCL_CURRENT));
    CHECK(has_flag(memory, "lo"));
    CHECK(!has_flag(map(kPage, PROT_READ), "lo"));
    OK(munlockall());
    CHECK_EQ(status_kb("VmLck:"), 0);
}

TEST("mlockall_current_beyond_the_limit_is_enomem") {
    memlock(4 * kPage);
    drop_privileges();
    CHECK_ERRNO(mlockall(MCL_CURRENT), ENOMEM);
}

TEST("locked_memory_is_not_discarded") {
    char* memory = map(4 * kPage, PROT_READ | PROT_WRITE, MAP_LOCKED);
    memory[0] = 7;
    CHECK_ERRNO(madvise(memory, kPage, MADV_DONTNEED), EINVAL);
    CHECK_ERRNO(madvise(memory, kPage, MADV_FREE), EINVAL);
    CHECK_ERRNO(madvise(memory, kPage, 21), EINVAL);  // MADV_PAGEOUT
    CHECK_EQ(memory[0], 7);
    OK(madvise(memory, kPage, 24));  // MADV_DONTNEED_LOCKED
    CHECK_EQ(memory[0], 0);
}

TEST("msync_invalidate_of_locked_memory_is_ebusy") {
    char* memory = map(4 * kPage, PROT_READ | PROT_WRITE, MAP_LOCKED);
    CHECK_ERRNO(msync(memory, kPage, MS_INVALIDATE | MS_SYNC), EBUSY);
    OK(msync(memory, kPage, MS_SYNC));
}

TEST("msync_goes_on_behind_a_hole") {
    char* memory = map(3 * kPage);
    OK(munmap(memory + kPage, kPage));
    CHECK_ERRNO(msync(memory, 3 * kPage, MS_SYNC), ENOMEM);
    CHECK_ERRNO(msync(memory, kPage, MS_SYNC | MS_ASYNC), EINVAL);
    CHECK_ERRNO(msync(memory, kPage, 8), EINVAL);
    OK(msync(memory, kPage, MS_ASYNC));
    OK(msync(memory, kPage, 0));
}

TEST("mseal_keeps_a_mapping") {
    char* memory = map(3 * kPage);
    memset(memory, 5, 3 * kPage);
    OK(syscall(kMseal, memory + kPage, kPage, 0));
    CHECK_ERRNO(munmap(memory + kPage, kPage), EPERM);
    CHECK_ERRNO(munmap(memory, 3 * kPage), EPERM);
    CHECK_ERRNO(mprotect(memory + kPage, kPage, PROT_READ), EPERM);
    CHECK_ERRNO(mremap(memory + kPage, kPage, 4 * kPage, MREMAP_MAYMOVE), EPERM);
    CHECK_ERRNO(mmap(memory + kPage, kPage, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), EPERM);
    CHECK_EQ(memory[kPage], 5);
    memory[kPage] = 6;
    OK(munmap(memory, kPage));
    OK(munmap(memory + 2 * kPage, kPage));
}

TEST("mseal_of_read_only_memory_refuses_discards") {
    char* memory = map(kPage);
    memory[0] = 5;
    OK(mprotect(memory, kPage, PROT_READ));
    OK(syscall(kMseal, memory, kPage, 0));
    CHECK_ERRNO(madvise(memory, kPage, MADV_DONTNEED), EPERM);
    CHECK_EQ(memory[0], 5);
}

TEST("mseal_errors") {
    char* memory = map(3 * kPage);
    CHECK_ERRNO(syscall(kMseal, memory, kPage, 1), EINVAL);
    CHECK_ERRNO(syscall(kMseal, memory + 1, kPage, 0), EINVAL);
    OK(syscall(kMseal, memory, 0, 0));
    OK(munmap(memory + kPage, kPage));
    CHECK_ERRNO(syscall(kMseal, memory, 3 * kPage, 0), ENOMEM);
    OK(munmap(memory, kPage));  // nothing was sealed
}

TEST("rlimit_data_limits_private_writable_memory") {
    rlimit limit = {16 << 20, 16 << 20};
    OK(setrlimit(RLIMIT_DATA, &limit));
    CHECK_ERRNO(mmap(nullptr, 32 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), ENOMEM);
    char* memory = map(32 << 20, PROT_READ);
    CHECK_ERRNO(mprotect(memory, 32 << 20, PROT_READ | PROT_WRITE), ENOMEM);
    OK(mmap(nullptr, 32 << 20, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
}

TEST("rlimit_as_limits_mremap") {
    char* memory = map(kPage);
    rlimit limit = {256 << 20, 256 << 20};
    OK(setrlimit(RLIMIT_AS, &limit));
    CHECK_ERRNO(mremap(memory, kPage, 512 << 20, MREMAP_MAYMOVE), ENOMEM);
    OK(mremap(memory, kPage, 2 * kPage, MREMAP_MAYMOVE));
}

TEST("more_than_all_memory_is_enomem_unless_noreserve") {
    constexpr size_t kTerabytes = 1ul << 44;
    CHECK_ERRNO(mmap(nullptr, kTerabytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), ENOMEM);
    CHECK_ERRNO(mmap(nullptr, kTerabytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0), ENOMEM);
    OK(munmap(map(kTerabytes, PROT_READ | PROT_WRITE, MAP_NORESERVE), kTerabytes));
    OK(munmap(map(kTerabytes, PROT_NONE), kTerabytes));
}

TEST("max_map_count_is_enforced") {
    char* memory = map(70000 * 2 * kPage, PROT_NONE);
    int made = 0;
    while (made < 70000 && mprotect(memory + (made * 2 + 1) * kPage, kPage, PROT_READ) == 0) made++;
    CHECK_EQ(errno, ENOMEM);
    CHECK_LT(made, 32800);
    CHECK_GT(made, 32000);
    CHECK_ERRNO(munmap(memory + 68000 * 2 * kPage, kPage), ENOMEM);
    OK(munmap(memory, 70000 * 2 * kPage));
    map(kPage);
}

TEST("pkey_calls_without_a_key") {
    if (syscall(SYS_pkey_alloc, 1, 0) == -1 && errno == ENOSYS) SKIP("the kernel has no pkey calls");
    CHECK_ERRNO(syscall(SYS_pkey_alloc, 1, 0), EINVAL);
    CHECK_ERRNO(syscall(SYS_pkey_alloc, 0, 4), EINVAL);
    CHECK_ERRNO(syscall(SYS_pkey_free, 9), EINVAL);
    long key = syscall(SYS_pkey_alloc, 0, 0);
    CHECK(key > 0 || (key == -1 && (errno == ENOSPC || errno == EINVAL)));  // no keys in the CPU
    char* memory = map(kPage);
    OK(syscall(SYS_pkey_mprotect, memory, kPage, PROT_READ, -1));
    CHECK_ERRNO(syscall(SYS_pkey_mprotect, memory, kPage, PROT_READ, 14), EINVAL);
}

TEST("mprotect_growsdown_needs_a_stack") {
    char* memory = map(kPage);
    CHECK_ERRNO(mprotect(memory, kPage, PROT_READ | PROT_GROWSDOWN), EINVAL);
    CHECK_ERRNO(mprotect(memory, kPage, PROT_READ | PROT_GROWSUP), EINVAL);
    CHECK_ERRNO(mprotect(memory, kPage, PROT_READ | PROT_GROWSDOWN | PROT_GROWSUP), EINVAL);
    CHECK_ERRNO(mprotect(memory, kPage, 0x100), EINVAL);
    int local;
    auto page = reinterpret_cast<char*>(reinterpret_cast<uintptr_t>(&local) & ~(kPage - 1));
    OK(mprotect(page, kPage, PROT_READ | PROT_WRITE | PROT_GROWSDOWN));
}

TEST("mempolicy_of_one_node") {
    int mode = -1;
    unsigned long nodes = 7;
    OK(syscall(SYS_get_mempolicy, &mode, &nodes, 64, nullptr, 0));
    CHECK_EQ(mode, 0);
    CHECK_EQ(nodes, 0);
    nodes = 1;
    OK(syscall(SYS_set_mempolicy, 2 /* MPOL_BIND */, &nodes, 64));
    nodes = 0;
    OK(syscall(SYS_get_mempolicy, &mode, &nodes, 64, nullptr, 0));
    CHECK_EQ(mode, 2);
    CHECK_EQ(nodes, 1);
    CHECK_EXITED(run_child([] {
                     int mine;
                     OK(syscall(SYS_get_mempolicy, &mine, nullptr, 0, nullptr, 0));
                     CHECK_EQ(mine, 2);
                 }),
                 0);
}

TEST("mempolicy_errors") {
    unsigned long none = 0, one = 1;
    CHECK_ERRNO(syscall(SYS_set_mempolicy, 2, &none, 64), EINVAL);
    CHECK_ERRNO(syscall(SYS_set_mempolicy, 0, &one, 64), EINVAL);
    CHECK_ERRNO(syscall(SYS_set_mempolicy, 99, &one, 64), EINVAL);
    CHECK_ERRNO(syscall(SYS_set_mempolicy, 2, 8, 64), EFAULT);
    CHECK_ERRNO(syscall(SYS_get_mempolicy, nullptr, nullptr, 0, map(kPage), 0), EINVAL);
    CHECK_ERRNO(syscall(SYS_get_mempolicy, nullptr, nullptr, 0, nullptr, 8), EINVAL);
    CHECK_ERRNO(syscall(SYS_mbind, map(kPage) + 1, kPage, 2, &one, 64, 0), EINVAL);
    CHECK_ERRNO(syscall(SYS_mbind, 0x1000, kPage, 2, &one, 64, 0), EFAULT);
    OK(syscall(SYS_mbind, map(kPage), kPage, 2, &one, 64, 0));
}

TEST("move_pages_tells_the_node") {
    char* memory = map(2 * kPage);
    memory[0] = 1;
    void* pages[] = {memory, memory + kPage};
    int status[] = {-99, -99};
    OK(syscall(SYS_move_pages, 0, 2, pages, nullptr, status, 0));
    CHECK_EQ(status[0], 0);
    CHECK(status[1] == -ENOENT || status[1] == 0);
    CHECK_ERRNO(syscall(SYS_move_pages, 0, 1, pages, nullptr, status, 1), EINVAL);
}

TEST("userfaultfd_needs_privileges") {
    drop_privileges();
    CHECK_ERRNO(syscall(SYS_userfaultfd, 0), EPERM);
}

TEST("oom_score_adj_is_inherited_and_checked") {
    char text[32];
    int adjust = OK(open("/proc/self/oom_score_adj", O_WRONLY));
    CHECK_EQ(write(adjust, "300", 3), 3);
    CHECK_EXITED(run_child([] {
                     char mine[32];
                     CHECK_GT(read_file("/proc/self/oom_score_adj", mine, sizeof mine), 0);
                     CHECK_STREQ(mine, "300\n");
                 }),
                 0);
    CHECK_ERRNO(write(adjust, "1001", 4), EINVAL);
    CHECK_ERRNO(write(adjust, "x", 1), EINVAL);
    CHECK_GT(read_file("/proc/self/oom_score", text, sizeof text), 0);
    CHECK_GE(atoi(text), 0);
}
