// User and group ids, capabilities, limits, names, getrandom.
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>

#include "tests/guest/guest_test.hpp"

using namespace guest;

namespace {
template <typename Body>
void in_child(Body body) {
    CHECK_EXITED(run_child(body), 0);
}

uint64_t capabilities(uint64_t* permitted = nullptr) {
    __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    __user_cap_data_struct data[2] = {};
    OK(syscall(SYS_capget, &header, data));
    if (permitted != nullptr) *permitted = data[0].permitted | static_cast<uint64_t>(data[1].permitted) << 32;
    return data[0].effective | static_cast<uint64_t>(data[1].effective) << 32;
}

bool has(uint64_t set, int capability) { return (set >> capability & 1) != 0; }

void check_ids(uid_t real, uid_t effective, uid_t saved) {
    uid_t r, e, s;
    OK(getresuid(&r, &e, &s));
    CHECK_EQ(r, real);
    CHECK_EQ(e, effective);
    CHECK_EQ(s, saved);
}
}  // namespace

TEST("starts_as_root") {
    check_ids(0, 0, 0);
    CHECK_EQ(getgid(), 0);
    CHECK_EQ(getegid(), 0);
}

TEST("setuid_of_root_sets_all") {
    in_child([] {
        OK(setuid(1000));
        check_ids(1000, 1000, 1000);
        CHECK_ERRNO(setuid(0), EPERM);
        OK(setuid(1000));
    });
}

TEST("seteuid_and_back") {
    in_child([] {
        OK(seteuid(1000));
        check_ids(0, 1000, 0);
        OK(seteuid(0));
        check_ids(0, 0, 0);
    });
}

TEST("setresuid_minus_one_keeps") {
    in_child([] {
        OK(setresuid(1, 2, 3));
        check_ids(1, 2, 3);
        OK(setresuid(static_cast<uid_t>(-1), 3, static_cast<uid_t>(-1)));
        check_ids(1, 3, 3);
        CHECK_ERRNO(setresuid(9, static_cast<uid_t>(-1), static_cast<uid_t>(-1)), EPERM);
    });
}

TEST("setreuid_rules") {
    in_child([] {
        OK(setreuid(5, 6));
        check_ids(5, 6, 6);
        OK(setreuid(6, 5));
        check_ids(6, 5, 5);
        CHECK_ERRNO(setreuid(7, static_cast<uid_t>(-1)), EPERM);
    });
}

TEST("group_ids") {
    in_child([] {
        OK(setresgid(1, 2, 3));
        gid_t r, e, s;
        OK(getresgid(&r, &e, &s));
        CHECK_EQ(r, 1);
        CHECK_EQ(e, 2);
        CHECK_EQ(s, 3);
        OK(setgid(9));
        CHECK_EQ(getgid(), 9);
        OK(setuid(1000));
        CHECK_ERRNO(setgid(10), EPERM);
        CHECK_ERRNO(setregid(10, 10), EPERM);
    });
}

TEST("supplementary_groups") {
    in_child([] {
        gid_t groups[3] = {30, 10, 20};
        OK(setgroups(3, groups));
        gid_t now[10];
        CHECK_EQ(getgroups(10, now), 3);
        CHECK_EQ(getgroups(0, nullptr), 3);
        CHECK_ERRNO(getgroups(1, now), EINVAL);
        int found = 0;
        for (int i = 0; i < 3; i++) found += now[i] == 10 || now[i] == 20 || now[i] == 30;
        CHECK_EQ(found, 3);
        OK(setuid(1000));
        CHECK_ERRNO(setgroups(0, nullptr), EPERM);
    });
}

TEST("setgroups_too_many_is_einval") { CHECK_ERRNO(syscall(SYS_setgroups, 65537, nullptr), EINVAL); }

TEST("ids_are_inherited_by_fork") {
    in_child([] {
        OK(setresuid(10, 11, 12));
        in_child([] { check_ids(10, 11, 12); });
    });
}

TEST("setfsuid_returns_old") {
    in_child([] {
        CHECK_EQ(setfsuid(1000), 0);
        CHECK_EQ(setfsuid(static_cast<uid_t>(-1)), 1000);
    });
}

