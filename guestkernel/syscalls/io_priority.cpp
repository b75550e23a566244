// ioprio_set(2), ioprio_get(2): kept per thread; there is no disk scheduler that could look at them.
#include "guestkernel/syscalls/handlers_misc.hpp"
#include "guestkernel/syscalls/scheduling.hpp"

namespace kvmsbx::syscalls {
namespace {

enum Class : uint32_t { kNone = 0, kRealTime = 1, kBestEffort = 2, kIdle = 3 };
constexpr unsigned kClassShift = 13;
constexpr uint32_t kLevels = 8, kLevelMask = 7;

Result<> check(const Task& task, uint32_t priority) {
    const uint32_t level = priority & kLevelMask;
    switch (priority >> kClassShift) {
        case kRealTime:
            if (!task.credentials().has(auth::Capability::kSysAdmin) &&
                !task.credentials().has(auth::Capability::kSysNice))
                return Errno::kPERM;
            return {};
        case kBestEffort:
        case kIdle: return {};
        case kNone: return level ? Result<>(Errno::kINVAL) : Result<>();
        default: return Errno::kINVAL;
    }
}

// IOPRIO_WHO_* count from 1 where PRIO_* count from 0.
int32_t priority_which(int32_t which) { return which - 1; }

}  // namespace

Result<int64_t> sys_ioprio_set(Task& task, int32_t which, int32_t who, int32_t priority) {
    const auto wanted = static_cast<uint32_t>(priority);
    static_assert(kLevels == kLevelMask + 1);
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
