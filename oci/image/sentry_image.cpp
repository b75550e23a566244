#include "oci/image/sentry_image.hpp"

extern "C" const std::byte sentry_elf_start[], sentry_elf_end[];  // sentry_image.S

namespace kvmsbx::oci {

std::span<const std::byte> sentry_image() { return {sentry_elf_start, sentry_elf_end}; }

}  // namespace kvmsbx::oci
