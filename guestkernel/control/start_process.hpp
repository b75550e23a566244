#pragma once
// How a process comes to run that the host starts: the first one, and those of control::Exec. The process's own task
// calls these functions, on its kernel stack; it has a root already (Task::fs_). They may block.
#include "common/spec/process_spec.hpp"
#include "guestkernel/control/failure.hpp"
#include "guestkernel/fs/console.hpp"
#include "guestkernel/task/life.hpp"

namespace kvmsbx::control {

using ProcessSpec = spec::ProcessSpec<wire::Viewed>;

enum class Cwd : bool { kMustBeThere, kIsMade };

// All but the program's start: credentials, limits, working directory, standard streams, environment. The program is
// found, and `request` is what execute_process() needs. False: `failure` says why not.
bool prepare_process(task::Task& task, const ProcessSpec& spec, fs::StandardFiles& files, Cwd cwd,
                     task::ExecRequest& request, Failure& failure);
bool execute_process(task::Task& task, const ProcessSpec& spec, task::ExecRequest request, Failure& failure);

// What to do where the host or the container has too little for a process. EAGAIN, ENOMEM.
std::string_view advice_for(Errno error);

}  // namespace kvmsbx::control
