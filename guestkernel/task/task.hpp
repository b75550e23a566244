#pragma once
// Tasks and processes. A Task is a thread of an application; a Process is a thread group with what its threads share;
// process groups are numbers, sessions are objects with a controlling terminal. registry.hpp finds them by number. All
// with the kernel lock held.
//
// Lifetimes: a Process holds no reference to its Tasks but lists them; a Task holds its Process; the scheduler holds a
// running Task. A dead Process stays in its parent's list as a zombie until it is waited for; the registry holds a
// reference as long as the number is taken.
#include "guestkernel/auth/credentials.hpp"
#include "guestkernel/lib/list.hpp"
#include "guestkernel/mm/address_space.hpp"
#include "guestkernel/platform/user_context.hpp"
#include "guestkernel/sched/sched.hpp"
#include "guestkernel/task/pi_waiter.hpp"
#include "guestkernel/task/seccomp_filter.hpp"
#include "guestkernel/task/signal.hpp"
#include "guestkernel/task/timers.hpp"
#include "guestkernel/vfs/fd_table.hpp"
#include "guestkernel/vfs/path.hpp"

namespace kvmsbx::task {

class Process;
class Trace;
struct Home;  // posted_calls.cpp

// What a session's terminal is to the lower layers; the tty implements it.
class ControllingTerminal : public RefCounted {
  public:
    virtual uint64_t device_number() const = 0;    // tty_nr of /proc/PID/stat
    virtual int32_t foreground_group() const = 0;  // 0: none
    virtual void session_leader_exited() = 0;      // hang up: SIGHUP and SIGCONT to the foreground group; detach
};

class Session : public RefCounted {
  public:
    explicit Session(int32_t id) : id(id) {}
    const int32_t id;
    RefPtr<ControllingTerminal> terminal;
};

struct Rlimit {
    uint64_t soft, hard;
};
inline constexpr uint64_t kRlimInfinity = ~0ULL;
enum : unsigned {
    kRlimitCpu,
    kRlimitFsize,
    kRlimitData,
    kRlimitStack,
    kRlimitCore,
    kRlimitRss,
    kRlimitNproc,
    kRlimitNofile,
    kRlimitMemlock,
    kRlimitAs,
    kRlimitLocks,
    kRlimitSigpending,
    kRlimitMsgqueue,
    kRlimitNice,
    kRlimitRtprio,
    kRlimitRttime,
    kRlimitCount,
};

// What outlives a thread for those who watch its end (PIDFD_THREAD).
struct ThreadDeath : RefCounted {
    bool happened = false;
    sched::WaitQueue watchers;
};

// As /proc/PID/io has it (proc(5)).
struct IoUsage {
    uint64_t read_chars = 0, written_chars = 0;  // bytes that calls like read(2) and write(2) moved
    uint64_t read_calls = 0, write_calls = 0;
    uint64_t read_bytes = 0, written_bytes = 0;  // from and to files of the host

    IoUsage& operator+=(const IoUsage& other) {
        read_chars += other.read_chars, written_chars += other.written_chars;
        read_calls += other.read_calls, write_calls += other.write_calls;
        read_bytes += other.read_bytes, written_bytes += other.written_bytes;
        return *this;
    }
};

struct CpuUsage {
    sched::Nanoseconds user = 0, system = 0;
    uint64_t minor_faults = 0, major_faults = 0, voluntary_switches = 0, involuntary_switches = 0;
    uint64_t most_resident = 0;  // pages, as sampled when an address space is left
    IoUsage io;

    CpuUsage& operator+=(const CpuUsage& other) {
        user += other.user, system += other.system;
        minor_faults += other.minor_faults, major_faults += other.major_faults;
        voluntary_switches += other.voluntary_switches, involuntary_switches += other.involuntary_switches;
        if (other.most_resident > most_resident) most_resident = other.most_resident;
        io += other.io;
        return *this;
    }
};

inline constexpr uint64_t kDefaultTimerSlack = 50'000;  // ns

// Task::call_watchers.
inline constexpr uint8_t kWatchStrace = 1, kWatchSeccomp = 2, kWatchTracer = 4;
inline uint8_t watch_all_calls = 0;  // what new tasks begin with

// One thread of an application.
class Task final : public sched::Thread {
  public:
    Task(int32_t tid, RefPtr<Process> process);
    ~Task() override;
    void run() override;
    bool interrupted() const override;
    void switched_out() override;
    void switched_in() override;

