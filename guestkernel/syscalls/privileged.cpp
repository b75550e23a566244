// Calls that a container without privileges is refused, each with Linux's own checks before it.
#include "guestkernel/syscalls/handlers_misc.hpp"
#include "guestkernel/task/life.hpp"

namespace kvmsbx::syscalls {

using namespace kvmsbx::task;

namespace {

constexpr uint64_t kAllNamespaces =
    kCloneNewns | kCloneNewcgroup | kCloneNewuts | kCloneNewipc | kCloneNewuser | kCloneNewpid | kCloneNewnet | 0x80;

// As a kernel without namespaces: not permitted, or not there.
Errno refused_namespace(const Task& task) {
    return task.credentials().has(auth::Capability::kSysAdmin) ? Errno::kINVAL : Errno::kPERM;
}

}  // namespace

Result<int64_t> sys_unshare(Task& task, Flags flags) {
    constexpr uint64_t kOwn = kCloneVm | kCloneFs | kCloneFiles | kCloneSighand | kCloneThread | kCloneSysvsem;
    if (flags & ~(kOwn | kAllNamespaces)) return Errno::kINVAL;
    const bool alone = task.process().threads.size() == 1;
    if (flags & (kCloneThread | kCloneVm | kCloneSighand) && !alone) return Errno::kINVAL;
    if (flags & kCloneVm && task.space().reference_count() > 1) return Errno::kINVAL;
    if (flags & kCloneSighand && task.process().actions->reference_count() > 1) return Errno::kINVAL;
    if (flags & kAllNamespaces) return refused_namespace(task);
    RefPtr<vfs::FsContext> fs = task.fs_;
    RefPtr<vfs::FdTable> files = task.files_;
    if (flags & kCloneFs) fs = TRY(task.fs().clone());
    if (flags & kCloneFiles) files = TRY(task.files().clone());
    task.fs_ = std::move(fs);
    task.files_ = std::move(files);
    return 0;
}

Result<int64_t> sys_setns(Task& task, Fd fd, int32_t) {
    TRY(task.files().get(fd));
    return Errno::kINVAL;  // no file stands for a namespace
}

Result<int64_t> sys_iopl(Task&, uint32_t level) {
    if (level > 3) return Errno::kINVAL;
    return level == 0 ? Result<int64_t>(0) : Errno::kPERM;
}

Result<int64_t> sys_ioperm(Task&, uint64_t from, uint64_t count, int32_t on) {
    constexpr uint64_t kPorts = 65536;
    if (from + count <= from || from + count > kPorts) return Errno::kINVAL;
    return on ? Result<int64_t>(Errno::kPERM) : 0;
}

Result<int64_t> sys_vhangup(Task&) { return Errno::kPERM; }
Result<int64_t> sys_acct(Task&, UserString) { return Errno::kPERM; }
Result<int64_t> sys_kexec_load(Task&, uint64_t, uint64_t, uint64_t, Flags) { return Errno::kPERM; }
Result<int64_t> sys_kexec_file_load(Task&, Fd, Fd, uint64_t, uint64_t, Flags) { return Errno::kPERM; }
Result<int64_t> sys_init_module(Task&, uint64_t, uint64_t, uint64_t) { return Errno::kPERM; }
Result<int64_t> sys_finit_module(Task&, Fd, uint64_t, Flags) { return Errno::kPERM; }
Result<int64_t> sys_delete_module(Task&, uint64_t, Flags) { return Errno::kPERM; }
Result<int64_t> sys_bpf(Task&, int32_t, uint64_t, uint32_t) { return Errno::kPERM; }
Result<int64_t> sys_perf_event_open(Task&, uint64_t, Pid, int32_t, Fd, Flags) { return Errno::kACCES; }
Result<int64_t> sys_add_key(Task&, uint64_t, uint64_t, uint64_t, size_t, int32_t) { return Errno::kPERM; }
Result<int64_t> sys_request_key(Task&, uint64_t, uint64_t, uint64_t, int32_t) { return Errno::kPERM; }
Result<int64_t> sys_keyctl(Task&, int32_t, uint64_t, uint64_t, uint64_t, uint64_t) { return Errno::kPERM; }
Result<int64_t> sys_landlock_create_ruleset(Task&, uint64_t, size_t, Flags) { return Errno::kOPNOTSUPP; }
Result<int64_t> sys_landlock_add_rule(Task&, Fd, int32_t, uint64_t, Flags) { return Errno::kOPNOTSUPP; }
Result<int64_t> sys_landlock_restrict_self(Task&, Fd, Flags) { return Errno::kOPNOTSUPP; }

}  // namespace kvmsbx::syscalls
