#include "vmm/sandbox.hpp"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <thread>

#include "vmm/kvm/vcpu_thread.hpp"
#include "vmm/main_loop.hpp"
#include "vmm/seccomp.hpp"

namespace kvmsbx::vmm {
namespace {

constexpr unsigned kGoferGsi = 24;  // the first behind the IOAPIC's pins
enum MemorySlot : unsigned { kChannelSlot, kFirstRamSlot };

unsigned usable_cpus() {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
    return CPU_COUNT(&set);
}

uint64_t host_ram() {
    struct sysinfo info {};
    sysinfo(&info);
    return uint64_t{info.totalram} * info.mem_unit;
}

uint64_t round_up(uint64_t bytes) { return (bytes + abi::kHugePageSize - 1) & ~(abi::kHugePageSize - 1); }

// The channel region, mapped here only so that KVM can give it to the guest.
Result<uint64_t> map_channel(const Log& log, Vm& vm, int fd) {
    if (fd < 0) return uint64_t{0};
    struct stat status {};
    if (fstat(fd, &status) != 0) return log.fail(last_errno(), "cannot look at the channel's memory: %m");
    uint64_t size = status.st_size;
    if (size == 0 || size % abi::kHugePageSize != 0 || size > abi::kDeviceGpa - abi::kChannelGpa)
        return log.fail(Errno::kINVAL, "the channel's memory has %llu bytes; it must be a multiple of 2 MiB",
                        static_cast<unsigned long long>(size));
    void* at = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED) return log.fail(last_errno(), "cannot map the channel's memory: %m");
    TRY(vm.map_memory(kChannelSlot, {abi::kChannelGpa}, at, size));
    return size;
}

Result<> attach_gofer(Vm& vm, const SandboxConfig& config) {
    if (config.gofer_doorbell_fd >= 0)
        TRY(vm.attach_doorbell({abi::kDeviceGpa + abi::kGoferDoorbellOffset}, config.gofer_doorbell_fd));
    if (config.gofer_completion_fd >= 0)
        TRY(vm.attach_interrupt(kGoferGsi, config.gofer_completion_fd, 0, abi::kVectorGofer));
    return {};
}

// False: the thread is not confined, so nothing may run.
bool confine(SandboxState& state, ThreadKind kind) {
    if (state.config.seccomp == SeccompPolicy::kOff || install_thread_seccomp(state.log, kind).is_ok()) return true;
    state.ending.set(kExitOwnFailure);
    return false;
}

// Starts the vCPU threads, is the main loop, and gathers the threads again.
int run_threads(SandboxState& state, std::vector<Vcpu>& vcpus, int wake_fd) {
    install_kick_handler();
    std::vector<std::thread> threads;
    for (Vcpu& vcpu : vcpus)
        threads.emplace_back([&state, &vcpu] {
            if (confine(state, ThreadKind::kVcpu)) run_vcpu(state, vcpu);
        });
    if (confine(state, ThreadKind::kMain)) run_main_loop(state, wake_fd);
    for (size_t i = 0; i < vcpus.size(); i++) {
        __atomic_store_n(&vcpus[i].run_page().immediate_exit, 1, __ATOMIC_SEQ_CST);
        pthread_kill(threads[i].native_handle(), kick_signal());
    }
    for (auto& thread : threads) thread.join();
    return state.ending.code();
}

Result<int> run(const Log& log, const SandboxConfig& config) {
    const char* why = nullptr;
    auto sentry = parse_sentry_elf(config.sentry_elf, &why);
    if (sentry.is_error())
        return log.fail(sentry.error(), "the Sentry inside this binary is damaged: %s; build kvmsbx again", why);
    Vm vm = TRY(Vm::create(log, config.kvm_fd));
    auto features = vm.features();
    if (features.is_error())
        return log.fail(features.error(), "KVM does not say what the CPU can do (KVM_GET_SUPPORTED_CPUID)");
    unsigned cpus = std::clamp(config.cpus ? config.cpus : usable_cpus(), 1u, abi::kMaxCpus);
    GuestMemory memory = TRY(GuestMemory::create(log, round_up(config.ram_size ? config.ram_size : host_ram())));
    RamBacking ram(vm, memory, kFirstRamSlot);
    uint64_t backed = TRY(ram.extend(RamBacking::first_step(memory.size())));
    uint64_t channel_size = TRY(map_channel(log, vm, config.channel_fd));
    TRY(attach_gofer(vm, config));

    std::vector<Vcpu> vcpus;
    for (unsigned i = 0; i < cpus; i++) vcpus.push_back(TRY(vm.create_vcpu(i, *features)));
    BootMemory boot(memory);
    auto privilege = TRY(decide_privilege(log, vcpus[0], boot, *features, config.privilege));
    MachineInput input{&*sentry,  privilege, cpus, channel_size, backed, config.app_spec, Vm::tsc_khz(vcpus[0]),
                       &*features};
    Machine machine = TRY(build_machine(log, boot, memory.size(), input));
    for (Vcpu& vcpu : vcpus) TRY(prepare_vcpu(log, vcpu, machine, input));

    Fd wake(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (wake.get() < 0) return log.fail(last_errno(), "eventfd: %m");
    SandboxState state{config,  log,
                       memory,  vm,
                       *sentry, machine,
                       ram,     Console(config.console_fds, wake.get()),
                       {},      Ending(wake.get())};
    return run_threads(state, vcpus, wake.get());
}

}  // namespace

bool Ending::set(int exit_code) {
    int running = kRunning;
    bool first = code_.compare_exchange_strong(running, exit_code);
    uint64_t one = 1;
    ssize_t ignored = write(wake_fd_, &one, sizeof one);
    static_cast<void>(ignored);
    return first;
}

int run_sandbox(const SandboxConfig& config) {
    Log log(config.log_fd, config.debug);
    auto code = run(log, config);
    return code.is_ok() ? *code : kExitOwnFailure;
}

PrivilegeReport measure_privilege(int kvm_fd) {
    PrivilegeReport report{};
    auto measure = [&]() -> Result<PrivilegeDecision> {
        Log silent(-1, false);
        Vm vm = TRY(Vm::create(silent, kvm_fd));
        CpuFeatures features = TRY(vm.features());
        GuestMemory memory = TRY(GuestMemory::create(silent, abi::kHugePageSize));
        TRY(vm.map_memory(kFirstRamSlot, {abi::kRamGpa}, memory.host_base(), memory.size()));
        Vcpu vcpu = TRY(vm.create_vcpu(0, features));
        BootMemory boot(memory);
        return decide_privilege(silent, vcpu, boot, features, PrivilegeChoice::kAuto);
    };
    auto decision = measure();
    if (decision.is_error()) {
        snprintf(report.reason, sizeof report.reason, "no VM can be run: %s",
                 strerror(static_cast<int>(decision.error())));
        return report;
    }
    report.ok = true;
    report.ring = decision->mode == abi::PrivilegeMode::kRing0 ? 0 : 3;
    report.ns_per_loop = decision->ns_per_loop;
    snprintf(report.reason, sizeof report.reason, "guest ring 0 runs %s here (%.1f ns per loop iteration)",
             report.ring == 0 ? "natively" : "interpreted", report.ns_per_loop);
    return report;
}

}  // namespace kvmsbx::vmm
