#pragma once
// linux.seccomp compiled to what the Sentry's filters run: libseccomp makes the program, as for runc, and the Sentry
// enforces it on the application's system calls.
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/spec/process_spec.hpp"
#include "oci/outcome.hpp"
#include "oci/spec.hpp"

namespace kvmsbx::oci {

struct SeccompProgram {
    std::vector<spec::BpfInstruction> instructions;  // over struct seccomp_data
    uint32_t flags = 0;                              // SECCOMP_FILTER_FLAG_*
    std::vector<std::string> unknown_calls;          // names that libseccomp does not know: they have no rule
};

// Fails for names that are not in the tables below, for errnoRet with an action that has no errno, for SCMP_ACT_NOTIFY
// and listenerPath (nobody outside could act on the sandbox's system calls), and for a program that is too long.
// A call that is newer than all that the profile names gives ENOSYS instead of a default that refuses, as with runc: C
// libraries then fall back to an older one.
Outcome<SeccompProgram> compile_seccomp(const SeccompSpec& profile);

// What config.json may name, for `features`.
std::span<const std::string_view> seccomp_actions();
std::span<const std::string_view> seccomp_operators();
std::span<const std::string_view> seccomp_architectures();
std::span<const std::string_view> seccomp_flags();

}  // namespace kvmsbx::oci
