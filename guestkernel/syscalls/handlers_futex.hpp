#pragma once
// Futexes (futex.cpp).
#include "guestkernel/syscalls/syscall.hpp"
#include "guestkernel/task/clocks.hpp"

namespace kvmsbx::syscalls {

struct FutexWaitV {  // struct futex_waitv
    uint64_t value, address;
    uint32_t flags, reserved;
};

Result<int64_t> sys_futex(Task& task, uint64_t address, int32_t operation, uint32_t value, uint64_t timeout_or_count,
                          uint64_t address2, uint32_t value3);
Result<int64_t> sys_set_robust_list(Task& task, uint64_t head, size_t size);
Result<int64_t> sys_get_robust_list(Task& task, Pid tid, UserOut<uint64_t> head, UserOut<uint64_t> size);

Result<int64_t> sys_futex_waitv(Task& task, UserIn<FutexWaitV> words, uint32_t count, uint32_t flags,
                                UserIn<task::TimeSpec> timeout, int32_t clock);
Result<int64_t> sys_futex_wake(Task& task, uint64_t address, uint64_t mask, int32_t count, uint32_t flags);
Result<int64_t> sys_futex_wait(Task& task, uint64_t address, uint64_t value, uint64_t mask, uint32_t flags,
                               UserIn<task::TimeSpec> timeout, int32_t clock);
Result<int64_t> sys_futex_requeue(Task& task, UserIn<FutexWaitV> words, uint32_t flags, int32_t wake, int32_t move);

}  // namespace kvmsbx::syscalls
