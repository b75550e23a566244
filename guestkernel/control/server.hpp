#pragma once
// Serves the monitor's requests (common/control/messages.hpp) on a thread of its own, one after the other: answers and
// errors go back at once, and while they wait for room nothing new is taken.
#include "common/base/result.hpp"

namespace kvmsbx::control {

// At start; no effect where there is no monitor. ENOMEM.
Result<> start_server();
// HostEventType::kControl. Does not block.
void host_event();

}  // namespace kvmsbx::control