TEST("capget_of_root") {
    uint64_t permitted, effective = capabilities(&permitted);
    CHECK_EQ(effective, permitted);
    CHECK(has(effective, CAP_CHOWN));
    CHECK(has(effective, CAP_SETUID));
    CHECK(!has(effective, CAP_SYS_ADMIN));
    CHECK(!has(effective, CAP_SYS_MODULE));
}

TEST("setuid_drops_capabilities") {
    in_child([] {
        OK(setuid(1000));
        uint64_t permitted;
        CHECK_EQ(capabilities(&permitted), 0);
        CHECK_EQ(permitted, 0);
    });
}

TEST("seteuid_drops_effective_only") {
    in_child([] {
        uint64_t before, permitted;
        capabilities(&before);
        OK(seteuid(1000));
        CHECK_EQ(capabilities(&permitted), 0);
        CHECK_EQ(permitted, before);
        OK(seteuid(0));
        CHECK_EQ(capabilities(), before);
    });
}

TEST("keepcaps_keeps_permitted") {
    in_child([] {
        OK(prctl(PR_SET_KEEPCAPS, 1));
        OK(setuid(1000));
        uint64_t permitted;
        CHECK_EQ(capabilities(&permitted), 0);
        CHECK(has(permitted, CAP_CHOWN));
    });
}

TEST("capset_drop_and_no_way_back") {
    in_child([] {
        __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
        __user_cap_data_struct data[2] = {};
        OK(syscall(SYS_capset, &header, data));
        CHECK_EQ(capabilities(), 0);
        data[0].effective = data[0].permitted = 1;
        CHECK_ERRNO(syscall(SYS_capset, &header, data), EPERM);
    });
}

TEST("capget_bad_version_is_einval") {
    __user_cap_header_struct header = {0x12345, 0};
    __user_cap_data_struct data[2] = {};
    CHECK_ERRNO(syscall(SYS_capget, &header, data), EINVAL);
    CHECK_EQ(header.version, _LINUX_CAPABILITY_VERSION_3);
}

TEST("bounding_set") {
    CHECK_EQ(prctl(PR_CAPBSET_READ, CAP_CHOWN), 1);
    CHECK_EQ(prctl(PR_CAPBSET_READ, CAP_SYS_MODULE), 0);
    CHECK_ERRNO(prctl(PR_CAPBSET_READ, 200), EINVAL);
    in_child([] {
        OK(prctl(PR_CAPBSET_DROP, CAP_CHOWN));
        CHECK_EQ(prctl(PR_CAPBSET_READ, CAP_CHOWN), 0);
    });
}

TEST("no_new_privs_is_one_way") {
    in_child([] {
        CHECK_EQ(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 0);
        OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
        CHECK_EQ(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 1);
        CHECK_ERRNO(prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0), EINVAL);
        in_child([] { CHECK_EQ(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 1); });
    });
}

TEST("prctl_unknown_is_einval") { CHECK_ERRNO(prctl(99999), EINVAL); }

TEST("changed_ids_are_no_longer_dumpable_and_lose_the_parent_death_signal") {
    const auto dumpable_after = [](auto change) {
        const int status = run_child([&] {
            OK(prctl(PR_SET_PDEATHSIG, SIGUSR1));
            change();
            int signal = -1;
            OK(prctl(PR_GET_PDEATHSIG, &signal));
            const int dumpable = prctl(PR_GET_DUMPABLE);
            CHECK_EQ(signal == SIGUSR1, dumpable == 1);
            _exit(dumpable == 1);
        });
        CHECK(WIFEXITED(status));
        return WEXITSTATUS(status) == 1;
    };
    CHECK(!dumpable_after([] { OK(setresuid(1000, 1000, 1000)); }));
    CHECK(!dumpable_after([] { OK(seteuid(1000)); }));
    CHECK(!dumpable_after([] { OK(setgid(1000)); }));
    CHECK(!dumpable_after([] { setfsuid(1000); }));
    CHECK(dumpable_after([] { OK(setresuid(0, 0, 0)); }));
    CHECK(dumpable_after([] { OK(setresuid(1000, -1, -1)); }));
    CHECK(dumpable_after([] { OK(setgroups(0, nullptr)); }));
}

