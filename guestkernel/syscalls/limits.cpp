#include "guestkernel/syscalls/handlers_misc.hpp"
#include "guestkernel/task/registry.hpp"

namespace kvmsbx::syscalls {

using task::Process;
using task::Rlimit;

namespace {

constexpr uint64_t kMostFiles = 1 << 20;  // fs.nr_open

// The address space keeps limits of its own. A thread that ends has none any more.
void apply(Process& process, uint32_t resource, const Rlimit& limit) {
    for (Task& task : process.threads) {
        if (!task.space_) continue;
        if (resource == task::kRlimitStack) task.space().stack_limit = limit.soft;
        if (resource == task::kRlimitData) task.space().data_limit = limit.soft;
        if (resource == task::kRlimitAs) task.space().address_limit = limit.soft;
        return;
    }
}

Result<> set_limit(Task& caller, Process& process, uint32_t resource, const Rlimit& wanted) {
    if (wanted.soft > wanted.hard) return Errno::kINVAL;
    if (resource == task::kRlimitNofile && wanted.hard > kMostFiles) return Errno::kPERM;
    Rlimit& limit = process.limits[resource];
    if (wanted.hard > limit.hard && !caller.credentials().has(auth::Capability::kSysResource)) return Errno::kPERM;
    if (resource == task::kRlimitCpu) TRY(task::ProcessTimers::of(process));
    limit = wanted;
    if (resource == task::kRlimitCpu) process.timers->cpu_limit.watch();
    apply(process, resource, wanted);
    return {};
}

// check_prlimit_permission: all ids of the target are the caller's real ones, or CAP_SYS_RESOURCE.
bool may_access(const Task& caller, Task& target) {
    if (&caller.process() == &target.process()) return true;
    const auth::Credentials &c = caller.credentials(), &t = target.credentials();
    const bool same = c.ruid == t.euid && c.ruid == t.suid && c.ruid == t.ruid && c.rgid == t.egid &&
                      c.rgid == t.sgid && c.rgid == t.rgid;
    return same || c.has(auth::Capability::kSysResource);
}

}  // namespace

Result<int64_t> sys_getrlimit(Task& task, uint32_t resource, UserOut<Rlimit> out) {
    if (resource >= task::kRlimitCount) return Errno::kINVAL;
    TRY(out.store(task.space(), task.process().limits[resource]));
    return 0;
}

Result<int64_t> sys_setrlimit(Task& task, uint32_t resource, UserIn<Rlimit> in) {
    const Rlimit wanted = TRY(in.load(task.space()));
    if (resource >= task::kRlimitCount) return Errno::kINVAL;
    TRY(set_limit(task, task.process(), resource, wanted));
    return 0;
}

Result<int64_t> sys_prlimit64(Task& task, Pid pid, uint32_t resource, UserIn<Rlimit> in, UserOut<Rlimit> out) {
    if (resource >= task::kRlimitCount) return Errno::kINVAL;
    Rlimit wanted{};
    if (in) wanted = TRY(in.load(task.space()));
    Task* target = pid == 0 ? &task : task::find_task(pid);
    if (!target) return Errno::kSRCH;
    if (!may_access(task, *target)) return Errno::kPERM;
    const Rlimit before = target->process().limits[resource];
    if (in) TRY(set_limit(task, target->process(), resource, wanted));
    if (out) TRY(out.store(task.space(), before));
    return 0;
}

}  // namespace kvmsbx::syscalls