    Process& process() const { return *process_; }
    mm::AddressSpace& space() const { return *space_; }
    vfs::FdTable& files() const { return *files_; }
    vfs::FsContext& fs() const { return *fs_; }
    const auth::Credentials& credentials() const { return *credentials_; }
    // Who changes whom it acts as, or gains capabilities, is no longer dumpable: others of the new user shall not look
    // into what it knew before (Linux's commit_creds).
    void adopt(RefPtr<auth::Credentials> changed);
    vfs::Caller caller() const { return {*fs_, *credentials_}; }
    uint64_t limit(unsigned resource) const;  // soft limit

    CpuUsage usage() const;
    void (*bootstrap)(Task&) = nullptr;  // the first task: what to do before it goes to ring 3 for the first time

    int32_t tid;  // execve(2) by a thread that is not the leader makes it the process's pid
    abi::UserRegs regs{};
    void* fpu_area = nullptr;                     // see fpu.hpp
    Home* away_from = nullptr;                    // its registers are in another vCPU, which waits there in ring 3
    bool fpu_in_area_only = true;                 // the vCPU's registers are not this task's: load before resuming
    sched::Nanoseconds all_cpus_usable_at = 0;    // where usable_cpus is not all: until when
    uint64_t user_ticks = 0;                      // TSC ticks spent in ring 3
    uint64_t resumed_at = 0;                      // TSC
    uint64_t minor_faults = 0, major_faults = 0;  // page faults served without and with waiting for a file
    sched::Nanoseconds start_time = 0;            // CLOCK_BOOTTIME
    IoUsage io;                                   // but what Thread::storage counts
    char name[16] = {};                           // comm

    RefPtr<Process> process_;
    RefPtr<mm::AddressSpace> space_;
    RefPtr<vfs::FdTable> files_;
    RefPtr<vfs::FsContext> fs_;
    RefPtr<auth::Credentials> credentials_;
    RefPtr<RefCounted> semaphore_undo;    // SEM_UNDO adjustments, applied when the last task that shares them ends
    RefPtr<RefCounted> created_segments;  // of shared memory; null: none (ipc/sysv_shm.cpp)

    SignalSet blocked;
    SignalSet saved_blocked;    // sigsuspend, ppoll: restored after the handler's frame is set up
    uint64_t rseq_address = 0;  // 0: not registered
    uint32_t rseq_length = 0, rseq_signature = 0;
    uint32_t rseq_cpu = 0;  // the number that stands in the area
    PendingSignals pending;
    uint64_t altstack_base = 0, altstack_size = 0;
    uint32_t altstack_flags = 2;  // SS_DISABLE
    uint64_t clear_child_tid = 0;
    PiWaiters pi_waiters;               // who waits for locks that this thread holds
    PiWaiter* pi_blocked_on = nullptr;  // the lock it waits for itself
    uint64_t robust_list = 0;
    bool vfork_parent_waits = false;  // until this task execs or exits
    sched::WaitQueue vfork_done;
    // What keeps the thread from ring 3 until work_before_return has run: one look at all of it on every return.
    union {
        uint64_t return_work = 0;
        struct {
            bool exiting;
            bool restore_blocked;        // saved_blocked
            bool rseq_pending;           // see rseq.hpp
            bool trace_work, step_work;  // see trace.hpp
        };
    };
    uint8_t call_watchers = watch_all_calls;  // kWatch*: who has to look at each of its system calls
    SeccompMode seccomp_mode = SeccompMode::kDisabled;
    RefPtr<SeccompFilter> seccomp_filter;
    RefPtr<ThreadDeath> death;       // null: nobody watches
    bool resumed_by_tracer = false;  // runs though its process is stopped
    RefPtr<Trace> trace;             // of a tracee
    void* tracees = nullptr;         // of a tracer: a TraceList
    // PR_SET_PDEATHSIG; send_parent_death_signal. Cleared for a fork's child and by adopt().
    int32_t parent_death_signal = 0;
    uint8_t scheduling_policy = 0;  // SCHED_*
    bool reset_scheduling_on_fork = false;
    uint16_t io_priority = 0;                   // ioprio_set(2)
    uint64_t timer_slack = kDefaultTimerSlack;  // ns, PR_SET_TIMERSLACK
    struct {
        uint32_t login_uid = ~0U, session = ~0U;  // of /proc/PID/loginuid and sessionid; ~0: none
    } audit;
    struct {
        int32_t mode = 0;  // MPOL_*
        uint64_t nodes = 0;
    } memory_policy;
    uint64_t in_syscall = ~0ULL;  // number, for restarts
    // What restart_syscall(2) continues: a sleep's absolute deadline and where the remainder goes.
    struct Restart {
        sched::Nanoseconds deadline = 0;
        uint64_t remainder_address = 0;
        enum : uint8_t { kNone, kNanosleep, kPoll, kFutex } kind = kNone;
        uint64_t arguments[4] = {};  // what `resume` needs besides
        // Goes on with the call; set before ERESTART_RESTARTBLOCK is returned.
        Result<int64_t> (*resume)(Task&) = nullptr;
    } restart;

