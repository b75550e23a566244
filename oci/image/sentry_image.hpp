#pragma once
// The Sentry's ELF files, embedded in this executable by sentry_image.S.
#include <cstddef>
#include <span>

namespace kvmsbx::oci {

// Empty where the build has none.
struct SentryImages {
    std::span<const std::byte> kvm;      // of a KVM guest
    std::span<const std::byte> process;  // of the process platform
};
SentryImages sentry_images();

}  // namespace kvmsbx::oci
