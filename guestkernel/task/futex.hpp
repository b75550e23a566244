#pragma once
// Futexes (futex(2)): waiters by key in a hash table, each bucket in order of arrival. A waiter lives on the stack of
// its thread. A word is looked at and its waiter queued without a block in between, so with the kernel lock held no
// wake is lost. Words are changed by atomic instructions: applications on other vCPUs use them at the same time.
#include <span>

#include "guestkernel/task/task.hpp"

namespace kvmsbx::task {

using mm::UserAddress;

inline constexpr uint32_t kFutexAnyBit = ~0U;

struct FutexWait {
    UserAddress address;
    bool shared;
    uint32_t expected;
    uint32_t bitset;              // EINVAL if 0
    sched::Nanoseconds deadline;  // on sched::now()'s clock; kNever
};
// Blocks while the word holds `expected`. EAGAIN (it does not), EINVAL, EFAULT, ETIMEDOUT; ERESTARTSYS without a
// deadline, else ERESTART_RESTARTBLOCK.
Result<int64_t> futex_wait(Task& task, const FutexWait& wait);
// Wakes up to `count` (at least one: so does Linux) waiters that share a bit; how many.
Result<int64_t> futex_wake(mm::AddressSpace& space, UserAddress address, bool shared, int32_t count,
                           uint32_t bitset = kFutexAnyBit);
// Wakes `wake` waiters and moves up to `move` more to the second word; how many of both. compare: EAGAIN if the first
// word is not *compare.
Result<int64_t> futex_requeue(mm::AddressSpace& space, UserAddress from, UserAddress to, bool shared, int32_t wake,
                              int32_t move, const uint32_t* compare);
// FUTEX_WAKE_OP.
Result<int64_t> futex_wake_op(mm::AddressSpace& space, UserAddress first, UserAddress second, bool shared,
                              int32_t wake_first, int32_t wake_second, uint32_t operation);

// Waits on several words at once (futex_waitv(2)): the index of one that was woken. Errors as futex_wait.
Result<int64_t> futex_wait_multiple(Task& task, std::span<const FutexWait> waits, sched::Nanoseconds deadline);

// Locks with an owner (futex_pi.cpp).
inline constexpr uint32_t kFutexWaiters = 0x8000'0000, kFutexOwnerDied = 0x4000'0000, kFutexTidMask = 0x3fff'ffff;
struct PiLock {
    UserAddress address;
    bool shared, only_try;
};
// EDEADLK, ESRCH (no such owner), EAGAIN (only_try), ETIMEDOUT, EINVAL, EFAULT, ERESTARTNOINTR.
Result<int64_t> futex_lock_pi(Task& task, const PiLock& lock, sched::Nanoseconds deadline);
// EPERM: not the owner.
Result<int64_t> futex_unlock_pi(Task& task, UserAddress address, bool shared);
// The thread ends: its locks go to those that wait for them, marked FUTEX_OWNER_DIED. May block.
void futex_pi_owner_exits(Task& task);

Result<mm::FutexKey> futex_key_of(mm::AddressSpace& space, UserAddress address, bool shared);

// A thread ends (or execs), its address space still there: the robust list is walked, clear_child_tid cleared and
// woken. Errors are ignored. May block.
void futex_thread_exit(Task& task);

// Atomic operations on a word of user memory, faulted in. EFAULT, EINVAL (alignment).
Result<uint32_t> load_user_word(mm::AddressSpace& space, UserAddress address);
// True if the word was `expected` and is now `desired`; else `expected` becomes what it is.
Result<bool> exchange_user_word(mm::AddressSpace& space, UserAddress address, uint32_t& expected, uint32_t desired);

}  // namespace kvmsbx::task
