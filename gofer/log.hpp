#pragma once
// The gofer's messages: "kvmsbx gofer: ...", to stderr or to --log-fd.
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "common/host/log.hpp"

namespace kvmsbx::gofer {

// gofer_main() replaces it when it has read the options; before, lines go to stderr.
inline host::Log log(STDERR_FILENO, false, host::kGoferPrefixes);

// ": No such file or directory" of errno.
inline std::string because() { return std::string(": ") + strerror(errno); }

}  // namespace kvmsbx::gofer
