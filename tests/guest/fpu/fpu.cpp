// SSE, AVX and x87 state across preemption, system calls, fork and signals.
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <ucontext.h>

#include <atomic>
#include <cfenv>
#include <cmath>

#include "tests/guest/guest_test.hpp"

using namespace guest;

namespace {
bool has_avx() { return __builtin_cpu_supports("avx"); }
bool has_avx512() { return __builtin_cpu_supports("avx512f"); }

// Loads 16 vector registers with values of `seed`, lets the loop run, and counts registers that changed.
template <typename Between>
unsigned sse_round(uint64_t seed, Between between) {
    alignas(16) uint64_t in[32], out[32];
    for (int i = 0; i < 32; i++) in[i] = seed * 1000003 + static_cast<uint64_t>(i);
    // The loop in between must not use vector registers itself: one asm block does it all for spins; for calls a raw
    // syscall is used.
    between(in, out);
    return static_cast<unsigned>(memcmp(in, out, sizeof(in)) != 0);
}

#define LOAD_SSE                                                                                                     \
    "movdqa 0(%[in]), %%xmm0; movdqa 16(%[in]), %%xmm1; movdqa 32(%[in]), %%xmm2; movdqa 48(%[in]), %%xmm3\n"        \
    "movdqa 64(%[in]), %%xmm4; movdqa 80(%[in]), %%xmm5; movdqa 96(%[in]), %%xmm6; movdqa 112(%[in]), %%xmm7\n"      \
    "movdqa 128(%[in]), %%xmm8; movdqa 144(%[in]), %%xmm9; movdqa 160(%[in]), %%xmm10; movdqa 176(%[in]), %%xmm11\n" \
    "movdqa 192(%[in]), %%xmm12; movdqa 208(%[in]), %%xmm13; movdqa 224(%[in]), %%xmm14; movdqa 240(%[in]), %%xmm15\n"
#define STORE_SSE                                                                                                   \
    "movdqa %%xmm0, 0(%[out]); movdqa %%xmm1, 16(%[out]); movdqa %%xmm2, 32(%[out]); movdqa %%xmm3, 48(%[out])\n"   \
    "movdqa %%xmm4, 64(%[out]); movdqa %%xmm5, 80(%[out]); movdqa %%xmm6, 96(%[out]); movdqa %%xmm7, 112(%[out])\n" \
    "movdqa %%xmm8, 128(%[out]); movdqa %%xmm9, 144(%[out]); movdqa %%xmm10, 160(%[out]); movdqa %%xmm11, "         \
    "176(%[out])\n"                                                                                                 \
    "movdqa %%xmm12, 192(%[out]); movdqa %%xmm13, 208(%[out]); movdqa %%xmm14, 224(%[out]); movdqa %%xmm15, "       \
    "240(%[out])\n"
#define SSE_CLOBBERS                                                                                           \
    "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", \
        "xmm13", "xmm14", "xmm15"
#define EACH_YMM(macro)                                                                                           \
    macro(0) macro(1) macro(2) macro(3) macro(4) macro(5) macro(6) macro(7) macro(8) macro(9) macro(10) macro(11) \
        macro(12) macro(13) macro(14) macro(15)
#define LOAD_YMM(n) "vmovdqu " #n "*32(%[in]), %%ymm" #n "\n"
#define STORE_YMM(n) "vmovdqu %%ymm" #n ", " #n "*32(%[out])\n"
#define EACH_ZMM(macro)                                                                                           \
    EACH_YMM(macro)                                                                                               \
    macro(16) macro(17) macro(18) macro(19) macro(20) macro(21) macro(22) macro(23) macro(24) macro(25) macro(26) \
        macro(27) macro(28) macro(29) macro(30) macro(31)
#define LOAD_ZMM(n) "vmovdqu64 " #n "*64(%[in]), %%zmm" #n "\n"
#define STORE_ZMM(n) "vmovdqu64 %%zmm" #n ", " #n "*64(%[out])\n"
#define SPIN "mov $40000, %%ecx\n 1: dec %%ecx\n jnz 1b\n"

unsigned sse_spin(uint64_t seed) {
    return sse_round(seed, [](uint64_t* in, uint64_t* out) {
        asm volatile(LOAD_SSE SPIN STORE_SSE : : [in] "r"(in), [out] "r"(out) : "rcx", "cc", "memory", SSE_CLOBBERS);
    });
}

unsigned sse_syscall(uint64_t seed, long number) {
    return sse_round(seed, [=](uint64_t* in, uint64_t* out) {
        long result = number;
        asm volatile(LOAD_SSE "syscall\n" STORE_SSE
                     : "+a"(result)
                     : [in] "r"(in), [out] "r"(out)
                     : "rcx", "r11", "cc", "memory", SSE_CLOBBERS);
    });
}

__attribute__((target("avx"))) unsigned avx_spin(uint64_t seed) {
    uint64_t in[64], out[64];
    for (int i = 0; i < 64; i++) in[i] = seed * 7777777 + static_cast<uint64_t>(i);
    asm volatile(EACH_YMM(LOAD_YMM) SPIN EACH_YMM(STORE_YMM)
                 :
                 : [in] "r"(in), [out] "r"(out)
                 : "rcx", "cc", "memory", SSE_CLOBBERS);
    return static_cast<unsigned>(memcmp(in, out, sizeof(in)) != 0);
}

__attribute__((target("avx"))) unsigned avx_syscall(uint64_t seed, long number) {
    uint64_t in[64], out[64];
    for (int i = 0; i < 64; i++) in[i] = seed * 7777777 + static_cast<uint64_t>(i);
    asm volatile(EACH_YMM(LOAD_YMM) "syscall\n" EACH_YMM(STORE_YMM)
                 : "+a"(number)
                 : [in] "r"(in), [out] "r"(out)
                 : "rcx", "r11", "cc", "memory", SSE_CLOBBERS);
    return static_cast<unsigned>(memcmp(in, out, sizeof(in)) != 0);
}

__attribute__((target("avx512f"))) unsigned avx512_spin(uint64_t seed) {
    uint64_t in[256], out[256], masks[2] = {seed & 0xffff, 0};
    for (int i = 0; i < 256; i++) in[i] = seed * 31337 + static_cast<uint64_t>(i);
    asm volatile("kmovw %k[mask], %%k3\n" EACH_ZMM(LOAD_ZMM)
                     SPIN EACH_ZMM(STORE_ZMM) "kmovw %%k3, %%ecx\n mov %%rcx, 8(%[masks])\n"
                 :
                 : [in] "r"(in), [out] "r"(out), [masks] "r"(masks), [mask] "r"(static_cast<unsigned>(masks[0]))
                 : "rcx", "cc", "memory", SSE_CLOBBERS);
    return static_cast<unsigned>(memcmp(in, out, sizeof(in)) != 0 || masks[0] != masks[1]);
}

// `work(seed)` in several threads at once for a while; the number of rounds in which state was lost.
template <unsigned (*kWork)(uint64_t)>
unsigned in_threads() {
    static std::atomic<unsigned> bad{0}, next{1};
    pthread_t threads[5];
    for (auto& thread : threads)
        CHECK_EQ(pthread_create(
                     &thread, nullptr,
                     [](void*) -> void* {
                         uint64_t seed = next++;
                         uint64_t end = now_ns() + 150000000;
                         for (int i = 0; now_ns() < end; i++) {
                             bad += kWork(seed + static_cast<uint64_t>(i) * 100);
                             if (i % 16 == 0) sched_yield();
                         }
                         return nullptr;
                     },
                     nullptr),
                 0);
    for (auto& thread : threads) CHECK_EQ(pthread_join(thread, nullptr), 0);
    return bad;
}

void alarm_every_ms() {
    itimerval timer = {{0, 1000}, {0, 1000}};
    OK(setitimer(ITIMER_REAL, &timer, nullptr));
}
volatile sig_atomic_t hits = 0;
}  // namespace

