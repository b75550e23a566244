#pragma once
// The names that config.json uses for Linux's numbers.
#include <cstdint>
#include <optional>
#include <string_view>

namespace kvmsbx::oci {

// "CAP_KILL" -> 5 (linux/capability.h); nothing for an unknown name.
std::optional<unsigned> capability_number(std::string_view name);

// "RLIMIT_NOFILE" -> 7 (asm-generic/resource.h); nothing for an unknown name.
std::optional<uint32_t> rlimit_number(std::string_view name);

}  // namespace kvmsbx::oci
