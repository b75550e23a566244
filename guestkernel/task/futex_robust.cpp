// What a thread's end does to futexes: robust lists (get_robust_list(2), Documentation/locking/robust-futex-ABI) and
// clear_child_tid.
#include "guestkernel/task/futex.hpp"

namespace kvmsbx::task {
namespace {

constexpr uint32_t kWaiters = kFutexWaiters, kOwnerDied = kFutexOwnerDied, kTidMask = kFutexTidMask;
constexpr unsigned kMostEntries = 2048;  // ROBUST_LIST_LIMIT: the list is the application's, it may be circular

struct RobustListHead {  // struct robust_list_head
    uint64_t next;
    int64_t futex_offset;
    uint64_t pending;
};

// Marks a lock that the thread holds as orphaned and wakes one waiter. EFAULT ends the walk.
Result<> bury(Task& task, UserAddress address, bool priority_inheriting, bool pending) {
    uint32_t value = TRY(load_user_word(task.space(), address));
    for (;;) {
        const uint32_t owner = value & kTidMask;
        // It died between unlocking and waking.
        if (pending && !priority_inheriting && owner == 0) {
            TRY(futex_wake(task.space(), address, true, 1));
            return {};
        }
        if (owner != static_cast<uint32_t>(task.tid)) return {};
        if (TRY(exchange_user_word(task.space(), address, value, (value & kWaiters) | kOwnerDied))) break;
    }
    if (!priority_inheriting && value & kWaiters) TRY(futex_wake(task.space(), address, true, 1));
    return {};
}

Result<> walk_robust_list(Task& task) {
    const UserAddress head_address = task.robust_list;
    const auto head = TRY(mm::UserIn<RobustListHead>{head_address}.load(task.space()));
    const uint64_t offset = static_cast<uint64_t>(head.futex_offset);
    uint64_t entry = head.next;
    for (unsigned i = 0; (entry & ~1ULL) != head_address && i < kMostEntries; ++i) {
        const auto next = mm::UserIn<uint64_t>{entry & ~1ULL}.load(task.space());
        if ((entry & ~1ULL) != (head.pending & ~1ULL)) TRY(bury(task, (entry & ~1ULL) + offset, entry & 1, false));
        if (next.is_error()) break;
        entry = next.value();
    }
    if (head.pending & ~1ULL) TRY(bury(task, (head.pending & ~1ULL) + offset, head.pending & 1, true));
    return {};
}

}  // namespace

void futex_thread_exit(Task& task) {
    if (task.robust_list) ignore(walk_robust_list(task), "a broken list ends the walk, not the exit");
    task.robust_list = 0;
    futex_pi_owner_exits(task);
    if (!task.clear_child_tid) return;
    const UserAddress address = task.clear_child_tid;
    task.clear_child_tid = 0;
    if (task.space().reference_count() <= 1) return;  // nobody is left to see it
    const uint32_t zero = 0;
    if (mm::copy_to_user(task.space(), address, &zero, sizeof zero).is_error()) return;
    ignore(futex_wake(task.space(), address, true, 1), "an address that is no futex has no waiters");
}

}  // namespace kvmsbx::task
