#pragma once
// hooks.startContainer (runtime-spec, config.md): programs of the container that run one after the other right before
// the first process's, as its children, with all that it has but its descriptors: they read the container's state, and
// what they write is only seen where they fail.
#include "common/spec/sandbox_spec.hpp"
#include "guestkernel/control/failure.hpp"
#include "guestkernel/task/life.hpp"

namespace kvmsbx::control {

// On the first task. `program`: what it will run itself; a hook without an environment gets this one. False: a hook
// could not run, failed, or took too long, which ended its process group.
bool run_start_hooks(task::Task& first, const spec::SandboxSpec<wire::Viewed>& spec, const task::ExecRequest& program,
                     Failure& failure);

}  // namespace kvmsbx::control
