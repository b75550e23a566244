#include "oci/process.hpp"

#include <fcntl.h>
#include <linux/close_range.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

namespace kvmsbx::oci {
namespace {

constexpr size_t kStackSize = 64 * 1024;
constexpr int kJoined = CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS;

// Everything that the child needs, made before clone(): the child must not allocate.
struct ChildPlan {
    const SpawnRequest* request;
    std::vector<char*> argv;
    char** environment;
    std::string uid_map, gid_map;
    int null_fd;
    // OUT, written by the child through the shared memory.
    const char* failed_step = nullptr;
    int error = 0;
};

bool write_file(const char* path, const char* text, size_t length) {
    const int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) return false;
    const bool ok = write(fd, text, length) == static_cast<ssize_t>(length);
    close(fd);
    return ok;
}

bool map_ids(const ChildPlan& plan) {
    return write_file("/proc/self/setgroups", "deny", 4) &&
           write_file("/proc/self/uid_map", plan.uid_map.data(), plan.uid_map.size()) &&
           write_file("/proc/self/gid_map", plan.gid_map.data(), plan.gid_map.size());
}

bool arrange_descriptors(const ChildPlan& plan) {
    for (int target = 0; target < 3; ++target) {
        const int source = plan.request->stdio[static_cast<size_t>(target)];
        const int from = source >= 0 ? source : plan.null_fd;
        if (from == target ? fcntl(from, F_SETFD, 0) < 0 : dup2(from, target) < 0) return false;
    }
    if (syscall(SYS_close_range, 3, ~0u, CLOSE_RANGE_CLOEXEC) < 0) return false;
    return std::all_of(plan.request->keep_fds.begin(), plan.request->keep_fds.end(),
                       [](int fd) { return fcntl(fd, F_SETFD, 0) == 0; });
}

// Where the other process is dead already (its end will be reported), namespaces of its own do as well.
bool join_namespaces(int pidfd) { return setns(pidfd, kJoined) == 0 || (errno == ESRCH && unshare(kJoined) == 0); }

void reset_signals() {
    for (int signal : {SIGPIPE, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGCHLD}) ::signal(signal, SIG_DFL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
}

int child_main(void* argument) {
    auto& plan = *static_cast<ChildPlan*>(argument);
    const auto fail = [&](const char* step) {
        plan.failed_step = step;
        plan.error = errno;
        _exit(127);
    };
    setsid();
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0) fail("asking for a signal at the parent's death");
    if ((plan.request->namespaces & CLONE_NEWUSER) && !map_ids(plan)) fail("writing the user namespace's id maps");
    if (plan.request->join_pidfd >= 0 && !join_namespaces(plan.request->join_pidfd))
        fail("joining the sandbox's namespaces");
    if (!arrange_descriptors(plan)) fail("arranging file descriptors");
    reset_signals();
    execve("/proc/self/exe", plan.argv.data(), plan.environment);
    fail("executing /proc/self/exe (is /proc mounted?)");
    return 127;
}

ChildPlan make_plan(const SpawnRequest& request, int null_fd) {
    ChildPlan plan{};
    plan.request = &request;
    plan.null_fd = null_fd;
    static char program[] = "kvmsbx";
    static char* no_environment[] = {nullptr};
    plan.argv.push_back(program);
    for (const std::string& word : request.arguments) plan.argv.push_back(const_cast<char*>(word.c_str()));
    plan.argv.push_back(nullptr);
    plan.environment = no_environment;
    plan.uid_map = "0 " + std::to_string(geteuid()) + " 1";
    plan.gid_map = "0 " + std::to_string(getegid()) + " 1";
    return plan;
}

Failure clone_failure(int error) {
    const Failure failure = errno_failure("cannot make namespaces for the sandbox's processes", error);
    if (error == EPERM || error == ENOSPC || error == EACCES || error == EUSERS) {
        return {failure.message +
                "; run as root or allow unprivileged user namespaces (sysctl user.max_user_namespaces, "
                "kernel.unprivileged_userns_clone), or, in a container that forbids them, give --no-namespaces "
                "(kvmsbx --help says what is lost)"};
    }
    return errno_failure("cannot start a process", error);
}

}  // namespace

Outcome<Child> spawn_self(const SpawnRequest& request) {
    host::Fd null_fd(open("/dev/null", O_RDWR | O_CLOEXEC));
    if (!null_fd.is_open()) return errno_failure("cannot open /dev/null", errno);
    void* stack = mmap(nullptr, kStackSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (stack == MAP_FAILED) return errno_failure("cannot allocate a stack", errno);
    ChildPlan plan = make_plan(request, null_fd.get());
    // No signal handler may run in the child while it shares our memory.
    sigset_t all, before;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    int pidfd = -1;
    const int flags = CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD | static_cast<int>(request.namespaces);
    const pid_t pid = clone(child_main, static_cast<char*>(stack) + kStackSize, flags, &plan, &pidfd);
    const int clone_error = errno;
    sigprocmask(SIG_SETMASK, &before, nullptr);
    munmap(stack, kStackSize);
    if (pid < 0) return clone_failure(clone_error);
    Child child{pid, host::Fd(pidfd)};
    if (!plan.failed_step) return child;
    wait_for(child);
    return errno_failure("starting " + request.arguments.front() + ": " + plan.failed_step, plan.error);
}

ChildEnd wait_for(const Child& child) {
    siginfo_t info{};
    while (waitid(P_PIDFD, static_cast<id_t>(child.pidfd.get()), &info, WEXITED) < 0) {
        if (errno != EINTR) return {true, SIGKILL};  // reaped elsewhere: it is gone
    }
    return {info.si_code != CLD_EXITED, info.si_status};
}

void kill_child(const Child& child) {
    if (child.pidfd.is_open()) syscall(SYS_pidfd_send_signal, child.pidfd.get(), SIGKILL, nullptr, 0);
}

}  // namespace kvmsbx::oci
