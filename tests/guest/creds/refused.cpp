// What an unprivileged process of a container is refused, and what prctl(2) and arch_prctl(2) answer.
#include <fcntl.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timex.h>
#include <ctime>

#include "tests/guest/guest_test.hpp"

using namespace guest;

namespace {
template <typename Body>
void as_user(Body body) {
    CHECK_EXITED(run_child([&] {
                     OK(setuid(1234));
                     body();
                 }),
                 0);
}
}  // namespace

TEST("unshare_of_namespaces_is_eperm") {
    as_user([] {
        for (int flag : {CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWPID, CLONE_NEWNET, CLONE_NEWCGROUP})
            CHECK_ERRNO(unshare(flag), EPERM);
    });
}

TEST("unshare_of_unknown_flags_is_einval") {
    CHECK_ERRNO(unshare(1), EINVAL);
    CHECK_ERRNO(unshare(CLONE_PARENT), EINVAL);
}

TEST("unshare_files_separates_tables") {
    static char stack[65536];
    const int fd = OK(dup(0));
    const int pid = OK(clone(
        [](void* argument) -> int {
            if (unshare(CLONE_FILES)) return 1;
            return close(static_cast<int>(reinterpret_cast<long>(argument)));
        },
        stack + sizeof stack, CLONE_FILES | SIGCHLD, reinterpret_cast<void*>(static_cast<long>(fd))));
    int status;
    OK(waitpid(pid, &status, 0));
    CHECK_EXITED(status, 0);
    OK(fcntl(fd, F_GETFD));
}

TEST("unshare_fs_separates_umask") {
    static char stack[65536];
    umask(022);
    const int pid = OK(clone(
        [](void*) -> int {
            if (unshare(CLONE_FS)) return 1;
            umask(077);
            return 0;
        },
        stack + sizeof stack, CLONE_FS | SIGCHLD, nullptr));
    int status;
    OK(waitpid(pid, &status, 0));
    CHECK_EXITED(status, 0);
    CHECK_EQ(umask(0), 022);
}

TEST("clone_of_namespaces_is_eperm") {
    as_user([] {
        for (int flag : {CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWPID, CLONE_NEWNET})
            CHECK_ERRNO(syscall(SYS_clone, flag | SIGCHLD, nullptr, nullptr, nullptr, 0), EPERM);
    });
}

TEST("setns_of_other_files_is_einval") {
    CHECK_ERRNO(setns(-1, 0), EBADF);
    int fds[2];
    OK(pipe(fds));
    CHECK_ERRNO(setns(fds[0], 0), EINVAL);
}

TEST("vhangup_and_acct_are_eperm") {
    as_user([] {
        CHECK_ERRNO(vhangup(), EPERM);
        CHECK_ERRNO(acct("/tmp/accounts"), EPERM);
    });
}

TEST("adjtimex_reads_and_does_not_set") {
    as_user([] {
        timex state{};
        CHECK_GE(OK(adjtimex(&state)), 0);
        CHECK_GE(state.tick, 9000);
        CHECK_LE(state.tick, 11000);
        state.modes = ADJ_FREQUENCY;
        CHECK_ERRNO(adjtimex(&state), EPERM);
        CHECK_ERRNO(syscall(SYS_adjtimex, 8), EFAULT);
    });
}

TEST("clock_adjtime_of_other_clocks") {
    timex state{};
    CHECK_GE(OK(clock_adjtime(CLOCK_REALTIME, &state)), 0);
    CHECK_ERRNO(clock_adjtime(CLOCK_MONOTONIC, &state), EOPNOTSUPP);
    CHECK_ERRNO(clock_adjtime(77, &state), EINVAL);
}

TEST("prctl_timing") {
    CHECK_EQ(prctl(PR_GET_TIMING, 0, 0, 0, 0), 0);
    OK(prctl(PR_SET_TIMING, 0, 0, 0, 0));
    CHECK_ERRNO(prctl(PR_SET_TIMING, 1, 0, 0, 0), EINVAL);
}

TEST("prctl_tsc_is_enabled") {
    int mode = 0;
    OK(prctl(PR_GET_TSC, &mode, 0, 0, 0));
    CHECK_EQ(mode, PR_TSC_ENABLE);
    OK(prctl(PR_SET_TSC, PR_TSC_ENABLE, 0, 0, 0));
    CHECK_ERRNO(prctl(PR_SET_TSC, 3, 0, 0, 0), EINVAL);
}

TEST("prctl_machine_check_policy") {
    CHECK_EQ(prctl(PR_MCE_KILL_GET, 0, 0, 0, 0), PR_MCE_KILL_DEFAULT);
    OK(prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_EARLY, 0, 0));
    CHECK_EQ(prctl(PR_MCE_KILL_GET, 0, 0, 0, 0), PR_MCE_KILL_EARLY);
    OK(prctl(PR_MCE_KILL, PR_MCE_KILL_CLEAR, 0, 0, 0));
    CHECK_EQ(prctl(PR_MCE_KILL_GET, 0, 0, 0, 0), PR_MCE_KILL_DEFAULT);
    CHECK_ERRNO(prctl(PR_MCE_KILL, 5, 0, 0, 0), EINVAL);
    CHECK_ERRNO(prctl(PR_MCE_KILL_GET, 1, 0, 0, 0), EINVAL);
}

TEST("prctl_privileged_options_are_eperm") {
    as_user([] {
        CHECK_ERRNO(prctl(PR_SET_MM, PR_SET_MM_BRK, 0, 0, 0), EPERM);
        CHECK_ERRNO(prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0), EPERM);
    });
}

TEST("prctl_gives_auxiliary_vector") {
    unsigned long words[128] = {}, other[128] = {};
    const int size = OK(prctl(0x41555856, words, sizeof words, 0, 0));
    const int fd = OK(open("/proc/self/auxv", O_RDONLY));
    const ssize_t shown = OK(read(fd, other, sizeof other));
    CHECK_GE(size, shown);
    CHECK_EQ(memcmp(words, other, static_cast<size_t>(shown)), 0);
    CHECK_ERRNO(prctl(0x41555856, words, sizeof words, 1, 0), EINVAL);
}

TEST("prctl_unknown_option_is_einval") { CHECK_ERRNO(prctl(0x12345678, 0, 0, 0, 0), EINVAL); }

TEST("arch_prctl_cpuid_and_state_components") {
    CHECK_EQ(syscall(SYS_arch_prctl, 0x1011, 0), 1);
    CHECK_ERRNO(syscall(SYS_arch_prctl, 0x9999, 0), EINVAL);
    unsigned long supported = 0;
    OK(syscall(SYS_arch_prctl, 0x1021, &supported));
    CHECK_EQ(supported & 3, 3);
    CHECK_ERRNO(syscall(SYS_arch_prctl, 0x1023, 63), EINVAL);
}

TEST("iopl_and_ioperm_without_right") {
    as_user([] {
        CHECK_ERRNO(syscall(SYS_vhangup), EPERM);
        errno = 0;
        CHECK_EQ(syscall(SYS_iopl, 3), -1);
        CHECK(errno == EPERM || errno == ENOSYS);
        CHECK_EQ(syscall(SYS_ioperm, 0x80, 1, 1), -1);
        CHECK(errno == EPERM || errno == ENOSYS);
    });
}
