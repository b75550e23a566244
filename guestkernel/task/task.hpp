#pragma once
// Tasks and processes. A Task is a thread of an application; a Process is a thread group with what its threads share;
// process groups are numbers, sessions are objects with a controlling terminal. registry.hpp finds them by number. All
// with the kernel lock held.
//
// Lifetimes: a Process holds no reference to its Tasks but lists them; a Task holds its Process; the scheduler holds a
// running Task. A dead Process stays in its parent's list as a zombie until it is waited for; the registry holds a
// reference as long as the number is taken.
#include "guestkernel/arch/arch.hpp"
#include "guestkernel/auth/credentials.hpp"
#include "guestkernel/lib/list.hpp"
#include "guestkernel/mm/address_space.hpp"
#include "guestkernel/sched/sched.hpp"
#include "guestkernel/task/signal.hpp"
#include "guestkernel/task/timers.hpp"
#include "guestkernel/vfs/fd_table.hpp"
#include "guestkernel/vfs/path.hpp"

namespace kvmsbx::task {

class Process;

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

struct CpuUsage {
    sched::Nanoseconds user = 0, system = 0;
};

// One thread of an application.
class Task final : public sched::Thread {
  public:
    Task(int32_t tid, RefPtr<Process> process) : tid(tid), process_(std::move(process)) {}
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
    vfs::Caller caller() const { return {*fs_, *credentials_}; }
    uint64_t limit(unsigned resource) const;  // soft limit

    CpuUsage usage() const;
    void (*bootstrap)(Task&) = nullptr;  // the first task: what to do before it goes to ring 3 for the first time

    int32_t tid;  // execve(2) by a thread that is not the leader makes it the process's pid
    abi::UserRegs regs{};
    void* fpu_area = nullptr;      // see fpu.hpp
    bool fpu_in_area_only = true;  // the vCPU's registers are not this task's: load before resuming
    uint64_t user_ticks = 0;       // TSC ticks spent in ring 3
    uint64_t resumed_at = 0;       // TSC
    char name[16] = {};            // comm

    RefPtr<Process> process_;
    RefPtr<mm::AddressSpace> space_;
    RefPtr<vfs::FdTable> files_;
    RefPtr<vfs::FsContext> fs_;
    RefPtr<auth::Credentials> credentials_;

    SignalSet blocked;
    SignalSet saved_blocked;  // sigsuspend, ppoll: restored after the handler's frame is set up
    bool restore_blocked = false;
    PendingSignals pending;
    uint64_t altstack_base = 0, altstack_size = 0;
    uint32_t altstack_flags = 2;  // SS_DISABLE
    uint64_t clear_child_tid = 0;
    uint64_t robust_list = 0;
    bool vfork_parent_waits = false;  // until this task execs or exits
    sched::WaitQueue vfork_done;
    bool exiting = false;
    int32_t parent_death_signal =
        0;  // PR_SET_PDEATHSIG; send_parent_death_signal. Cleared for a fork's child and by set-id execs
    uint8_t scheduling_policy = 0;  // SCHED_*
    uint64_t timer_slack = 50'000;  // ns, PR_SET_TIMERSLACK
    uint64_t in_syscall = ~0ULL;    // number, for restarts
    // What restart_syscall(2) continues: a sleep's absolute deadline and where the remainder goes.
    struct Restart {
        sched::Nanoseconds deadline = 0;
        uint64_t remainder_address = 0;
        enum : uint8_t { kNone, kNanosleep, kPoll, kFutex } kind = kNone;
        uint64_t arguments[4] = {};  // what `resume` needs besides
        Result<int64_t> (*resume)(Task&) =
            nullptr;  // goes on with the call; set before ERESTART_RESTARTBLOCK is returned
    } restart;

    ListHook thread_hook;    // Process::threads
    TreeHook registry_hook;  // by tid
};

// A thread group.
class Process : public RefCounted {
  public:
    explicit Process(int32_t pid) : pid(pid) {}
    const int32_t pid;
    Process* parent = nullptr;  // null for the first process
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
    uint8_t dumpable = 1;      // PR_SET_DUMPABLE
    uint32_t personality = 0;  // personality(2); inherited by fork, kept by exec
    uint32_t last_uid = 0;     // real uid of the thread that ended last, for waitid(2)
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

}  // namespace kvmsbx::task