TEST("who_is_not_dumpable_still_reaches_its_own_descriptors") {
    CHECK_EXITED(run_child([] {
                     const int null = OK(open("/dev/null", O_RDWR));
                     OK(setresgid(1000, 1000, 1000));
                     OK(setresuid(1000, 1000, 1000));
                     char path[40];
                     snprintf(path, sizeof path, "/proc/self/fd/%d", null);
                     OK(open(path, O_WRONLY));
                     struct stat status;
                     OK(stat("/proc/self/fd", &status));
                     CHECK_EQ(status.st_uid, 0);
                     OK(stat("/proc/self/status", &status));
                     CHECK_EQ(status.st_uid, 0);
                     CHECK_ERRNO(open("/proc/self/environ", O_RDONLY), EACCES);
                 }),
                 0);
}

TEST("prctl_dumpable") {
    CHECK_EQ(prctl(PR_GET_DUMPABLE), 1);
    OK(prctl(PR_SET_DUMPABLE, 0));
    CHECK_EQ(prctl(PR_GET_DUMPABLE), 0);
    CHECK_ERRNO(prctl(PR_SET_DUMPABLE, 7), EINVAL);
}

TEST("rlimit_nofile_as_configured") {
    rlimit limit;
    OK(getrlimit(RLIMIT_NOFILE, &limit));
    CHECK_EQ(limit.rlim_cur, 1024);
    CHECK_EQ(limit.rlim_max, 4096);
}

TEST("rlimit_set_and_inherit") {
    in_child([] {
        rlimit limit = {100, 200};
        OK(setrlimit(RLIMIT_NOFILE, &limit));
        in_child([] {
            rlimit now;
            OK(getrlimit(RLIMIT_NOFILE, &now));
            CHECK_EQ(now.rlim_cur, 100);
            CHECK_EQ(now.rlim_max, 200);
        });
        OK(setuid(1000));
        limit = {100, 201};
        CHECK_ERRNO(setrlimit(RLIMIT_NOFILE, &limit), EPERM);
        limit = {150, 150};
        OK(setrlimit(RLIMIT_NOFILE, &limit));
    });
}

TEST("rlimit_errors") {
    rlimit limit = {10, 5};
    CHECK_ERRNO(setrlimit(RLIMIT_NOFILE, &limit), EINVAL);
    CHECK_ERRNO(getrlimit(static_cast<__rlimit_resource>(99), &limit), EINVAL);
}

TEST("prlimit_of_self_and_child") {
    rlimit limit;
    OK(prlimit(0, RLIMIT_STACK, nullptr, &limit));
    CHECK_GE(limit.rlim_cur, 65536u);
    CHECK_ERRNO(prlimit(999999, RLIMIT_STACK, nullptr, &limit), ESRCH);
}

TEST("rlimit_stack_default_is_8m") {
    rlimit limit;
    OK(getrlimit(RLIMIT_STACK, &limit));
    CHECK_EQ(limit.rlim_cur, 8 * 1024 * 1024);
}

TEST("rlimit_fsize_sends_sigxfsz") {
    scratch();
    int fd = OK(open("file", O_RDWR | O_CREAT, 0600));
    rlimit limit = {100, 1000};
    OK(setrlimit(RLIMIT_FSIZE, &limit));
    char block[200] = {};
    CHECK_EQ(write(fd, block, 200), 100);
    signal(SIGXFSZ, SIG_IGN);
    CHECK_ERRNO(write(fd, block, 1), EFBIG);
    CHECK_ERRNO(ftruncate(fd, 101), EFBIG);
    CHECK_ERRNO(fallocate(fd, 0, 50, 51), EFBIG);
    OK(fallocate(fd, 0, 50, 50));
    signal(SIGXFSZ, SIG_DFL);
    CHECK_SIGNALED(run_child([&] { fallocate(fd, 0, 0, 101); }), SIGXFSZ);
    // What makes the file no longer is no matter of the limit.
    limit.rlim_cur = 60;
    OK(setrlimit(RLIMIT_FSIZE, &limit));
    OK(fallocate(fd, 0, 0, 100));
    OK(ftruncate(fd, 90));
    limit.rlim_cur = 90;
    OK(setrlimit(RLIMIT_FSIZE, &limit));
    CHECK_SIGNALED(run_child([&] {
                       if (write(fd, block, 1) < 0) _exit(1);
                   }),
                   SIGXFSZ);
}

