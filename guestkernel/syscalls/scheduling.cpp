#include "guestkernel/syscalls/scheduling.hpp"
#include "guestkernel/platform/cpu.hpp"
#include "guestkernel/platform/host.hpp"
#include "guestkernel/syscalls/handlers_misc.hpp"
#include "guestkernel/task/registry.hpp"
#include "guestkernel/task/scheduling.hpp"

namespace kvmsbx::syscalls {

using auth::Capability;
using task::SchedulingRequest;
using enum task::SchedulingPolicy;
using task::is_real_time;

namespace {

constexpr int32_t kResetOnFork = 0x40000000;
enum AttributeFlag : uint32_t {
    kAttrResetOnFork = 1,
    kAttrKeepPolicy = 8,
    kAttrKeepParameters = 16,
    kAttrKnown = 0x1f
};

Result<Task*> target_of(Task& task, int32_t tid) {
    if (tid < 0) return Errno::kINVAL;
    Task* target = tid == 0 ? &task : task::find_task(tid);
    if (!target) return Errno::kSRCH;
    return target;
}

// sched_setaffinity and its kin know no invalid number, only one that nobody has.
Result<Task*> affinity_target(Task& task, int32_t tid) { return tid < 0 ? Errno::kSRCH : target_of(task, tid); }

// is_nice_reduction_ok: RLIMIT_NICE counts from 20 downwards.
bool may_have_nice(const Task& target, int nice) {
    return static_cast<uint64_t>(20 - nice) <= target.limit(task::kRlimitNice);
}

// What needs no privilege (user_check_sched_setscheduler).
bool may_change_freely(const Task& caller, const Task& target, const SchedulingRequest& wanted) {
    if (wanted.sets_nice && wanted.nice < target.nice && !may_have_nice(target, wanted.nice)) return false;
    if (is_real_time(wanted.policy)) {
        const uint64_t limit = target.limit(task::kRlimitRtprio);
        const auto priority = static_cast<uint64_t>(wanted.priority);
        if (wanted.policy != target.scheduling_policy && limit == 0) return false;
        if (priority > target.real_time_priority && priority > limit) return false;
    }
    if (target.scheduling_policy == kSchedIdle && wanted.policy != kSchedIdle && !may_have_nice(target, target.nice))
        return false;
    if (target.reset_scheduling_on_fork && !wanted.reset_on_fork) return false;
    return has_same_owner(caller, target);
}

Result<int64_t> set_scheduling(Task& task, Task& target, const SchedulingRequest& wanted) {
    TRY(task::check_scheduling(wanted));
    if (!may_change_freely(task, target, wanted) && !task.credentials().has(Capability::kSysNice)) return Errno::kPERM;
    task::set_scheduling(target, wanted);
    return 0;
}

// sched_setscheduler(2) and sched_setparam(2), which keeps the policy (-1).
Result<int64_t> set_policy(Task& task, int32_t tid, int32_t policy, UserIn<int32_t> priority) {
    if (!priority || tid < 0) return Errno::kINVAL;
    SchedulingRequest wanted;
    wanted.priority = TRY(priority.load(task.space()));
    Task* target = TRY(target_of(task, tid));
    wanted.reset_on_fork = policy < 0 ? target->reset_scheduling_on_fork : (policy & kResetOnFork) != 0;
    wanted.policy = policy < 0 ? target->scheduling_policy : policy & ~kResetOnFork;
    return set_scheduling(task, *target, wanted);
}

// copy_struct_from_user's rules: a size of 0 is the first version's, and what we do not know must be zero.
Result<SchedulingAttributes> load_attributes(Task& task, UserInOut<SchedulingAttributes> from) {
    constexpr uint32_t kFirstVersion = 48, kMost = 4096;
    SchedulingAttributes loaded{};
    uint32_t size = TRY(UserIn<uint32_t>{from.address}.load(task.space()));
    if (size == 0) size = kFirstVersion;
    bool known = size >= kFirstVersion && size <= kMost;
    for (uint32_t at = sizeof loaded; known && at < size; ++at)
        known = TRY(UserIn<char>{from.address + at}.load(task.space())) == 0;
    if (!known) {
        TRY(UserOut<uint32_t>{from.address}.store(task.space(), sizeof loaded));
        return Errno::k2BIG;
    }
    TRY(mm::copy_from_user(task.space(), &loaded, from.address, size < sizeof loaded ? size : sizeof loaded));
    return loaded;
}

Result<> set_nice(Task& caller, Task& target, int nice) {
    const bool privileged = caller.credentials().has(Capability::kSysNice);
    if (!has_same_owner(caller, target) && !privileged) return Errno::kPERM;
    if (nice < target.nice && !may_have_nice(target, nice) && !privileged) return Errno::kACCES;
    target.nice = nice;
    return {};
}

}  // namespace

Result<int64_t> sys_sched_yield(Task&) {
    sched::yield();
    return 0;
}

Result<int64_t> sys_getcpu(Task& task, UserOut<uint32_t> cpu, UserOut<uint32_t> node, uint64_t) {
    if (cpu) TRY(cpu.store(task.space(), platform::cpu().cpu_id));
    if (node) TRY(node.store(task.space(), 0U));
    return 0;
}

Result<int64_t> sys_sched_getaffinity(Task& task, Pid tid, uint32_t size, UserBuffer mask) {
    if (size % 8 != 0 || static_cast<uint64_t>(size) * 8 < platform::boot_info().cpu_count) return Errno::kINVAL;
    Task* target = TRY(affinity_target(task, tid));
    const uint64_t bits = target->affinity & task::online_cpus();
    TRY(mm::copy_to_user(task.space(), mask.address, &bits, sizeof bits));
    return sizeof bits;
}

Result<int64_t> sys_sched_setaffinity(Task& task, Pid tid, uint32_t size, UserBuffer mask) {
    uint64_t bits = 0;
    TRY(mm::copy_from_user(task.space(), &bits, mask.address, size < sizeof bits ? size : sizeof bits));
    Task* target = TRY(affinity_target(task, tid));
    if (!has_same_owner(task, *target) && !task.credentials().has(Capability::kSysNice)) return Errno::kPERM;
    TRY(task::set_affinity(*target, bits));
    return 0;
}

Result<int64_t> sys_sched_setparam(Task& task, Pid tid, UserIn<int32_t> priority) {
    return set_policy(task, tid, -1, priority);
}

Result<int64_t> sys_sched_setscheduler(Task& task, Pid tid, int32_t policy, UserIn<int32_t> priority) {
    if (policy < 0) return Errno::kINVAL;
    return set_policy(task, tid, policy, priority);
}

Result<int64_t> sys_sched_getparam(Task& task, Pid tid, UserOut<int32_t> priority) {
    if (!priority || tid < 0) return Errno::kINVAL;
    const Task* target = TRY(target_of(task, tid));
    TRY(priority.store(task.space(), target->real_time_priority));
    return 0;
}

Result<int64_t> sys_sched_getscheduler(Task& task, Pid tid) {
    const Task* target = TRY(target_of(task, tid));
    return target->scheduling_policy | (target->reset_scheduling_on_fork ? kResetOnFork : 0);
}

Result<int64_t> sys_sched_setattr(Task& task, Pid tid, UserInOut<SchedulingAttributes> attributes, uint32_t flags) {
    if (!attributes || tid < 0 || flags) return Errno::kINVAL;
    const SchedulingAttributes loaded = TRY(load_attributes(task, attributes));
    if (static_cast<int32_t>(loaded.policy) < 0 || loaded.flags & ~static_cast<uint64_t>(kAttrKnown))
        return Errno::kINVAL;
    Task* target = TRY(target_of(task, tid));
    SchedulingRequest wanted;
    wanted.policy = loaded.flags & kAttrKeepPolicy ? target->scheduling_policy : static_cast<int32_t>(loaded.policy);
    wanted.priority = static_cast<int32_t>(loaded.priority);
    wanted.nice = loaded.nice < -20 ? -20 : loaded.nice > 19 ? 19 : loaded.nice;
    wanted.sets_nice = !is_real_time(wanted.policy);
    if (loaded.flags & kAttrKeepParameters) {
        wanted.priority = target->real_time_priority;
        wanted.nice = target->nice;
    }
    wanted.reset_on_fork = loaded.flags & kAttrResetOnFork;
    return set_scheduling(task, *target, wanted);
}

Result<int64_t> sys_sched_getattr(Task& task, Pid tid, UserOut<SchedulingAttributes> attributes, uint32_t size,
                                  uint32_t flags) {
    constexpr uint32_t kFirstVersion = 48;
    if (!attributes || tid < 0 || size > mm::kPageSize || size < kFirstVersion || flags) return Errno::kINVAL;
    const Task* target = TRY(target_of(task, tid));
    SchedulingAttributes out{};
    out.size = size < sizeof out ? size : static_cast<uint32_t>(sizeof out);
    out.policy = target->scheduling_policy;
    out.flags = target->reset_scheduling_on_fork ? +kAttrResetOnFork : 0;
    if (target->real_time_priority)
        out.priority = target->real_time_priority;
    else
        out.nice = target->nice;
    TRY(mm::copy_to_user(task.space(), attributes.address, &out, out.size));
    return 0;
}

Result<int64_t> sys_sched_get_priority_max(Task&, int32_t policy) {
    if (policy == kSchedFifo || policy == kSchedRoundRobin) return 99;
    if (policy == kSchedOther || policy == kSchedBatch || policy == kSchedIdle || policy == kSchedDeadline) return 0;
    return Errno::kINVAL;
}

Result<int64_t> sys_sched_get_priority_min(Task&, int32_t policy) {
    if (policy == kSchedFifo || policy == kSchedRoundRobin) return 1;
    if (policy == kSchedOther || policy == kSchedBatch || policy == kSchedIdle || policy == kSchedDeadline) return 0;
    return Errno::kINVAL;
}

Result<int64_t> sys_getpriority(Task& task, int32_t which, int32_t who) {
    int64_t best = -1;
    TRY(for_each_target(task, which, who, [&](Task& target) {
        if (20 - target.nice > best) best = 20 - target.nice;
    }));
    if (best < 0) return Errno::kSRCH;
    return best;
}

Result<int64_t> sys_setpriority(Task& task, int32_t which, int32_t who, int32_t value) {
    const int nice = value < -20 ? -20 : value > 19 ? 19 : value;
    bool found = false;
    Errno error{};
    TRY(for_each_target(task, which, who, [&](Task& target) {
        found = true;
        auto result = set_nice(task, target, nice);
        if (result.is_error()) error = result.error();
    }));
    if (!found) return Errno::kSRCH;
    if (error != Errno{}) return error;
    return 0;
}

}  // namespace kvmsbx::syscalls
