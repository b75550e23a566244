// rseq(2) and membarrier(2). glibc registers an area of its own; each case takes that away first.
#include <linux/membarrier.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <sys/time.h>

#include <atomic>

#include "tests/guest/guest_test.hpp"

using namespace guest;

namespace {

constexpr unsigned kSignature = 0x53053053;

struct alignas(32) Area {
    uint32_t cpu_id_start = 0, cpu_id = ~0U;
    uint64_t section = 0;
    uint32_t flags = 0, node = 0, mm_cid = 0, pad = 0;
};
Area area;

long sys_rseq(void* address, unsigned length, int flags, unsigned signature) {
    return syscall(SYS_rseq, address, length, flags, signature);
}

void drop_libc_area() {
    if (__rseq_size == 0) return;
    auto* libc = static_cast<char*>(__builtin_thread_pointer()) + __rseq_offset;
    for (unsigned length : {32U, __rseq_size})
        if (sys_rseq(libc, length, 1, RSEQ_SIG) == 0) return;
}

void take_area() {
    drop_libc_area();
    OK(sys_rseq(&area, sizeof area, 0, kSignature));
}

uint32_t cpu_in_area() { return *const_cast<volatile uint32_t*>(&area.cpu_id); }

int membarrier(int command, unsigned flags = 0, int cpu = 0) {
    return static_cast<int>(syscall(SYS_membarrier, command, flags, cpu));
}

// Spins in a critical section until something aborts it. 0: never aborted.
int spin_in_section(uint64_t rounds) {
    struct alignas(32) Section {
        uint32_t version, flags;
        uint64_t start, length, abort;
    };
    static Section section;
    int aborted = 0;
    asm volatile(
        "lea 1f(%%rip), %%rax\n\t"
        "mov %%rax, 8(%[section])\n\t"
        "lea 2f(%%rip), %%rcx\n\t"
        "sub %%rax, %%rcx\n\t"
        "mov %%rcx, 16(%[section])\n\t"
        "lea 4f(%%rip), %%rax\n\t"
        "mov %%rax, 24(%[section])\n\t"
        "mov %[section], %[pointer]\n\t"
        "1:\n\t"
        "dec %[rounds]\n\t"
        "jnz 1b\n\t"
        "2:\n\t"
        "jmp 5f\n\t"
        ".byte 0x0f, 0xb9, 0x3d\n\t"
        ".long 0x53053053\n\t"
        "4:\n\t"
        "mov $1, %[aborted]\n\t"
        "5:\n\t"
        : [aborted] "+r"(aborted), [rounds] "+r"(rounds), [pointer] "=m"(area.section)
        : [section] "r"(&section)
        : "rax", "rcx", "memory", "cc");
    return aborted;
}

}  // namespace

TEST("registration_errors") {
    drop_libc_area();
    CHECK_ERRNO(sys_rseq(&area, 31, 0, kSignature), EINVAL);
    CHECK_ERRNO(sys_rseq(reinterpret_cast<char*>(&area) + 4, sizeof area, 0, kSignature), EINVAL);
    CHECK_ERRNO(sys_rseq(&area, sizeof area, 2, kSignature), EINVAL);
    CHECK_ERRNO(sys_rseq(reinterpret_cast<void*>(0xffff800000000000), sizeof area, 0, kSignature), EFAULT);
    CHECK_ERRNO(sys_rseq(&area, sizeof area, 1, kSignature), EINVAL);
}

TEST("second_registration_is_ebusy_or_einval_or_eperm") {
    take_area();
    static Area other;
    CHECK_ERRNO(sys_rseq(&area, sizeof area, 0, kSignature), EBUSY);
    CHECK_ERRNO(sys_rseq(&other, sizeof other, 0, kSignature), EINVAL);
    CHECK_ERRNO(sys_rseq(&area, sizeof area, 0, 1), EPERM);
}

TEST("unregistering_checks_and_resets") {
    take_area();
    CHECK_ERRNO(sys_rseq(&area, sizeof area, 1, 1), EPERM);
    CHECK_ERRNO(sys_rseq(&area, 64, 1, kSignature), EINVAL);
    OK(sys_rseq(&area, sizeof area, 1, kSignature));
    CHECK_EQ(cpu_in_area(), ~0U);
    CHECK_EQ(area.cpu_id_start, 0);
}

TEST("area_tells_the_cpu") {
    take_area();
    CHECK_EQ(cpu_in_area(), static_cast<unsigned>(sched_getcpu()));
    CHECK_EQ(area.cpu_id_start, area.cpu_id);
}

