#include "vmm/sandbox.hpp"

#include <sched.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include <algorithm>

#include "common/host/errno.hpp"
#include "common/host/exit_code.hpp"
#include "vmm/kvm/kvm_sandbox.hpp"
#include "vmm/process/process_sandbox.hpp"
#include "vmm/sandbox_state.hpp"

namespace kvmsbx::vmm {
namespace {

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

Result<int> run_on_kvm(const host::Log& log, const SandboxConfig& config) {
    auto guest = TRY(KvmGuest::create(log, config));
    return guest->run(log, config);
}

Result<int> run_on_some_platform(const host::Log& log, const SandboxConfig& config) {
    if (config.kvm_fd < 0) {
        log.debug("process platform: there is no /dev/kvm");
        return run_on_process(log, config);
    }
    host::Log quiet(-1, false);  // that KVM does not work is no failure here
    auto guest = KvmGuest::create(config.debug ? log : quiet, config);
    if (guest.is_error()) {
        log.debug("process platform: KVM runs no guest here");
        return run_on_process(log, config);
    }
    log.debug("KVM platform: a guest runs here");
    return (*guest)->run(log, config);
}

Result<int> run(const host::Log& log, const SandboxConfig& config) {
    switch (config.platform) {
        case PlatformChoice::kKvm: return run_on_kvm(log, config);
        case PlatformChoice::kProcess: return run_on_process(log, config);
        case PlatformChoice::kAuto: break;
    }
    return run_on_some_platform(log, config);
}

}  // namespace

void Ending::announce(int exit_code) {
    code_ = exit_code;
    uint64_t one = 1;
    ssize_t ignored = write(wake_fd_, &one, sizeof one);
    static_cast<void>(ignored);
}

unsigned cpu_count(const SandboxConfig& config) {
    return std::clamp(config.cpus ? config.cpus : usable_cpus(), 1u, abi::kMaxCpus);
}

uint64_t ram_size(const SandboxConfig& config) {
    uint64_t bytes = config.ram_size ? config.ram_size : host_ram();
    return (bytes + abi::kHugePageSize - 1) & ~(abi::kHugePageSize - 1);
}

Result<uint64_t> channel_size(const host::Log& log, const SandboxConfig& config) {
    if (config.channel_fd < 0) return uint64_t{0};
    struct stat status {};
    if (fstat(config.channel_fd, &status) != 0)
        return log.fail(host::last_errno(), "cannot look at the channel's memory: %m");
    uint64_t size = status.st_size;
    if (size == 0 || size % abi::kHugePageSize != 0 || size > abi::kDeviceGpa - abi::kChannelGpa)
        return log.fail(Errno::kINVAL, "the channel's memory has %llu bytes; it must be a multiple of 2 MiB",
                        static_cast<unsigned long long>(size));
    return size;
}

int run_sandbox(const SandboxConfig& config) {
    host::Log log(config.log_fd, config.debug);
    auto code = run(log, config);
    return code.is_ok() ? *code : host::kExitOwnFailure;
}

}  // namespace kvmsbx::vmm
