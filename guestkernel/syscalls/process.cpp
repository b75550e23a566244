#include "guestkernel/syscalls/handlers_process.hpp"
#include "guestkernel/syscalls/handlers_time.hpp"

#include "guestkernel/task/life.hpp"
#include "guestkernel/task/pidfd.hpp"
#include "guestkernel/task/signal_delivery.hpp"

namespace kvmsbx::syscalls {

using namespace kvmsbx::task;

namespace {

// argv or envp: user pointers up to a null one. A null array is an empty one.
Result<Vector<String>> load_strings(Task& task, UserIn<uint64_t> array) {
    constexpr size_t kMaxStrings = 0x10000;
    constexpr size_t kMaxString = 131'072 + 1;
    Vector<String> strings;
    if (!array) return strings;
    size_t total = 0;
    for (size_t i = 0;; ++i) {
        const uint64_t address = TRY(UserIn<uint64_t>{array.address + i * 8}.load(task.space()));
        if (address == 0) return strings;
        if (i >= kMaxStrings) return Errno::k2BIG;
        auto text = UserString{address}.load(task.space(), kMaxString);
        if (text.is_error()) return text.error() == Errno::kNAMETOOLONG ? Errno::k2BIG : text.error();
        total += text.value().size();
        if (total > (8U << 20)) return Errno::k2BIG;
        TRY(strings.push_back(text.release_value()));
    }
}

Result<Process*> find_or_self(Task& task, Pid pid) {
    if (pid.value < 0) return Errno::kSRCH;
    Process* process = pid.value == 0 ? &task.process() : find_process(pid);
    if (!process && find_task(pid)) process = &find_task(pid)->process();
    if (!process) return Errno::kSRCH;
    return process;
}

Result<> store_usage(Task& task, UserOut<ResourceUsage> usage, const CpuUsage& used) {
    if (!usage) return {};
    return usage.store(task.space(), to_rusage(used, 0));
}

}  // namespace

Result<int64_t> sys_clone(Task& task, CloneFlags flags, uint64_t stack, UserOut<int32_t> parent_tid,
                          UserOut<int32_t> child_tid, uint64_t tls) {
    CloneRequest request;
    request.flags = flags.value & 0xffff'ff00;
    request.exit_signal = static_cast<int>(flags.value & 0xff);
    request.stack = stack;
    request.parent_tid = parent_tid.address;
    request.child_tid = child_tid.address;
    request.tls = tls;
    if (request.flags & kClonePidfd) {
        // One word cannot hold both.
        if (request.flags & (kCloneParentSettid | kCloneDetached)) return Errno::kINVAL;
        request.pidfd = parent_tid.address;
    }
    return TRY(clone(task, request));
}

namespace {

// copy_struct_from_user: what is beyond our version must be zero.
Result<CloneArguments> load_clone_arguments(Task& task, UserIn<CloneArguments> from, size_t size) {
    constexpr size_t kVersion0 = 64;
    if (size > mm::kPageSize) return Errno::k2BIG;
    if (size < kVersion0) return Errno::kINVAL;
    CloneArguments args{};
    TRY(mm::copy_from_user(task.space(), &args, from.address, size < sizeof args ? size : sizeof args));
    for (size_t at = sizeof args; at < size; ++at)
        if (TRY(UserIn<char>{from.address + at}.load(task.space()))) return Errno::k2BIG;
    return args;
}

Result<> check_clone_arguments(const CloneArguments& args, size_t size) {
    constexpr uint64_t kKnown = 0xffff'ffff | kCloneClearSighand | kCloneIntoCgroup, kNewtime = 0x80, kMostLevels = 32;
    if (args.set_tid_size > kMostLevels || (args.set_tid != 0) != (args.set_tid_size != 0)) return Errno::kINVAL;
    if (args.exit_signal > kSigMax) return Errno::kINVAL;
    if (args.flags & kCloneIntoCgroup && (args.cgroup > INT32_MAX || size < sizeof args)) return Errno::kINVAL;
    if (args.flags & ~kKnown || args.flags & ((0xff & ~kNewtime) | kCloneDetached)) return Errno::kINVAL;
    if ((args.flags & (kCloneThread | kCloneParent)) && args.exit_signal) return Errno::kINVAL;
    if ((args.stack == 0) != (args.stack_size == 0)) return Errno::kINVAL;
    if (args.flags & kClonePidfd && args.flags & kCloneParentSettid && args.pidfd == args.parent_tid)
        return Errno::kINVAL;
    return {};
}

// There is one level of process numbers, so one number can be asked for (alloc_pid).
Result<int32_t> wanted_tid(Task& task, const CloneArguments& args) {
    if (!args.set_tid) return 0;
    const auto wanted = TRY(UserIn<int32_t>{args.set_tid}.load(task.space()));
    constexpr auto kCheckpointRestore = static_cast<auth::Capability>(40);
    if (args.set_tid_size > 1 || wanted < 1 || wanted >= kPidMax) return Errno::kINVAL;
    const auth::Credentials& who = task.credentials();
    if (!who.has(kCheckpointRestore) && !who.has(auth::Capability::kSysAdmin)) return Errno::kPERM;
    return wanted;
}

}  // namespace

Result<int64_t> sys_clone3(Task& task, UserIn<CloneArguments> arguments, size_t size) {
    const CloneArguments args = TRY(load_clone_arguments(task, arguments, size));
    TRY(check_clone_arguments(args, size));
    CloneRequest request;
    request.flags = args.flags;
    request.exit_signal = static_cast<int>(args.exit_signal);
    request.stack = args.stack ? args.stack + args.stack_size : 0;
    request.parent_tid = args.parent_tid;
    request.child_tid = args.child_tid;
    request.tls = args.tls;
    request.pidfd = args.pidfd;
    request.set_tid = TRY(wanted_tid(task, args));
    return TRY(clone(task, request));
}

Result<int64_t> sys_fork(Task& task) {
    CloneRequest request;
    request.exit_signal = kSigChld;
    return TRY(clone(task, request));
}

Result<int64_t> sys_vfork(Task& task) {
    CloneRequest request;
    request.flags = kCloneVfork | kCloneVm;
    request.exit_signal = kSigChld;
    return TRY(clone(task, request));
}

Result<int64_t> sys_execve(Task& task, UserString path, UserIn<uint64_t> arguments, UserIn<uint64_t> environment) {
    ExecRequest request;
    request.base = task.fs().cwd;
    request.path = TRY(path.load(task.space()));
    if (request.path.empty()) return Errno::kNOENT;
    request.arguments = TRY(load_strings(task, arguments));
    request.environment = TRY(load_strings(task, environment));
    TRY(execute(task, std::move(request)));
    return 0;
}

Result<int64_t> sys_execveat(Task& task, DirFd directory, UserString path, UserIn<uint64_t> arguments,
                             UserIn<uint64_t> environment, Flags flags) {
    constexpr uint64_t kEmptyPath = 0x1000, kSymlinkNofollow = 0x100;
    if (flags.value & ~(kEmptyPath | kSymlinkNofollow)) return Errno::kINVAL;
    ExecRequest request;
    request.follow_last = !(flags.value & kSymlinkNofollow);
    request.path = TRY(path.load(task.space()));
    request.base = task.fs().cwd;
    if (request.path.empty() && !(flags.value & kEmptyPath)) return Errno::kNOENT;
    if (directory.value != vfs::kAtFdcwd && !request.path.view().starts_with('/')) {
        auto file = TRY(task.files().get(directory));
        if (!file->path()) return request.path.empty() ? Errno::kACCES : Errno::kNOTDIR;
        request.base = *file->path();
        if (request.path.empty()) {
            FixedText<32> name;
            format_to(name, "/proc/self/fd/{}", directory.value);
            request.path = TRY(String::create(name.view()));
            request.base = task.fs().cwd;
        }
    }
    request.arguments = TRY(load_strings(task, arguments));
    request.environment = TRY(load_strings(task, environment));
    TRY(execute(task, std::move(request)));
    return 0;
}

Result<int64_t> sys_exit(Task& task, int32_t code) { exit_thread(task, (code & 0xff) << 8); }

Result<int64_t> sys_exit_group(Task& task, int32_t code) {
    exit_group(task, (code & 0xff) << 8);
    return 0;  // the task ends on its way to ring 3
}

Result<int64_t> sys_wait4(Task& task, Pid pid, UserOut<int32_t> status, Flags options, UserOut<ResourceUsage> usage) {
    const uint64_t allowed = kWnohang | kWuntraced | kWcontinued | kWnothread | kWall | kWclone;
    if (options.value & 0xffff'ffff & ~allowed) return Errno::kINVAL;
    if (pid.value == INT32_MIN) return Errno::kSRCH;
    WaitRequest request;
    request.options = static_cast<uint32_t>(options.value) | kWexited;
    if (pid.value > 0) {
        request.which = WaitRequest::Which::kPid;
        request.id = pid.value;
    } else if (pid.value != -1) {
        request.which = WaitRequest::Which::kGroup;
        request.id = pid.value == 0 ? task.process().group : -pid.value;
    }
    const WaitOutcome outcome = TRY(wait_for_child(task, request));
    if (outcome.pid == 0) return 0;
    if (status) TRY(status.store(task.space(), outcome.status));
    TRY(store_usage(task, usage, outcome.usage));
    return outcome.pid;
}

namespace {

Result<> name_by_descriptor(Task& task, int32_t fd, WaitRequest& request) {
    if (fd < 0) return Errno::kINVAL;
    const RefPtr<vfs::File> file = TRY(task.files().get(fd));
    const PidFd* process = PidFd::from(*file);
    if (!process) return Errno::kBADF;
    if (process->gone()) return Errno::kCHILD;
    request.which = WaitRequest::Which::kPid;
    request.id = process->number();
    if (process->nonblocking() && !(request.options & kWnohang)) {
        request.options |= kWnohang;
        request.nonblocking_descriptor = true;
    }
    return {};
}

}  // namespace

Result<int64_t> sys_waitid(Task& task, int32_t which, Pid id, UserOut<char> info, Flags options,
                           UserOut<ResourceUsage> usage) {
    constexpr int32_t kAll = 0, kPid = 1, kGroup = 2, kPidfd = 3;
    const uint64_t allowed = kWnohang | kWuntraced | kWexited | kWcontinued | kWnowait | kWnothread | kWall | kWclone;
    if ((options.value & 0xffff'ffff & ~allowed) || !(options.value & (kWexited | kWuntraced | kWcontinued)))
        return Errno::kINVAL;
    WaitRequest request;
    request.options = static_cast<uint32_t>(options.value);
    request.id = id.value;
    switch (which) {
        case kAll: break;
        case kPid:
            if (id.value <= 0) return Errno::kINVAL;
            request.which = WaitRequest::Which::kPid;
            break;
        case kGroup:
            if (id.value < 0) return Errno::kINVAL;
            request.which = WaitRequest::Which::kGroup;
            if (id.value == 0) request.id = task.process().group;
            break;
        case kPidfd: TRY(name_by_descriptor(task, id.value, request)); break;
        default: return Errno::kINVAL;
    }
    const WaitOutcome outcome = TRY(wait_for_child(task, request));
    if (outcome.pid == 0 && request.nonblocking_descriptor) return Errno::kAGAIN;
    SigInfo result;
    if (outcome.pid) {
        result.signo = kSigChld;
        result.code = outcome.code;
        result.from.pid = outcome.pid;
        result.from.uid = outcome.uid;
        result.from.status = outcome.code == kCldExited      ? outcome.status >> 8
                             : outcome.code == kCldStopped   ? outcome.status >> 8
                             : outcome.code == kCldTrapped   ? outcome.status >> 8
                             : outcome.code == kCldContinued ? static_cast<int>(kSigCont)
                                                             : outcome.status & 0x7f;
        TRY(store_usage(task, usage, outcome.usage));
    }
    if (info.address) TRY(copy_siginfo_to_user(task.space(), info.address, result));
    return 0;
}

Result<int64_t> sys_getpid(Task& task) { return task.process().pid; }
Result<int64_t> sys_getppid(Task& task) {
    const Process* parent = task.process().parent;
    return parent ? parent->pid : 0;
}
Result<int64_t> sys_gettid(Task& task) { return task.tid; }
Result<int64_t> sys_getpgrp(Task& task) { return task.process().group; }
Result<int64_t> sys_getpgid(Task& task, Pid pid) { return TRY(find_or_self(task, pid))->group; }
Result<int64_t> sys_getsid(Task& task, Pid pid) { return TRY(find_or_self(task, pid))->session->id; }

Result<int64_t> sys_setpgid(Task& task, Pid pid, Pid group) {
    if (group.value < 0 || pid.value < 0) return Errno::kINVAL;
    Process& self = task.process();
    Process* target = pid.value == 0 ? &self : find_process(pid);
    if (!target || (target != &self && target->parent != &self)) return Errno::kSRCH;
    if (target != &self) {
        if (target->session != self.session) return Errno::kPERM;
        if (target->executed) return Errno::kACCES;
    }
    if (target->session->id == target->pid) return Errno::kPERM;
    const int32_t wanted = group.value == 0 ? target->pid : group.value;
    if (wanted != target->pid && !group_exists(wanted, self.session->id)) return Errno::kPERM;
    target->group = wanted;
    return 0;
}

Result<int64_t> sys_setsid(Task& task) {
    Process& self = task.process();
    bool leads_a_group = false;
    for_each_process([&](Process& process) { leads_a_group |= process.group == self.pid; });
    if (leads_a_group) return Errno::kPERM;
    self.session = TRY(make_ref<Session>(self.pid));
    self.group = self.pid;
    return self.pid;
}

}  // namespace kvmsbx::syscalls
