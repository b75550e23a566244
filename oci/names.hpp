#pragma once
// The names that config.json uses for Linux's numbers.
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace kvmsbx::oci {

// "CAP_KILL" -> 5 (linux/capability.h); nothing for an unknown name.
std::optional<unsigned> capability_number(std::string_view name);

// All of them, in the order of their numbers.
std::span<const std::string_view> capability_names();

// "pid", "network" ..., in the order of NamespaceType (spec.hpp).
std::span<const std::string_view> namespace_names();

// "RLIMIT_NOFILE" -> 7 (asm-generic/resource.h); nothing for an unknown name.
std::optional<uint32_t> rlimit_number(std::string_view name);

}  // namespace kvmsbx::oci
