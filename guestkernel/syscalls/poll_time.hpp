#pragma once
// Deadlines and signal masks of the waiting calls.
#include "guestkernel/syscalls/handlers_poll.hpp"
#include "guestkernel/task/signal_delivery.hpp"
#include "guestkernel/task/task.hpp"

namespace kvmsbx::syscalls {

// A relative time as a deadline; EINVAL for a negative or unnormalized one.
Result<sched::Nanoseconds> to_nanoseconds(const PollTimespec& time);
PollTimespec to_timespec(sched::Nanoseconds ns);
sched::Nanoseconds deadline_after(sched::Nanoseconds delay);
sched::Nanoseconds deadline_after_ms(int32_t timeout);  // negative: never

// ppoll and kin: another signal mask for the time of the call. After an interruption it stays until the handler's frame
// is made (Task::restore_blocked). EFAULT, EINVAL (size).
Result<> swap_signal_mask(Task& task, UserIn<uint64_t> mask, size_t size);
void restore_signal_mask(Task& task, bool interrupted);

}  // namespace kvmsbx::syscalls
