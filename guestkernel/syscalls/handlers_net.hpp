#pragma once
// Sockets: socket(2) and its family.
#include "guestkernel/syscalls/syscall.hpp"

namespace kvmsbx::syscalls {}  // namespace kvmsbx::syscalls
