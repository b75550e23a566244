#include "guestkernel/fs/proc/subject.hpp"

#include "guestkernel/task/registry.hpp"

namespace kvmsbx::fs {

task::Task* ProcSubject::task() const {
    if (!thread) return process->leader();
    task::Task* found = task::find_task(tid);
    return found && &found->process() == process.get() ? found : nullptr;
}

uint32_t ProcSubject::uid() const {
    const task::Task* first = task();
    return first && process->dumpable == 1 ? first->credentials().euid : 0;
}

uint32_t ProcSubject::gid() const {
    const task::Task* first = task();
    return first && process->dumpable == 1 ? first->credentials().egid : 0;
}

Result<> may_inspect(const ProcSubject& subject) {
    const task::Task& caller = task::current();
    const task::Task* target = subject.task();
    if (&caller.process() == subject.process.get()) return {};
    if (caller.credentials().has(auth::Capability::kSysPtrace)) return {};
    if (!target) return Errno::kACCES;
    const auth::Credentials &mine = caller.credentials(), &theirs = target->credentials();
    const bool same_user = mine.fsuid == theirs.ruid && mine.fsuid == theirs.euid && mine.fsuid == theirs.suid;
    const bool same_group = mine.fsgid == theirs.rgid && mine.fsgid == theirs.egid && mine.fsgid == theirs.sgid;
    if (!same_user || !same_group || subject.process->dumpable != 1) return Errno::kACCES;
    if (theirs.permitted.bits & ~mine.permitted.bits) return Errno::kACCES;
    return {};
}

}  // namespace kvmsbx::fs
