#pragma once
// What a sandbox is: names, sysctls, file systems, mounts.
#include "common/spec/sandbox_spec.hpp"
#include "guestkernel/task/task.hpp"

namespace kvmsbx::init {

using SandboxSpec = spec::SandboxSpec<wire::Viewed>;

// On the first task, which gets its root. Ends the sandbox with a line where something cannot be had.
void boot_sandbox(task::Task& first, const SandboxSpec& spec);

}  // namespace kvmsbx::init
