// A stub whose application has ended serves another one: nothing of the first may be left in it, neither what its registers held nor
// what it did to its runners.
#include <pthread.h>

#include "tests/guest/isolation/stub_attack.hpp"

using namespace guest;

namespace {

int right_result;

// Processes that do nothing bad, of which some are given the stub of one that did.
void start_innocents(const char* after) {
    for (int i = 0; i < 40; i++) {
        const pid_t pid = OK(fork());
        if (pid == 0) {
            pthread_t thread;
            CHECK_EQ(pthread_create(
                         &thread, nullptr,
                         [](void*) -> void* {
                             volatile double sum = 0;
                             for (int n = 0; n < 20'000; n++) sum = sum + 1;
                             return sum == 20'000 ? &right_result : nullptr;
                         },
                         nullptr),
                     0);
            for (int n = 0; n < 20; n++) {
                if (syscall(SYS_getpid) == syscall(SYS_getppid)) _exit(1);
                sched_yield();
            }
            void* result = nullptr;
            CHECK_EQ(pthread_join(thread, &result), 0);
            _exit(result == &right_result ? 7 : 2);
        }
        int status = 0;
        const uint64_t end = now_ns() + 5000 * kMillisecond;
        while (waitpid(pid, &status, WNOHANG) == 0) {
            if (now_ns() > end) fail(__FILE__, __LINE__, "after %s an innocent process hangs", after);
            sleep_ms(1);
        }
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 7)
            fail(__FILE__, __LINE__, "after %s an innocent process ended with 0x%x", after, status);
    }
}

}  // namespace

TEST("stub_without_a_frame_is_not_used_again") {
    const FoundStub& stub = find_stub();
    if (stub.base == 0) return;
    for (uint64_t context : {0ul, 1ul, ~0ul, 0x10000ul}) {
        run_child([&] {
            for (int attempt = 0; attempt < 1000; attempt++) {
                const unsigned n = static_cast<unsigned>(attempt) % stub.runners;
                if (!can_read(area_of(stub, n)) || runner_at(stub, n)->state != 1) continue;
                asm volatile("mov %0, %%rsp\n jmp *%1"
                             :
                             : "r"(area_of(stub, n) + 128), "r"(stub.handler), "D"(31), "S"(0), "d"(context)
                             : "memory");
            }
        });
        start_innocents("a frame that is nowhere");
    }
}

TEST("stub_with_a_runner_that_runs_on_is_not_used_again") {
    const FoundStub& stub = find_stub();
    if (stub.base == 0 || stub.runners < 2) return;
    static Witness witness(new_seed());
    for (int round = 0; round < 10; round++) {
        attack(witness, "runner that goes on", 300, [&] {
            static std::atomic<bool> waits;
            // Its runner waits in the host's kernel for a minute, and seems to have called pause().
            auto wait = [](void* argument) -> void* {
                const auto& where = *static_cast<const FoundStub*>(argument);
                static timespec minute{60, 0};
                // A word that nobody else wakes.
                const uint64_t word = reinterpret_cast<uint64_t>(runner_at(where, 0)->pad) + 128;
                waits = true;
                for (;;)
                    call_by_stub(where, {SYS_futex, word, 0, *reinterpret_cast<volatile uint32_t*>(word),
                                         reinterpret_cast<uint64_t>(&minute), 0, 0});
            };
            FoundStub copy = stub;
            pthread_t thread;
            if (pthread_create(&thread, nullptr, wait, &copy) != 0) _exit(1);
            while (!waits) sched_yield();
            sleep_ms(5);
            Random random(1);
            unsigned here = 0;
            syscall(SYS_getcpu, &here, nullptr, nullptr);
            for (unsigned n = 0; n < stub.runners; n++) {
                if (n == here || !can_read(area_of(stub, n)) || runner_at(stub, n)->state != 1) continue;
                abi::RunnerControl& control = *runner_at(stub, n);
                char* frame = frame_of(random, stub, control);
                put(frame + kGregs + REG_RAX * 8, SYS_pause);
                put(frame + kInfo + 16, 0x1234);
                put(frame + kInfo + 24, 0xc000'003e'0000'0022);
                control.signal = SIGSYS;
                control.state = 2;
                call_by_stub(stub, {SYS_futex, area_of(stub, n), 1, 1000, 0, 0, 0});
                // Time for that vCPU to believe it; a sleep here could bring this thread there.
                for (int i = 0; i < 300'000; i++) asm volatile("pause");
                _exit(0);
            }
        });
        start_innocents("a runner that goes on");
    }
    witness.check("a runner that goes on");
    witness.end();
}

TEST("stub_tells_nothing_of_its_last_application") {
    const FoundStub& stub = find_stub();
    if (stub.base == 0) return;
    constexpr uint64_t kSecret = 0x5ec2'e75e'c2e7'0bad;
    for (int round = 0; round < 20; round++) {
        // Ends with it in registers.
        run_child([] {
            asm volatile("movq %0, %%xmm7\n mov %0, %%r12\n xor %%edi, %%edi\n syscall"
                         :
                         : "r"(kSecret ^ 0xffff), "a"(SYS_exit_group)
                         : "rcx", "rdi", "r11", "r12", "xmm7", "memory");
        });
        CHECK_EXITED(run_child([&] {
                         for (unsigned n = 0; n < stub.runners; n++) {
                             if (!can_read(area_of(stub, n))) continue;
                             const auto* words = reinterpret_cast<const volatile uint64_t*>(runner_at(stub, n));
                             for (uint64_t i = 0; i < stub.area_size / 8; i++)
                                 if ((words[i] ^ 0xffff) == kSecret)
                                     fail(__FILE__, __LINE__, "runner %u, offset 0x%lx: another's register", n, i * 8);
                         }
                     }),
                     0);
    }
}

TEST("stub_with_a_runner_that_sleeps_unnoticed_is_not_used_again") {
    const FoundStub& stub = find_stub();
    if (stub.base == 0 || stub.runners < 2) return;
    static Witness witness(new_seed());
    for (int round = 0; round < 10; round++) {
        attack(witness, "sleeping runner", 300, [&] {
            for (int i = 0; i < 20; i++) sched_yield(), sleep_ms(1);
            // Says of each runner that waits that it does not sleep, that nothing is to be done and that it has no frame.
            for (unsigned n = 0; n < stub.runners; n++) {
                if (!can_read(area_of(stub, n)) || runner_at(stub, n)->state != 2) continue;
                memset(reinterpret_cast<char*>(runner_at(stub, n)) + 4, 0, sizeof(abi::RunnerControl) - 4);
            }
        });
        start_innocents("a runner that sleeps unnoticed");
    }
    witness.check("sleeping runner");
    witness.end();
}
