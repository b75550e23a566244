#include "oci/boot.hpp"

#include <fcntl.h>
#include <getopt.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "common/host/exit_code.hpp"
#include "common/host/log.hpp"
#include "oci/confine.hpp"
#include "oci/kvm_device.hpp"
#include "vmm/console.hpp"
#include "vmm/process/host_facts.hpp"
#include "vmm/process/ram_file.hpp"
#include "vmm/sandbox.hpp"

namespace kvmsbx::oci {
namespace {

struct BootOptions {
    vmm::SandboxConfig config;
    int spec_fd = -1;
    Namespaces namespaces = Namespaces::kOwn;
};

enum Flag {
    kChannelFds = 1,
    kSpecFd,
    kControlFd,
    kStreamFds,
    kLogFd,
    kCpus,
    kMemory,
    kPlatform,
    kPrivilege,
    kNoNamespaces,
    kDebug,
    kStrace
};

constexpr option kFlags[] = {{"channel-fds", required_argument, nullptr, kChannelFds},
                             {"spec-fd", required_argument, nullptr, kSpecFd},
                             {"control-fd", required_argument, nullptr, kControlFd},
                             {"stream-fds", required_argument, nullptr, kStreamFds},
                             {"log-fd", required_argument, nullptr, kLogFd},
                             {"cpus", required_argument, nullptr, kCpus},
                             {"memory", required_argument, nullptr, kMemory},
                             {"platform", required_argument, nullptr, kPlatform},
                             {"privilege", required_argument, nullptr, kPrivilege},
                             {"no-namespaces", no_argument, nullptr, kNoNamespaces},
                             {"debug", no_argument, nullptr, kDebug},
                             {"strace", no_argument, nullptr, kStrace},
                             {nullptr, 0, nullptr, 0}};

vmm::PlatformChoice platform_choice(const std::string& name) {
    if (name == "kvm") return vmm::PlatformChoice::kKvm;
    if (name == "process") return vmm::PlatformChoice::kProcess;
    return vmm::PlatformChoice::kAuto;
}

vmm::PrivilegeChoice privilege_choice(const std::string& name) {
    if (name == "ring0") return vmm::PrivilegeChoice::kRing0;
    if (name == "ring3") return vmm::PrivilegeChoice::kRing3;
    return vmm::PrivilegeChoice::kAuto;
}

// "3,4,5": streams behind the standard ones.
bool add_streams(const char* value, std::vector<int>& fds) {
    for (const char* at = value; *at != '\0';) {
        char* end;
        fds.push_back(static_cast<int>(std::strtol(at, &end, 10)));
        if (end == at || (*end != ',' && *end != '\0')) return false;
        at = *end == ',' ? end + 1 : end;
    }
    return true;
}

// The caller is the monitor, which has checked what the user gave.
bool apply_flag(int flag, const char* value, BootOptions& options) {
    vmm::SandboxConfig& config = options.config;
    switch (flag) {
        case kChannelFds:
            return std::sscanf(value, "%d,%d,%d", &config.channel_fd, &config.gofer_doorbell_fd,
                               &config.gofer_completion_fd) == 3;
        case kSpecFd: options.spec_fd = std::atoi(value); return true;
        case kControlFd: config.control_fd = std::atoi(value); return true;
        case kStreamFds: return add_streams(value, config.console_fds);
        case kLogFd: config.log_fd = std::atoi(value); return true;
        case kCpus: config.cpus = static_cast<unsigned>(std::atoi(value)); return true;
        case kMemory: config.ram_size = std::strtoull(value, nullptr, 10); return true;
        case kPlatform: config.platform = platform_choice(value); return true;
        case kNoNamespaces: options.namespaces = Namespaces::kNone; return true;
        case kPrivilege: config.privilege = privilege_choice(value); return true;
        case kDebug: config.debug = true; return true;
        case kStrace: config.strace = true; return true;
        default: return false;
    }
}

Outcome<BootOptions> parse_flags(int argc, char** argv) {
    BootOptions options;
    optind = 1;
    for (int flag; (flag = getopt_long(argc, argv, "", kFlags, nullptr)) != -1;) {
        if (!apply_flag(flag, optarg, options))
            return Failure{"boot: bad flags (only a container's monitor starts this subcommand)"};
    }
    if (options.spec_fd < 0 || options.config.channel_fd < 0)
        return Failure{"boot: only a container's monitor starts it"};
    return options;
}

Outcome<std::vector<std::byte>> read_app_spec(int fd) {
    struct stat status {};
    if (fstat(fd, &status) < 0) return errno_failure("boot: reading the application's specification", errno);
    std::vector<std::byte> bytes(static_cast<size_t>(status.st_size));
    if (pread(fd, bytes.data(), bytes.size(), 0) != status.st_size)
        return errno_failure("boot: reading the application's specification", errno);
    close(fd);
    return bytes;
}

// As many streams as the host allows.
void raise_descriptor_limit() {
    rlimit limit{};
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

// The sandbox closes streams, so they get numbers of their own; 0, 1 and 2 become /dev/null, since much expects them to
// be open.
Outcome<> prepare_streams(vmm::SandboxConfig& config) {
    const host::Fd null(open("/dev/null", O_RDWR | O_CLOEXEC));
    if (!null.is_open()) return errno_failure("boot: opening /dev/null", errno);
    for (int& fd : config.console_fds) {
        const int again = vmm::open_terminal_again(fd);
        fd = again == fd && fd <= 2 ? fcntl(fd, F_DUPFD_CLOEXEC, 3) : again;
    }
    for (int fd = 0; fd <= 2; fd++)
        if (fd != config.log_fd && dup2(null.get(), fd) < 0) return errno_failure("boot: replacing its streams", errno);
    return {};
}

// Opens /dev/kvm where the choice leaves room for it. With kAuto a host without it is no failure, as long as there is a
// process platform to take instead; whether a guest runs is found out by run_sandbox().
Outcome<host::Fd> open_platform(const host::Log& log, vmm::SandboxConfig& config) {
    if (config.platform == vmm::PlatformChoice::kProcess) return host::Fd();
    Outcome<host::Fd> kvm = open_kvm();
    if (kvm.is_ok()) return kvm;
    if (config.platform == vmm::PlatformChoice::kKvm)
        return Failure{kvm.error().message + "; or run with --platform=process, which needs no KVM"};
    if (config.process_sentry_elf.empty()) return kvm.error();
    config.platform = vmm::PlatformChoice::kProcess;
    log.debug_text("--platform=auto takes the process platform: " + kvm.error().message);
    return host::Fd();
}

Outcome<> check_images(const vmm::SandboxConfig& config) {
    const bool process = config.platform == vmm::PlatformChoice::kProcess;
    if (!(process ? config.process_sentry_elf : config.sentry_elf).empty()) return {};
    return Failure{std::string("this executable was built without the Sentry of the platform ") +
                   (process ? "process" : "kvm") + "; build the whole project (scripts/build)"};
}

Outcome<int> boot(BootOptions& options, const SentryImages& images) {
    vmm::SandboxConfig& config = options.config;
    config.sentry_elf = images.kvm;
    config.process_sentry_elf = images.process;
    const host::Log log(config.log_fd, config.debug);
    raise_descriptor_limit();
    const host::Fd kvm = TRY(open_platform(log, config));
    TRY(check_images(config));
    config.kvm_fd = kvm.get();
    // Where a guest turns out not to run, the process platform does with a memfd.
    const host::Fd ram(kvm.is_open() ? -1 : vmm::open_ram_file());
    config.ram_fd = ram.get();
    config.stub_mappings = vmm::find_stub_mappings();
    config.app_spec = TRY(read_app_spec(options.spec_fd));
    TRY(prepare_streams(config));
    TRY(confine(options.namespaces, log));
    return vmm::run_sandbox(config);
}

}  // namespace

int boot_main(int argc, char** argv, const SentryImages& images) {
    prctl(PR_SET_NAME, "kvmsbx-boot");
    signal(SIGPIPE, SIG_IGN);  // a stream that nobody reads is the application's affair
    Outcome<BootOptions> options = parse_flags(argc, argv);
    const int log_fd = options.is_ok() ? options.value().config.log_fd : 2;
    Outcome<int> code = options.is_ok() ? boot(options.value(), images) : Outcome<int>(options.error());
    if (code.is_ok()) return code.value();
    host::Log(log_fd, false).error_text(code.error().message);
    return host::kExitOwnFailure;
}

}  // namespace kvmsbx::oci
