// The process platform's host side: stubs, orders, runners, interrupts; and an application that attacks with all that
// it could do. The test is the Sentry: it fills frames, so an application's every move is a set of registers.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/futex.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <functional>
#include <string>
#include <thread>

#include "common/host/log.hpp"
#include "vmm/process/host.hpp"
#include "vmm/process/host_facts.hpp"
#include "vmm/process/ram_file.hpp"
#include "vmm/process/stub_code.hpp"

namespace kvmsbx::vmm {
namespace {

constexpr uint64_t kRam = 16 << 20;
constexpr uint64_t kProgram = 0x1000'0000, kData = 0x2000'0000, kWindow = 0x3000'0000;  // in a stub
const host::Log kSilent(-1, false);

// The start of the kernel's struct ucontext.
struct Context {
    uint64_t flags, link, stack, stack_flags, stack_size;
    uint64_t r8, r9, r10, r11, r12, r13, r14, r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, rflags, segments;
    uint64_t error, vector, old_mask, cr2, fpu, reserved[8], mask;
};
static_assert(offsetof(Context, mask) == 296);

struct Trap {
    int64_t result;  // of ProcessHost::run
    uint32_t signal;
    Context at;
    bool is_call(uint64_t number) const { return result == 0 && signal == SIGSYS && at.rax == number; }
};

class Stub;

// A sandbox without a Sentry, with two vCPUs.
class ProcessPlatform : public testing::Test {
  protected:
    void SetUp() override {
        facts_ = find_host_facts(kSilent).release_value();
        ram_file_ = host::Fd(open_ram_file());
        if (!ram_file_.is_open()) ram_file_ = make_ram_memfd().release_value();
        memory_ = std::make_unique<GuestMemory>(
            GuestMemory::map_file(kSilent, ram_file_.get(), abi::kProcessDirectMap + abi::kRamGpa, kRam)
                .release_value());
        boot_ = std::make_unique<BootMemory>(*memory_);
        code_ = generate_stub_code({choose_stub_base().release_value(), facts_.fsgsbase, parent_}).release_value();
        gofer_ = host::Fd(eventfd(0, 0));
        host_ = ProcessHost::create(kSilent, 2, gofer_.get()).release_value();
        for (unsigned i = 0; i < 2; i++) {
            areas_[i] = page_as<abi::CpuArea>();
            areas_[i]->cpu_id = i;
            host_->set_cpu_area(i, areas_[i]);
        }
        ASSERT_TRUE(host_->start(*memory_, ram_file_.get(), code_, page_as<abi::OrderPage>()).is_ok());
        main_ = std::thread([this] {
            while (!ending_) {
                if (!host_->notice_deaths()) zygote_died_ = true;
                std::this_thread::sleep_for(std::chrono::milliseconds(1));
            }
        });
        fill_program();
    }

    void TearDown() override {
        ending_ = true;
        main_.join();
        host_->end_stubs();
    }

    GuestPhys page(uint64_t size = abi::kPageSize) { return boot_->allocate(size, size).release_value(); }
    template <typename T>
    T* page_as() {
        return boot_->as<T>(page());
    }
    static uint64_t offset(GuestPhys at) { return at.value - abi::kRamGpa; }

    // Little pieces that an attacker would have.
    static constexpr uint64_t kSyscall = kProgram, kStore = kProgram + 16, kLoop = kProgram + 32,
                              kInt80 = kProgram + 48, kInt3 = kProgram + 64, kUd2 = kProgram + 80,
                              kGetFs = kProgram + 96;
    void fill_program() {
        program_ = page();
        std::byte* at = boot_->at(program_);
        memset(at, 0xf4, abi::kPageSize);                             // hlt
        memcpy(at, "\x0f\x05\x0f\x0b", 4);                            // syscall; ud2
        memcpy(at + 16, "\x88\x07\x0f\x0b", 4);                       // mov %al,(%rdi); ud2
        memcpy(at + 32, "\xff\xc0\xeb\xfc", 4);                       // inc %eax; jmp
        memcpy(at + 48, "\xcd\x80\x0f\x0b", 4);                       // int $0x80; ud2
        memcpy(at + 64, "\xcc", 1);                                   // int3
        memcpy(at + 80, "\x0f\x0b", 2);                               // ud2
        memcpy(at + 96, "\x64\x48\x8b\x04\x25\0\0\0\0\x0f\x0b", 11);  // mov %fs:0,%rax; ud2
    }

