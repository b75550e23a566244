#pragma once
// Resolves symlinks in mount destinations as the application will see them: inside the root.
#include <string>

namespace kvmsbx::gofer {

// The absolute path without symlinks, "." and ".." to which `destination` leads in the tree of `root`; what does not
// exist is taken literally. Never looks outside of the tree. "" when there are too many symlinks.
std::string resolve_destination(int root, const std::string& destination);

}  // namespace kvmsbx::gofer
