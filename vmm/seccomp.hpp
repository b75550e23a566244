#pragma once
// seccomp filters of the sandbox process: one per thread kind, system calls as data with the code that needs each.
// Anything else kills the process.
#include <cstdint>
#include <optional>
#include <span>

#include "common/base/result.hpp"
#include "common/host/log.hpp"

namespace kvmsbx::vmm {

enum class ThreadKind : uint8_t {
    kVcpu,         // KVM: run_vcpu()
    kMain,         // KVM: run_main_loop(), and what follows until the process ends
    kProcessVcpu,  // process platform: the Sentry, and what it calls (ProcessHost)
    kProcessMain,  // process platform: run_main_loop(), and what follows until the process ends
};

// "Allowed if argument `index` equals `value`."
struct SeccompArgument {
    unsigned index;
    uint64_t value;
};

struct SeccompRule {
    int system_call;
    std::optional<SeccompArgument> argument;
    const char* reason;
};

std::span<const SeccompRule> seccomp_rules(ThreadKind kind);

// Sets no_new_privs and the filter of `kind` for the calling thread. Fails with a line in the log; then nothing may
// run.
Result<> install_thread_seccomp(const host::Log& log, ThreadKind kind);
struct SandboxState;
// The same where the configuration wants it. False: the thread is not confined, so the sandbox ends.
bool confine_thread(SandboxState& state, ThreadKind kind);

}  // namespace kvmsbx::vmm
