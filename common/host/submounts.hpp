#pragma once
// Mounts below a folder of the host.
#include <string>

namespace kvmsbx::host {

// Whether something is mounted below the folder (the folder itself does not count), in the caller's mount namespace. The
// path may be relative and lead through symlinks. True when nobody can tell.
bool has_submounts(const std::string& folder);

}  // namespace kvmsbx::host
