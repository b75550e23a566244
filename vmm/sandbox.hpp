#pragma once
// What the CLI (`kvmsbx boot`) calls: one sandbox, from its configuration to its exit code.
//
// The caller has prepared the process: namespaces, empty root, capabilities dropped, no terminal modes to care for.
// run_sandbox() sets no_new_privs and a seccomp filter per thread kind itself (the last thing before guest code runs),
// so nothing can be opened after it was called: everything it needs is in the configuration. All file descriptors stay
// the caller's to close, but the process is expected to end with the code returned.
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "common/abi/hypercall.hpp"

namespace kvmsbx::vmm {

// kAuto: KVM where /dev/kvm opened and a guest runs, else the process platform.
enum class PlatformChoice : uint8_t { kAuto, kKvm, kProcess };
enum class PrivilegeChoice : uint8_t { kAuto, kRing0, kRing3 };
enum class SeccompPolicy : uint8_t { kEnforce, kOff };  // kOff is for debuggers and sanitizers

struct SandboxConfig {
    PlatformChoice platform = PlatformChoice::kAuto;
    int kvm_fd = -1;               // /dev/kvm, O_RDWR; -1: there is none, which kKvm cannot do without
    int ram_fd = -1;               // process platform: an empty file on a tmpfs with 2 MiB pages; -1: a memfd is made
    uint64_t stub_mappings = 0;    // process platform: see find_stub_mappings(); 0: as the host's default allows
    int channel_fd = -1;           // memfd shared with the gofer, its size a multiple of 2 MiB; -1: no channel (tests)
    int gofer_doorbell_fd = -1;    // eventfd that the guest's write to kGoferDoorbellOffset signals; -1: none
    int gofer_completion_fd = -1;  // eventfd that the gofer signals; raises kVectorGofer on vCPU 0; -1: none
    int gofer_lifeline_fd =
        -1;  // pidfd, pipe or socket: readable or hung up = the gofer is dead and the sandbox ends with 125; -1: none
    // What the first process has as descriptors 0, 1, 2 and so on; the sandbox closes them. They may be blocking ones
    // (open_terminal_again() for terminals): they are polled first and never waited for.
    std::vector<int> console_fds{0, 1, 2};
    // A connected stream socket, for control frames (common/control/messages.hpp); -1: none. Its hang-up (the monitor
    // died) ends the sandbox.
    int control_fd = -1;
    unsigned cpus = 0;  // 0: all that sched_getaffinity allows; at most abi::kMaxCpus
    uint64_t ram_size =
        0;  // bytes of guest RAM, rounded up to 2 MiB (NORESERVE: costs only what is touched); 0: all of the host's RAM
    PrivilegeChoice privilege = PrivilegeChoice::kAuto;
    SeccompPolicy seccomp = SeccompPolicy::kEnforce;
    bool debug = false;                     // VMM messages and HypercallNumber::kLog lines go to log_fd
    bool strace = false;                    // told to the Sentry (kDebugLevel); its lines come by kLog and go to log_fd
    int log_fd = 2;                         // debug lines, panics, our own failures
    std::span<const std::byte> sentry_elf;  // the embedded Sentry of a KVM guest; must outlive the call
    std::span<const std::byte> process_sentry_elf;  // the one of the process platform; likewise
    std::vector<std::byte> app_spec;                // an encoded spec::SandboxSpec
};

// Runs the sandbox until its first process ended; returns that exit code, or host::kExitOwnFailure after one line
// "kvmsbx: what, why, what to do" was written to log_fd. Call once per process, from a process with no other threads.
int run_sandbox(const SandboxConfig& config);

// For `kvmsbx doctor`: the privilege mode that kAuto would choose on this host, and why. `kvm_fd` as in SandboxConfig.
struct PrivilegeReport {
    bool ok;             // false: `reason` says why no VM could be made
    unsigned ring;       // 0 or 3
    double ns_per_loop;  // ring-0 loop iteration, measured
    char reason[160];    // NUL-terminated
};
PrivilegeReport measure_privilege(int kvm_fd);

// Likewise: whether the process platform works here; tried in a child process, in less than 50 ms.
struct ProcessReport {
    bool ok;             // false: `reason` says what does not work
    bool huge_pages;     // RAM could be a file of 2 MiB pages
    unsigned cpus;       // that a sandbox would have
    double ns_per_call;  // a system call's way to the Sentry and back, measured
    char reason[160];    // NUL-terminated
};
ProcessReport measure_process();

}  // namespace kvmsbx::vmm