TEST("sse_across_preemption_by_threads") { CHECK_EQ(in_threads<sse_spin>(), 0); }

TEST("sse_across_preemption_by_processes") {
    pid_t pids[5];
    for (int p = 0; p < 5; p++) {
        pids[p] = OK(fork());
        if (pids[p] != 0) continue;
        unsigned bad = 0;
        uint64_t end = now_ns() + 150000000;
        for (int i = 0; now_ns() < end; i++) bad += sse_spin(static_cast<uint64_t>(p * 1000000 + i));
        _exit(bad == 0 ? 0 : 1);
    }
    for (auto pid : pids) {
        int status;
        OK(waitpid(pid, &status, 0));
        CHECK_EXITED(status, 0);
    }
}

TEST("avx_across_preemption_by_threads") {
    if (!has_avx()) SKIP("no AVX");
    CHECK_EQ(in_threads<avx_spin>(), 0);
}

TEST("avx512_across_preemption_by_threads") {
    if (!has_avx512()) SKIP("no AVX-512");
    CHECK_EQ(in_threads<avx512_spin>(), 0);
}

TEST("sse_across_system_calls") {
    for (uint64_t i = 0; i < 200; i++) {
        CHECK_EQ(sse_syscall(i, SYS_getppid), 0);
        CHECK_EQ(sse_syscall(i, SYS_sched_yield), 0);
    }
}

