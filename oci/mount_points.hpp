#pragma once
// Mount points that the image lacks. They are made on the host before the sandbox starts, as runc does: a read-only root
// keeps the sandbox from it, and a dangling link (/etc/resolv.conf of many images) leads to a place that only the root's
// own links tell.
#include <vector>

#include "oci/bundle.hpp"
#include "oci/reporter.hpp"

namespace kvmsbx::oci {

// Makes the missing destinations of config.json's mounts in the root: folders, or an empty file where a file is
// bind-mounted. Links are followed as the application would; no path leaves the root (openat2(2), RESOLVE_IN_ROOT).
// What cannot be made is left to the mount's own error; a debug line says why. Not for a root with an overlay, whose
// files on the host must stay as they are. Gives the indices of the mounts whose places were missing.
std::vector<size_t> make_mount_points(const Bundle& bundle, Reporter& reporter);

}  // namespace kvmsbx::oci
