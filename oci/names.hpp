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

// What a mount option of fstab's kind does to the flags of mount(2): flags = (flags & ~clear) | set. Options that only
// the OCI side looks at (bind, rbind, private ...) set nothing. Nothing for options that are the file system's own data
// ("size=64k").
struct MountOption {
    uint64_t set, clear;
};
std::optional<MountOption> mount_option(std::string_view name);

}  // namespace kvmsbx::oci
