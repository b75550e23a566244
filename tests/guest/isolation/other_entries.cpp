// The ways into a kernel that are not SYSCALL with a number of the 64-bit table: the vsyscall page, x32 numbers, int 0x80.
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>

#include "tests/guest/guest_test.hpp"

using namespace guest;

namespace {

constexpr uintptr_t kVsyscallPage = 0xffffffffff600000;
constexpr long kX32Bit = 0x40000000;

bool has_vsyscall_page() {
    static char text[65536];
    CHECK_GT(read_file("/proc/self/maps", text, sizeof(text)), 0);
    return strstr(text, "[vsyscall]") != nullptr;
}

int vsyscall_time(time_t* at) {
    return static_cast<int>(reinterpret_cast<time_t (*)(time_t*)>(kVsyscallPage + 1024)(at));
}
int vsyscall_gettimeofday(timeval* at) {
    return reinterpret_cast<int (*)(timeval*, void*)>(kVsyscallPage)(at, nullptr);
}
int vsyscall_getcpu(unsigned* cpu) {
    return reinterpret_cast<int (*)(unsigned*, unsigned*, void*)>(kVsyscallPage + 2048)(cpu, nullptr, nullptr);
}

// By a path of its own, so that no wrapper cuts the number.
long call_with_rax(uint64_t rax) {
    asm volatile("syscall" : "+a"(rax) : "D"(0), "S"(0), "d"(0) : "rcx", "r11", "memory");
    return static_cast<long>(rax);
}

}  // namespace

TEST("vsyscall_calls_work_if_maps_shows_the_page") {
    if (!has_vsyscall_page()) {
        CHECK_EQ(trap_of([] { vsyscall_time(nullptr); }).signo, SIGSEGV);
        return;
    }
    const time_t before = time(nullptr);
    const time_t told = vsyscall_time(nullptr);
    CHECK(told >= before - 1 && told <= time(nullptr) + 1);
    timeval now{};
    CHECK_EQ(vsyscall_gettimeofday(&now), 0);
    CHECK(now.tv_sec >= before - 1 && now.tv_sec <= time(nullptr) + 1);
    unsigned cpu = ~0u;
    CHECK_EQ(vsyscall_getcpu(&cpu), 0);
    CHECK_LT(cpu, 4096u);
}

TEST("vsyscall_page_runs_at_its_three_entries_only") {
    for (uintptr_t offset : {4ul, 512ul, 1025ul, 3072ul, 4095ul})
        CHECK_EQ(trap_of([=] { reinterpret_cast<void (*)()>(kVsyscallPage + offset)(); }).signo, SIGSEGV);
    CHECK_EQ(trap_of([] { *reinterpret_cast<volatile char*>(kVsyscallPage) = 1; }).signo, SIGSEGV);
}

TEST("vsyscall_with_a_bad_pointer_is_sigsegv") {
    Trap trap = trap_of([] { vsyscall_time(reinterpret_cast<time_t*>(8)); });
    CHECK_EQ(trap.signo, SIGSEGV);
}

TEST("x32_numbers_are_enosys") {
    for (long number : {0L, 1L, 2L, 9L, 12L, 39L, 57L, 59L, 60L, 231L, 512L, 520L, 547L})
        CHECK_EQ(call_with_rax(static_cast<uint64_t>(kX32Bit | number)), -ENOSYS);
}

TEST("numbers_beyond_the_table_are_enosys") {
    for (uint64_t number : {512ul, 547ul, 1000ul, 4096ul, 0x7ffffffful, 0x80000000ul, 0xfffffffful, ~0ul})
        CHECK_EQ(call_with_rax(number), -ENOSYS);
}

TEST("upper_half_of_a_number_does_not_count") {
    CHECK_EQ(call_with_rax(0xffffffff00000000 | SYS_getppid), getppid());
    CHECK_EQ(call_with_rax(0x100000000 | SYS_getppid), getppid());
}

// Linux may have the 32-bit table or not. If a call is made there, it is one of this system: its process, its files.
TEST("int_80_reaches_no_other_kernel") {
    scratch();
    char* low = static_cast<char*>(
        OK(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0)));
    strcpy(low, "made");
    Trap trap = trap_of([=] {
        long pid = 20;
        asm volatile("int $0x80" : "+a"(pid) : : "memory", "r8", "r9", "r10", "r11");
        CHECK(pid == getpid() || pid == -ENOSYS);
        long made = 39;  // mkdir
        asm volatile("int $0x80" : "+a"(made) : "b"(low), "c"(0755) : "memory", "r8", "r9", "r10", "r11");
        struct stat status;
        CHECK(made == -ENOSYS || (made == 0 && stat("made", &status) == 0));
        long none = 100000;
        asm volatile("int $0x80" : "+a"(none) : : "memory", "r8", "r9", "r10", "r11");
        CHECK_EQ(none, -ENOSYS);
    });
    CHECK(trap.signo == 0 || (trap.signo == SIGSEGV && trap.code == SI_KERNEL));
}
