#include "vmm/kvm/kvm_sandbox.hpp"

#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include <cstdio>
#include <cstring>

#include "common/host/errno.hpp"
#include "common/host/exit_code.hpp"
#include "vmm/kvm/machine.hpp"
#include "vmm/kvm/vcpu_thread.hpp"
#include "vmm/main_loop.hpp"
#include "vmm/seccomp.hpp"
#include "vmm/thread.hpp"

namespace kvmsbx::vmm {
namespace {

constexpr unsigned kGoferGsi = 24;  // the first behind the IOAPIC's pins
enum MemorySlot : unsigned { kChannelSlot, kFirstRamSlot };

// The channel region, mapped here only so that KVM can give it to the guest.
Result<uint64_t> map_channel(const host::Log& log, Vm& vm, const SandboxConfig& config) {
    uint64_t size = TRY(channel_size(log, config));
    if (size == 0) return size;
    void* at = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, config.channel_fd, 0);
    if (at == MAP_FAILED) return log.fail(host::last_errno(), "cannot map the channel's memory: %m");
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

class KvmPlatform final : public Platform {
  public:
    KvmPlatform(const Vm& vm, const Machine& machine, RamBacking& ram) : vm_(vm), machine_(machine), ram_(ram) {}
    GuestPhys cpu_area(unsigned cpu) const override { return machine_.cpus[cpu].area; }
    Result<uint64_t> extend_ram(uint64_t bytes) override { return ram_.extend(bytes); }
    void notify_sentry() override { static_cast<void>(vm_.raise_interrupt(0, abi::kVectorHostEvent).is_ok()); }

  private:
    const Vm& vm_;
    const Machine& machine_;
    RamBacking& ram_;
};

// Starts the vCPU threads, is the main loop, and gathers the threads again.
int run_threads(SandboxState& state, std::vector<Vcpu>& vcpus, int wake_fd) {
    install_kick_handler();
    std::vector<std::thread> threads;
    StartGate gate;
    for (Vcpu& vcpu : vcpus) {
        auto thread = start_vcpu_thread(state.log, [&state, &gate, &vcpu] {
            gate.wait();
            if (!state.ending.decided() && confine_thread(state, ThreadKind::kVcpu)) run_vcpu(state, vcpu);
        });
        if (thread.is_error()) {
            state.ending.set(host::kExitOwnFailure);
            break;
        }
        threads.push_back(thread.release_value());
    }
    gate.open();
    if (confine_thread(state, ThreadKind::kMain)) run_main_loop(state, wake_fd);
    for (size_t i = 0; i < threads.size(); i++) {
        __atomic_store_n(&vcpus[i].run_page().immediate_exit, 1, __ATOMIC_SEQ_CST);
        pthread_kill(threads[i].native_handle(), kick_signal());
    }
    for (auto& thread : threads) thread.join();
    return state.ending.code();
}

}  // namespace

Result<std::unique_ptr<KvmGuest>> KvmGuest::create(const host::Log& log, const SandboxConfig& config) {
    Vm vm = TRY(Vm::create(log, config.kvm_fd));
    auto features = vm.features();
    if (features.is_error())
        return log.fail(features.error(), "KVM does not say what the CPU can do (KVM_GET_SUPPORTED_CPUID)");
    GuestMemory memory = TRY(GuestMemory::create(log, ram_size(config)));
    std::unique_ptr<KvmGuest> guest(new KvmGuest(std::move(vm), std::move(*features), std::move(memory)));
    guest->ram_ = std::make_unique<RamBacking>(guest->vm_, guest->memory_, kFirstRamSlot);
    guest->backed_ = TRY(guest->ram_->extend(RamBacking::first_step(guest->memory_.size())));
    for (unsigned i = 0; i < cpu_count(config); i++)
        guest->vcpus_.push_back(TRY(guest->vm_.create_vcpu(i, guest->features_)));
    guest->privilege_ = TRY(decide_privilege(log, guest->vcpus_[0], guest->boot_, guest->features_, config.privilege));
    return guest;
}

Result<int> KvmGuest::run(const host::Log& log, const SandboxConfig& config) {
    vm_.log_to(log);
    const char* why = nullptr;
    auto sentry = parse_sentry_elf(config.sentry_elf, abi::kSentryBase, &why);
    if (sentry.is_error())
        return log.fail(sentry.error(), "the Sentry inside this binary is damaged: %s; build kvmsbx again", why);
    uint64_t channel = TRY(map_channel(log, vm_, config));
    TRY(attach_gofer(vm_, config));
    MachineInput input{&*sentry,
                       privilege_,
                       static_cast<unsigned>(vcpus_.size()),
                       channel,
                       backed_,
                       config.app_spec,
                       Vm::tsc_khz(vcpus_[0]),
                       &features_};
    Machine machine = TRY(build_machine(log, boot_, memory_.size(), input));
    for (Vcpu& vcpu : vcpus_) TRY(prepare_vcpu(log, vcpu, machine, input));

    host::Fd wake(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!wake.is_open()) return log.fail(host::last_errno(), "eventfd: %m");
    KvmPlatform platform(vm_, machine, *ram_);
    SandboxState state(config, log, memory_, *sentry, platform, wake.get());
    return run_threads(state, vcpus_, wake.get());
}

PrivilegeReport measure_privilege(int kvm_fd) {
    PrivilegeReport report{};
    auto measure = [&]() -> Result<PrivilegeDecision> {
        host::Log silent(-1, false);
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