TEST("area_follows_migration") {
    take_area();
    cpu_set_t all;
    OK(sched_getaffinity(0, sizeof all, &all));
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
        if (!CPU_ISSET(cpu, &all)) continue;
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        OK(sched_setaffinity(0, sizeof one, &one));
        CHECK_EQ(cpu_in_area(), static_cast<unsigned>(cpu));
    }
}

TEST("forked_child_keeps_the_registration") {
    take_area();
    CHECK_EXITED(run_child([] { CHECK_ERRNO(sys_rseq(&area, sizeof area, 0, kSignature), EBUSY); }), 0);
}

TEST("new_thread_has_an_area_of_its_own") {
    take_area();
    static long result = -1;
    pthread_t thread;
    CHECK_EQ(pthread_create(
                 &thread, nullptr,
                 [](void*) -> void* {
                     drop_libc_area();
                     static Area own;
                     result = sys_rseq(&own, sizeof own, 0, kSignature);
                     return nullptr;
                 },
                 nullptr),
             0);
    pthread_join(thread, nullptr);
    CHECK_EQ(result, 0);
}

TEST("section_without_interruption_is_not_aborted") {
    take_area();
    int aborted = 1;
    for (int i = 0; i < 20 && aborted; ++i) aborted = spin_in_section(10);
    CHECK_EQ(aborted, 0);
}

TEST("signal_aborts_the_section") {
    take_area();
    signal(SIGALRM, [](int) {});
    itimerval timer{{0, 0}, {0, 20000}};
    OK(setitimer(ITIMER_REAL, &timer, nullptr));
    CHECK_EQ(spin_in_section(1ULL << 40), 1);
    CHECK_EQ(*const_cast<volatile uint64_t*>(&area.section), 0);
}

TEST("preemption_aborts_the_section") {
    take_area();
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(sched_getcpu(), &one);
    OK(sched_setaffinity(0, sizeof one, &one));
    const pid_t rival = OK(fork());
    if (rival == 0)
        for (;;) asm volatile("");
    CHECK_EQ(spin_in_section(1ULL << 40), 1);
    kill(rival, SIGKILL);
    waitpid(rival, nullptr, 0);
}

TEST("wrong_signature_before_the_abort_handler_is_sigsegv") {
    CHECK_SIGNALED(run_child([] {
                       drop_libc_area();
                       OK(sys_rseq(&area, sizeof area, 0, 0x11111111));
                       signal(SIGALRM, [](int) {});
                       itimerval timer{{0, 0}, {0, 20000}};
                       OK(setitimer(ITIMER_REAL, &timer, nullptr));
                       spin_in_section(1ULL << 40);
                   }),
                   SIGSEGV);
}

TEST("membarrier_query_names_commands") {
    const int all = OK(membarrier(MEMBARRIER_CMD_QUERY));
    CHECK_EQ(all & 0x1f, 0x1f);
    CHECK(all & MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE);
}

TEST("membarrier_private_needs_registration") {
    CHECK_ERRNO(membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED), EPERM);
    CHECK_ERRNO(membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE), EPERM);
    CHECK_ERRNO(membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ), EPERM);
    OK(membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED));
    OK(membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED));
    OK(membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE));
    OK(membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE));
    OK(membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ));
    OK(membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ));
}

TEST("membarrier_global") {
    OK(membarrier(MEMBARRIER_CMD_GLOBAL));
    OK(membarrier(MEMBARRIER_CMD_GLOBAL_EXPEDITED));
    OK(membarrier(MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED));
}

TEST("membarrier_argument_errors") {
    CHECK_ERRNO(membarrier(1 << 20), EINVAL);
    CHECK_ERRNO(membarrier(MEMBARRIER_CMD_GLOBAL, 1), EINVAL);
    CHECK_ERRNO(membarrier(MEMBARRIER_CMD_QUERY, 1), EINVAL);
}

TEST("membarrier_registrations_are_told_and_inherited_by_fork") {
    OK(membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED));
    CHECK_EQ(OK(membarrier(512)), MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED);
    CHECK_EXITED(run_child([] { OK(membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED)); }), 0);
}

TEST("membarrier_rseq_restarts_other_threads") {
    static std::atomic<int> state{0};
    OK(membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ));
    pthread_t thread;
    CHECK_EQ(pthread_create(
                 &thread, nullptr,
                 [](void*) -> void* {
                     take_area();
                     state = 1;
                     const int aborted = spin_in_section(1ULL << 40);
                     state = aborted ? 2 : 3;
                     return nullptr;
                 },
                 nullptr),
             0);
    while (state == 0) sleep_ms(1);
    for (int i = 0; i < 200 && state == 1; ++i) {
        sleep_ms(5);
        OK(membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ));
    }
    pthread_join(thread, nullptr);
    CHECK_EQ(state.load(), 2);
}
