#include "guestkernel/syscalls/handlers_misc.hpp"
#include "guestkernel/task/registry.hpp"

namespace kvmsbx::syscalls {

using auth::Capability;

namespace {

enum Policy : int32_t { kOther = 0, kFifo = 1, kRoundRobin = 2, kBatch = 3, kIdle = 5, kDeadline = 6 };
constexpr int32_t kResetOnFork = 0x40000000;
enum Which : int32_t { kPrioProcess = 0, kPrioGroup = 1, kPrioUser = 2 };

uint64_t online_cpus() {
    const uint32_t count = arch::boot_info().cpu_count;
    return count >= 64 ? ~0ULL : (1ULL << count) - 1;
}

Result<Task*> target_of(Task& task, int32_t tid) {
    if (tid < 0) return Errno::kINVAL;
    Task* target = tid == 0 ? &task : task::find_task(tid);
    if (!target) return Errno::kSRCH;
    return target;
}

// Whose scheduling one may change: one's own user's, or with CAP_SYS_NICE.
bool same_owner(const Task& caller, const Task& target) {
    const auth::Credentials &c = caller.credentials(), &t = target.credentials();
    return c.euid == t.euid || c.euid == t.ruid;
}

Result<int64_t> set_policy(Task& task, int32_t tid, int32_t policy, UserIn<int32_t> priority) {
    if (!priority || tid < 0) return Errno::kINVAL;
    const int32_t wanted = TRY(priority.load(task.space()));
    Task* target = TRY(target_of(task, tid));
    if (policy < 0) policy = target->scheduling_policy;
    policy &= ~kResetOnFork;
    if (policy == kFifo || policy == kRoundRobin) return wanted < 1 || wanted > 99 ? Errno::kINVAL : Errno::kPERM;
    if (policy != kOther && policy != kBatch && policy != kIdle) return Errno::kINVAL;
    if (wanted != 0) return Errno::kINVAL;
    if (!same_owner(task, *target) && !task.credentials().has(Capability::kSysNice)) return Errno::kPERM;
    target->scheduling_policy = static_cast<uint8_t>(policy);
    return 0;
}

// Visits the tasks that getpriority's `which` and `who` name.
template <typename Visit>
Result<> for_each_target(Task& task, int32_t which, int32_t who, Visit visit) {
    if (which < kPrioProcess || which > kPrioUser) return Errno::kINVAL;
    if (which == kPrioProcess) {
        if (Task* target = who == 0 ? &task : task::find_task(who)) visit(*target);
        return {};
    }
    const int32_t group = who == 0 ? task.process().group : who;
    const auth::Uid user = who == 0 ? task.credentials().ruid : static_cast<auth::Uid>(who);
    task::for_each_process([&](task::Process& process) {
        if (which == kPrioGroup && process.group != group) return;
        for (Task& target : process.threads)
            if (which == kPrioGroup || target.credentials().ruid == user) visit(target);
    });
    return {};
}

Result<> set_nice(Task& caller, Task& target, int nice) {
    const bool privileged = caller.credentials().has(Capability::kSysNice);
    if (!same_owner(caller, target) && !privileged) return Errno::kPERM;
    const uint64_t lowest_allowed = target.limit(task::kRlimitNice);  // 20 - nice
    if (nice<target.nice&& static_cast<uint64_t>(20 - nice)> lowest_allowed && !privileged) return Errno::kACCES;
    target.nice = nice;
    return {};
}

}  // namespace

Result<int64_t> sys_sched_yield(Task&) {
    sched::yield();
    return 0;
}

Result<int64_t> sys_getcpu(Task& task, UserOut<uint32_t> cpu, UserOut<uint32_t> node, uint64_t) {
    if (cpu) TRY(cpu.store(task.space(), arch::cpu().cpu_id));
    if (node) TRY(node.store(task.space(), 0U));
    return 0;
}

Result<int64_t> sys_sched_getaffinity(Task& task, Pid tid, uint32_t size, UserBuffer mask) {
    if (size % 8 != 0 || static_cast<uint64_t>(size) * 8 < arch::boot_info().cpu_count) return Errno::kINVAL;
    Task* target = TRY(target_of(task, tid));
    const uint64_t bits = target->affinity & online_cpus();
    TRY(mm::copy_to_user(task.space(), mask.address, &bits, sizeof bits));
    return sizeof bits;
}

Result<int64_t> sys_sched_setaffinity(Task& task, Pid tid, uint32_t size, UserBuffer mask) {
    uint64_t bits = 0;
    TRY(mm::copy_from_user(task.space(), &bits, mask.address, size < sizeof bits ? size : sizeof bits));
    Task* target = TRY(target_of(task, tid));
    if (!same_owner(task, *target) && !task.credentials().has(Capability::kSysNice)) return Errno::kPERM;
    if ((bits & online_cpus()) == 0) return Errno::kINVAL;
    target->affinity = bits & online_cpus();
    sched::move_to_allowed_cpu(*target);
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
    TRY(target_of(task, tid));
    TRY(priority.store(task.space(), 0));
    return 0;
}

Result<int64_t> sys_sched_getscheduler(Task& task, Pid tid) {
    return TRY(target_of(task, tid))
    ->scheduling_policy;
}

Result<int64_t> sys_sched_get_priority_max(Task&, int32_t policy) {
    if (policy == kFifo || policy == kRoundRobin) return 99;
    if (policy == kOther || policy == kBatch || policy == kIdle || policy == kDeadline) return 0;
    return Errno::kINVAL;
}

Result<int64_t> sys_sched_get_priority_min(Task&, int32_t policy) {
    if (policy == kFifo || policy == kRoundRobin) return 1;
    if (policy == kOther || policy == kBatch || policy == kIdle || policy == kDeadline) return 0;
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