    ListHook thread_hook;    // Process::threads
    TreeHook registry_hook;  // by tid
};

// Who started a process from outside the sandbox, and wants to know its end.
class Outside : public RefCounted {
  public:
    // The process is gone, with this status as wait4(2) gives it. Must not block.
    virtual void process_ended(int32_t status) = 0;
};

// A thread group.
class Process : public RefCounted {
  public:
    explicit Process(int32_t pid) : pid(pid) {}
    const int32_t pid;
    // Null for processes that were started from outside, and their children by CLONE_PARENT: nobody waits for these.
    Process* parent = nullptr;
    RefPtr<Outside> outside;  // null: a process of the sandbox started it
    int32_t forked_by = 0;    // the parent's thread: whom PTRACE_TRACEME means
    int32_t group = 0;
    RefPtr<Session> session;
    enum class State : uint8_t { kAlive, kZombie, kReaped } state = State::kAlive;
    int32_t exit_status = 0;  // as wait4(2) gives it
    bool exiting = false;     // exit_group or a fatal signal is under way: every thread ends
    int32_t exit_signal = kSigChld;
    bool stopped = false;  // by job control; threads wait in stop_queue
    int32_t stop_signal = 0;
    bool stop_reported = true, continue_reported = true;
    bool executed = false;  // execve(2) since fork (rule of setpgid)
    bool child_subreaper = false;
    uint8_t dumpable = 1;                              // PR_SET_DUMPABLE
    uint8_t machine_check_policy = 2;                  // PR_MCE_KILL_*
    int16_t oom_score_adj = 0, oom_score_adj_min = 0;  // proc(5); inherited by fork
    uint32_t coredump_filter = 0x33;                   // proc(5); inherited by fork
    uint32_t personality = 0;                          // personality(2); inherited by fork, kept by exec
    uint32_t last_uid = 0;                             // real uid of the thread that ended last, for waitid(2)
    char last_name[16] = {};                           // its comm
    RefPtr<SignalActions> actions;
    PendingSignals pending;
    RefPtr<ProcessTimers> timers;  // interval and POSIX timers; null: none. Dropped when the last thread ends
    Rlimit limits[kRlimitCount];
    CpuUsage dead_threads_usage, children_usage;
    sched::Nanoseconds start_time = 0;  // CLOCK_BOOTTIME
    sched::WaitQueue child_events;      // wait4 waits here
    sched::WaitQueue signal_arrived;    // sigtimedwait, signalfd
    sched::WaitQueue stop_queue;
    sched::WaitQueue thread_exited;
    sched::WaitQueue ended;  // pollers of process descriptors: it became a zombie, or was reaped

    ListHook sibling_hook;  // parent's children
    List<Process, &Process::sibling_hook> children;
    List<Task, &Task::thread_hook> threads;
    TreeHook registry_hook;
    void unlink_all();  // from parent and registry, when it is reaped

    Task* leader() { return threads.empty() ? nullptr : &threads.front(); }
    Task& any_thread() { return threads.front(); }
};

// The task that makes the current system call.
Task& current();
// A new list for Task::semaphore_undo; ipc/ defines it. ENOMEM.
Result<RefPtr<RefCounted>> make_semaphore_undo();

}  // namespace kvmsbx::task
