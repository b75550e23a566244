#pragma once
// Waiting for several files (poll(2), select(2)).
//
// A wait asks each file what is true (File::poll); if nothing is, it stands in every file's queue as a sched::Waiter,
// blocks once, and asks again. Asking must not block, so nothing can happen between the last question and the block.
// References keep the files open for as long as the wait lasts.
#include "guestkernel/lib/vector.hpp"
#include "guestkernel/vfs/file.hpp"

namespace kvmsbx::ipc {

// Always reported, whether asked for or not.
inline constexpr uint32_t kPollAlways = vfs::kPollErr | vfs::kPollHup;

struct PollItem {
    RefPtr<vfs::File> file;  // null: nothing is asked
    uint32_t wanted = 0;     // kPoll* bits
    uint32_t events = 0;     // OUT
};

// Waits until an item has events, and gives how many have; 0 after the deadline. ERESTARTSYS after a signal, ENOMEM.
// ready: items whose events are set beforehand (POLLNVAL) so that the wait is over at once.
Result<int> poll_items(std::span<PollItem> items, int ready, sched::Nanoseconds deadline);

}  // namespace kvmsbx::ipc
