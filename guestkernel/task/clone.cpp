// clone(2) and kin: a new task from an old one.
#include <cstring>

#include "guestkernel/platform/host.hpp"
#include "guestkernel/platform/user_context.hpp"
#include "guestkernel/task/fpu.hpp"
#include "guestkernel/task/life.hpp"
#include "guestkernel/task/pidfd.hpp"
#include "guestkernel/task/pids.hpp"
#include "guestkernel/task/seccomp.hpp"
#include "guestkernel/task/trace.hpp"

namespace kvmsbx::task {
namespace {

constexpr uint64_t kNamespaces =
    kCloneNewns | kCloneNewcgroup | kCloneNewuts | kCloneNewipc | kCloneNewuser | kCloneNewpid | kCloneNewnet;

Result<> check_flags(const Task& parent, uint64_t flags) {
    if ((flags & kCloneSighand) && !(flags & kCloneVm)) return Errno::kINVAL;
    if ((flags & kCloneThread) && !(flags & kCloneSighand)) return Errno::kINVAL;
    if ((flags & kCloneFs) && (flags & (kCloneNewns | kCloneNewuser))) return Errno::kINVAL;
    if ((flags & kCloneThread) && (flags & (kCloneNewpid | kCloneNewuser))) return Errno::kINVAL;
    if ((flags & kCloneSighand) && (flags & kCloneClearSighand)) return Errno::kINVAL;
    // As a kernel without namespaces: not permitted, or not there.
    if (flags & kNamespaces)
        return parent.credentials().has(auth::Capability::kSysAdmin) ? Errno::kINVAL : Errno::kPERM;
    if (flags & kCloneIntoCgroup) return Errno::kBADF;  // no descriptor can be a cgroup's folder
    if ((flags & kCloneParent) && parent.process().pid == 1) return Errno::kINVAL;
    return {};
}

Result<> check_process_limit(const Task& parent) {
    const uint64_t limit = parent.limit(kRlimitNproc);
    const auth::Credentials& who = parent.credentials();
    if (limit == kRlimInfinity || who.ruid == 0 || who.has(auth::Capability::kSysResource) ||
        who.has(auth::Capability::kSysAdmin))
        return {};
    uint64_t count = 0;
    for_each_process([&](Process& process) {
        for (Task& task : process.threads) count += task.credentials().ruid == who.ruid;
    });
    return count >= limit ? Result<>(Errno::kAGAIN) : Result<>();
}

Result<RefPtr<Process>> new_process(Task& parent, int32_t pid, const CloneRequest& request) {
    Process& old = parent.process();
    auto process = TRY(make_ref<Process>(pid));
    process->group = old.group;
    process->session = old.session;
    process->exit_signal = request.flags & kCloneParent ? old.exit_signal : request.exit_signal;
    process->actions = request.flags & kCloneSighand ? old.actions : TRY(old.actions->clone());
    if (request.flags & kCloneClearSighand) process->actions->reset_for_exec();
    memcpy(process->limits, old.limits, sizeof process->limits);
    process->start_time = sched::boottime_now();
    process->personality = old.personality;
    process->dumpable = old.dumpable;
    if (process->limits[kRlimitCpu].soft != kRlimInfinity) {
        ProcessTimers* timers = TRY(ProcessTimers::of(*process));
        timers->cpu_limit.watch();
    }
    process->forked_by = parent.tid;
    process->oom_score_adj = old.oom_score_adj;
    process->oom_score_adj_min = old.oom_score_adj_min;
    process->coredump_filter = old.coredump_filter;
    return process;
}

Result<> copy_resources(Task& parent, Task& child, uint64_t flags) {
    child.space_ = flags & kCloneVm ? parent.space_ : TRY(parent.space_->fork());
    child.files_ = flags & kCloneFiles ? parent.files_ : TRY(parent.files_->clone());
    child.fs_ = flags & kCloneFs ? parent.fs_ : TRY(parent.fs_->clone());
    child.credentials_ = parent.credentials_;
    if (flags & kCloneSysvsem) {
        if (!parent.semaphore_undo) parent.semaphore_undo = TRY(make_semaphore_undo());
        child.semaphore_undo = parent.semaphore_undo;
    }
    TRY(child.create_stack());
    return copy_fpu(parent, child);
}

// sched_fork: SCHED_RESET_ON_FORK takes privileges from children.
void copy_scheduling(const Task& parent, Task& child) {
    child.io_priority = parent.io_priority;
    child.nice = parent.nice;
    child.scheduling_policy = parent.scheduling_policy;
    child.real_time_priority = parent.real_time_priority;
    child.keeps_cpu = parent.keeps_cpu;
    if (!parent.reset_scheduling_on_fork) return;
    if (parent.real_time_priority) child.scheduling_policy = 0;
    child.real_time_priority = 0;
    child.keeps_cpu = false;
    if (child.nice < 0) child.nice = 0;
}

void copy_thread_state(Task& parent, Task& child, const CloneRequest& request) {
    child.regs = parent.regs;
    child.regs.fs_base = request.flags & kCloneSettls ? request.tls : platform::read_fs_base();
    child.regs.gs_base = platform::read_gs_base();
    child.regs.rax = 0;
    if (request.stack) child.regs.rsp = request.stack;
    memcpy(child.name, parent.name, sizeof child.name);
    child.affinity = parent.affinity;
    copy_scheduling(parent, child);
    if (!(request.flags & kCloneVm)) {
        child.rseq_address = parent.rseq_address, child.rseq_length = parent.rseq_length;
        child.rseq_signature = parent.rseq_signature;
        child.rseq_cpu = ~0U;  // to be written at its first switch
    }
    child.timer_slack = parent.timer_slack;
    child.shares_quota = true;
    child.audit = parent.audit;
    child.memory_policy = parent.memory_policy;
    child.blocked = parent.blocked;
    child.in_syscall = parent.in_syscall;
    if (!(request.flags & kCloneVm) || (request.flags & kCloneVfork)) {
        child.altstack_base = parent.altstack_base, child.altstack_size = parent.altstack_size,
        child.altstack_flags = parent.altstack_flags;
    }
    if (request.flags & kCloneChildCleartid) child.clear_child_tid = request.child_tid;
}

Result<int32_t> number_for(const CloneRequest& request) {
    if (!request.set_tid) return allocate_number();
    TRY(claim_number(request.set_tid));
    return request.set_tid;
}

// A number of the application's choice is not ours until it is registered, and much blocks in between.
bool number_was_taken(const CloneRequest& request, int32_t number) {
    return request.set_tid && claim_number(number).is_error();
}

// Closes what clone(2) has installed if it fails after all.
class UndoneDescriptor {
  public:
    void set(vfs::FdTable& files, int fd) { files_ = &files, fd_ = fd; }
    void keep() { files_ = nullptr; }
    ~UndoneDescriptor() {
        if (files_) ignore(files_->close(fd_), "another thread may have closed it already");
    }