TEST("avx_across_system_calls") {
    if (!has_avx()) SKIP("no AVX");
    for (uint64_t i = 0; i < 200; i++) CHECK_EQ(avx_syscall(i, SYS_sched_yield), 0);
}

TEST("sse_across_page_faults") {
    alignas(16) uint64_t in[32], out[32];
    static char area[64 * 4096];
    for (int page = 0; page < 64; page++) {
        for (int i = 0; i < 32; i++) in[i] = static_cast<uint64_t>(page * 100 + i);
        asm volatile(LOAD_SSE "movb $1, (%[touch])\n" STORE_SSE
                     :
                     : [in] "r"(in), [out] "r"(out), [touch] "r"(area + page * 4096)
                     : "memory", SSE_CLOBBERS);
        CHECK_EQ(memcmp(in, out, sizeof(in)), 0);
    }
}

TEST("child_inherits_vector_registers") {
    alignas(16) uint64_t in[32], out[32] = {};
    for (int i = 0; i < 32; i++) in[i] = 0xabc0000 + static_cast<uint64_t>(i);
    long result = SYS_fork;
    asm volatile(LOAD_SSE "syscall\n" STORE_SSE
                 : "+a"(result)
                 : [in] "r"(in), [out] "r"(out)
                 : "rcx", "r11", "cc", "memory", SSE_CLOBBERS);
    if (result == 0) _exit(memcmp(in, out, sizeof(in)) == 0 ? 0 : 1);
    CHECK_EQ(memcmp(in, out, sizeof(in)), 0);
    int status;
    OK(waitpid(static_cast<pid_t>(result), &status, 0));
    CHECK_EXITED(status, 0);
}

TEST("handler_does_not_disturb_vector_registers") {
    struct sigaction action = {};
    action.sa_handler = [](int) {
        hits = hits + 1;
        alignas(16) static uint64_t noise[32] = {1, 2, 3};
        asm volatile(LOAD_SSE : : [in] "r"(noise) : "memory", SSE_CLOBBERS);
    };
    OK(sigaction(SIGALRM, &action, nullptr));
    alarm_every_ms();
    unsigned bad = 0;
    for (uint64_t i = 0; hits < 10; i++) bad += sse_spin(i);
    CHECK_EQ(bad, 0);
}

TEST("handler_does_not_disturb_avx") {
    if (!has_avx()) SKIP("no AVX");
    struct sigaction action = {};
    action.sa_handler = [](int) {
        hits = hits + 1;
        asm volatile("vzeroall" : : : "memory", SSE_CLOBBERS);
    };
    OK(sigaction(SIGALRM, &action, nullptr));
    alarm_every_ms();
    unsigned bad = 0;
    for (uint64_t i = 0; hits < 10; i++) bad += avx_spin(i);
    CHECK_EQ(bad, 0);
}

TEST("handler_starts_with_default_control_words") {
    static unsigned mxcsr = 0;
    static unsigned short control = 0;
    struct sigaction action = {};
    action.sa_handler = [](int) { asm volatile("stmxcsr %0\n fnstcw %1" : "=m"(mxcsr), "=m"(control)); };
    OK(sigaction(SIGUSR1, &action, nullptr));
    unsigned own = 0x1f80 | 0x6000, after = 0;  // round to zero
    asm volatile("ldmxcsr %0" : : "m"(own));
    raise(SIGUSR1);
    asm volatile("stmxcsr %0" : "=m"(after));
    CHECK_EQ(after & 0x6000, 0x6000);
    CHECK_EQ(control, 0x37f);
    CHECK(mxcsr == 0x1f80 || (mxcsr & 0x6000) == 0x6000);
}

