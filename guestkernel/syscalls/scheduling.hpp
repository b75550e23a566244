#pragma once
// Whom a call about priorities means, and who may change them (scheduling.cpp, io_priority.cpp).
#include "guestkernel/task/registry.hpp"

namespace kvmsbx::syscalls {

enum PriorityWhich : int32_t { kPrioProcess = 0, kPrioGroup = 1, kPrioUser = 2 };

// One's own user's threads (check_same_owner).
inline bool has_same_owner(const task::Task& caller, const task::Task& target) {
    const auth::Credentials &c = caller.credentials(), &t = target.credentials();
    return c.euid == t.euid || c.euid == t.ruid;
}

// Visits the tasks that getpriority's `which` and `who` name; visit may not block. EINVAL.
template <typename Visit>
Result<> for_each_target(task::Task& task, int32_t which, int32_t who, Visit visit) {
    if (which < kPrioProcess || which > kPrioUser) return Errno::kINVAL;
    if (which == kPrioProcess) {
        if (task::Task* target = who == 0 ? &task : task::find_task(who)) visit(*target);
        return {};
    }
    const int32_t group = who == 0 ? task.process().group : who;
    const auth::Uid user = who == 0 ? task.credentials().ruid : static_cast<auth::Uid>(who);
    task::for_each_process([&](task::Process& process) {
        if (which == kPrioGroup && process.group != group) return;
        for (task::Task& target : process.threads)
            if (which == kPrioGroup || target.credentials().ruid == user) visit(target);
    });
    return {};
}

}  // namespace kvmsbx::syscalls
