// ioprio_set(2), ioprio_get(2): kept per thread; there is no disk scheduler that could look at them.
#include "guestkernel/syscalls/handlers_misc.hpp"
#include "guestkernel/syscalls/scheduling.hpp"
#include "guestkernel/task/scheduling.hpp"

namespace kvmsbx::syscalls {
namespace {

Result<> check(const Task& task, uint32_t priority) {
    TRY(task::check_io_priority(priority));
    const bool real_time = priority >> task::kIoClassShift == task::kIoRealTime;
    const auth::Credentials& who = task.credentials();
    if (real_time && !who.has(auth::Capability::kSysAdmin) && !who.has(auth::Capability::kSysNice)) return Errno::kPERM;
    return {};
}

// IOPRIO_WHO_* count from 1 where PRIO_* count from 0.
int32_t priority_which(int32_t which) { return which - 1; }

}  // namespace

Result<int64_t> sys_ioprio_set(Task& task, int32_t which, int32_t who, int32_t priority) {
    const auto wanted = static_cast<uint32_t>(priority);
    TRY(check(task, wanted));
    bool found = false, refused = false;
    TRY(for_each_target(task, priority_which(which), who, [&](Task& target) {
        found = true;
        if (!has_same_owner(task, target) && !task.credentials().has(auth::Capability::kSysNice))
            refused = true;
        else
            target.io_priority = static_cast<uint16_t>(wanted);
    }));
    if (!found) return Errno::kSRCH;
    if (refused) return Errno::kPERM;
    return 0;
}

Result<int64_t> sys_ioprio_get(Task& task, int32_t which, int32_t who) {
    bool found = false;
    uint32_t best = 0;
    TRY(for_each_target(task, priority_which(which), who, [&](Task& target) {
        const uint32_t its = target.io_priority;
        // The lowest number is the best, but for "none".
        if (!found || best == 0 || (its != 0 && its < best)) best = its;
        found = true;
    }));
    if (!found) return Errno::kSRCH;
    return best;
}

}  // namespace kvmsbx::syscalls
