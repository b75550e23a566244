#include "vmm/process/process_sandbox.hpp"

#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cstdio>

#include "common/host/errno.hpp"
#include "common/host/exit_code.hpp"
#include "vmm/main_loop.hpp"
#include "vmm/process/host.hpp"
#include "vmm/process/machine.hpp"
#include "vmm/process/ram_file.hpp"
#include "vmm/process/vcpu_thread.hpp"
#include "vmm/seccomp.hpp"
#include "vmm/thread.hpp"

namespace kvmsbx::vmm {
namespace {

class ProcessPlatform final : public Platform {
  public:
    ProcessPlatform(ProcessHost& host, const ProcessMachine& machine, uint64_t ram_size, int children_fd,
                    int completion_fd)
        : host_(host), machine_(machine), ram_size_(ram_size), polled_{children_fd, completion_fd} {}
    GuestPhys cpu_area(unsigned cpu) const override { return machine_.cpu_areas[cpu]; }
    Result<uint64_t> extend_ram(uint64_t bytes) override {
        if (bytes > ram_size_) return Errno::kNOMEM;
        return ram_size_;
    }
    void notify_sentry() override { host_.interrupt(0u, abi::kVectorHostEvent); }
    std::array<int, kPolled> polled() const override { return polled_; }
    void on_readable(unsigned index) override {
        if (index == 1) return host_.take_completion();
        signalfd_siginfo info;
        ssize_t ignored = read(polled_[0], &info, sizeof info);
        static_cast<void>(ignored);
        if (host_.notice_deaths()) return;
        state_->ending.set(host::kExitOwnFailure,
                           [&] { state_->log.error("the process that makes stubs died, so the sandbox ends"); });
    }
    void set_state(SandboxState& state) { state_ = &state; }

  private:
    ProcessHost& host_;
    const ProcessMachine& machine_;
    uint64_t ram_size_;
    std::array<int, kPolled> polled_;
    SandboxState* state_ = nullptr;
};

// Blocked in all threads, so before any: they come by a file descriptor.
Result<host::Fd> watch_children(const host::Log& log) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    if (sigprocmask(SIG_BLOCK, &set, nullptr) != 0) return log.fail(host::last_errno(), "sigprocmask: %m");
    host::Fd fd(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
    if (!fd.is_open()) return log.fail(host::last_errno(), "signalfd: %m");
    return fd;
}

Result<> map_channel(const host::Log& log, int fd, uint64_t size) {
    if (size == 0) return {};
    void* at = reinterpret_cast<void*>(abi::kProcessDirectMap + abi::kChannelGpa);
    if (mmap(at, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED_NOREPLACE, fd, 0) != at)
        return log.fail(host::last_errno(), "cannot map the channel's memory: %m");
    return {};
}

[[noreturn]] void run_threads(SandboxState& state, ProcessHost& host, unsigned cpus, int wake_fd) {
    install_fault_handlers();
    StartGate gate;
    for (unsigned cpu = 0; cpu < cpus && !state.ending.decided(); cpu++) {
        auto thread = start_vcpu_thread(state.log, [&state, &gate, cpu] {
            gate.wait();
            if (state.ending.decided()) park_thread();
            if (watch_for_faults(cpu).is_error()) {
                state.ending.set(host::kExitOwnFailure,
                                 [&] { state.log.error("no memory for a vCPU's signal stack"); });
            } else if (confine_thread(state, ThreadKind::kProcessVcpu)) {
                run_process_vcpu(cpu);
            }
            park_thread();
        });
        if (thread.is_error())
            state.ending.set(host::kExitOwnFailure);
        else
            thread->detach();
    }
    gate.open();
    if (confine_thread(state, ThreadKind::kProcessMain)) run_main_loop(state, wake_fd);
    host.end_stubs();
    fflush(nullptr);
    _exit(state.ending.code());
}

}  // namespace

Result<int> run_on_process(const host::Log& log, const SandboxConfig& config) {
    const char* why = nullptr;
    auto sentry = parse_sentry_elf(config.process_sentry_elf, abi::kProcessSentryBase, &why);
    if (sentry.is_error())
        return log.fail(sentry.error(), "the Sentry inside this binary is damaged: %s; build kvmsbx again", why);
    HostFacts facts = TRY(find_host_facts(log));
    unsigned cpus = cpu_count(config);
    host::Fd own_file;
    if (config.ram_fd < 0) {
        auto made = make_ram_memfd();
        if (made.is_error()) return log.fail(made.error(), "cannot make a memfd for RAM: %m");
        own_file = std::move(*made);
    }
    int ram_fd = config.ram_fd < 0 ? own_file.get() : config.ram_fd;
    GuestMemory memory =
        TRY(GuestMemory::map_file(log, ram_fd, abi::kProcessDirectMap + abi::kRamGpa, ram_size(config)));
    uint64_t channel = TRY(channel_size(log, config));
    TRY(map_channel(log, config.channel_fd, channel));

    auto stub_base = choose_stub_base();
    if (stub_base.is_error()) return log.fail(stub_base.error(), "no room for stubs in this process's memory");
    StubCode code = TRY(generate_stub_code({*stub_base, facts.fsgsbase, getpid()}));
    BootMemory boot(memory);
    ProcessMachine machine = TRY(build_process_machine(
        log, boot, memory.size(), ram_fd,
        {&*sentry, &facts, &kProcessCalls, cpus, channel, *stub_base,
         config.stub_mappings ? config.stub_mappings : stub_mappings_within(""), config.app_spec}));

    host::Fd children = TRY(watch_children(log));
    auto host = TRY(ProcessHost::create(log, cpus, config.gofer_completion_fd));
    for (unsigned cpu = 0; cpu < cpus; cpu++) host->set_cpu_area(cpu, boot.as<abi::CpuArea>(machine.cpu_areas[cpu]));
    TRY(host->start(memory, ram_fd, code, boot.as<abi::OrderPage>(machine.zygote_orders)));
    log.debug("process platform: stub %d at %#llx, RAM in %s, TSC %llu kHz", host->zygote(),
              static_cast<unsigned long long>(*stub_base), config.ram_fd < 0 ? "a memfd" : "a tmpfs of huge pages",
              static_cast<unsigned long long>(facts.tsc_khz));

    host::Fd wake(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!wake.is_open()) return log.fail(host::last_errno(), "eventfd: %m");
    ProcessPlatform platform(*host, machine, memory.size(), children.get(), config.gofer_completion_fd);
    SandboxState state(config, log, memory, *sentry, platform, wake.get());
    platform.set_state(state);
    set_process_vcpu_context({&state, host.get(), &machine});
    run_threads(state, *host, cpus, wake.get());
}

}  // namespace kvmsbx::vmm
