// Process descriptors: pidfd_open(2), pidfd_send_signal(2), pidfd_getfd(2).
#include "guestkernel/task/pidfd.hpp"

#include "guestkernel/fs/proc/process_directory.hpp"
#include "guestkernel/syscalls/handlers_process.hpp"
#include "guestkernel/syscalls/handlers_signal.hpp"
#include "guestkernel/task/registry.hpp"
#include "guestkernel/task/signal_delivery.hpp"
#include "guestkernel/task/trace.hpp"

namespace kvmsbx::syscalls {

using namespace kvmsbx::task;

namespace {

enum Scope : uint32_t { kThreadScope = 1, kProcessScope = 2, kGroupScope = 4 };  // PIDFD_SIGNAL_*

Result<RefPtr<vfs::File>> pidfd(Task& task, int32_t fd) {
    RefPtr<vfs::File> file = TRY(task.files().get(fd));
    if (!PidFd::from(*file)) return Errno::kBADF;
    return file;
}

// A /proc/PID stands for its process, too (pidfd_send_signal(2)).
Result<RefPtr<vfs::File>> pidfd_or_directory(Task& task, int32_t fd) {
    RefPtr<vfs::File> file = TRY(task.files().get(fd));
    if (PidFd::from(*file)) return file;
    const RefPtr<Process> process = file->inode() ? fs::process_of_directory(*file->inode()) : nullptr;
    if (!process) return Errno::kBADF;
    return RefPtr<vfs::File>(TRY(PidFd::of_process(*process, 0)));
}

uint32_t default_scope(const PidFd& file) { return file.of_thread() ? kThreadScope : kProcessScope; }

// What the caller wants to be told, or kill(2)'s own; EPERM for a claim that it comes from elsewhere.
Result<SigInfo> info_for(Task& task, const PidFd& file, uint32_t scope, int signal, UserIn<SigInfo> from) {
    if (!from) return user_signal(task, signal, scope == kThreadScope ? kSiTkill : kSiUser);
    SigInfo info = TRY(from.load(task.space()));
    if (info.signo != signal) return Errno::kINVAL;
    const bool to_itself = file.number() == task.process().pid && scope != kGroupScope;
    if (!to_itself && (info.code >= 0 || info.code == kSiTkill)) return Errno::kPERM;
    info.internal = 0;
    return info;
}

}  // namespace

Result<int64_t> sys_pidfd_open(Task& task, Pid pid, OpenFlags flags) {
    if (flags & ~(vfs::kONonblock | PidFd::kThread)) return Errno::kINVAL;
    if (pid <= 0) return Errno::kINVAL;
    RefPtr<PidFd> file;
    if (Task* thread = find_task(pid); thread && flags & PidFd::kThread)
        file = TRY(PidFd::of_thread(*thread, flags));
    else if (Process* process = find_process(pid))
        file = TRY(PidFd::of_process(*process, flags));
    else
        return thread ? Errno::kNOENT : Errno::kSRCH;
    return TRY(task.files().install(file, true, task.limit(kRlimitNofile)));
}

Result<int64_t> sys_pidfd_send_signal(Task& task, Fd fd, SignalNumber signal, UserIn<SigInfo> info, Flags flags) {
    const auto wanted = static_cast<uint32_t>(flags.value);
    if ((wanted & ~(kThreadScope | kProcessScope | kGroupScope)) || (wanted & (wanted - 1))) return Errno::kINVAL;
    const RefPtr<vfs::File> file = TRY(pidfd_or_directory(task, fd));
    const PidFd& target = *PidFd::from(*file);
    const uint32_t scope = wanted ? wanted : default_scope(target);
    const SigInfo wanted_info = TRY(info_for(task, target, scope, signal, info));
    if (target.gone()) return Errno::kSRCH;
    if (scope == kThreadScope) {
        Task* thread = target.task();
        if (!thread) return Errno::kSRCH;
        TRY(signal_thread(task, *thread, wanted_info));
    } else if (scope == kGroupScope) {
        TRY(signal_group(task, target.number(), wanted_info));
    } else {
        TRY(signal_process(task, target.process(), wanted_info));
    }
    return 0;
}

Result<int64_t> sys_pidfd_getfd(Task& task, Fd fd, Fd theirs, uint32_t flags) {
    if (flags) return Errno::kINVAL;
    const RefPtr<vfs::File> file = TRY(pidfd(task, fd));
    const Task* target = PidFd::from(*file)->task();
    if (!target || !target->files_) return Errno::kSRCH;
    TRY(may_trace(task, *target, TraceAccess::kReal));
    RefPtr<vfs::File> copy = TRY(target->files().get(theirs));
    return TRY(task.files().install(std::move(copy), true, task.limit(kRlimitNofile)));
}

}  // namespace kvmsbx::syscalls