    abi::CpuArea* area(unsigned cpu = 0) { return areas_[cpu]; }

    int32_t parent_ = getpid();  // as stubs are told
    HostFacts facts_;
    host::Fd ram_file_, gofer_;
    std::unique_ptr<GuestMemory> memory_;
    std::unique_ptr<BootMemory> boot_;
    StubCode code_;
    std::unique_ptr<ProcessHost> host_;
    abi::CpuArea* areas_[2];
    GuestPhys program_{};
    std::thread main_;
    std::atomic<bool> ending_{false}, zygote_died_{false};

    friend class Stub;
};

// A stub with the program mapped, and one runner.
class Stub {
  public:
    explicit Stub(ProcessPlatform& p) : p_(p), orders_(p.page_as<abi::OrderPage>()) {
        pid = static_cast<int32_t>(p.host_->create_stub(p.area(), orders_));
        EXPECT_GT(pid, 0);
        EXPECT_EQ(map(kProgram, p.program_, PROT_READ | PROT_EXEC), 0);
        data = p.page();
        EXPECT_EQ(map(kData, data, PROT_READ | PROT_WRITE), 0);
        runner_at_ = p.page(abi::kRunnerStride);
        control = p.boot_->as<abi::RunnerControl>(runner_at_);
        area_ = p.code_.base + abi::kStubRunners;
        EXPECT_EQ(map(area_, runner_at_, PROT_READ | PROT_WRITE, p.facts_.runner_area_size), 0);
        control->state = static_cast<uint32_t>(abi::RunnerState::kTrapped);  // waits for its first frame
        tid = static_cast<int32_t>(order({SYS_clone, {abi::kCloneRunner, 0, 0, area_, 0, area_}, 0}));
        EXPECT_GT(tid, 0);
    }
    ~Stub() { p_.host_->kill_stub(p_.area(), pid); }

    int64_t order(const abi::Order& order, unsigned cpu = 0) {
        orders_->orders[0] = order;
        return p_.host_->order(p_.area(cpu), orders_, 1, pid);
    }
    int64_t map(uint64_t to, GuestPhys from, int protection, uint64_t size = abi::kPageSize) {
        return order({SYS_mmap,
                      {to, size, static_cast<uint64_t>(protection), MAP_SHARED | MAP_FIXED, abi::kStubRamFd,
                       ProcessPlatform::offset(from)},
                      0});
    }

    // Registers of a program at `rip` with nothing blocked.
    Context start(uint64_t rip) const {
        Context context{};
        context.stack = area_ + sizeof(abi::RunnerControl);
        context.stack_size = p_.facts_.runner_area_size - sizeof(abi::RunnerControl);
        context.rip = rip;
        context.rsp = kData + 2048;
        context.rflags = 0x202;
        context.segments = 0x002b'0000'0000'0033;
        return context;
    }
    Context call(uint64_t number, std::initializer_list<uint64_t> arguments, uint64_t rip) const {
        Context context = start(rip);
        uint64_t* registers[] = {&context.rdi, &context.rsi, &context.rdx, &context.r10, &context.r8, &context.r9};
        size_t i = 0;
        for (uint64_t argument : arguments) *registers[i++] = argument;
        context.rax = number;
        return context;
    }

    Trap run(const Context& context, unsigned cpu = 0) {
        constexpr uint64_t kAt = 1024;  // anywhere in the area: it is read before anything else is written there
        memcpy(p_.boot_->at(runner_at_) + kAt, &context, sizeof context);
        control->resume_context = area_ + kAt;
        return go(cpu);
    }
    Trap go(unsigned cpu = 0) {
        Trap trap{p_.host_->run(p_.area(cpu), control, pid, tid), 0, {}};
        if (trap.result != 0) return trap;
        trap.signal = control->signal;
        uint64_t at = control->context - area_;
        if (at <= p_.facts_.runner_area_size - sizeof trap.at)
            memcpy(&trap.at, p_.boot_->at(runner_at_) + at, sizeof trap.at);
        control->resume_context = control->context;
        return trap;
    }
    std::byte* bytes(GuestPhys at) { return p_.boot_->at(at); }

