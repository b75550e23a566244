// Vector state in signal frames, across fork, page faults and signals that come at any instruction.
#include <immintrin.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>

#include <atomic>

#include "tests/guest/guest_test.hpp"

using namespace guest;

namespace {

constexpr uint32_t kMagic1 = 0x46505853, kMagic2 = 0x46505845;
constexpr size_t kYmmHighOffset = 576;  // in the standard XSAVE format

bool has_avx() { return __builtin_cpu_supports("avx"); }

// 16 YMM registers of `seed`, then a system call, and whether they are unchanged. Gives the call's result, too.
__attribute__((target("avx"))) bool ymm_survive(uint64_t seed, long& number, uint64_t argument = 0, uint64_t second = 0,
                                                uint64_t third = 0) {
    uint64_t in[64], out[64];
    for (size_t i = 0; i < 64; i++) in[i] = seed * 0x9e3779b97f4a7c15 + i;
#define EACH(m) m(0) m(1) m(2) m(3) m(4) m(5) m(6) m(7) m(8) m(9) m(10) m(11) m(12) m(13) m(14) m(15)
#define LOAD(n) "vmovdqu " #n "*32(%[in]), %%ymm" #n "\n"
#define STORE(n) "vmovdqu %%ymm" #n ", " #n "*32(%[out])\n"
    asm volatile(EACH(LOAD) "syscall\n" EACH(STORE)
                 : "+a"(number)
                 : [in] "r"(in), [out] "r"(out), "D"(argument), "S"(second), "d"(third)
                 : "rcx", "r11", "cc", "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8",
                   "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
    return memcmp(in, out, sizeof(in)) == 0;
}

const unsigned char* xstate_of(void* context) {
    return reinterpret_cast<unsigned char*>(static_cast<ucontext_t*>(context)->uc_mcontext.fpregs);
}

uint32_t word_at(const unsigned char* at) {
    uint32_t word;
    memcpy(&word, at, sizeof(word));
    return word;
}

}  // namespace

TEST("avx_across_fork") {
    if (!has_avx()) SKIP("no AVX");
    for (uint64_t i = 0; i < 10; i++) {
        long result = SYS_fork;
        const bool good = ymm_survive(i, result);
        if (result == 0) _exit(good ? 0 : 1);
        CHECK(good);
        int status;
        OK(waitpid(static_cast<pid_t>(result), &status, 0));
        CHECK_EXITED(status, 0);
    }
}

TEST("avx_across_raised_signals") {
    if (!has_avx()) SKIP("no AVX");
    struct sigaction action {};
    action.sa_handler = [](int) { asm volatile("vzeroall" : : : "memory", "xmm0", "xmm15"); };
    OK(sigaction(SIGUSR1, &action, nullptr));
    for (uint64_t i = 0; i < 200; i++) {
        long result = SYS_tgkill;
        CHECK(ymm_survive(i, result, static_cast<uint64_t>(getpid()), static_cast<uint64_t>(syscall(SYS_gettid)),
                          SIGUSR1));
        CHECK_EQ(result, 0);
    }
}

TEST("signal_frame_says_where_its_xstate_ends") {
    if (!has_avx()) SKIP("no AVX");
    static uint32_t first, last, size, whole;
    static uint64_t features;
    struct sigaction action {};
    action.sa_flags = SA_SIGINFO;
    action.sa_sigaction = [](int, siginfo_t*, void* context) {
        const unsigned char* state = xstate_of(context);
        first = word_at(state + 464), whole = word_at(state + 468), size = word_at(state + 480);
        memcpy(&features, state + 472, sizeof(features));
        if (first == kMagic1 && size >= kYmmHighOffset && size < 65536) last = word_at(state + size);
    };
    OK(sigaction(SIGUSR1, &action, nullptr));
    raise(SIGUSR1);
    CHECK_EQ(first, kMagic1);
    CHECK_EQ(last, kMagic2);
    CHECK_EQ(whole, size + 4);
    CHECK_EQ(features & 7, 7);
}

TEST("handler_changes_ymm_by_the_frame") {
    if (!has_avx()) SKIP("no AVX");
    struct sigaction action {};
    action.sa_flags = SA_SIGINFO;
    action.sa_sigaction = [](int, siginfo_t*, void* context) {
        auto* state = const_cast<unsigned char*>(xstate_of(context));
        const uint64_t upper[2] = {0x1111, 0x2222};
        memcpy(state + kYmmHighOffset + 5 * 16, upper, sizeof(upper));
        state[512] |= 4;  // XSTATE_BV: the upper halves are not at their initial state
    };
    OK(sigaction(SIGUSR1, &action, nullptr));
    uint64_t in[4] = {1, 2, 3, 4}, out[4];
    long result = SYS_tgkill;
    asm volatile("vmovdqu (%[in]), %%ymm5; syscall; vmovdqu %%ymm5, (%[out])"
                 : "+a"(result)
                 : [in] "r"(in), [out] "r"(out), "D"(static_cast<long>(getpid())), "S"(syscall(SYS_gettid)),
                   "d"(static_cast<long>(SIGUSR1))
                 : "rcx", "r11", "memory", "xmm5");
    CHECK_EQ(out[0], 1);
    CHECK_EQ(out[1], 2);
    CHECK_EQ(out[2], 0x1111);
    CHECK_EQ(out[3], 0x2222);
}

// What a handler writes there that no XRSTOR takes: Linux kills by SIGSEGV.
TEST("frame_with_a_broken_xstate_is_sigsegv") {
    if (!has_avx()) SKIP("no AVX");
    const int status = run_child([] {
        struct sigaction action {};
        action.sa_flags = SA_SIGINFO;
        action.sa_sigaction = [](int, siginfo_t*, void* context) {
            auto* state = const_cast<unsigned char*>(xstate_of(context));
            memset(state + 24, 0xff, 4);         // MXCSR: bits that do not exist
            memset(state + 512 + 16, 0xff, 48);  // the header's reserved bytes
        };
        OK(sigaction(SIGUSR1, &action, nullptr));
        raise(SIGUSR1);
    });
    CHECK_SIGNALED(status, SIGSEGV);
}

TEST("control_words_across_preemption") {
    static std::atomic<int> wrong{0};
    pthread_t threads[4];
    for (long n = 0; n < 4; n++)
        CHECK_EQ(pthread_create(
                     &threads[n], nullptr,
                     [](void* argument) -> void* {
                         const auto number = static_cast<unsigned>(reinterpret_cast<long>(argument));
                         const unsigned mxcsr = 0x1f80 | number << 13;
                         const auto control = static_cast<unsigned short>(0x37f | number << 10);
                         asm volatile("ldmxcsr %0; fldcw %1" : : "m"(mxcsr), "m"(control));
                         const uint64_t end = now_ns() + 100'000'000;
                         for (int i = 0; now_ns() < end; i++) {
                             unsigned mxcsr_now;
                             unsigned short control_now;
                             asm volatile("stmxcsr %0; fnstcw %1" : "=m"(mxcsr_now), "=m"(control_now));
                             if ((mxcsr_now & ~0x3fu) != mxcsr || control_now != control) wrong++;
                             if (i % 64 == 0) sched_yield();
                         }
                         return nullptr;
                     },
                     reinterpret_cast<void*>(n)),
                 0);
    for (auto thread : threads) pthread_join(thread, nullptr);
    CHECK_EQ(wrong.load(), 0);
}
