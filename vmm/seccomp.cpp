#include "vmm/seccomp.hpp"

#include <fcntl.h>
#include <linux/kvm.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include <cstring>
#include <memory>

#include "common/host/errno.hpp"
#include "common/host/exit_code.hpp"
#include "vmm/sandbox_state.hpp"

namespace kvmsbx::vmm {
namespace {

constexpr std::optional<SeccompArgument> kAny{};

constexpr SeccompArgument request(uint64_t number) { return {1, number}; }

constexpr SeccompRule kVcpuRules[] = {
    {SCMP_SYS(ioctl), request(KVM_RUN), "Vcpu::enter"},
    {SCMP_SYS(ioctl), request(KVM_GET_REGS), "report_dead: registers of a dead guest"},
    {SCMP_SYS(ioctl), request(KVM_GET_SREGS), "report_dead"},
    {SCMP_SYS(ioctl), request(KVM_SET_USER_MEMORY_REGION), "RamBacking::extend"},
    {SCMP_SYS(poll), kAny, "Console: is a stream ready"},
    {SCMP_SYS(read), kAny, "Console::read"},
    {SCMP_SYS(write), kAny, "Console::write, Log, and the wake eventfd: Ending, Console, ControlChannel"},
    {SCMP_SYS(sendmsg), kAny, "Console::write to a socket, ControlChannel::write"},
    {SCMP_SYS(madvise), SeccompArgument{2, MADV_DONTNEED}, "kReleaseMemory; a thread's stack at its end"},
    {SCMP_SYS(clock_gettime), kAny, "kGetTime where the host's vDSO cannot answer"},
    {SCMP_SYS(futex), kAny, "HostEvents' lock, malloc's locks, the thread's end"},
    {SCMP_SYS(brk), kAny, "malloc in symbolise"},
    {SCMP_SYS(mmap), kAny, "malloc in symbolise"},
    {SCMP_SYS(munmap), kAny, "malloc in symbolise, the thread's end"},
    {SCMP_SYS(mprotect), kAny, "malloc's arena of a thread"},
    {SCMP_SYS(sched_getaffinity), kAny, "malloc, when it counts CPUs to limit its arenas"},
    {SCMP_SYS(rt_sigreturn), kAny, "kick_signal's handler"},
    {SCMP_SYS(rt_sigprocmask), kAny, "the thread's end"},
    {SCMP_SYS(restart_syscall), kAny, "poll and futex after a stop"},
    {SCMP_SYS(exit), kAny, "the thread's end"},
    {SCMP_SYS(exit_group), kAny, "abort"},
};

constexpr SeccompRule kMainRules[] = {
    {SCMP_SYS(poll), kAny, "run_main_loop"},
    {SCMP_SYS(read), kAny, "run_main_loop: the wake eventfd"},
    {SCMP_SYS(write), kAny, "Log, Ending, the caller's last words"},
    {SCMP_SYS(recvmsg), kAny, "ControlChannel::receive"},
    {SCMP_SYS(sendmsg), kAny, "ControlChannel::flush"},
    {SCMP_SYS(fcntl), SeccompArgument{1, F_GETFL}, "Console::add: what a stream was opened for"},
    {SCMP_SYS(ioctl), request(KVM_SIGNAL_MSI), "SandboxState::notify_sentry"},
    {SCMP_SYS(futex), kAny, "HostEvents' lock, joining the vCPU threads"},
    {SCMP_SYS(getpid), kAny, "pthread_kill"},
    {SCMP_SYS(gettid), kAny, "pthread_kill"},
    {SCMP_SYS(tgkill), kAny, "pthread_kill: takes vCPU threads out of KVM_RUN"},
    {SCMP_SYS(rt_sigprocmask), kAny, "pthread_kill"},
    {SCMP_SYS(rt_sigreturn), kAny, "signal handlers of the caller"},
    {SCMP_SYS(restart_syscall), kAny, "poll and futex after a stop"},
    {SCMP_SYS(brk), kAny, "malloc"},
    {SCMP_SYS(mmap), kAny, "malloc"},
    {SCMP_SYS(munmap), kAny, "guest RAM, run pages and thread stacks at the end"},
    {SCMP_SYS(madvise), SeccompArgument{2, MADV_DONTNEED}, "thread stacks at the end"},
    {SCMP_SYS(close), kAny, "Console: streams; the VM's file descriptors at the end"},
    {SCMP_SYS(fstat), kAny, "stdio's buffers, flushed at exit"},
    {SCMP_SYS(lseek), kAny, "stdio's buffers, flushed at exit"},
    {SCMP_SYS(exit_group), kAny, "the process's end"},
};

// malloc alone maps: nothing of a file.
constexpr SeccompArgument kHeap{3, MAP_PRIVATE | MAP_ANONYMOUS};
constexpr SeccompArgument kArena{3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE};
constexpr SeccompArgument kData{2, PROT_READ | PROT_WRITE};

constexpr SeccompRule kProcessVcpuRules[] = {
    {SCMP_SYS(futex), kAny, "ProcessHost: runners and helpers; locks"},
    {SCMP_SYS(ppoll), kAny, "ProcessHost::wait"},
    {SCMP_SYS(read), kAny, "ProcessHost: eventfds; Console::read"},
    {SCMP_SYS(write), kAny, "ProcessHost: eventfds, the gofer's doorbell; Console::write, Log, Ending"},
    {SCMP_SYS(tgkill), kAny, "ProcessHost: makes a runner trap"},
    {SCMP_SYS(sched_setaffinity), kAny, "ProcessHost::move_here"},
    {SCMP_SYS(getcpu), kAny, "ProcessHost::move_here where the host's vDSO cannot answer"},
    {SCMP_SYS(sched_yield), kAny, "yield"},
    {SCMP_SYS(kill), kAny, "ProcessHost::kill_stub, the watchdog"},
    {SCMP_SYS(waitid), kAny, "ProcessHost::kill_stub, create_stub"},
    {SCMP_SYS(clock_gettime), kAny,
     "timers; the watchdog: CPU time of a stub and of the thread; kGetTime where the host's vDSO cannot answer"},
    {SCMP_SYS(fallocate), SeccompArgument{1, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE}, "kReleaseMemory"},
    {SCMP_SYS(poll), kAny, "Console: is a stream ready"},
    {SCMP_SYS(sendmsg), kAny, "Console::write to a socket, ControlChannel::write"},
    {SCMP_SYS(brk), kAny, "malloc in symbolise"},
    {SCMP_SYS(mmap), kHeap, "malloc in symbolise"},
    {SCMP_SYS(mmap), kArena, "malloc's arena of a thread"},
    {SCMP_SYS(munmap), kAny, "malloc in symbolise"},
    {SCMP_SYS(mprotect), kData, "malloc's arena of a thread"},
    {SCMP_SYS(madvise), SeccompArgument{2, MADV_DONTNEED}, "malloc's arena of a thread"},
    {SCMP_SYS(sched_getaffinity), kAny, "malloc, when it counts CPUs to limit its arenas"},
    {SCMP_SYS(rt_sigreturn), kAny, "faults of the Sentry"},
    {SCMP_SYS(restart_syscall), kAny, "futex and ppoll after a stop"},
    {SCMP_SYS(pause), kAny, "park_thread"},
    {SCMP_SYS(exit_group), kAny, "a fault that is not the Sentry's"},
};

constexpr SeccompRule kProcessMainRules[] = {
    {SCMP_SYS(poll), kAny, "run_main_loop"},
    {SCMP_SYS(read), kAny, "run_main_loop: eventfds, the signalfd of SIGCHLD"},
    {SCMP_SYS(write), kAny, "Log, Ending, ProcessHost::interrupt"},
    {SCMP_SYS(recvmsg), kAny, "ControlChannel::receive"},
    {SCMP_SYS(sendmsg), kAny, "ControlChannel::flush"},
    {SCMP_SYS(fcntl), SeccompArgument{1, F_GETFL}, "Console::add: what a stream was opened for"},
    {SCMP_SYS(futex), kAny, "locks; ProcessHost::mark_dead"},
    {SCMP_SYS(waitid), kAny, "ProcessHost::notice_deaths, end_stubs"},
    {SCMP_SYS(close), kAny, "Console: streams"},
    {SCMP_SYS(kill), kAny, "ProcessHost::end_stubs"},
    {SCMP_SYS(tgkill), kAny, "ProcessHost::interrupt"},
    {SCMP_SYS(rt_sigreturn), kAny, "signal handlers of the caller"},
    {SCMP_SYS(restart_syscall), kAny, "poll and futex after a stop"},
    {SCMP_SYS(brk), kAny, "malloc"},
    {SCMP_SYS(mmap), kHeap, "malloc"},
    {SCMP_SYS(munmap), kAny, "malloc"},
    {SCMP_SYS(fstat), kAny, "stdio's buffers, flushed at the end"},
    {SCMP_SYS(lseek), kAny, "stdio's buffers, flushed at the end"},
    {SCMP_SYS(exit_group), kAny, "the process's end"},
};

}  // namespace

std::span<const SeccompRule> seccomp_rules(ThreadKind kind) {
    switch (kind) {
        case ThreadKind::kVcpu: return kVcpuRules;
        case ThreadKind::kMain: return kMainRules;
        case ThreadKind::kProcessVcpu: return kProcessVcpuRules;
        case ThreadKind::kProcessMain: return kProcessMainRules;
    }
    return {};
}

bool confine_thread(SandboxState& state, ThreadKind kind) {
    if (state.config.seccomp == SeccompPolicy::kOff || install_thread_seccomp(state.log, kind).is_ok()) return true;
    state.ending.set(host::kExitOwnFailure);
    return false;
}

Result<> install_thread_seccomp(const host::Log& log, ThreadKind kind) {
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return log.fail(host::last_errno(), "cannot set no_new_privs: %m");
    std::unique_ptr<void, void (*)(void*)> filter(seccomp_init(SCMP_ACT_KILL_PROCESS), seccomp_release);
    if (!filter) return log.fail(Errno::kNOMEM, "cannot make a seccomp filter: out of memory");
    for (const SeccompRule& rule : seccomp_rules(kind)) {
        int added;
        if (rule.argument)
            added = seccomp_rule_add(filter.get(), SCMP_ACT_ALLOW, rule.system_call, 1,
                                     SCMP_CMP64(rule.argument->index, SCMP_CMP_EQ, rule.argument->value));
        else
            added = seccomp_rule_add(filter.get(), SCMP_ACT_ALLOW, rule.system_call, 0);
        if (added != 0)
            return log.fail(Errno{-added}, "cannot add a seccomp rule (%s): %s", rule.reason, strerror(-added));
    }
    static_cast<void>(seccomp_syscall_priority(filter.get(), SCMP_SYS(ioctl), 255));  // KVM_RUN is the hot one
    int loaded = seccomp_load(filter.get());
    if (loaded != 0)
        return log.fail(Errno{-loaded},
                        "cannot load the seccomp filter: %s; the host's kernel needs CONFIG_SECCOMP_FILTER",
                        strerror(-loaded));
    return {};
}

}  // namespace kvmsbx::vmm
