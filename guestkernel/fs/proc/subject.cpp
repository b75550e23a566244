#include "guestkernel/fs/proc/subject.hpp"

#include "guestkernel/task/registry.hpp"
#include "guestkernel/task/trace.hpp"

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
    if (&caller.process() == subject.process.get()) return {};
    const task::Task* target = subject.task();
    if (target)
        return task::may_trace(caller, *target, task::TraceAccess::kFileSystem).is_ok() ? Result<>()
                                                                                        : Result<>(Errno::kACCES);
    return caller.credentials().has(auth::Capability::kSysPtrace) ? Result<>() : Result<>(Errno::kACCES);
}

}  // namespace kvmsbx::fs
