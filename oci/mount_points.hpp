#pragma once
// Mount points that the image lacks. Where root.readonly keeps the sandbox from making them, they are made on the host
// before it starts, as runc does.
#include "oci/bundle.hpp"
#include "oci/reporter.hpp"

namespace kvmsbx::oci {

// Makes the missing destinations of config.json's mounts below the root: folders, or an empty file where a file is
// bind-mounted. No path leaves the root (openat2(2), RESOLVE_IN_ROOT). What cannot be made is left to the mount's own
// error; a debug line says why.
void make_mount_points(const Bundle& bundle, Reporter& reporter);

}  // namespace kvmsbx::oci
