// Locks with an owner (FUTEX_LOCK_PI and kin, futex(2)). The word holds the owner's number; a waiter is queued at the
// owner's Task, so that the lock can be handed on when the owner ends. An unlock hands the lock to the waiter that came
// first: the word is never free while one waits. Priorities are not inherited: nothing here knows of them.
#include "guestkernel/task/futex.hpp"
#include "guestkernel/task/registry.hpp"
#include "guestkernel/task/signal_delivery.hpp"

namespace kvmsbx::task {
namespace {

using mm::AddressSpace;
using mm::FutexKey;

constexpr sched::Nanoseconds kExitPoll = 1'000'000;
constexpr unsigned kDeepestChain = 1024;  // kernel.max_lock_depth

// The page is there and writable afterwards, so that an exchange right behind it does not block.
Result<uint32_t> load_writable(AddressSpace& space, UserAddress address) {
    uint32_t value = TRY(load_user_word(space, address));
    while (!TRY(exchange_user_word(space, address, value, value))) {}
    return value;
}

PiWaiter* first_waiter(Task& owner, const FutexKey& key) {
    for (PiWaiter& waiter : owner.pi_waiters)
        if (waiter.key == key) return &waiter;
    return nullptr;
}

// Whether `self` would wait for itself, over any number of locks.
bool would_deadlock(const Task& self, const Task* owner) {
    for (unsigned depth = 0; owner && depth < kDeepestChain; ++depth) {
        if (owner == &self) return true;
        owner = owner->pi_blocked_on ? owner->pi_blocked_on->owner : nullptr;
    }
    return false;
}

void settle(PiWaiter& waiter, Errno error) {
    waiter.owner_hook.unlink();
    waiter.settled = true;
    waiter.task.pi_blocked_on = nullptr;  // now, not when it runs: a chain through it would be a false deadlock
    waiter.error = error;
    sched::wake(waiter.task);
}

// The lock goes to `waiter`; those that wait behind it wait for it from now on.
void give_to(PiWaiter& waiter, Task& from) {
    Task& next = waiter.task;
    const FutexKey key = waiter.key;
    settle(waiter, Errno{});
    for (auto it = from.pi_waiters.begin(); it != from.pi_waiters.end();) {
        PiWaiter& other = *it++;
        if (!(other.key == key)) continue;
        other.owner_hook.unlink();
        other.owner = &next;
        next.pi_waiters.push_back(other);
    }
}

// One try: true if the lock is the task's now, false if `owner` has it and the word says that somebody waits.
Result<bool> acquire_or_mark(Task& task, UserAddress address, Task*& owner) {
    uint32_t value = TRY(load_writable(task.space(), address));
    for (;;) {
        const uint32_t holder = value & kFutexTidMask;
        if (holder == static_cast<uint32_t>(task.tid)) return Errno::kDEADLK;
        if (holder == 0) {
            const uint32_t wanted = (value & kFutexOwnerDied) | static_cast<uint32_t>(task.tid);
            if (TRY(exchange_user_word(task.space(), address, value, wanted))) return true;
            continue;
        }
        owner = find_task(static_cast<int32_t>(holder));
        if (!owner) return Errno::kSRCH;
        if (TRY(exchange_user_word(task.space(), address, value, value | kFutexWaiters))) return false;
    }
}

Result<int64_t> wait_for_owner(Task& task, UserAddress address, const FutexKey& key, Task& owner,
                               sched::Nanoseconds deadline) {
    PiWaiter waiter{key, address, task, &owner, false, Errno{}, {}};
    owner.pi_waiters.push_back(waiter);
    task.pi_blocked_on = &waiter;
    while (!waiter.settled) {
        if (deadline != sched::kNever && sched::now() >= deadline) break;
        if (has_pending_signal(task)) break;
        sched::block(sched::Interruptible::kYes, deadline);
    }
    task.pi_blocked_on = nullptr;
    if (!waiter.settled) {
        waiter.owner_hook.unlink();
        return deadline != sched::kNever && sched::now() >= deadline ? Errno::kTIMEDOUT : Errno::kRESTARTNOINTR;
    }
    if (waiter.error != Errno{}) return waiter.error;
    return 0;
}

}  // namespace

Result<int64_t> futex_lock_pi(Task& task, const PiLock& lock, sched::Nanoseconds deadline) {
    for (;;) {
        const FutexKey key = TRY(futex_key_of(task.space(), lock.address, lock.shared));
        Task* owner = nullptr;
        if (TRY(acquire_or_mark(task, lock.address, owner))) return 0;
        if (lock.only_try) return Errno::kAGAIN;
        if (would_deadlock(task, owner)) return Errno::kDEADLK;
        if (!owner->exiting && !owner->process().exiting)
            return wait_for_owner(task, lock.address, key, *owner, deadline);
        // It is about to hand on what it holds.
        if (has_pending_signal(task)) return Errno::kRESTARTNOINTR;
        sched::block(sched::Interruptible::kYes, sched::now() + kExitPoll);
    }
}

Result<int64_t> futex_unlock_pi(Task& task, UserAddress address, bool shared) {
    const FutexKey key = TRY(futex_key_of(task.space(), address, shared));
    uint32_t value = TRY(load_writable(task.space(), address));
    for (;;) {
        if ((value & kFutexTidMask) != static_cast<uint32_t>(task.tid)) return Errno::kPERM;
        PiWaiter* waiter = first_waiter(task, key);
        const uint32_t wanted = waiter ? static_cast<uint32_t>(waiter->task.tid) | kFutexWaiters : 0;
        if (!TRY(exchange_user_word(task.space(), address, value, wanted))) continue;
        if (waiter) give_to(*waiter, task);
        return 0;
    }
}

void futex_pi_owner_exits(Task& task) {
    while (!task.pi_waiters.empty()) {
        const int32_t heir = task.pi_waiters.front().task.tid;
        const RefPtr<AddressSpace> space = task.pi_waiters.front().task.space_;
        const UserAddress address = task.pi_waiters.front().address;
        auto loaded = load_writable(*space, address);  // may block: all may be different now
        if (task.pi_waiters.empty() || task.pi_waiters.front().task.tid != heir) continue;
        PiWaiter& waiter = task.pi_waiters.front();
        const uint32_t wanted = static_cast<uint32_t>(heir) | kFutexOwnerDied | kFutexWaiters;
        bool done = loaded.is_error();
        while (!done) {
            uint32_t value = loaded.value();
            auto exchanged = exchange_user_word(*space, address, value, wanted);
            if (exchanged.is_error()) break;
            done = exchanged.value();
            loaded = value;
        }
        if (loaded.is_error())
            settle(waiter, Errno::kFAULT);
        else
            give_to(waiter, task);
    }
}

}  // namespace kvmsbx::task
