#pragma once
// A process that a command leaves behind: the monitor of a container, or who waits for an exec.
#include <functional>
#include <string>

#include "oci/outcome.hpp"
#include "oci/reporter.hpp"

namespace kvmsbx::oci {

// Forks, and gives the command's exit code: 0 once the child has called `ready`, else what `body` returned. The child
// leads a session of its own; it is killed with its caller until it is ready, and ends with the code that `body`
// returns: by SIGKILL for 137, which is how a container's process that was killed is to end.
//
// `body` runs in the child, and reports its failures itself.
int leave_behind(const char* name, Reporter& reporter,
                 const std::function<int(const std::function<void()>& ready)>& body);

// Decimal, without a newline; by rename. Nothing for an empty path.
Outcome<> write_pid_file(const std::string& path, int pid);

}  // namespace kvmsbx::oci
