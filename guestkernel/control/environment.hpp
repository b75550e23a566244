#pragma once
// The environment of a process that the host starts, by runc's rules: each entry is NAME=value, the last of a name
// counts, HOME comes from the root's /etc/passwd where it is not given.
#include "guestkernel/control/failure.hpp"
#include "guestkernel/control/start_process.hpp"

namespace kvmsbx::control {

// Fills request.environment. False: `failure` says why not. Reads files.
bool make_environment(task::Task& task, const ProcessSpec& spec, task::ExecRequest& request, Failure& failure);
// The value of PATH in it; empty: it has none.
std::string_view search_path(const task::ExecRequest& request);

}  // namespace kvmsbx::control
