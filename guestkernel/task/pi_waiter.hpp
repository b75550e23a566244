#pragma once
// A thread that waits for a lock with an owner (futex_pi.cpp), on its own stack.
#include "guestkernel/lib/list.hpp"
#include "guestkernel/mm/address_space.hpp"

namespace kvmsbx::task {

class Task;

struct PiWaiter {
    mm::FutexKey key;
    mm::UserAddress address;  // in the waiter's space
    Task& task;
    Task* owner;
    bool settled;  // the lock is the waiter's, or `error` says why not
    Errno error;
    ListHook owner_hook;  // Task::pi_waiters of the owner
};
using PiWaiters = List<PiWaiter, &PiWaiter::owner_hook>;

}  // namespace kvmsbx::task
