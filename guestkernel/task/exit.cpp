// exit(2), exit_group(2): how tasks and processes end.
#include "guestkernel/task/exit.hpp"

#include "guestkernel/lib/assert.hpp"
#include "guestkernel/platform/cpu.hpp"
#include "guestkernel/platform/host.hpp"
#include "guestkernel/task/clocks.hpp"
#include "guestkernel/task/fpu.hpp"
#include "guestkernel/task/futex.hpp"
#include "guestkernel/task/life.hpp"
#include "guestkernel/task/pids.hpp"
#include "guestkernel/task/signal_delivery.hpp"
#include "guestkernel/task/timers.hpp"
#include "guestkernel/task/trace.hpp"

namespace kvmsbx::task {

void (*sandbox_exit)(int status);

namespace {

SigInfo child_signal(Process& child) {
    SigInfo info;
    info.signo = child.exit_signal;
    info.from.pid = child.pid;
    info.from.uid = child.last_uid;
    const int status = child.exit_status;
    info.code = (status & 0x7f) == 0 ? kCldExited : status & 0x80 ? kCldDumped : kCldKilled;
    info.from.status = (status & 0x7f) == 0 ? status >> 8 & 0xff : status & 0x7f;
    const CpuUsage usage = usage_of(child);
    info.from.utime = static_cast<int64_t>(usage.user / 10'000'000);
    info.from.stime = static_cast<int64_t>(usage.system / 10'000'000);
    return info;
}

// What was used by processes without a parent that have ended.
CpuUsage parentless_usage;

Process& new_parent_of(Process& process) {
    for (Process* at = process.parent; at; at = at->parent)
        if (at->child_subreaper && at->state == Process::State::kAlive && !at->exiting) return *at;
    return first_process();
}

void reparent_children(Process& process) {
    while (!process.children.empty()) {
        Process& child = process.children.front();
        Process& parent = new_parent_of(process);
        child.sibling_hook.unlink();
        child.parent = &parent;
        child.exit_signal = kSigChld;
        parent.children.push_back(child);
        send_parent_death_signal(child);
        if (child.state == Process::State::kZombie) {
            send_signal(parent, child_signal(child));
            parent.child_events.wake_all();
        }
        hang_up_if_orphaned(child, process);
    }
}

void tell_parent(Process& process, Process& parent) {
    const SigAction& action = parent.actions->of(kSigChld);
    const bool reap_at_once =
        process.exit_signal == kSigChld && (action.handler == kSigIgn || (action.flags & kSaNocldwait));
    if (process.exit_signal && process.exit_signal <= kSigMax && !(reap_at_once && action.handler == kSigIgn))
        send_signal(parent, child_signal(process));
    hang_up_if_orphaned(process, parent);
    if (reap_at_once) process.unlink_all();
    parent.child_events.wake_all();
}

void reap_parentless(Process& process) {
    const RefPtr<Outside> outside = std::move(process.outside);
    const int32_t status = process.exit_status;
    process.unlink_all();
    if (outside) outside->process_ended(status);
}

// The kernel lock is held: from here to the zombie's notice nothing blocks.
void finish_process(Process& process) {
    process.state = Process::State::kZombie;
    process.ended.wake_all();
    drop_all_timers(process);
    if (process.session->id == process.pid && process.session->terminal)
        process.session->terminal->session_leader_exited();
    if (process.pid == 1) sandbox_exit(process.exit_status);
    reparent_children(process);
    if (process.parent)
        tell_parent(process, *process.parent);
    else
        reap_parentless(process);
}

}  // namespace

void hang_up_if_orphaned(const Process& member, const Process& parent) {
    const int32_t group = member.group;
    const bool parent_counted = parent.group != group && parent.session->id == member.session->id;
    if (!parent_counted || !is_orphaned_group(group)) return;
    bool has_stopped = false;
    for_each_process([&](Process& process) { has_stopped |= process.group == group && process.stopped; });
    if (!has_stopped) return;
    send_signal_to_group(group, kernel_signal(kSigHup));
    send_signal_to_group(group, kernel_signal(kSigCont));
}

void Process::unlink_all() {
    CpuUsage& heir = parent ? parent->children_usage : parentless_usage;
    heir += usage_of(*this);
    heir += children_usage;
    state = State::kReaped;
    // Files of /proc may keep the object for long: what is large goes now.
    actions = nullptr;
    pending = {};
    ended.wake_all();
    sibling_hook.unlink();
    parent = nullptr;
    unregister_process(*this);
    release_pid();
}

CpuUsage usage_of_all() {
    CpuUsage sum = parentless_usage;
    for_each_process([&](Process& process) {
        sum += usage_of(process);
        sum += process.children_usage;
    });
    return sum;
}

CpuUsage Task::usage() const {
    const uint64_t khz = platform::boot_info().tsc_khz;
    // On another vCPU right now? Then the present stay in ring 3 has not been counted yet.
    const bool in_user =
        state() == State::kRunning && last_cpu && !platform::is_in_sentry(platform::crossings(*last_cpu));
    const uint64_t ticks = user_ticks + (in_user ? platform::read_tsc() - resumed_at : 0), total = total_cpu_time();
    CpuUsage usage;
    usage.user = ticks / khz * 1'000'000 + ticks % khz * 1'000'000 / khz;
    usage.system = total > usage.user ? total - usage.user : 0;
    usage.minor_faults = minor_faults, usage.major_faults = major_faults;
    usage.voluntary_switches = voluntary_switches, usage.involuntary_switches = involuntary_switches;
    usage.io = io;
    usage.io.read_bytes = storage.read, usage.io.written_bytes = storage.written;
    return usage;
}

void note_resident_size(Task& task) {
    if (task.space().reference_count() > 1) return;  // a thread or vfork child: its owner stays
    uint64_t& most = task.process().dead_threads_usage.most_resident;
    const uint64_t pages = task.space().peak_resident_pages();
    if (pages > most) most = pages;
}

Task::Task(int32_t tid, RefPtr<Process> process) : tid(tid), process_(std::move(process)) {}

Task::~Task() { free_fpu(*this); }

void exit_thread(Task& task, int status) {
    VERIFY(&task == &current());
    Process& process = task.process();
    if (task.trace) trace_exit_event(task, process.exiting ? process.exit_status : status);
    task.exiting = true;
    hand_over_pending(task);
    if (process.threads.size() == 1 && !process.exiting) {
        process.exiting = true;
        process.exit_status = status;
    }
    futex_thread_exit(task);
    note_resident_size(task);
    task.space_ = nullptr;
    release_vfork_parent(task);
    task.semaphore_undo = nullptr;
    task.created_segments = nullptr;
    task.files_ = nullptr;  // may block: closes write back
    task.fs_ = nullptr;
    process.dead_threads_usage += task.usage();
    process.last_uid = task.credentials().ruid;
    memcpy(process.last_name, task.name, sizeof task.name);
    end_tracing(task, process.exiting ? process.exit_status : status);
    task.thread_hook.unlink();
    unregister_task(task);
    if (task.death) {
        task.death->happened = true;
        task.death->watchers.wake_all();
    }
    process.thread_exited.wake_all();
    if (process.threads.empty()) finish_process(process);
    sched::exit_thread();
}

void exit_group(Task& task, int status) {
    Process& process = task.process();
    if (process.exiting) return;
    process.exiting = true;
    process.exit_status = status;
    process.stopped = false;
    for (Task& thread : process.threads) interrupt_task(thread);
    process.stop_queue.wake_all();
}

void exit_group_by_signal(Task& task, int signal, bool core) { exit_group(task, signal | (core ? 0x80 : 0)); }

}  // namespace kvmsbx::task
