#include "oci/image/sentry_image.hpp"

// sentry_image.S
extern "C" const std::byte sentry_elf_start[], sentry_elf_end[];
extern "C" const std::byte process_sentry_elf_start[], process_sentry_elf_end[];

namespace kvmsbx::oci {

SentryImages sentry_images() {
    return {{sentry_elf_start, sentry_elf_end}, {process_sentry_elf_start, process_sentry_elf_end}};
}

}  // namespace kvmsbx::oci
