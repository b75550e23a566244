#pragma once
// What the monitor asks of a running sandbox: control::Ps, Stats, Stacks. Nothing here blocks, and no application's
// memory is made present by it.
#include "guestkernel/control/frames.hpp"

namespace kvmsbx::control {

void send_processes(uint64_t id);
Usage usage();
// For each thread what it waits for: its system call, and where in the Sentry it waits (return addresses).
void send_stacks(uint64_t id);

}  // namespace kvmsbx::control
