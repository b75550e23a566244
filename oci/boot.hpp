#pragma once
// `kvmsbx boot`, the sandbox process: started by `run` in namespaces of its own (see launch.cpp). Not for people.
#include <cstddef>
#include <span>

namespace kvmsbx::oci {

// Flags: --channel-fds=MEMFD,DOORBELL,COMPLETION --spec-fd --control-fd --log-fd --cpus --memory --privilege --debug
// --strace. `sentry` is the Sentry's ELF file. Confines the process and runs the sandbox; returns its exit code.
int boot_main(int argc, char** argv, std::span<const std::byte> sentry);

}  // namespace kvmsbx::oci
