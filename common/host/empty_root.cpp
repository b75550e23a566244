#include "common/host/empty_root.hpp"

#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "common/host/errno.hpp"

namespace kvmsbx::host {
namespace {

// Runs on the caller's memory, which waits for it: system calls only.
int enter_own_fdinfo(void*) { _exit(chroot("/proc/self/fdinfo") == 0 && chdir("/") == 0 ? 0 : errno); }

}  // namespace

Result<> enter_dead_root() {
    alignas(16) char stack[8192];
    // CLONE_FS: the child's chroot is ours as well, and outlives the child, whose folder is empty from then on.
    const pid_t child =
        clone(enter_own_fdinfo, stack + sizeof stack, CLONE_FS | CLONE_VM | CLONE_VFORK | SIGCHLD, nullptr);
    if (child < 0) return last_errno();
    int status = 0;
    while (waitpid(child, &status, 0) < 0) {
        if (errno != EINTR) return last_errno();
    }
    if (!WIFEXITED(status)) return Errno::kIO;
    if (WEXITSTATUS(status) != 0) return static_cast<Errno>(WEXITSTATUS(status));
    return {};
}

}  // namespace kvmsbx::host
