#include "oci/confine.hpp"

#include <grp.h>
#include <linux/capability.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "common/host/empty_root.hpp"
#include "common/host/landlock.hpp"

namespace kvmsbx::oci {
namespace {

constexpr uid_t kNobody = 65534;

// Any folder that every host has does as mount point: it is seen only in our own mount namespace, and only for a
// moment.
Outcome<> mount_empty_tmpfs() {
    for (const char* place : {"/proc", "/tmp", "/dev"}) {
        if (mount("none", place, "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC,
                  "size=4k,nr_inodes=1,mode=555") < 0)
            continue;
        if (chdir(place) < 0) return errno_failure("entering the empty root", errno);
        return {};
    }
    return errno_failure("mounting an empty root", errno);
}

Outcome<> enter_empty_root() {
    if (mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) < 0) {
        if (errno != EINVAL) return errno_failure("making mounts private", errno);
        return Failure{
            "making mounts private: / is no mount point here, as in a plain chroot; bind-mount the folder of the "
            "chroot onto itself first (mount --bind DIR DIR)"};
    }
    TRY(mount_empty_tmpfs());
    if (syscall(SYS_pivot_root, ".", ".") < 0) return errno_failure("pivot_root to the empty root", errno);
    if (umount2(".", MNT_DETACH) < 0) return errno_failure("unmounting the old root", errno);
    if (chdir("/") < 0) return errno_failure("entering the empty root", errno);
    return {};
}

void tell_missing(const host::Log& log, const char* what, Errno error) {
    log.debug("the sandbox process %s: %s", what, std::strerror(static_cast<int>(error)));
}

void leave_host_files(const host::Log& log) {
    if (const Result<> entered = host::enter_dead_root(); entered.is_error())
        tell_missing(log, "keeps the caller's root, not an empty one", entered.error());
    if (const Result<> restricted = host::restrict_files({}); restricted.is_error())
        tell_missing(log, "is not restricted by Landlock", restricted.error());
}

// A plain user without namespaces may not change ids and the bounding set, which no_new_privs makes harmless.
bool may_fail(Namespaces namespaces, int error) { return namespaces == Namespaces::kNone && error == EPERM; }

Outcome<> drop_capabilities(Namespaces namespaces) {
    for (unsigned long capability = 0; prctl(PR_CAPBSET_READ, capability) >= 0; ++capability) {
        if (prctl(PR_CAPBSET_DROP, capability) < 0 && !may_fail(namespaces, errno))
            return errno_failure("emptying the capability bounding set", errno);
    }
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    return {};
}

// EINVAL: in a user namespace with one id mapped there is no other id to become; the ids outside are the caller's own.
Outcome<> become_nobody(Namespaces namespaces) {
    if (syscall(SYS_setgroups, 0, nullptr) < 0 && errno != EPERM)
        return errno_failure("dropping supplementary groups", errno);
    if (syscall(SYS_setresgid, kNobody, kNobody, kNobody) < 0 && errno != EINVAL && !may_fail(namespaces, errno))
        return errno_failure("dropping the group id", errno);
    if (syscall(SYS_setresuid, kNobody, kNobody, kNobody) < 0 && errno != EINVAL && !may_fail(namespaces, errno))
        return errno_failure("dropping the user id", errno);
    return {};
}

Outcome<> clear_capability_sets() {
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    __user_cap_data_struct none[2] = {};
    if (syscall(SYS_capset, &header, none) < 0) return errno_failure("dropping capabilities", errno);
    return {};
}

}  // namespace

Outcome<> confine(Namespaces namespaces, const host::Log& log) {
    if (namespaces == Namespaces::kOwn) {
        TRY(enter_empty_root());
    } else {
        leave_host_files(log);
    }
    TRY(drop_capabilities(namespaces));
    TRY(become_nobody(namespaces));
    TRY(clear_capability_sets());
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) return errno_failure("setting no_new_privs", errno);
    // Changing ids clears it, so again.
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0) return errno_failure("asking for a signal at the parent's death", errno);
    return {};
}

}  // namespace kvmsbx::oci
