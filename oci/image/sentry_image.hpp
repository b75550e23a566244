#pragma once
// The Sentry's ELF file, embedded in this executable by sentry_image.S.
#include <cstddef>
#include <span>

namespace kvmsbx::oci {

// Empty in a build without the Sentry.
std::span<const std::byte> sentry_image();

}  // namespace kvmsbx::oci