  private:
    vfs::FdTable* files_ = nullptr;
    int fd_ = -1;
};

Result<> give_descriptor(Task& parent, Task& child, const CloneRequest& request, UndoneDescriptor& undo) {
    auto file = TRY(request.flags & kCloneThread ? PidFd::of_thread(child, 0) : PidFd::of_process(child.process(), 0));
    const int fd = TRY(parent.files().install(file, true, parent.limit(kRlimitNofile)));
    undo.set(parent.files(), fd);
    return mm::UserOut<int32_t>{request.pidfd}.store(parent.space(), fd);
}

// parent: null: of a process that was started from outside, by CLONE_PARENT.
void adopt(Process& process, Process* parent) {
    process.parent = parent;
    if (parent) parent->children.push_back(process);
    register_process(process);
}

}  // namespace

void release_vfork_parent(Task& task) {
    task.vfork_parent_waits = false;
    task.vfork_done.wake_all();
}

Result<int32_t> clone(Task& parent, const CloneRequest& request) {
    const uint64_t flags = request.flags;
    TRY(check_flags(parent, flags));
    TRY(check_process_limit(parent));
    PidCharge charge = TRY(PidCharge::take());
    if (flags & kCloneSettls && request.tls >= platform::user_end) return Errno::kPERM;
    const int32_t number = TRY(number_for(request));
    RefPtr<Process> process = flags & kCloneThread ? parent.process_ : TRY(new_process(parent, number, request));
    auto child = TRY(make_ref<Task>(number, process));
    TRY(copy_resources(parent, *child, flags));
    copy_thread_state(parent, *child, request);
    child->start_time = flags & kCloneThread ? sched::boottime_now() : process->start_time;
    UndoneDescriptor descriptor;
    if (flags & kClonePidfd) TRY(give_descriptor(parent, *child, request, descriptor));
    if (flags & kCloneParentSettid)
        ignore(mm::UserOut<int32_t>{request.parent_tid}.store(parent.space(), number),
               "Linux ignores a bad address here, too");
    // The child may write its own copy: it faults there as it would at its first instruction.
    if (flags & kCloneChildSettid)
        ignore(mm::UserOut<int32_t>{request.child_tid}.store(child->space(), number),
               "Linux ignores a bad address here, too");
    if (parent.process().exiting) return Errno::kRESTARTNOINTR;  // nothing below may fail or block
    inherit_seccomp(parent, *child);
    if (number_was_taken(request, number)) return Errno::kEXIST;
    descriptor.keep();
    charge.keep();
    process->threads.push_back(*child);
    register_task(*child);
    if (!(flags & kCloneThread)) adopt(*process, flags & kCloneParent ? parent.process().parent : &parent.process());
    child->vfork_parent_waits = flags & kCloneVfork;
    const TraceEvent event = trace_child(parent, *child, flags, request.exit_signal);
    sched::start(*child);
    if (event != TraceEvent::kNone) trace_event(parent, event, static_cast<uint64_t>(number));
    if (flags & kCloneVfork) {
        Task& waiting = *child;
        (void)waiting.vfork_done
            .wait([&] { return !waiting.vfork_parent_waits || parent.process().exiting; }, sched::Interruptible::kNo)
            .is_ok();
        trace_event(parent, TraceEvent::kVforkDone, static_cast<uint64_t>(number));
    }
    return number;
}

Result<RefPtr<Task>> create_process(void (*bootstrap)(Task&), RefPtr<Outside> outside) {
    constexpr char kName[] = "kvmsbx";  // until its program runs
    PidCharge charge = TRY(PidCharge::take());
    const int32_t pid = TRY(allocate_number());
    auto process = TRY(make_ref<Process>(pid));
    process->session = TRY(make_ref<Session>(pid));
    process->group = pid;
    process->actions = TRY(make_ref<SignalActions>());
    for (Rlimit& limit : process->limits) limit = {kRlimInfinity, kRlimInfinity};
    process->limits[kRlimitStack] = {8 << 20, kRlimInfinity};
    process->limits[kRlimitNofile] = {1024, 1'048'576};
    process->limits[kRlimitCore] = {0, kRlimInfinity};
    process->limits[kRlimitMemlock] = {8 << 20, 8 << 20};
    process->limits[kRlimitMsgqueue] = {819'200, 819'200};
    process->limits[kRlimitNice] = {0, 0};
    process->limits[kRlimitRtprio] = {0, 0};
    process->start_time = sched::boottime_now();
    process->outside = std::move(outside);
    auto task = TRY(make_ref<Task>(pid, process));
    task->space_ = TRY(mm::AddressSpace::create());
    task->files_ = TRY(make_ref<vfs::FdTable>());
    task->credentials_ = TRY(make_ref<auth::Credentials>());
    TRY(task->create_stack());
    TRY(allocate_fpu(*task));
    task->bootstrap = bootstrap;
    memcpy(task->name, kName, sizeof kName);
    task->start_time = process->start_time;
    charge.keep();
    process->threads.push_back(*task);
    register_task(*task);
    register_process(*process);
    return task;
}

}  // namespace kvmsbx::task
