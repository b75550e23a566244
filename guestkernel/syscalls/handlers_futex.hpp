#pragma once
// Futexes (futex.cpp).
#include "guestkernel/syscalls/syscall.hpp"

namespace kvmsbx::syscalls {

Result<int64_t> sys_futex(Task& task, uint64_t address, int32_t operation, uint32_t value, uint64_t timeout_or_count,
                          uint64_t address2, uint32_t value3);
Result<int64_t> sys_set_robust_list(Task& task, uint64_t head, size_t size);
Result<int64_t> sys_get_robust_list(Task& task, Pid tid, UserOut<uint64_t> head, UserOut<uint64_t> size);

}  // namespace kvmsbx::syscalls