TEST("rlimit_nproc_for_other_user") {
    in_child([] {
        OK(setresuid(5555, 5555, 5555));
        rlimit limit = {3, 3};
        OK(setrlimit(RLIMIT_NPROC, &limit));
        int made = 0;
        while (made < 10) {
            pid_t pid = fork();
            if (pid == 0) {
                sleep_ms(2000);
                _exit(0);
            }
            if (pid < 0) break;
            made++;
        }
        CHECK_EQ(errno, EAGAIN);
        CHECK_EQ(made, 2);
        kill(-1, SIGKILL);
    });
}

TEST("uname_fields") {
    utsname name;
    OK(uname(&name));
    CHECK_STREQ(name.sysname, "Linux");
    CHECK_STREQ(name.machine, "x86_64");
    CHECK_STREQ(name.nodename, "kvmsbx-test");
    int major = 0, minor = 0;
    CHECK_EQ(sscanf(name.release, "%d.%d", &major, &minor), 2);
    CHECK_GE(major, 4);
}

TEST("hostname") {
    char name[64];
    OK(gethostname(name, sizeof(name)));
    CHECK_STREQ(name, "kvmsbx-test");
    CHECK_ERRNO(sethostname("other", 5), EPERM);  // no CAP_SYS_ADMIN
}

TEST("getrandom_fills_and_differs") {
    unsigned char a[64] = {}, b[64] = {};
    CHECK_EQ(syscall(SYS_getrandom, a, sizeof(a), 0), sizeof(a));
    CHECK_EQ(syscall(SYS_getrandom, b, sizeof(b), 1 /* GRND_NONBLOCK */), sizeof(b));
    CHECK(memcmp(a, b, sizeof(a)) != 0);
    CHECK_ERRNO(syscall(SYS_getrandom, a, 1, 0x100), EINVAL);
    CHECK_EQ(syscall(SYS_getrandom, a, 0, 0), 0);
}

TEST("sysinfo_is_plausible") {
    struct sysinfo info;
    OK(sysinfo(&info));
    CHECK_GT(info.totalram, 1000000u);
    CHECK_LE(info.freeram, info.totalram);
    CHECK_GE(info.procs, 1);
    CHECK_GE(info.uptime, 0);
    CHECK_GE(info.mem_unit, 1u);
}

TEST("priority") {
    errno = 0;
    CHECK_EQ(getpriority(PRIO_PROCESS, 0), 0);
    in_child([] {
        OK(setpriority(PRIO_PROCESS, 0, 5));
        CHECK_EQ(getpriority(PRIO_PROCESS, 0), 5);
        errno = 0;
        in_child([] { CHECK_EQ(getpriority(PRIO_PROCESS, 0), 5); });
    });
    CHECK_ERRNO(setpriority(77, 0, 5), EINVAL);
    CHECK_ERRNO(getpriority(PRIO_PROCESS, 999999), ESRCH);
}

TEST("unknown_system_call_is_enosys") {
    CHECK_ERRNO(syscall(1000), ENOSYS);
    CHECK_ERRNO(syscall(-1), ENOSYS);
    CHECK_ERRNO(syscall(0x7fffffff), ENOSYS);
    CHECK_ERRNO(syscall(SYS_getpid | 0x40000000), ENOSYS);  // x32
}

TEST("privileged_calls_are_eperm") {
    CHECK_ERRNO(syscall(SYS_mount, "none", "/tmp", "tmpfs", 0, nullptr), EPERM);
    CHECK_ERRNO(syscall(SYS_umount2, "/tmp", 0), EPERM);
    CHECK_ERRNO(syscall(SYS_reboot, 0xfee1dead, 672274793, 0x4321fedc, nullptr), EPERM);
    CHECK(syscall(SYS_iopl, 3) == -1 && (errno == EPERM || errno == ENOSYS));
    CHECK(syscall(SYS_ioperm, 0x80, 1, 1) == -1 && (errno == EPERM || errno == ENOSYS));
    CHECK_ERRNO(syscall(SYS_swapoff, "/x"), EPERM);
}

TEST("personality_query") { CHECK_EQ(syscall(SYS_personality, 0xffffffff), 0); }
