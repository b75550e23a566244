#pragma once
// The memory of the executable's own code.

namespace kvmsbx::host {

// Pages of the executable that only the way here needed are no longer counted as this process's: what is used again comes
// back by a fault. For a process that will wait for long.
void let_go_of_code();

}  // namespace kvmsbx::host
