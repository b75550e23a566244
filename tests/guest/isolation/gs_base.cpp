// The GS base is each thread's own: by arch_prctl and by WRGSBASE, across switches, signals and exec.
#include <pthread.h>
#include <sched.h>
#include <sys/auxv.h>
#include <sys/syscall.h>

#include "tests/guest/guest_test.hpp"

using namespace guest;

namespace {

constexpr int kSetGs = 0x1001, kGetGs = 0x1004;
constexpr int kThreads = 4;

bool has_wrgsbase() { return (getauxval(AT_HWCAP2) & 2) != 0; }

uint64_t at_gs() {
    uint64_t value;
    asm volatile("mov %%gs:0, %0" : "=r"(value));
    return value;
}

void set_gs(const uint64_t* base, bool by_instruction) {
    if (by_instruction)
        asm volatile("wrgsbase %0" : : "r"(base) : "memory");
    else
        OK(syscall(SYS_arch_prctl, kSetGs, base));
}

struct Area {
    uint64_t first, second;
    pthread_t thread;
    bool by_instruction;
};
Area areas[kThreads];
volatile sig_atomic_t strange = 0, handled = 0;

void* use_gs(void* pointer) {
    auto& area = *static_cast<Area*>(pointer);
    for (int i = 0; i < 1000; i++) {
        const uint64_t* base = i % 2 != 0 ? &area.first : &area.second;
        set_gs(base, area.by_instruction && i % 3 != 0);
        for (int k = 0; k < 100; k++) CHECK_EQ(at_gs(), *base);
        if (i % 16 == 0) sched_yield();
        CHECK_EQ(at_gs(), *base);
    }
    return nullptr;
}

}  // namespace

TEST("gs_bases_of_threads_stay_apart") {
    for (int i = 0; i < kThreads; i++) {
        areas[i] = {static_cast<uint64_t>(i) * 2 + 100, static_cast<uint64_t>(i) * 2 + 101, {}, has_wrgsbase()};
        CHECK_EQ(pthread_create(&areas[i].thread, nullptr, use_gs, &areas[i]), 0);
    }
    for (auto& area : areas) CHECK_EQ(pthread_join(area.thread, nullptr), 0);
}

TEST("gs_base_survives_signals_of_another_thread") {
    static uint64_t here = 0x1234;
    static volatile bool stop;
    struct sigaction action {};
    action.sa_handler = [](int) {
        if (at_gs() != here) strange = strange + 1;
        handled = handled + 1;
    };
    OK(sigaction(SIGUSR1, &action, nullptr));
    set_gs(&here, false);
    static const long target = syscall(SYS_gettid);
    pthread_t sender;
    const auto send = [](void*) -> void* {
        while (!stop) {
            syscall(SYS_tgkill, getpid(), target, SIGUSR1);
            sched_yield();
        }
        return nullptr;
    };
    CHECK_EQ(pthread_create(&sender, nullptr, send, nullptr), 0);
    while (handled < 60) CHECK_EQ(at_gs(), here);
    stop = true;
    pthread_join(sender, nullptr);
    CHECK_EQ(strange, 0);
}

TEST("a_handler_that_sets_the_gs_base_sets_it_for_good") {
    static uint64_t before = 1, after = 2;
    for (bool by_instruction : {false, true}) {
        if (by_instruction && !has_wrgsbase()) continue;
        static bool how;
        how = by_instruction;
        signal(SIGUSR1, [](int) { set_gs(&after, how); });
        set_gs(&before, by_instruction);
        raise(SIGUSR1);
        CHECK_EQ(at_gs(), after);
        sched_yield();
        CHECK_EQ(at_gs(), after);
    }
}

TEST("wrgsbase_is_told_by_arch_prctl_and_inherited_by_fork") {
    if (!has_wrgsbase()) SKIP("the kernel gives no FSGSBASE");
    static uint64_t here = 77;
    set_gs(&here, true);
    uint64_t base = 0;
    OK(syscall(SYS_arch_prctl, kGetGs, &base));
    CHECK_EQ(base, &here);
    CHECK_EXITED(run_child([] {
                     sleep_ms(1);
                     CHECK_EQ(at_gs(), 77);
                 }),
                 0);
    pthread_t thread;
    CHECK_EQ(pthread_create(
                 &thread, nullptr,
                 [](void*) -> void* {
                     CHECK_EQ(at_gs(), 77);  // CLONE_SETTLS sets the FS base; the other is the parent's
                     return nullptr;
                 },
                 nullptr),
             0);
    CHECK_EQ(pthread_join(thread, nullptr), 0);
}
