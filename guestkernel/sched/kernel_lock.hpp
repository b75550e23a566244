#pragma once
// The one lock of the Sentry (see sched.hpp).
namespace kvmsbx::sched {

void lock_kernel();
void unlock_kernel();

}  // namespace kvmsbx::sched
