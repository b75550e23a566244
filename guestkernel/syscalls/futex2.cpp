// The calls of the second futex interface: futex_waitv(2), futex_wait(2), futex_wake(2), futex_requeue(2). Words have
// 32 bits; there are no NUMA futexes.
#include "guestkernel/syscalls/handlers_futex.hpp"
#include "guestkernel/task/clocks.hpp"
#include "guestkernel/task/futex.hpp"

namespace kvmsbx::syscalls {
namespace {

constexpr uint32_t kSize32 = 2, kPrivate = 128, kMostWords = 128;

// EINVAL but for a 32-bit word.
Result<bool> is_shared(uint64_t flags) {
    if ((flags & ~static_cast<uint64_t>(kPrivate)) != kSize32) return Errno::kINVAL;
    return !(flags & kPrivate);
}

Result<sched::Nanoseconds> deadline_on(Task& task, UserIn<task::TimeSpec> timeout, int32_t clock) {
    if (!timeout) return sched::kNever;
    if (clock != task::kClockMonotonic && clock != task::kClockRealtime) return Errno::kINVAL;
    const auto time = TRY(timeout.load(task.space()));
    if (!task::is_valid(time)) return Errno::kINVAL;
    const sched::Nanoseconds ns = task::to_nanoseconds(time);
    return clock == task::kClockRealtime ? task::monotonic_of_realtime(ns) : ns;
}

Result<Vector<task::FutexWait>> load_waits(Task& task, UserIn<FutexWaitV> words, uint32_t count) {
    Vector<task::FutexWait> waits;
    for (uint32_t i = 0; i < count; ++i) {
        const FutexWaitV word = TRY(UserIn<FutexWaitV>{words.address + i * sizeof(FutexWaitV)}.load(task.space()));
        if (word.reserved) return Errno::kINVAL;
        const bool shared = TRY(is_shared(word.flags));
        if (word.value >> 32) return Errno::kINVAL;
        TRY(waits.push_back(
            {word.address, shared, static_cast<uint32_t>(word.value), task::kFutexAnyBit, sched::kNever}));
    }
    return waits;
}

}  // namespace

Result<int64_t> sys_futex_waitv(Task& task, UserIn<FutexWaitV> words, uint32_t count, uint32_t flags,
                                UserIn<task::TimeSpec> timeout, int32_t clock) {
    if (flags || count == 0 || count > kMostWords || !words) return Errno::kINVAL;
    const sched::Nanoseconds deadline = TRY(deadline_on(task, timeout, clock));
    const auto waits = TRY(load_waits(task, words, count));
    return task::futex_wait_multiple(task, waits.span(), deadline);
}

Result<int64_t> sys_futex_wake(Task& task, uint64_t address, uint64_t mask, int32_t count, uint32_t flags) {
    const bool shared = TRY(is_shared(flags));
    if (mask >> 32 || mask == 0) return Errno::kINVAL;
    TRY(task::futex_key_of(task.space(), address, shared));
    if (count == 0) return 0;
    return task::futex_wake(task.space(), address, shared, count, static_cast<uint32_t>(mask));
}

Result<int64_t> sys_futex_wait(Task& task, uint64_t address, uint64_t value, uint64_t mask, uint32_t flags,
                               UserIn<task::TimeSpec> timeout, int32_t clock) {
    const bool shared = TRY(is_shared(flags));
    if (value >> 32 || mask >> 32) return Errno::kINVAL;
    const sched::Nanoseconds deadline = TRY(deadline_on(task, timeout, clock));
    return task::futex_wait(task,
                            {address, shared, static_cast<uint32_t>(value), static_cast<uint32_t>(mask), deadline});
}

Result<int64_t> sys_futex_requeue(Task& task, UserIn<FutexWaitV> words, uint32_t flags, int32_t wake, int32_t move) {
    if (flags || !words) return Errno::kINVAL;
    const auto waits = TRY(load_waits(task, words, 2));
    if (waits[0].shared != waits[1].shared) return Errno::kINVAL;
    return task::futex_requeue(task.space(), waits[0].address, waits[1].address, waits[0].shared, wake, move,
                               &waits[0].expected);
}

}  // namespace kvmsbx::syscalls
