#pragma once
// `kvmsbx boot`, the sandbox process: started by `run` in namespaces of its own (see launch.cpp). Not for people.
#include "oci/image/sentry_image.hpp"

namespace kvmsbx::oci {

// Flags: --channel-fds=MEMFD,DOORBELL,COMPLETION --spec-fd --control-fd --log-fd --cpus --memory --platform --privilege
// --no-namespaces --debug --strace. Confines the process and runs the sandbox; returns its exit code.
int boot_main(int argc, char** argv, const SentryImages& images);

}  // namespace kvmsbx::oci
