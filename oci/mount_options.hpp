#pragma once
// The options of config.json's mounts (runtime-spec, "Linux mount options"): those that every mount takes, and those
// that are a file system's own.
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "oci/outcome.hpp"

namespace kvmsbx::oci {

enum class MountEffect : uint8_t {
    kFlags,  // only what it does to the flags
    kBind,
    kRecursiveBind,
    kReadonlyBelow,  // rro
    kWritableBelow,  // rrw
    kCopyUp,
    kNoCopyUp,
    kIdmap,
};

// An option that every mount takes: flags of mount(2) become (flags & ~clear) | set.
struct MountOption {
    std::string_view name;
    uint64_t set = 0, clear = 0;
    MountEffect effect = MountEffect::kFlags;
};

std::span<const MountOption> mount_options();
// Null for an unknown name.
const MountOption* find_mount_option(std::string_view name);

// Whether a file system of that type takes the option ("size=64k") as data, with that value.
Outcome<> check_mount_data(std::string_view type, const std::string& option);

}  // namespace kvmsbx::oci