    int32_t pid = 0, tid = 0;
    abi::RunnerControl* control;
    GuestPhys data;

  private:
    ProcessPlatform& p_;
    abi::OrderPage* orders_;
    GuestPhys runner_at_;
    uint64_t area_;
};

TEST_F(ProcessPlatform, ZygoteHasItsOwnMemoryOnly) {
    Stub stub(*this);
    for (int32_t pid : {host_->zygote(), stub.pid}) {
        std::string path = "/proc/" + std::to_string(pid) + "/maps";
        FILE* maps = fopen(path.c_str(), "r");
        ASSERT_NE(maps, nullptr);
        char line[512];
        unsigned count = 0;
        while (fgets(line, sizeof line, maps)) {
            uint64_t from, to;
            ASSERT_EQ(sscanf(line, "%lx-%lx", &from, &to), 2);
            bool stub_range = from >= code_.base && to <= code_.base + abi::kStubSize;
            bool mapped = from == kProgram || from == kData || strstr(line, "vsyscall") != nullptr;
            EXPECT_TRUE(stub_range || mapped) << line;
            count++;
        }
        fclose(maps);
        EXPECT_GE(count, 2u);
    }
}

TEST_F(ProcessPlatform, RunnersHaveNoDescriptors) {
    Stub stub(*this);
    EXPECT_EQ(stub.run(stub.start(kUd2)).signal, static_cast<uint32_t>(SIGILL));
    std::string path = "/proc/" + std::to_string(stub.pid) + "/task/" + std::to_string(stub.tid) + "/fd";
    EXPECT_TRUE(std::filesystem::is_empty(path));
}

TEST_F(ProcessPlatform, TrapsTellWhatHappened) {
    Stub stub(*this);
    Trap trap = stub.run(stub.call(SYS_getpid, {1, 2, 3, 4, 5, 6}, kSyscall));
    EXPECT_TRUE(trap.is_call(SYS_getpid)) << trap.result << " " << trap.signal;
    EXPECT_EQ(trap.at.rip, kSyscall + 2);
    EXPECT_EQ(trap.at.r9, 6u);
    EXPECT_EQ(trap.at.rsp, kData + 2048);

    Context store = stub.start(kStore);
    store.rdi = kWindow + 5;
    trap = stub.run(store);
    EXPECT_EQ(trap.signal, static_cast<uint32_t>(SIGSEGV));
    EXPECT_EQ(trap.at.vector, 14u);
    EXPECT_EQ(trap.at.cr2, kWindow + 5);
    EXPECT_EQ(trap.at.error & 6, 6u);  // a write by ring 3

    EXPECT_EQ(stub.run(stub.start(kUd2)).at.vector, 6u);
    trap = stub.run(stub.start(kInt3));
    EXPECT_EQ(trap.signal, static_cast<uint32_t>(SIGTRAP));
    EXPECT_EQ(trap.at.rip, kInt3 + 1);
}

TEST_F(ProcessPlatform, AFaultIsRepairedByAnOrder) {
    Stub stub(*this);
    Context store = stub.start(kStore);
    store.rdi = kWindow + 5;
    store.rax = 0x77;
    EXPECT_EQ(stub.run(store).signal, static_cast<uint32_t>(SIGSEGV));
    GuestPhys there = page();
    EXPECT_EQ(stub.map(kWindow, there, PROT_READ | PROT_WRITE), 0);
    EXPECT_EQ(stub.go().signal, static_cast<uint32_t>(SIGILL));
    EXPECT_EQ(stub.bytes(there)[5], std::byte{0x77});
    EXPECT_EQ(stub.order({SYS_munmap, {kWindow, abi::kPageSize}, 0}), 0);
    EXPECT_EQ(stub.run(store).signal, static_cast<uint32_t>(SIGSEGV));
}

TEST_F(ProcessPlatform, OrdersReportErrors) {
    Stub stub(*this);
    EXPECT_EQ(stub.order({SYS_mprotect, {kWindow, abi::kPageSize, PROT_READ}, 0}), -ENOMEM);
    EXPECT_EQ(stub.order({SYS_munmap, {1, abi::kPageSize}, 0}), -EINVAL);
    EXPECT_EQ(stub.order({SYS_munmap, {kWindow, abi::kPageSize}, 0}, 1), 0);  // and goes on, for any vCPU
    EXPECT_EQ(host_->order(area(), nullptr, 1, 1), -ESRCH);
}

TEST_F(ProcessPlatform, SegmentBasesAreSetAndKept) {
    Stub stub(*this);
    const uint64_t value = 0x1122334455667788;
    memcpy(stub.bytes(stub.data) + 64, &value, sizeof value);
    stub.control->set_bases = 1;
    stub.control->new_fs_base = kData + 64;
    Trap trap = stub.run(stub.start(kGetFs));
    EXPECT_EQ(trap.at.rax, value);
    if (facts_.fsgsbase) { EXPECT_EQ(stub.control->fs_base, kData + 64); }
    stub.control->set_bases = 0;
    EXPECT_EQ(stub.run(stub.start(kGetFs)).at.rax, value);
}

TEST_F(ProcessPlatform, TimersInterruptAnEndlessLoop) {
    Stub stub(*this);
    host_->set_timer(area(), 2'000'000);
    Trap trap = stub.run(stub.start(kLoop));
    EXPECT_EQ(trap.result, 0);
    EXPECT_EQ(trap.signal, static_cast<uint32_t>(abi::kPreemptSignal));
    EXPECT_EQ(area()->pending_interrupts, 1u << (abi::kVectorTimer - abi::kVectorFirst));
    area()->pending_interrupts = 0;
    // It goes on where it was.
    host_->set_timer(area(), 2'000'000);
    Trap next = stub.go();
    EXPECT_EQ(next.signal, static_cast<uint32_t>(abi::kPreemptSignal));
    EXPECT_NE(next.at.rax, trap.at.rax);
    area()->pending_interrupts = 0;
}

TEST_F(ProcessPlatform, OtherVcpusInterruptAnEndlessLoop) {
    Stub stub(*this);
    for (int i = 0; i < 50; i++) {
        std::thread other([this] { host_->interrupt(area(), abi::kVectorIpi); });
        Trap trap = stub.run(stub.start(kLoop));
        other.join();
        EXPECT_EQ(trap.signal, static_cast<uint32_t>(abi::kPreemptSignal));
        EXPECT_EQ(area()->pending_interrupts, 1u << (abi::kVectorIpi - abi::kVectorFirst));
        area()->pending_interrupts = 0;
    }
}

TEST_F(ProcessPlatform, WaitEndsWithAnInterruptTheTimerOrTheGofer) {
    for (int i = 0; i < 50; i++) {
        std::thread other([this] { host_->interrupt(area(), abi::kVectorIpi); });
        host_->wait(area());
        other.join();
        EXPECT_EQ(__atomic_exchange_n(&area()->pending_interrupts, 0, __ATOMIC_SEQ_CST), 2u);
    }
    EXPECT_FALSE(host_->interrupt_waits(area()));
    host_->set_timer(area(), 1'000'000);
    host_->wait(area());
    EXPECT_EQ(__atomic_exchange_n(&area()->pending_interrupts, 0, __ATOMIC_SEQ_CST), 1u);
    eventfd_write(gofer_.get(), 1);
    host_->wait(area());
    EXPECT_EQ(__atomic_exchange_n(&area()->pending_interrupts, 0, __ATOMIC_SEQ_CST), 4u);
    host_->take_completion();
    EXPECT_EQ(area()->pending_interrupts, 0u);
    eventfd_write(gofer_.get(), 1);
    host_->take_completion();
    EXPECT_EQ(__atomic_exchange_n(&area()->pending_interrupts, 0, __ATOMIC_SEQ_CST), 4u);
}

TEST_F(ProcessPlatform, AKilledStubEndsWaits) {
    Stub running(*this);
    std::thread killer([&] {
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
        kill(running.pid, SIGKILL);
    });
    EXPECT_EQ(running.run(running.start(kLoop)).result, -ESRCH);
    killer.join();
    EXPECT_EQ(running.order({SYS_munmap, {kWindow, abi::kPageSize}, 0}), -ESRCH);
    EXPECT_EQ(running.run(running.start(kLoop)).result, -ESRCH);

    Stub ordering(*this);
    kill(ordering.pid, SIGSTOP);
    std::thread second([&] {
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
        kill(ordering.pid, SIGKILL);
    });
    EXPECT_EQ(ordering.order({SYS_munmap, {kWindow, abi::kPageSize}, 0}), -ESRCH);
    second.join();
    EXPECT_FALSE(zygote_died_);
}

TEST_F(ProcessPlatform, StubsComeAndGo) {
    for (int i = 0; i < 20; i++) {
        Stub one(*this), other(*this);
        EXPECT_EQ(one.run(one.start(kUd2)).signal, static_cast<uint32_t>(SIGILL));
        EXPECT_TRUE(other.run(other.call(SYS_read, {}, kSyscall), 1).is_call(SYS_read));
    }
}

// A stub that is made while the sandbox process ends gets no signal for that.
class OrphanedStubs : public ProcessPlatform {
  protected:
    OrphanedStubs() { parent_ = getppid(); }
};

TEST_F(OrphanedStubs, EndBeforeTheirFirstOrder) {
    auto* orders = page_as<abi::OrderPage>();
    const auto pid = static_cast<int32_t>(host_->create_stub(area(), orders));
    ASSERT_GT(pid, 0);
    orders->orders[0] = {SYS_munmap, {kWindow, abi::kPageSize}, 0};
    ASSERT_EQ(host_->order(area(), orders, 1, pid), -ESRCH);
    siginfo_t info{};
    EXPECT_EQ(waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT), 0);
    EXPECT_EQ(info.si_status, SIGILL);
    host_->kill_stub(area(), pid);
}

// What a page looks like that the host has no memory for.
TEST_F(ProcessPlatform, MemoryThatIsNotThereIsABusError) {
    Stub stub(*this);
    EXPECT_EQ(stub.map(kWindow, GuestPhys{abi::kRamGpa + kRam}, PROT_READ | PROT_WRITE), 0);
    Context store = stub.start(kStore);
    store.rdi = kWindow;
    Trap trap = stub.run(store);
    EXPECT_EQ(trap.result, 0);
    EXPECT_EQ(trap.signal, static_cast<uint32_t>(SIGBUS));
    EXPECT_EQ(trap.at.vector, 14u);
    EXPECT_EQ(stub.run(stub.start(kUd2)).signal, static_cast<uint32_t>(SIGILL));
}

// On a busy host a runner may get no processor for long: it is not to blame.
TEST_F(ProcessPlatform, TheWatchdogWaitsForARunnerThatGetsNoProcessor) {
    Stub stub(*this);
    std::thread scheduler([&] {
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
        kill(stub.pid, SIGSTOP);
        host_->interrupt(area(), abi::kVectorIpi);
        std::this_thread::sleep_for(std::chrono::milliseconds(300));
        kill(stub.pid, SIGCONT);
    });
    Trap trap = stub.run(stub.start(kLoop));
    scheduler.join();
    EXPECT_EQ(trap.result, 0);
    EXPECT_EQ(trap.signal, static_cast<uint32_t>(abi::kPreemptSignal));
}

TEST(HostFacts, StubsHaveFewerMappingsThanTheHostAllows) {
    for (const char* text : {"65530\n", "1048576\n", "", "none"})
        EXPECT_EQ(stub_mappings_within(text), 60'000u) << text;
    EXPECT_EQ(stub_mappings_within("30000\n"), 25'000u);
    for (const char* text : {"0", "65", "5999"}) EXPECT_EQ(stub_mappings_within(text), 1'000u) << text;
    EXPECT_GE(find_stub_mappings(), 1'000u);
    EXPECT_LE(find_stub_mappings(), 60'000u);
}

// ---- The application is hostile.

// Each is refused by a signal to the runner, which is a trap to the Sentry; the application gets nothing.
TEST_F(ProcessPlatform, RefusesAllSystemCallsFromAnywhere) {
    Stub stub(*this);
    const uint64_t pid = static_cast<uint64_t>(stub.pid), code = code_.base, orders = code + abi::kStubOrders;
    const uint64_t shared = MAP_SHARED | MAP_FIXED;
    struct Attack {
        const char* name;
        uint64_t number;
        std::initializer_list<uint64_t> arguments;
    };
    const Attack attacks[] = {
        {"maps the Sentry's memory", SYS_mmap, {kWindow, 4096, 7, shared, abi::kStubRamFd, 0}},
        {"maps anonymous memory", SYS_mmap, {kWindow, 4096, 7, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, ~0ull, 0}},
        {"makes the stub's code writable", SYS_mprotect, {code, 4096, 7}},
        {"makes orders writable", SYS_mprotect, {orders, 4096, 3}},
        {"takes the orders away", SYS_munmap, {orders, 4096}},
        {"moves the orders", SYS_mremap, {orders, 4096, 4096, 3, kWindow}},
        {"maps through x32", SYS_mmap | 0x40000000, {kWindow, 4096, 7, shared, abi::kStubRamFd, 0}},
        {"requeues the helper's futex", SYS_futex, {orders, FUTEX_CMP_REQUEUE, 1, 1, kData, 0}},
        {"waits for a private futex", SYS_futex, {orders, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, 1}},
        {"locks a futex", SYS_futex, {kData, FUTEX_LOCK_PI}},
        {"kills the helper", SYS_tgkill, {pid, pid, SIGKILL}},
        {"kills all", SYS_kill, {~0ull, SIGKILL}},
        {"queues a signal", SYS_rt_tgsigqueueinfo, {pid, pid, SIGKILL, kData}},
        {"traces the helper", SYS_ptrace, {16, pid}},
        {"makes a thread", SYS_clone, {abi::kCloneRunner, kData, 0, 0, 0, 0}},
        {"makes a stub", SYS_clone, {abi::kCloneStub, 0, 0, 0, 0, 0}},
        {"makes a thread by clone3", SYS_clone3, {kData, 88}},
        {"forks", SYS_fork, {}},
        {"executes a program", SYS_execve, {kData, 0, 0}},
        {"becomes dumpable", SYS_prctl, {PR_SET_DUMPABLE, 1}},
        {"turns user dispatch on", SYS_prctl, {59, 1, 0, ~0ull, kData}},
        {"gives up PDEATHSIG", SYS_prctl, {PR_SET_PDEATHSIG, 0}},
        {"reads its memory from outside", SYS_process_vm_readv, {pid, kData, 1, kData, 1}},
        {"writes its memory from outside", SYS_process_vm_writev, {pid, kData, 1, kData, 1}},
        {"changes a handler", SYS_rt_sigaction, {SIGSYS, 0, kData, 8}},
        {"blocks signals", SYS_rt_sigprocmask, {SIG_BLOCK, kData, 0, 8}},
        {"returns from no signal", SYS_rt_sigreturn, {}},
        {"forges a completion", SYS_pwrite64, {abi::kStubCompletionFd, kData, 4, 8}},
        {"wakes a vCPU", SYS_write, {abi::kStubWakeFd, kData, 8}},
        {"closes the descriptors", SYS_close_range, {0, ~0ull, 2}},
        {"shares the descriptors", SYS_unshare, {0x400}},
        {"takes a descriptor", SYS_pidfd_getfd, {3, 0, 0}},
        {"installs a filter", SYS_seccomp, {1, 0, kData}},
        {"opens a file", SYS_open, {kData, 2}},
        {"makes memory visible", SYS_memfd_create, {kData, 0}},
        {"uses io_uring", SYS_io_uring_setup, {8, kData}},
        {"ends its thread", SYS_exit, {0}},
        {"ends the stub", SYS_exit_group, {0}},
        {"reads CPU information", SYS_arch_prctl, {0x1011}},
    };
    for (const Attack& attack : attacks) {
        EXPECT_TRUE(stub.run(stub.call(attack.number, attack.arguments, kSyscall)).is_call(attack.number))
            << attack.name;
        // The stub's own instructions allow it nothing more but what runners need.
        if (attack.number == SYS_rt_sigreturn) continue;
        EXPECT_TRUE(
            stub.run(stub.call(attack.number, attack.arguments, code_.helper_system_call)).is_call(attack.number))
            << attack.name << " by the helper's instruction";
    }
    EXPECT_EQ(stub.order({SYS_munmap, {kWindow, abi::kPageSize}, 0}), 0);
}

TEST_F(ProcessPlatform, RefusesOtherWaysIntoTheKernel) {
    Stub stub(*this);
    Context old = stub.start(kInt80);
    old.rax = 192;  // mmap2 of i386
    old.rbx = kWindow, old.rcx = 4096, old.rdx = 3, old.rsi = 0x11;
    Trap trap = stub.run(old);
    EXPECT_EQ(trap.result, 0);
    EXPECT_TRUE(trap.signal == SIGSYS || trap.signal == SIGSEGV) << trap.signal;
    Context vsyscall = stub.start(0xffffffffff600000);
    const uint64_t back = kUd2;
    memcpy(stub.bytes(stub.data) + 2048, &back, sizeof back);
    trap = stub.run(vsyscall);
    EXPECT_TRUE(trap.signal == SIGSYS || trap.signal == SIGSEGV) << trap.signal;
}

TEST_F(ProcessPlatform, RefusesWritesToWhatStubsOnlyRead) {
    Stub stub(*this);
    for (uint64_t address : {code_.base + abi::kStubOrders, code_.base + abi::kStubOrders + 64,
                             code_.helper_system_call, code_.signal_handler, kProgram}) {
        Context store = stub.start(kStore);
        store.rdi = address;
        Trap trap = stub.run(store);
        EXPECT_EQ(trap.signal, static_cast<uint32_t>(SIGSEGV)) << std::hex << address;
        EXPECT_EQ(trap.at.cr2, address);
    }
}

// The helper's code, run by the application with an order page of its own making.
TEST_F(ProcessPlatform, TheHelpersCodeDoesNothingForOthers) {
    Stub stub(*this);
    auto* forged = boot_->as<abi::OrderPage>(stub.data);
    forged->count = 1;
    forged->completion = 8;
    forged->orders[0] = {SYS_mmap, {kWindow, 4096, 7, MAP_SHARED | MAP_FIXED, abi::kStubRamFd, 0}, 0};
    Context helper = stub.start(code_.helper_system_call);
    helper.rbx = kData;
    helper.rax = SYS_futex;  // one that may be made
    helper.rdi = kData, helper.rsi = FUTEX_WAKE, helper.rdx = 1;
    helper.rbp = SYS_munmap, helper.r12 = kData, helper.r14 = 2;  // then the order behind
    EXPECT_TRUE(stub.run(helper).is_call(SYS_mmap));
    // Or the completion.
    helper.r14 = 1;
    EXPECT_TRUE(stub.run(helper).is_call(SYS_pwrite64));
}

TEST_F(ProcessPlatform, WakingTheHelperForNothingChangesNothing) {
    Stub stub(*this);
    for (int i = 0; i < 100; i++) {
        Context wake = stub.call(SYS_futex, {code_.base + abi::kStubOrders, FUTEX_WAKE, 100}, code_.helper_system_call);
        wake.r14 = 1, wake.rbp = 0, wake.rbx = 0;
        EXPECT_EQ(stub.run(wake).signal, static_cast<uint32_t>(SIGSEGV));  // behind the call, with its rbx
    }
    GuestPhys there = page();
    stub.bytes(there)[0] = std::byte{0x5e};
    EXPECT_EQ(stub.map(kWindow, there, PROT_READ), 0);
    EXPECT_EQ(stub.order({SYS_munmap, {kWindow, abi::kPageSize}, 0}), 0);
    Context store = stub.start(kStore);
    store.rdi = kWindow;
    EXPECT_EQ(stub.run(store).at.cr2, kWindow);
}

// With all signals blocked there is no trap, so the kernel must kill and not serve.
TEST_F(ProcessPlatform, AForgedFrameThatBlocksSignalsGetsNothing) {
    for (bool map : {true, false}) {
        Stub stub(*this);
        Context inner = stub.call(SYS_mmap, {kWindow, 4096, 3, MAP_SHARED | MAP_FIXED, abi::kStubRamFd, 0}, kSyscall);
        if (!map) inner = stub.start(kUd2);
        inner.mask = ~uint64_t{0};
        memcpy(stub.bytes(stub.data) + 512, &inner, sizeof inner);
        Context outer = stub.start(code_.signal_restorer);
        outer.rsp = kData + 512;
        EXPECT_EQ(stub.run(outer).result, -ESRCH);
    }
}

TEST_F(ProcessPlatform, TheWatchdogKillsARunnerThatCannotBeInterrupted) {
    Stub stub(*this);
    Context loop = stub.start(kLoop);
    loop.mask = ~uint64_t{0};
    memcpy(stub.bytes(stub.data) + 512, &loop, sizeof loop);
    Context outer = stub.start(code_.signal_restorer);
    outer.rsp = kData + 512;
    host_->set_timer(area(), 1'000'000);
    auto start = std::chrono::steady_clock::now();
    EXPECT_EQ(stub.run(outer).result, -ESRCH);
    auto took = std::chrono::steady_clock::now() - start;
    EXPECT_GE(took, std::chrono::milliseconds(100));
    EXPECT_LT(took, std::chrono::seconds(2));
}

// An alternate stack elsewhere makes the handler write its findings there: no trap is seen, and the watchdog comes.
TEST_F(ProcessPlatform, AnAlternateStackElsewhereHelpsNobody) {
    Stub stub(*this);
    GuestPhys elsewhere = page(abi::kRunnerStride);
    EXPECT_EQ(stub.map(kWindow, elsewhere, PROT_READ | PROT_WRITE, abi::kRunnerStride), 0);
    Context context = stub.start(kUd2);
    context.stack = kWindow, context.stack_size = abi::kRunnerStride;
    memcpy(stub.bytes(stub.data) + 512, &context, sizeof context);
    Context outer = stub.start(code_.signal_restorer);
    outer.rsp = kData + 512;
    host_->set_timer(area(), 1'000'000);
    EXPECT_EQ(stub.run(outer).result, -ESRCH);
}

// What is in RunnerControl is the application's word, too: the vCPU takes it for a trap or for the runner's end.
TEST_F(ProcessPlatform, AForgedStateEndsTheWait) {
    for (uint64_t state : {0, 2, 3, 255}) {
        Stub stub(*this);
        Context store = stub.start(kStore);
        store.rdi = code_.base + abi::kStubRunners;
        store.rax = state;
        int64_t result = stub.run(store).result;
        EXPECT_TRUE(result == 0 || result == -ESRCH);
    }
}

TEST_F(ProcessPlatform, TheSentrysMemoryIsUntouched) {
    GuestPhys secret = page();
    memset(boot_->at(secret), 0x5e, abi::kPageSize);
    Stub stub(*this);
    for (uint64_t offset : {uint64_t{0}, this->offset(secret)}) {
        uint64_t fd = abi::kStubRamFd;
        EXPECT_TRUE(stub.run(stub.call(SYS_mmap, {kWindow, 4096, 3, MAP_SHARED | MAP_FIXED, fd, offset}, kSyscall))
                        .is_call(SYS_mmap));
        Context store = stub.start(kStore);
        store.rdi = kWindow;
        EXPECT_EQ(stub.run(store).at.cr2, kWindow);
    }
    // Nor is it in a stub by itself: its addresses in the sandbox process mean nothing there.
    Context store = stub.start(kStore);
    store.rdi = abi::kProcessDirectMap + secret.value;
    EXPECT_EQ(stub.run(store).signal, static_cast<uint32_t>(SIGSEGV));
    EXPECT_EQ(boot_->at(secret)[0], std::byte{0x5e});
}

TEST_F(ProcessPlatform, TheZygotesDeathIsNoticed) {
    kill(host_->zygote(), SIGKILL);
    EXPECT_EQ(host_->create_stub(area(), page_as<abi::OrderPage>()), -EAGAIN);
    while (!zygote_died_) std::this_thread::yield();
}

}  // namespace
}  // namespace kvmsbx::vmm
