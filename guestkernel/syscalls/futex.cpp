#include "guestkernel/task/futex.hpp"

#include "guestkernel/syscalls/handlers_futex.hpp"
#include "guestkernel/task/clocks.hpp"
#include "guestkernel/task/registry.hpp"

namespace kvmsbx::syscalls {
namespace {

enum Operation : int32_t {
    kWait = 0,
    kWake = 1,
    kRequeue = 3,
    kCmpRequeue = 4,
    kWakeOp = 5,
    kWaitBitset = 9,
    kWakeBitset = 10,
    kLockPi = 6,
    kUnlockPi = 7,
    kTrylockPi = 8,
    kLockPi2 = 13,
};
constexpr int32_t kPrivate = 128, kClockRealtime = 256;
constexpr uint64_t kRobustHeadSize = 24;

Result<sched::Nanoseconds> deadline_of(Task& task, int32_t command, bool realtime, uint64_t address) {
    if (address == 0) return sched::kNever;
    const auto time = TRY(UserIn<task::TimeSpec>{address}.load(task.space()));
    if (!task::is_valid(time)) return Errno::kINVAL;
    const sched::Nanoseconds ns = task::to_nanoseconds(time);
    if (command == kWait) return task::saturating_add(sched::now(), ns);
    return realtime || command == kLockPi ? task::monotonic_of_realtime(ns) : ns;
}

}  // namespace

Result<int64_t> sys_futex(Task& task, uint64_t address, int32_t operation, uint32_t value, uint64_t timeout_or_count,
                          uint64_t address2, uint32_t value3) {
    const int32_t command = operation & ~(kPrivate | kClockRealtime);
    const bool shared = !(operation & kPrivate), realtime = operation & kClockRealtime;
    const auto count = static_cast<int32_t>(value), count2 = static_cast<int32_t>(timeout_or_count);
    sched::Nanoseconds deadline = sched::kNever;
    if (command == kWait || command == kWaitBitset || command == kLockPi || command == kLockPi2)
        deadline = TRY(deadline_of(task, command, realtime, timeout_or_count));
    if (realtime && command != kWaitBitset && command != kLockPi2) return Errno::kNOSYS;
    mm::AddressSpace& space = task.space();
    switch (command) {
        case kWait: return task::futex_wait(task, {address, shared, value, task::kFutexAnyBit, deadline});
        case kWaitBitset: return task::futex_wait(task, {address, shared, value, value3, deadline});
        case kWake: return task::futex_wake(space, address, shared, count);
        case kWakeBitset: return task::futex_wake(space, address, shared, count, value3);
        case kRequeue: return task::futex_requeue(space, address, address2, shared, count, count2, nullptr);
        case kCmpRequeue: return task::futex_requeue(space, address, address2, shared, count, count2, &value3);
        case kWakeOp: return task::futex_wake_op(space, address, address2, shared, count, count2, value3);
        case kLockPi:
        case kLockPi2: return task::futex_lock_pi(task, {address, shared, false}, deadline);
        case kTrylockPi: return task::futex_lock_pi(task, {address, shared, true}, deadline);
        case kUnlockPi: return task::futex_unlock_pi(task, address, shared);
        default: return Errno::kNOSYS;
    }
}

Result<int64_t> sys_set_robust_list(Task& task, uint64_t head, size_t size) {
    if (size != kRobustHeadSize) return Errno::kINVAL;
    task.robust_list = head;
    return 0;
}

Result<int64_t> sys_get_robust_list(Task& task, Pid tid, UserOut<uint64_t> head, UserOut<uint64_t> size) {
    Task* target = tid == 0 ? &task : task::find_task(tid);
    if (!target) return Errno::kSRCH;
    if (&target->process() != &task.process() && !task.credentials().has(auth::Capability::kSysPtrace))
        return Errno::kPERM;
    TRY(size.store(task.space(), kRobustHeadSize));
    TRY(head.store(task.space(), target->robust_list));
    return 0;
}

}  // namespace kvmsbx::syscalls
