#include "gofer/confine.hpp"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <algorithm>

#include "common/host/empty_root.hpp"
#include "common/host/landlock.hpp"
#include "gofer/log.hpp"

namespace kvmsbx::gofer {
namespace {

// chown of new files; names and contents whatever their mode; chmod and utimes of others' files; suid and sgid bits;
// device nodes.
constexpr int kKeptCapabilities[] = {CAP_CHOWN,  CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH,
                                     CAP_FOWNER, CAP_FSETID,       CAP_MKNOD};

// The sanitizers' run-time support makes system calls of its own.
#ifdef __SANITIZE_ADDRESS__
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

// Waits for the gofer proper and ends as it did.
[[noreturn]] void stand_by(pid_t child) {
    close_range(3, ~0U, 0);
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {}
    _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

int add_rule(scmp_filter_ctx filter, const SeccompRule& rule) {
    if (rule.condition.forbidden == 0) return seccomp_rule_add(filter, SCMP_ACT_ALLOW, rule.number, 0);
    scmp_arg_cmp without{rule.condition.argument, SCMP_CMP_MASKED_EQ, rule.condition.forbidden, 0};
    return seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, rule.number, 1, &without);
}

}  // namespace

bool enter_namespaces() {
    // PID 1: whoever started this process gave it namespaces of its own (oci/ does); a mount namespace costs little and
    // is made anyway.
    bool own_pids = getpid() == 1;
    int flags = own_pids ? CLONE_NEWNS : CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWPID;
    if (unshare(flags) != 0) {
        log.error_text("cannot create namespaces" + because() + "; run as root, or kvmsbx with --no-namespaces");
        return false;
    }
    if (own_pids) return true;
    pid_t child = fork();
    if (child < 0) {
        log.error_text("cannot start a process in the new PID namespace" + because());
        return false;
    }
    if (child != 0) stand_by(child);
    return true;
}

void leave_host_files(std::span<const Export> exports) {
    if (const Result<> entered = host::enter_dead_root(); entered.is_error()) {
        errno = static_cast<int>(entered.error());
        log.debug_text("the root stays the caller's" + because());
    }
    std::vector<host::LandlockTree> trees;
    for (const Export& tree : exports) trees.push_back({tree.fd.get(), tree.readonly});
    if (const Result<> restricted = host::restrict_files(trees); restricted.is_error()) {
        errno = static_cast<int>(restricted.error());
        log.debug_text("Landlock does not restrict the gofer" + because());
    }
}

void close_others(std::vector<int> keep) {
    std::sort(keep.begin(), keep.end());
    unsigned next = 3;
    for (int fd : keep) {
        if (fd < 0 || static_cast<unsigned>(fd) < next) continue;
        if (static_cast<unsigned>(fd) > next) close_range(next, static_cast<unsigned>(fd) - 1, 0);
        next = static_cast<unsigned>(fd) + 1;
    }
    close_range(next, ~0U, 0);
}

void raise_descriptor_limit() {
    rlimit wanted{1 << 20, 1 << 20};
    if (setrlimit(RLIMIT_NOFILE, &wanted) == 0) return;
    if (getrlimit(RLIMIT_NOFILE, &wanted) != 0) return;
    wanted.rlim_cur = wanted.rlim_max;
    setrlimit(RLIMIT_NOFILE, &wanted);
}

bool drop_capabilities() {
    if (setgroups(0, nullptr) != 0) log.debug_text("the supplementary groups stay" + because());
    uint64_t kept = 0;
    for (int capability : kKeptCapabilities) kept |= uint64_t{1} << capability;
    for (int capability = 0; prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; capability++)
        if ((kept >> capability & 1) == 0)
            prctl(PR_CAPBSET_DROP, capability, 0, 0, 0);  // needs CAP_SETPCAP, which not everybody has
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    __user_cap_data_struct sets[2];
    bool done = syscall(SYS_capget, &header, sets) == 0;
    for (int half = 0; half < 2; half++) {
        sets[half].permitted &= static_cast<uint32_t>(kept >> (32 * half));
        sets[half].effective = sets[half].permitted;
        sets[half].inheritable = 0;
    }
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    if (done && syscall(SYS_capset, &header, sets) == 0) return true;
    log.error_text("cannot drop capabilities" + because() + "; --apply-caps=false leaves them as they are");
    return false;
}

bool install_seccomp(bool with_socket) {
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
        log.error_text("cannot set no_new_privs" + because());
        return false;
    }
    if (kSanitized) {
        log.debug_text("no seccomp filter: this is a build with sanitizers");
        return true;
    }
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
    int result = filter == nullptr ? -ENOMEM : 0;
    for (const SeccompRule& rule : seccomp_rules())
        if (result == 0 && (with_socket || rule.use != SeccompRule::kSocketOnly)) result = add_rule(filter, rule);
    if (result == 0)
        result = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);  // a binary tree: fewer instructions per call
    if (result == 0) result = seccomp_load(filter);
    if (filter != nullptr) seccomp_release(filter);
    if (result == 0) return true;
    errno = -result;
    log.error_text("cannot install the seccomp filter" + because());
    return false;
}

}  // namespace kvmsbx::gofer
