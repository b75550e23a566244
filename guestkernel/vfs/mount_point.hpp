#pragma once
// Places that the bundle names, and that are made where they are missing.
#include "guestkernel/vfs/path.hpp"

namespace kvmsbx::vfs {

enum class PlaceKind : uint8_t { kDirectory, kFile };

struct ObtainedPlace {
    Path path;
    bool made = false;  // it was missing
};

// The place of a path below the caller's root; what is missing is made, folders with mode 0755, a file with 0644 (and
// the caller's umask). Symbolic links are followed inside the root, dangling ones too: what they name is made. ELOOP
// and the errors of walking and making. What is there already may be of another kind.
Result<ObtainedPlace> obtain_place(const Caller& caller, std::string_view path, PlaceKind kind);

}  // namespace kvmsbx::vfs