TEST("context_holds_fpu_state") {
    static uint64_t low = 0;
    struct sigaction action = {};
    action.sa_flags = SA_SIGINFO;
    action.sa_sigaction = [](int, siginfo_t*, void* context) {
        auto* state = static_cast<ucontext_t*>(context)->uc_mcontext.fpregs;
        memcpy(&low, &state->_xmm[9], sizeof(low));
        uint64_t changed = 0x5555;
        memcpy(&state->_xmm[9], &changed, sizeof(changed));
    };
    OK(sigaction(SIGUSR1, &action, nullptr));
    alignas(16) uint64_t in[32] = {}, out[32];
    in[18] = 0x123456789abcul;
    long result = SYS_kill;
    asm volatile(LOAD_SSE "syscall\n" STORE_SSE
                 : "+a"(result)
                 : [in] "r"(in), [out] "r"(out), "D"(static_cast<long>(getpid())), "S"(static_cast<long>(SIGUSR1))
                 : "rcx", "r11", "cc", "memory", SSE_CLOBBERS);
    CHECK_EQ(low, 0x123456789abcul);
    CHECK_EQ(out[18], 0x5555);
    CHECK_EQ(out[16], 0);
}

TEST("x87_state_across_yield") {
    long double pi = 3.14159265358979323846264338327950288L;
    for (int i = 0; i < 50; i++) {
        asm volatile("fldt %0" : : "m"(pi));
        sched_yield();
        long double back;
        asm volatile("fstpt %0" : "=m"(back));
        CHECK(memcmp(&back, &pi, 10) == 0);
    }
}

TEST("rounding_mode_is_per_thread") {
    fesetround(FE_UPWARD);
    static std::atomic<int> child_mode{-1};
    pthread_t thread;
    pthread_create(
        &thread, nullptr,
        [](void*) -> void* {
            child_mode = fegetround();
            fesetround(FE_DOWNWARD);
            sched_yield();
            return nullptr;
        },
        nullptr);
    pthread_join(thread, nullptr);
    CHECK_EQ(child_mode.load(), FE_UPWARD);
    CHECK_EQ(fegetround(), FE_UPWARD);
}

TEST("new_program_starts_with_clean_state") {
    // awk computes with doubles: a rounding mode or unmasked exceptions left over from us would show.
    fesetround(FE_UPWARD);
    CHECK_EXITED(run_child([] {
                     execl("/bin/sh", "sh", "-c",
                           "test \"$(awk 'BEGIN { printf \"%.20f\", 0.1 + 0.2 }')\" = 0.30000000000000004441", nullptr);
                 }),
                 0);
}

TEST("simd_exception_is_sigfpe") {
    Trap trap = trap_of([] {
        unsigned unmasked = 0x1f80 & ~(1u << 9);  // divide by zero
        asm volatile("ldmxcsr %0" : : "m"(unmasked));
        volatile double zero = 0, one = 1;
        volatile double result = one / zero;
        (void)result;
    });
    CHECK_EQ(trap.signo, SIGFPE);
    CHECK_EQ(trap.code, FPE_FLTDIV);
}

TEST("x87_exception_waits_through_switches") {
    Trap trap = trap_of([] {
        const unsigned short unmasked = 0x37f & ~(1u << 2);  // divide by zero
        asm volatile("fninit; fldcw %0; fld1; fldz; fdivrp %%st, %%st(1)" : : "m"(unmasked));
        const timespec moment = {0, 1'000'000};
        for (int i = 0; i < 3; i++) {
            sched_yield();
            syscall(SYS_nanosleep, &moment, nullptr);
            for (int k = 0; k < 500; k++) syscall(SYS_getppid);
        }
        if (pid_t pid = fork(); pid == 0)
            syscall(SYS_exit_group, 0);
        else
            waitpid(pid, nullptr, 0);
        asm volatile("fwait");
    });
    CHECK_EQ(trap.signo, SIGFPE);
    CHECK_EQ(trap.code, FPE_FLTDIV);
}

TEST("math_in_parallel_is_right") {
    static std::atomic<int> wrong{0};
    pthread_t threads[4];
    for (long i = 0; i < 4; i++)
        pthread_create(
            &threads[i], nullptr,
            [](void* index) -> void* {
                double sum = 0;
                for (int k = 1; k < 200000; k++)
                    sum += std::sqrt(static_cast<double>(k)) / (1 + reinterpret_cast<long>(index));
                double again = 0;
                for (int k = 1; k < 200000; k++)
                    again += std::sqrt(static_cast<double>(k)) / (1 + reinterpret_cast<long>(index));
                if (sum != again) wrong++;
                return nullptr;
            },
            reinterpret_cast<void*>(i));
    for (auto thread : threads) pthread_join(thread, nullptr);
    CHECK_EQ(wrong.load(), 0);
}
