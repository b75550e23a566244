// Applications that are hostile against the process platform: they write to the pages of the stub that they run in, and jump into its
// code. That may end them, and nobody else: a process that watches, and the one that started them, must not notice.
#include <pthread.h>
#include <sched.h>

#include "tests/guest/isolation/stub_attack.hpp"

using namespace guest;

namespace {

// Threads whose runners are worth an attack: they make system calls, fault, and are preempted.
void* call_forever(void*) {
    for (;;) syscall(SYS_getppid);
}
void* fault_forever(void*) {
    constexpr size_t kSize = 16 * 4096;
    for (;;) {
        void* at = mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (at == MAP_FAILED) continue;
        for (size_t i = 0; i < kSize; i += 4096) static_cast<volatile char*>(at)[i] = 1;
        mprotect(at, kSize, PROT_READ);
        munmap(at, kSize);
    }
}
void* spin_forever(void*) {
    for (double value = 1;; value = value * 1.0000001) asm volatile("pause" : "+x"(value));
}
void start_victims() {
    pthread_t thread;
    for (auto* body : {call_forever, fault_forever, spin_forever}) pthread_create(&thread, nullptr, body, nullptr);
}

// The runners that there are in this process by now; those of other vCPUs are not mapped.
unsigned present(const FoundStub& stub, unsigned (&runners)[abi::kMaxCpus]) {
    unsigned count = 0;
    for (unsigned n = 0; n < stub.runners; n++)
        if (can_read(area_of(stub, n))) runners[count++] = n;
    return count;
}

uint64_t awkward_address(Random& random, const FoundStub& stub, uint64_t area) {
    switch (random.below(10)) {
        case 0: return area + random.below(stub.area_size);
        case 1: return area + (random.below(stub.area_size) & ~63ULL);
        case 2: return area + stub.area_size - random.below(1200);
        case 3: return area + random.below(512);
        case 4: return random.next() | 0xffff'8000'0000'0000;
        case 5: return random.next();
        case 6: return 0 - random.below(64);
        case 7: return abi::kProcessDirectMap + random.below(0x1000'0000);
        case 8: return abi::kProcessSentryBase + random.below(0x20'0000);
        default: return area + random.below(2 * abi::kRunnerStride) - abi::kRunnerStride;
    }
}

char* fpu_of(Random& random, const FoundStub& stub, abi::RunnerControl& control) {
    const uint64_t area = reinterpret_cast<uint64_t>(&control);
    uint64_t at;
    memcpy(&at, frame_of(random, stub, control) + offsetof(ucontext_t, uc_mcontext.fpregs), sizeof at);
    if (at - area < 256 || at - area + 1024 > stub.area_size) at = area + 576;
    return reinterpret_cast<char*>(at);
}

struct Writer {
    const char* name;
    void (*write)(Random&, const FoundStub&, abi::RunnerControl&);
};
const Writer kWriters[] = {
    {"state",
     [](Random& random, const FoundStub&, abi::RunnerControl& control) {
         const uint32_t states[] = {0, 1, 2, 3, ~0u};
         control.state = states[random.below(5)];
     }},
    {"trapped", [](Random&, const FoundStub&, abi::RunnerControl& control) { control.state = 2; }},
    {"signal",
     [](Random& random, const FoundStub&, abi::RunnerControl& control) {
         control.signal = static_cast<uint32_t>(random.below(4) ? random.below(66) : random.next());
     }},
    {"context",
     [](Random& random, const FoundStub& stub, abi::RunnerControl& control) {
         control.context = awkward_address(random, stub, reinterpret_cast<uint64_t>(&control));
     }},
    {"info",
     [](Random& random, const FoundStub& stub, abi::RunnerControl& control) {
         control.info = awkward_address(random, stub, reinterpret_cast<uint64_t>(&control));
     }},
    {"resume_context",
     [](Random& random, const FoundStub& stub, abi::RunnerControl& control) {
         control.resume_context = awkward_address(random, stub, reinterpret_cast<uint64_t>(&control));
     }},
    {"bases",
     [](Random& random, const FoundStub& stub, abi::RunnerControl& control) {
         control.fs_base = awkward_address(random, stub, reinterpret_cast<uint64_t>(&control));
         control.gs_base = awkward_address(random, stub, reinterpret_cast<uint64_t>(&control));
     }},
    {"set_bases",
     [](Random& random, const FoundStub& stub, abi::RunnerControl& control) {
         control.new_fs_base = awkward_address(random, stub, reinterpret_cast<uint64_t>(&control));
         control.new_gs_base = awkward_address(random, stub, reinterpret_cast<uint64_t>(&control));
         control.set_bases = static_cast<uint32_t>(random.next());
     }},
    {"spin", [](Random&, const FoundStub&, abi::RunnerControl& control) { control.spin = ~0u; }},
    {"fpstate",
     [](Random& random, const FoundStub& stub, abi::RunnerControl& control) {
         put(frame_of(random, stub, control) + offsetof(ucontext_t, uc_mcontext.fpregs),
             awkward_address(random, stub, reinterpret_cast<uint64_t>(&control)));
     }},
    {"xstate_bv",
     [](Random& random, const FoundStub& stub, abi::RunnerControl& control) {
         put(fpu_of(random, stub, control) + 512, random.next() | 1ULL << random.below(64));
     }},
    {"xcomp_bv",
     [](Random& random, const FoundStub& stub, abi::RunnerControl& control) {
         put(fpu_of(random, stub, control) + 520, 1ULL << 63 | random.next());
     }},
    {"mxcsr", [](Random& random, const FoundStub& stub,
                 abi::RunnerControl& control) { put(fpu_of(random, stub, control) + 24, ~0u, 4); }},
    {"sw_reserved",
     [](Random& random, const FoundStub& stub, abi::RunnerControl& control) {
         put(fpu_of(random, stub, control) + 464 + 4 * random.below(12), random.next(), 4);
     }},
    {"selectors",
     [](Random& random, const FoundStub& stub, abi::RunnerControl& control) {
         put(frame_of(random, stub, control) + kGregs + REG_CSGSFS * 8, random.next());
     }},
    {"flags",
     [](Random& random, const FoundStub& stub, abi::RunnerControl& control) {
         put(frame_of(random, stub, control) + kGregs + REG_EFL * 8, random.below(2) ? ~0ULL : random.next());
     }},
    {"rip_and_rsp",
     [](Random& random, const FoundStub& stub, abi::RunnerControl& control) {
         const uint64_t area = reinterpret_cast<uint64_t>(&control);
         put(frame_of(random, stub, control) + kGregs + (random.below(2) ? REG_RIP : REG_RSP) * 8,
             awkward_address(random, stub, area));
     }},
    {"fault",
     [](Random& random, const FoundStub& stub, abi::RunnerControl& control) {
         char* frame = frame_of(random, stub, control);
         put(frame + kGregs + REG_TRAPNO * 8, random.below(8) ? random.below(34) : random.next());
         put(frame + kGregs + REG_ERR * 8, random.next());
         put(frame + kGregs + REG_CR2 * 8, awkward_address(random, stub, reinterpret_cast<uint64_t>(&control)));
     }},
    {"siginfo",
     [](Random& random, const FoundStub& stub, abi::RunnerControl& control) {
         put(frame_of(random, stub, control) + kInfo + 8 * random.below(6), random.next());
     }},
    {"mask", [](Random& random, const FoundStub& stub,
                abi::RunnerControl& control) { put(frame_of(random, stub, control) + kMask, ~0ULL); }},
    {"stack",
     [](Random& random, const FoundStub& stub, abi::RunnerControl& control) {
         char* frame = frame_of(random, stub, control);
         put(frame + offsetof(ucontext_t, uc_stack),
             awkward_address(random, stub, reinterpret_cast<uint64_t>(&control)));
         put(frame + offsetof(ucontext_t, uc_stack.ss_flags), random.next(), 4);
         put(frame + offsetof(ucontext_t, uc_stack.ss_size), random.next() >> random.below(64));
     }},
    {"context_flags", [](Random& random, const FoundStub& stub,
                         abi::RunnerControl& control) { put(frame_of(random, stub, control), random.next()); }},
    {"frame",
     [](Random& random, const FoundStub& stub, abi::RunnerControl& control) {
         put(frame_of(random, stub, control) + random.below(1024), random.next(), 1 + random.below(8));
     }},
    {"area",
     [](Random& random, const FoundStub& stub, abi::RunnerControl& control) {
         put(reinterpret_cast<char*>(&control) + random.below(stub.area_size), random.next(), 1);
     }},
    {"control",
     [](Random& random, const FoundStub&, abi::RunnerControl& control) {
         put(reinterpret_cast<char*>(&control) + 8 * random.below(9), random.next());
     }},
    {"everything",
     [](Random& random, const FoundStub& stub, abi::RunnerControl& control) {
         for (uint64_t at = 0; at < stub.area_size; at += 8) put(reinterpret_cast<char*>(&control) + at, random.next());
     }},
};

// Does one kind of writes to all runners, more or less often, while other threads use them.
void write_forever(const FoundStub& stub, const Writer& writer, uint64_t seed) {
    Random random(seed);
    start_victims();
    sleep_ms(2);  // runners come to be
    unsigned runners[abi::kMaxCpus];
    const unsigned count = present(stub, runners);
    const uint64_t pause = random.below(2) ? random.below(20'000) : 0;
    for (;;) {
        writer.write(random, stub, *runner_at(stub, runners[random.below(count)]));
        for (uint64_t i = 0; i < pause; i++) asm volatile("pause");
    }
}

// A signal frame of our own making, which is given to the stub's signal handler as the kernel does.
struct Forged {
    uint64_t signal, trap, error, address;
    uint64_t info[4];
};

void landed() { _exit(0); }

void forge(const FoundStub& stub, Random& random, const Forged& forged) {
    static char stack[65536] __attribute__((aligned(64)));
    for (int attempt = 0; attempt < 1000; attempt++) {
        const unsigned n = static_cast<unsigned>(attempt) % stub.runners;
        // The runner that carries this thread.
        if (!can_read(area_of(stub, n)) || runner_at(stub, n)->state != 1) continue;
        signal(SIGSEGV, SIG_DFL);
        char* context = frame_of(random, stub, *runner_at(stub, n));
        auto set = [context](int reg, uint64_t value) { put(context + kGregs + static_cast<size_t>(reg) * 8, value); };
        set(REG_RIP, reinterpret_cast<uint64_t>(landed));
        set(REG_RSP, reinterpret_cast<uint64_t>(stack + sizeof stack - 8));
        set(REG_RAX, random.below(460));
        set(REG_TRAPNO, forged.trap);
        set(REG_ERR, forged.error);
        set(REG_CR2, forged.address);
        memcpy(context + kInfo, forged.info, sizeof forged.info);
        asm volatile("mov %0, %%rsp\n jmp *%1"
                     :
                     : "r"(area_of(stub, n) + 128), "r"(stub.handler), "D"(forged.signal), "S"(context + kInfo),
                       "d"(context)
                     : "memory");
        __builtin_unreachable();
    }
    _exit(1);
}

Forged random_frame(Random& random, const FoundStub& stub) {
    const uint64_t area = area_of(stub, 0);
    Forged forged{};
    forged.error = random.below(2) ? random.below(64) : random.next();
    forged.address = awkward_address(random, stub, area);
    for (uint64_t& word : forged.info) word = random.next();
    const uint32_t codes[] = {0, 1, 2, 0x80, ~0u};
    forged.info[1] = codes[random.below(5)];
    if (random.below(2)) forged.info[2] = awkward_address(random, stub, area);
    if (random.below(4) == 0) forged.info[2] = 0xffff'ffff'ff60'0000 + random.below(4096);
    const uint64_t archs[] = {0xc000'003e, 0x4000'0003, 0, random.next()};
    forged.info[3] = archs[random.below(4)] << 32 | random.below(460);
    return forged;
}

// Jumps there with any registers, of which some look like what the code expects.
[[noreturn]] void jump_into(const FoundStub& stub, uint64_t target, Random& random) {
    static uint64_t own[1024] __attribute__((aligned(4096)));
    uint64_t registers[16];
    for (uint64_t& value : registers) {
        switch (random.below(8)) {
            case 0: value = random.next(); break;
            case 1: value = random.below(512); break;
            case 2: value = stub.base + abi::kStubOrders; break;
            case 3: value = reinterpret_cast<uint64_t>(own) + 8 * random.below(512); break;
            case 4: value = 0; break;
            default: value = area_of(stub, static_cast<unsigned>(random.below(stub.runners))) + 8 * random.below(256);
        }
    }
    for (uint64_t& word : own) word = registers[random.below(16)];
    registers[15] = target;
    asm volatile(
        "mov 0(%%rax), %%rbx\n mov 8(%%rax), %%rcx\n mov 16(%%rax), %%rdx\n mov 24(%%rax), %%rsi\n"
        "mov 32(%%rax), %%rdi\n mov 40(%%rax), %%rbp\n mov 48(%%rax), %%rsp\n mov 56(%%rax), %%r8\n"
        "mov 64(%%rax), %%r9\n mov 72(%%rax), %%r10\n mov 80(%%rax), %%r11\n mov 88(%%rax), %%r12\n"
        "mov 96(%%rax), %%r13\n mov 104(%%rax), %%r14\n mov 120(%%rax), %%r15\n mov 112(%%rax), %%rax\n jmp *%%r15"
        :
        : "a"(registers)
        : "memory");
    __builtin_unreachable();
}

// Several attackers at a time, each for at most `ms`.
template <typename Body>
void attack_many(Witness& witness, const char* what, uint64_t count, unsigned ms, Body body) {
    constexpr unsigned kAtOnce = 12;
    for (uint64_t at = 0; at < count;) {
        pid_t started[kAtOnce];
        unsigned n = 0;
        for (; n < kAtOnce && at < count; n++, at++) started[n] = start([&body, at] { body(at); });
        for (unsigned i = 0; i < n; i++) finish(witness, what, started[i], i == 0 ? ms : 0);
    }
}

}  // namespace

TEST("stub_pages_cannot_be_written") {
    const FoundStub& stub = find_stub();
    if (stub.base == 0) return;
    for (uint64_t page = 0; page <= abi::kStubOrders; page += abi::kPageSize) {
        const Trap trap = trap_of([&] { *reinterpret_cast<volatile char*>(stub.base + page + 8) = 1; });
        CHECK_EQ(trap.signo, SIGSEGV);
        CHECK_EQ(trap.addr, stub.base + page + 8);
    }
    // The pages between, and behind each area, are not there.
    for (uint64_t address : {stub.base - 4096, stub.base + 0x5000, stub.base + 0xf000,
                             area_of(stub, 0) + abi::kRunnerStride - 4096, stub.base + abi::kStubSize})
        CHECK(stub.area_size == abi::kRunnerStride || !can_read(address));
}

TEST("stub_pages_are_beyond_the_end_of_memory") {
    const FoundStub& stub = find_stub();
    if (stub.base == 0) return;
    const uint8_t first = *reinterpret_cast<const uint8_t*>(stub.base);
    int fds[2];
    OK(pipe(fds));
    for (uint64_t at : {stub.base, stub.base + abi::kStubOrders, area_of(stub, 0)}) {
        auto* page = reinterpret_cast<void*>(at);
        CHECK_ERRNO(munmap(page, 4096), EINVAL);
        CHECK_ERRNO(mprotect(page, 4096, PROT_READ | PROT_WRITE), ENOMEM);
        CHECK_ERRNO(
            reinterpret_cast<intptr_t>(mmap(page, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0)),
            ENOMEM);
        CHECK_ERRNO(madvise(page, 4096, MADV_DONTNEED), ENOMEM);
        CHECK_ERRNO(write(fds[1], page, 8), EFAULT);
        OK(write(fds[1], "12345678", 8));
        CHECK_ERRNO(read(fds[0], page, 8), EFAULT);
        CHECK_ERRNO(syscall(SYS_futex, page, 1, 1, nullptr, nullptr, 0), EFAULT);
        void* hint = mmap(page, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        CHECK(hint != MAP_FAILED && reinterpret_cast<uint64_t>(hint) < abi::kProcessUserEnd);
    }
    CHECK_EQ(*reinterpret_cast<const volatile uint8_t*>(stub.base), first);
}

TEST("stub_area_scribbled") {
    const FoundStub& stub = find_stub();
    if (stub.base == 0) return;
    static Witness witness(new_seed());
    uint64_t seed = witness.seed();
    const Writer* writers = kWriters + sizeof kWriters / sizeof kWriters[0] - 4;
    for (const uint64_t end = now_ns() + 2500 * kMillisecond; now_ns() < end; seed++)
        attack(witness, "scribbler", 300, [&] { write_forever(stub, writers[seed % 4], seed); });
    witness.check("scribbler");
    witness.end();
}

TEST("stub_area_written_purposely") {
    const FoundStub& stub = find_stub();
    if (stub.base == 0) return;
    static Witness witness(new_seed());
    for (uint64_t round = 0; round < 3; round++)
        for (const Writer& writer : kWriters) {
            attack(witness, writer.name, 100, [&] { write_forever(stub, writer, witness.seed() + round); });
            witness.check(writer.name);
        }
    witness.end();
}

TEST("stub_handler_given_forged_frames") {
    const FoundStub& stub = find_stub();
    if (stub.base == 0) return;
    static Witness witness(new_seed());
    static constexpr uint64_t kSignals[] = {SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGUSR1, SIGSEGV, SIGSYS, 0, 64, ~0ULL};
    constexpr uint64_t kKinds = sizeof kSignals / sizeof kSignals[0], kTraps = 34;
    attack_many(witness, "forged frame", kKinds * kTraps, 100, [&](uint64_t at) {
        Random random(witness.seed() + at);
        Forged forged = random_frame(random, stub);
        forged.signal = kSignals[at % kKinds], forged.trap = at / kKinds;
        if (forged.trap == kTraps - 1) forged.trap = random.next();
        forge(stub, random, forged);
    });
    witness.check("forged frame");
    witness.end();
}

TEST("stub_code_entered_anywhere") {
    const FoundStub& stub = find_stub();
    if (stub.base == 0) return;
    static Witness witness(new_seed());
    attack_many(witness, "jump", stub.code_size, 30, [&](uint64_t at) {
        Random random(witness.seed() + at);
        jump_into(stub, stub.base + at, random);
    });
    witness.check("jump");
    witness.end();
}

TEST("stub_code_makes_host_calls") {
    const FoundStub& stub = find_stub();
    if (stub.base == 0) return;
    static Witness witness(new_seed());
    const uint64_t orders = stub.base + abi::kStubOrders;
    // It comes back from a call that the filter allows, and from one that it does not: that is the application's.
    CHECK_EXITED(run_child([&] {
                     for (int i = 0; i < 100; i++) {
                         call_by_stub(stub, {SYS_futex, orders, 1, 1, 0, 0, 0});
                         call_by_stub(stub, {SYS_getpid, 0, 0, 0, 0, 0, 0});
                     }
                     call_by_stub(stub, {SYS_exit_group, 7, 0, 0, 0, 0, 0});
                 }),
                 7);
    // Not even the helper's calls work on the host's memory.
    CHECK_EXITED(run_child([&] {
                     call_by_stub(stub, {SYS_munmap, stub.base, 0x10000, 0, 0, 0, 0});
                     call_by_stub(stub, {SYS_mprotect, stub.base, 0x4000, 7, 0, 0, 0});
                     call_by_stub(stub, {SYS_mmap, stub.base, 0x4000, 3, 0x11, 0, 0});
                     call_by_stub(stub, {SYS_pwrite64, 1, stub.base, 1, 8, 0, 0});
                     call_by_stub(stub, {SYS_clone, abi::kCloneRunner, 0, 0, 0, 0, 0});
                     if (*reinterpret_cast<volatile uint16_t*>(stub.base) != 0x0b0f) _exit(9);
                     for (uint64_t page = 0; page <= 0x4000; page += 4096) CHECK(can_read(stub.base + page));
                 }),
                 0);
    // Threads that wait in the place of the helper, the runners and the VMM, and wake them for nothing.
    attack(witness, "futex", 1000, [&] {
        start_victims();
        static timespec timeout{0, 1'000'000};
        const auto until = reinterpret_cast<uint64_t>(&timeout);
        Random random(witness.seed());
        for (;;) {
            const uint64_t area = area_of(stub, static_cast<unsigned>(random.below(stub.runners)));
            const uint64_t word = random.below(2) ? orders : area;
            const uint32_t value = can_read(word) ? *reinterpret_cast<volatile uint32_t*>(word) : 0;
            call_by_stub(stub, {SYS_futex, word, random.below(2), random.below(2) ? value : 1, until, 0, 0});
        }
    });
    witness.check("futex");
    // Without a timeout, until the vCPU is wanted for others.
    attack_many(witness, "futex without end", 12, 300, [&](uint64_t at) {
        const uint64_t word = at % 2 ? orders : area_of(stub, static_cast<unsigned>(at / 2) % stub.runners);
        for (;;) {
            const uint32_t value = can_read(word) ? *reinterpret_cast<volatile uint32_t*>(word) : 0;
            call_by_stub(stub, {SYS_futex, word, 0, value, 0, 0, 0});
        }
    });
    witness.check("futex without end");
    // All signals blocked: neither a system call nor an interruption can be told any more.
    attack_many(witness, "blocked signals", 12, 500, [&](uint64_t at) {
        call_by_stub(stub, {SYS_futex, orders, 1, 1, 0, 0, 0}, ~0ULL);
        if (at % 3 == 0) getppid();
        if (at % 3 == 1)
            call_by_stub(stub, {SYS_futex, orders, 0, *reinterpret_cast<uint32_t*>(orders), 0, 0, 0}, ~0ULL);
        for (;;) asm volatile("pause");
    });
    witness.check("blocked signals");
    attack_many(witness, "segment bases", 12, 100, [&](uint64_t at) {
        Random random(witness.seed() + at);
        const uint64_t base = awkward_address(random, stub, area_of(stub, 0));
        for (int i = 0; i < 20; i++) {
            call_by_stub(stub, {SYS_arch_prctl, 0x1001 + at % 2, base, 0, 0, 0, 0});
            asm volatile("syscall" : : "a"(SYS_sched_yield) : "rcx", "r11", "memory");
        }
    });
    witness.check("segment bases");
    witness.end();
}

TEST("stub_without_a_frame_of_two_processes") {
    // Two processes in one address space: the one gives a frame that is nowhere and is ended for that; the other goes on.
    const FoundStub& stub = find_stub();
    if (stub.base == 0) return;
    static Witness witness(new_seed());
    for (uint64_t context : {0ul, 8ul, ~0ul, 0x10000ul})
        attack(witness, "shared stub", 500, [&] {
            static const FoundStub* where;
            static uint64_t forged_context;
            where = &stub, forged_context = context;
            static char stack[65536] __attribute__((aligned(64)));
            auto body = [](void*) -> int {
                for (;;)
                    for (unsigned n = 0; n < where->runners; n++) {
                        if (!can_read(area_of(*where, n)) || runner_at(*where, n)->state != 1) continue;
                        unsigned here = 0;
                        syscall(SYS_getcpu, &here, nullptr, nullptr);
                        if (here != n) continue;
                        asm volatile("mov %0, %%rsp\n jmp *%1"
                                     :
                                     : "r"(area_of(*where, n) + 128), "r"(where->handler), "D"(SIGSYS), "S"(0),
                                       "d"(forged_context)
                                     : "memory");
                    }
            };
            clone(body, stack + sizeof stack, CLONE_VM | SIGCHLD, nullptr);
            for (;;) sched_yield();
        });
    witness.check("shared stub");
    witness.end();
}
