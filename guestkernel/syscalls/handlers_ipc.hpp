#pragma once
// System V IPC (sysvipc(7)) and POSIX message queues (mq_overview(7)).
#include "guestkernel/syscalls/syscall.hpp"

namespace kvmsbx::syscalls {}  // namespace kvmsbx::syscalls
