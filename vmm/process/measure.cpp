// Whether the process platform works on this host: a stub and a program of one system call, for real.
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "vmm/process/futex.hpp"
#include "vmm/process/host.hpp"
#include "vmm/process/host_facts.hpp"
#include "vmm/process/ram_file.hpp"
#include "vmm/sandbox_state.hpp"

namespace kvmsbx::vmm {
namespace {

constexpr uint64_t kRam = abi::kHugePageSize, kProgram = 0x1000'0000;
constexpr uint64_t kMeasuredNs = 10'000'000, kPatienceMs = 2'000;
constexpr uint8_t kCallForever[] = {0x0f, 0x05, 0xeb, 0xfc};  // syscall; jmp

// The start of the kernel's struct ucontext (asm-generic/ucontext.h, asm/sigcontext.h).
struct Context {
    uint64_t flags, link, stack, stack_flags, stack_size;
    uint64_t registers[15], rsp, rip, rflags, segments, after[4], fpu, reserved[8], mask;
};
static_assert(offsetof(Context, mask) == 296);

class Trial {
  public:
    explicit Trial(ProcessReport& report) : report_(report) {}

    Result<> run() {
        TRY(prepare());
        TRY(make_runner());
        step_ = "running a program in a stub";
        uint64_t start = monotonic_ns(), now = start, calls = 0;
        for (; now - start < kMeasuredNs; now = monotonic_ns(), calls++) {
            if (host_->run(area_, control_, pid_, tid_) != 0 || control_->signal != SIGSYS) return Errno::kIO;
            control_->resume_context = control_->context;
        }
        report_.ns_per_call = static_cast<double>(now - start) / static_cast<double>(calls);
        host_->end_stubs();
        return {};
    }
    const char* step() const { return step_; }

  private:
    Result<> prepare() {
        step_ = "looking at the CPU";
        facts_ = TRY(find_host_facts(silent_));
        step_ = "making memory";
        ram_ = host::Fd(open_ram_file());
        report_.huge_pages = ram_.is_open();
        if (!report_.huge_pages) ram_ = TRY(make_ram_memfd());
        memory_ = std::make_unique<GuestMemory>(
            TRY(GuestMemory::map_file(silent_, ram_.get(), abi::kProcessDirectMap + abi::kRamGpa, kRam)));
        boot_ = std::make_unique<BootMemory>(*memory_);
        code_ = TRY(generate_stub_code({TRY(choose_stub_base()), facts_.fsgsbase, getpid()}));
        step_ = "making a stub process";
        host_ = TRY(ProcessHost::create(silent_, 1, -1));
        area_ = boot_->as<abi::CpuArea>(TRY(boot_->allocate(sizeof(abi::CpuArea))));
        host_->set_cpu_area(0, area_);
        return host_->start(*memory_, ram_.get(), code_, TRY(new_orders()));
    }

    Result<abi::OrderPage*> new_orders() {
        return boot_->as<abi::OrderPage>(TRY(boot_->allocate(sizeof(abi::OrderPage))));
    }

    static abi::Order map(uint64_t to, GuestPhys from, uint64_t size, uint64_t protection) {
        return {
            SYS_mmap, {to, size, protection, MAP_SHARED | MAP_FIXED, abi::kStubRamFd, from.value - abi::kRamGpa}, 0};
    }

    static Result<int32_t> check(int64_t result) {
        if (result < 0) return Errno{static_cast<int32_t>(-result)};
        return static_cast<int32_t>(result);
    }

    Result<> make_runner() {
        abi::OrderPage* orders = TRY(new_orders());
        GuestPhys program = TRY(boot_->allocate(abi::kPageSize));
        memcpy(boot_->at(program), kCallForever, sizeof kCallForever);
        GuestPhys runner = TRY(boot_->allocate(facts_.runner_area_size));
        const uint64_t at = code_.base + abi::kStubRunners, frame = 1024;
        control_ = boot_->as<abi::RunnerControl>(runner);
        control_->state = static_cast<uint32_t>(abi::RunnerState::kTrapped);
        control_->resume_context = at + frame;
        Context& context = *reinterpret_cast<Context*>(boot_->at(runner + frame));
        context.stack = at + sizeof(abi::RunnerControl);
        context.stack_size = facts_.runner_area_size - sizeof(abi::RunnerControl);
        context.rip = kProgram;
        context.rflags = 0x202;
        context.segments = uint64_t{abi::kUserSs} << 48 | abi::kUserCs;
        pid_ = TRY(check(host_->create_stub(area_, orders)));
        step_ = "mapping memory executable in a stub";
        orders->orders[0] = map(kProgram, program, abi::kPageSize, PROT_READ | PROT_EXEC);
        orders->orders[1] = map(at, runner, facts_.runner_area_size, PROT_READ | PROT_WRITE);
        TRY(check(host_->order(area_, orders, 2, pid_)));
        step_ = "making a thread in a stub";
        orders->orders[0] = {SYS_clone, {abi::kCloneRunner, 0, 0, at, 0, at}, 0};
        tid_ = TRY(check(host_->order(area_, orders, 1, pid_)));
        return {};
    }

    ProcessReport& report_;
    const char* step_ = "";
    host::Log silent_{-1, false};
    HostFacts facts_{};
    host::Fd ram_;
    std::unique_ptr<GuestMemory> memory_;
    std::unique_ptr<BootMemory> boot_;
    StubCode code_;
    std::unique_ptr<ProcessHost> host_;
    abi::CpuArea* area_ = nullptr;
    abi::RunnerControl* control_ = nullptr;
    int32_t pid_ = 0, tid_ = 0;
};

[[noreturn]] void try_in_child(ProcessReport& report) {
    alarm(kPatienceMs / 1000);  // a stub that died unnoticed: nobody watches them here
    Trial trial(report);
    auto tried = trial.run();
    report.ok = tried.is_ok();
    if (report.ok)
        snprintf(report.reason, sizeof report.reason, "system calls reach the Sentry in %.1f us",
                 report.ns_per_call / 1000);
    else
        snprintf(report.reason, sizeof report.reason, "%s failed: %s", trial.step(),
                 strerror(static_cast<int>(tried.error())));
    _exit(0);
}

}  // namespace

ProcessReport measure_process() {
    ProcessReport failed{};
    snprintf(failed.reason, sizeof failed.reason, "a stub process does not do what it is told");
    void* at = mmap(nullptr, sizeof(ProcessReport), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) return failed;
    auto* report = new (at) ProcessReport(failed);
    pid_t child = fork();
    if (child == 0) try_in_child(*report);
    while (child > 0 && waitpid(child, nullptr, 0) < 0 && errno == EINTR) {}
    ProcessReport found = *report;
    munmap(at, sizeof(ProcessReport));
    found.cpus = cpu_count({});
    return found;
}

}  // namespace kvmsbx::vmm
