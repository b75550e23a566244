// /proc/PID/stat, status, statm, comm, limits (Linux: fs/proc/array.c, base.c).
#include <string_view>

#include "guestkernel/fs/proc/nodes.hpp"
#include "guestkernel/fs/proc/subject.hpp"
#include "guestkernel/platform/host.hpp"
#include "guestkernel/task/clocks.hpp"
#include "guestkernel/task/life.hpp"
#include "guestkernel/task/seccomp.hpp"
#include "guestkernel/task/trace.hpp"

namespace kvmsbx::fs {
namespace {

constexpr uint64_t kPageShift = 12, kKilobyte = 1024;
constexpr uint32_t kFlagForkNoExec = 0x40, kFlagRandomize = 0x400000;  // PF_*

std::string_view state_name(char state) {
    switch (state) {
        case 'R': return "R (running)";
        case 'S': return "S (sleeping)";
        case 'D': return "D (disk sleep)";
        case 't': return "t (tracing stop)";
        case 'T': return "T (stopped)";
        case 'Z': return "Z (zombie)";
        default: return "X (dead)";
    }
}

std::string_view name_of(const ProcSubject& subject) {
    const task::Task* task = subject.task();
    return task ? std::string_view(task->name) : std::string_view(subject.process->last_name);
}

struct SignalSummary {
    uint64_t thread_pending = 0, process_pending = 0, blocked = 0, ignored = 0, caught = 0;
};

SignalSummary signals_of(const ProcSubject& subject) {
    SignalSummary sum;
    sum.process_pending = subject.process->pending.set.bits;
    if (const task::Task* task = subject.task()) {
        sum.thread_pending = task->pending.set.bits;
        sum.blocked = task->blocked.bits;
    }
    if (!subject.process->actions) return sum;
    for (int signal = 1; signal <= task::kSigMax; ++signal) {
        const uint64_t handler = subject.process->actions->of(signal).handler;
        if (handler == task::kSigIgn)
            sum.ignored |= 1ULL << (signal - 1);
        else if (handler != task::kSigDfl)
            sum.caught |= 1ULL << (signal - 1);
    }
    return sum;
}

size_t thread_count(task::Process& process) { return process.threads.size(); }

uint64_t ticks(sched::Nanoseconds ns) { return ns / task::kNsPerTick; }

void put_identity(const ProcSubject& subject, TextSink& sink) {
    const task::Process& process = *subject.process;
    int64_t terminal = 0, foreground = -1;
    if (process.session && process.session->terminal) {
        terminal = static_cast<int64_t>(process.session->terminal->device_number());
        foreground = process.session->terminal->foreground_group();
    }
    uint32_t flags = kFlagRandomize;
    if (!process.executed) flags |= kFlagForkNoExec;
    format_to(sink, "{} ({}) {} {} {} {} {} {} {}", subject.thread ? subject.tid : process.pid, name_of(subject),
              state_of(subject), process.parent ? process.parent->pid : 0, process.group,
              process.session ? process.session->id : 0, terminal, foreground, flags);
}

struct LimitRow {
    std::string_view name, unit;
    unsigned resource;
};
constexpr LimitRow kLimits[] = {
    {"Max cpu time", "seconds", task::kRlimitCpu},         {"Max file size", "bytes", task::kRlimitFsize},
    {"Max data size", "bytes", task::kRlimitData},         {"Max stack size", "bytes", task::kRlimitStack},
    {"Max core file size", "bytes", task::kRlimitCore},    {"Max resident set", "bytes", task::kRlimitRss},
    {"Max processes", "processes", task::kRlimitNproc},    {"Max open files", "files", task::kRlimitNofile},
    {"Max locked memory", "bytes", task::kRlimitMemlock},  {"Max address space", "bytes", task::kRlimitAs},
    {"Max file locks", "locks", task::kRlimitLocks},       {"Max pending signals", "signals", task::kRlimitSigpending},
    {"Max msgqueue size", "bytes", task::kRlimitMsgqueue}, {"Max nice priority", "", task::kRlimitNice},
    {"Max realtime priority", "", task::kRlimitRtprio},    {"Max realtime timeout", "us", task::kRlimitRttime},
};

void put_limit(TextSink& sink, uint64_t value) {
    FixedText<24> text;
    if (value == task::kRlimInfinity)
        text.put("unlimited");
    else
        format_to(text, "{}", value);
    put_left(sink, text.view(), 20);
    sink.put(" ");
}

void put_memory_lines(mm::AddressSpace& space, TextSink& sink) {
    const MemoryUse use = memory_use(space);
    const struct {
        std::string_view name;
        uint64_t bytes;
    } rows[] = {{"VmPeak", std::max(space.peak_mapped, use.size)},
                {"VmSize", use.size},
                {"VmLck", space.locked_bytes()},
                {"VmPin", 0},
                {"VmHWM", std::max(space.peak_resident_pages() << kPageShift, use.resident)},
                {"VmRSS", use.resident},
                {"RssAnon", use.resident_anonymous},
                {"RssFile", use.resident_file},
                {"RssShmem", use.resident_shared_memory},
                {"VmData", use.data},
                {"VmStk", use.stack},
                {"VmExe", use.code},
                {"VmLib", use.library},
                {"VmPTE", space.table_bytes()},
                {"VmSwap", 0},
                {"HugetlbPages", 0}};
    for (const auto& row : rows) format_to(sink, "{}:\t{8} kB\n", row.name, row.bytes / kKilobyte);
    sink.put("CoreDumping:\t0\nTHP_enabled:\t1\n");
}

int32_t tracer_of(const ProcSubject& subject) {
    const task::Task* task = subject.task();
    return task && task->trace && task->trace->tracer ? task->trace->tracer->process().pid : 0;
}

void put_credentials(const auth::Credentials& who, uint32_t umask, TextSink& sink, const ProcSubject& subject,
                     size_t descriptors) {
    const task::Process& process = *subject.process;
    const int32_t tid = subject.thread ? subject.tid : process.pid;
    sink.put("Umask:\t");
    put_octal(sink, umask, 4);
    format_to(sink, "\nState:\t{}\nTgid:\t{}\nNgid:\t0\nPid:\t{}\nPPid:\t{}\nTracerPid:\t{}\n",
              state_name(state_of(subject)), process.pid, tid, process.parent ? process.parent->pid : 0,
              tracer_of(subject));
    format_to(sink, "Uid:\t{}\t{}\t{}\t{}\nGid:\t{}\t{}\t{}\t{}\n", who.ruid, who.euid, who.suid, who.fsuid, who.rgid,
              who.egid, who.sgid, who.fsgid);
    format_to(sink, "FDSize:\t{}\nGroups:\t", descriptors);
    for (auth::Gid gid : who.groups) format_to(sink, "{} ", gid);
    format_to(sink, "\nNStgid:\t{}\nNSpid:\t{}\nNSpgid:\t{}\nNSsid:\t{}\n", process.pid, tid, process.group,
              process.session ? process.session->id : 0);
    sink.put("Kthread:\t0\n");
}

void put_security(const ProcSubject& subject, const task::Task& task, TextSink& sink) {
    const SignalSummary signals = signals_of(subject);
    const auth::Credentials& who = task.credentials();
    format_to(sink, "Threads:\t{}\nSigQ:\t0/{}\nSigPnd:\t{016x}\nShdPnd:\t{016x}\n", thread_count(*subject.process),
              subject.process->limits[task::kRlimitSigpending].soft, signals.thread_pending, signals.process_pending);
    format_to(sink, "SigBlk:\t{016x}\nSigIgn:\t{016x}\nSigCgt:\t{016x}\n", signals.blocked, signals.ignored,
              signals.caught);
    format_to(sink, "CapInh:\t{016x}\nCapPrm:\t{016x}\nCapEff:\t{016x}\nCapBnd:\t{016x}\nCapAmb:\t{016x}\n",
              who.inheritable.bits, who.permitted.bits, who.effective.bits, who.bounding.bits, who.ambient.bits);
    const unsigned count = platform::boot_info().cpu_count;
    const uint64_t cpus = task.affinity & (count >= 64 ? ~0ULL : (1ULL << count) - 1);
    format_to(sink, "NoNewPrivs:\t{}\nSeccomp:\t{}\nSeccomp_filters:\t{}\nCpus_allowed:\t",
              who.no_new_privileges ? 1 : 0, static_cast<unsigned>(task.seccomp_mode),
              task::seccomp_filter_count(task));
    put_cpu_mask(sink, cpus, count);
    sink.put("\nCpus_allowed_list:\t");
    put_cpu_list(sink, cpus);
    format_to(sink,
              "\nMems_allowed:\t1\nMems_allowed_list:\t0\nvoluntary_ctxt_switches:\t{}\n"
              "nonvoluntary_ctxt_switches:\t{}\n",
              task.voluntary_switches, task.involuntary_switches);
}

}  // namespace

char state_of(const ProcSubject& subject) {
    if (subject.process->state != task::Process::State::kAlive) return 'Z';
    const task::Task* task = subject.task();
    if (!task) return 'Z';
    if (task->trace && task->trace->stopped) return 't';
    if (subject.process->stopped && !task->resumed_by_tracer) return 'T';
    switch (task->state()) {
        case sched::Thread::State::kBlocked: return task->awaits_quota ? 'R' : task->interruptible() ? 'S' : 'D';
        case sched::Thread::State::kDead: return 'X';
        default: return 'R';
    }
}

Result<> put_stat(const ProcSubject& subject, TextSink& sink) {
    if (!subject.alive()) return Errno::kSRCH;
    task::Process& process = *subject.process;
    task::Task* task = subject.task();
    const task::CpuUsage usage = subject.thread ? task::usage_of(*task) : task::usage_of(process);
    put_identity(subject, sink);
    format_to(sink, " {} {} {} {} {} {} {} {}", usage.minor_faults, process.children_usage.minor_faults,
              usage.major_faults, process.children_usage.major_faults, ticks(usage.user), ticks(usage.system),
              ticks(process.children_usage.user), ticks(process.children_usage.system));
    const int nice = task ? task->nice : 0, real_time = task ? task->real_time_priority : 0;
    MemoryUse use;
    RefPtr<mm::AddressSpace> space = task ? task->space_ : RefPtr<mm::AddressSpace>();
    if (space) use = memory_use(*space);
    format_to(sink, " {} {} {} 0 {} {} {} {}", real_time ? -1 - real_time : 20 + nice, nice, thread_count(process),
              ticks(subject.thread && task ? task->start_time : process.start_time), use.size,
              use.resident >> kPageShift, process.limits[task::kRlimitRss].soft);
    const bool visible = space && may_inspect(subject).is_ok();  // addresses are not for everybody
    if (visible)
        format_to(sink, " {} {} {} 0 0", space->code_start, space->code_end, space->stack_top);
    else
        format_to(sink, " {} {} 0 0 0", space ? 1 : 0, space ? 1 : 0);
    const SignalSummary signals = signals_of(subject);
    constexpr uint64_t kOldSet = 0x7fffffff;
    format_to(sink, " {} {} {} {} 0 0 0 {} {} {} {} 0 0 0", signals.thread_pending & kOldSet, signals.blocked & kOldSet,
              signals.ignored & kOldSet, signals.caught & kOldSet, process.exit_signal,
              task && task->last_cpu ? task->last_cpu->cpu_id : 0, real_time, task ? task->scheduling_policy : 0);
    if (visible)
        format_to(sink, " {} {} {} {} {} {} {} {}\n", space->data_start, space->data_end, space->break_start,
                  space->arguments_start, space->arguments_end, space->environment_start, space->environment_end,
                  process.exit_status);
    else
        sink.put(" 0 0 0 0 0 0 0 0\n");
    return {};
}

Result<> put_statm(const ProcSubject& subject, TextSink& sink) {
    if (!subject.alive()) return Errno::kSRCH;
    const task::Task* task = subject.task();
    MemoryUse use;
    if (task && task->space_) use = memory_use(task->space());
    format_to(sink, "{} {} {} {} 0 {} 0\n", use.size >> kPageShift, use.resident >> kPageShift,
              (use.resident_file + use.resident_shared_memory) >> kPageShift, use.code >> kPageShift,
              (use.data + use.stack) >> kPageShift);
    return {};
}

Result<> put_status(const ProcSubject& subject, TextSink& sink) {
    if (!subject.alive()) return Errno::kSRCH;
    const task::Task* task = subject.task();
    format_to(sink, "Name:\t{}\n", name_of(subject));
    if (!task) {
        format_to(sink, "State:\tZ (zombie)\nTgid:\t{}\nNgid:\t0\nPid:\t{}\nPPid:\t{}\nTracerPid:\t0\nThreads:\t0\n",
                  subject.process->pid, subject.process->pid,
                  subject.process->parent ? subject.process->parent->pid : 0);
        return {};
    }
    size_t descriptors = 0;
    if (task->files_)
        for (int fd = task->files().next_open(0); fd >= 0; fd = task->files().next_open(fd + 1))
            descriptors = static_cast<size_t>(fd) + 1;
    constexpr size_t kStep = 64;
    put_credentials(task->credentials(), task->fs_ ? task->fs().umask : 0, sink, subject,
                    (descriptors + kStep - 1) / kStep * kStep);
    if (task->space_) put_memory_lines(task->space(), sink);
    put_security(subject, *task, sink);
    return {};
}

Result<> put_comm(const ProcSubject& subject, TextSink& sink) {
    if (!subject.alive()) return Errno::kSRCH;
    format_to(sink, "{}\n", name_of(subject));
    return {};
}

Result<> store_comm(const ProcSubject& subject, std::string_view text) {
    task::Task* task = subject.task();
    if (!task) return Errno::kSRCH;
    if (&task->process() != &task::current().process()) return Errno::kINVAL;
    const size_t size = std::min(text.size(), sizeof task->name - 1);
    for (size_t i = 0; i < sizeof task->name; ++i) task->name[i] = i < size ? text[i] : '\0';
    return {};
}

Result<> put_limits(const ProcSubject& subject, TextSink& sink) {
    if (!subject.alive()) return Errno::kSRCH;
    sink.put("Limit                     Soft Limit           Hard Limit           Units     \n");
    for (const LimitRow& row : kLimits) {
        const task::Rlimit& limit = subject.process->limits[row.resource];
        put_left(sink, row.name, 25);
        sink.put(" ");
        put_limit(sink, limit.soft);
        put_limit(sink, limit.hard);
        if (!row.unit.empty()) put_left(sink, row.unit, 10);
        sink.put("\n");
    }
    return {};
}

}  // namespace kvmsbx::fs
