#pragma once
// Birth and death of tasks: clone, execve, exit, wait. exit.hpp has the part that signal delivery needs.
#include "guestkernel/task/exit.hpp"
#include "guestkernel/task/registry.hpp"

namespace kvmsbx::task {

// Numbers for tasks and processes; EAGAIN when all are taken.
Result<int32_t> allocate_number();
// A certain number. EEXIST.
Result<> claim_number(int32_t number);
inline constexpr int32_t kPidMax = 4'194'304;  // PID_MAX_LIMIT
void register_task(Task& task);
uint64_t tasks_started();  // since the sandbox began
void unregister_task(Task& task);
void register_process(Process& process);  // takes a reference
void unregister_process(Process& process);

// clone(2) flags.
enum CloneFlag : uint64_t {
    kCloneVm = 0x100,
    kCloneFs = 0x200,
    kCloneFiles = 0x400,
    kCloneSighand = 0x800,
    kClonePidfd = 0x1000,
    kClonePtrace = 0x2000,
    kCloneVfork = 0x4000,
    kCloneParent = 0x8000,
    kCloneThread = 0x10000,
    kCloneNewns = 0x20000,
    kCloneSysvsem = 0x40000,
    kCloneSettls = 0x80000,
    kCloneParentSettid = 0x100000,
    kCloneChildCleartid = 0x200000,
    kCloneDetached = 0x400000,
    kCloneUntraced = 0x800000,
    kCloneChildSettid = 0x1000000,
    kCloneNewcgroup = 0x2000000,
    kCloneNewuts = 0x4000000,
    kCloneNewipc = 0x8000000,
    kCloneNewuser = 0x10000000,
    kCloneNewpid = 0x20000000,
    kCloneNewnet = 0x40000000,
    kCloneIo = 0x80000000,
    kCloneClearSighand = 0x100000000,
    kCloneIntoCgroup = 0x200000000,
};

struct CloneRequest {
    uint64_t flags = 0;
    int exit_signal = 0;
    uint64_t stack = 0;  // the child's stack pointer; 0: as the parent's
    uint64_t parent_tid = 0, child_tid = 0, tls = 0;
    uint64_t pidfd = 0;   // kClonePidfd: where the descriptor goes
    int32_t set_tid = 0;  // the number wanted; 0: any
};

// clone(2), fork(2), vfork(2): the child's number. With kCloneVfork returns when the child has let go of the address
// space.
Result<int32_t> clone(Task& parent, const CloneRequest& request);

struct ExecRequest {
    vfs::Path base;  // of a relative path
    String path;
    bool follow_last = true;
    Vector<String> arguments, environment;
};
// execve(2). On success the task's registers are those of the new program.
Result<> execute(Task& task, ExecRequest request);

// A process without a parent, in a session of its own, whose only task runs `bootstrap` before it goes to ring 3; it has
// no root yet. The first one has pid 1. outside: who is told of its end; null: the sandbox ends with it. EAGAIN, ENOMEM.
Result<RefPtr<Task>> create_process(void (*bootstrap)(Task&), RefPtr<Outside> outside);

struct WaitRequest {
    enum class Which : uint8_t { kAny, kPid, kGroup } which = Which::kAny;
    int32_t id = 0;
    bool nonblocking_descriptor = false;  // PIDFD_NONBLOCK: WNOHANG, but nothing to report is EAGAIN
    uint32_t options = 0;                 // WNOHANG, WUNTRACED, WEXITED, WCONTINUED, WNOWAIT, __WALL...
};
inline constexpr uint32_t kWnohang = 1, kWuntraced = 2, kWexited = 4, kWcontinued = 8, kWnowait = 0x01000000,
                          kWnothread = 0x20000000, kWall = 0x40000000, kWclone = 0x80000000;
struct WaitOutcome {
    int32_t pid = 0;  // 0: WNOHANG and nothing to report
    uint32_t uid = 0;
    int32_t status = 0;  // as wait4(2)
    int32_t code = 0;    // CLD_*
    CpuUsage usage;
};
// ECHILD, ERESTARTSYS.
Result<WaitOutcome> wait_for_child(Task& task, const WaitRequest& request);

// For the most a process ever had resident: sampled when it leaves its address space.
void note_resident_size(Task& task);

// Once execve or exit lets go of a space that a vfork parent waits for.
void release_vfork_parent(Task& task);

// POSIX: a group that has become orphaned, because `member` is no child of `parent` or no member any more, and has
// stopped members gets SIGHUP and SIGCONT.
void hang_up_if_orphaned(const Process& member, const Process& parent);

// What happens when the first process ends; does not return (init sets it).
extern void (*sandbox_exit)(int status);

}  // namespace kvmsbx::task
