#pragma once
// ptrace(2), process_vm_readv(2), kcmp(2): one process in another's memory and state.
#include "guestkernel/syscalls/syscall.hpp"

namespace kvmsbx::syscalls {}  // namespace kvmsbx::syscalls
