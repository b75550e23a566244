// Process groups and sessions, and signals to groups.
#include "tests/guest/guest_test.hpp"

using namespace guest;

namespace {
// A child that waits for a signal; it has told us that it runs.
pid_t sleeper(pid_t group) {
    int ready[2];
    OK(pipe(ready));
    pid_t pid = OK(fork());
    if (pid == 0) {
        if (group >= 0) OK(setpgid(0, group));
        CHECK_EQ(write(ready[1], "x", 1), 1);
        for (;;) sleep_ms(1000);
    }
    char byte;
    CHECK_EQ(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    close(ready[1]);
    return pid;
}
}  // namespace

TEST("child_inherits_group_and_session") {
    pid_t group = getpgrp(), session = getsid(0);
    CHECK_EXITED(run_child([&] {
                     CHECK_EQ(getpgrp(), group);
                     CHECK_EQ(getsid(0), session);
                 }),
                 0);
}

TEST("setpgid_self") {
    CHECK_EXITED(run_child([] {
                     OK(setpgid(0, 0));
                     CHECK_EQ(getpgrp(), getpid());
                     CHECK_EQ(getpgid(0), getpid());
                 }),
                 0);
}

TEST("setpgid_child_then_join") {
    pid_t first = sleeper(0), second = sleeper(first);
    CHECK_EQ(getpgid(first), first);
    CHECK_EQ(getpgid(second), first);
    OK(kill(-first, SIGTERM));
    for (pid_t pid : {first, second}) {
        int status;
        CHECK_EQ(waitpid(pid, &status, 0), pid);
        CHECK_SIGNALED(status, SIGTERM);
    }
}

TEST("setpgid_of_parent_is_esrch") { CHECK_ERRNO(setpgid(getppid(), 0), ESRCH); }

TEST("setpgid_negative_is_einval") { CHECK_ERRNO(setpgid(0, -5), EINVAL); }

TEST("setpgid_into_unknown_group_is_eperm") {
    CHECK_EXITED(run_child([] { CHECK_ERRNO(setpgid(0, 999999), EPERM); }), 0);
}

TEST("setpgid_of_session_leader_is_eperm") {
    CHECK_EXITED(run_child([] {
                     OK(setsid());
                     CHECK_ERRNO(setpgid(0, 0), EPERM);
                 }),
                 0);
}

TEST("setpgid_after_exec_of_child_is_eacces") {
    int ready[2];
    OK(pipe(ready));
    pid_t pid = OK(fork());
    if (pid == 0) {
        dup2(ready[1], 1);
        execl("/bin/sh", "sh", "-c", "echo x; exec sleep 30", nullptr);
        _exit(1);
    }
    char byte;
    CHECK_EQ(read(ready[0], &byte, 1), 1);
    CHECK_ERRNO(setpgid(pid, pid), EACCES);
    OK(kill(pid, SIGKILL));
    OK(waitpid(pid, nullptr, 0));
}

TEST("getpgid_getsid_unknown_is_esrch") {
    CHECK_ERRNO(getpgid(999999), ESRCH);
    CHECK_ERRNO(getsid(999999), ESRCH);
}

TEST("setsid_makes_leader") {
    CHECK_EXITED(run_child([] {
                     CHECK_EQ(OK(setsid()), getpid());
                     CHECK_EQ(getsid(0), getpid());
                     CHECK_EQ(getpgrp(), getpid());
                 }),
                 0);
}

TEST("setsid_of_group_leader_is_eperm") {
    CHECK_EXITED(run_child([] {
                     OK(setpgid(0, 0));
                     CHECK_ERRNO(setsid(), EPERM);
                 }),
                 0);
}

TEST("kill_group_zero_reaches_own_group") {
    int status = run_child([] {
        OK(setpgid(0, 0));
        pid_t pid = sleeper(-1);
        signal(SIGTERM, SIG_IGN);
        OK(kill(0, SIGTERM));
        int inner;
        CHECK_EQ(waitpid(pid, &inner, 0), pid);
        CHECK_SIGNALED(inner, SIGTERM);
    });
    CHECK_EXITED(status, 0);
}

TEST("kill_errors") {
    CHECK_ERRNO(kill(999999, 0), ESRCH);
    CHECK_ERRNO(kill(-999999, 0), ESRCH);
    CHECK_ERRNO(kill(getpid(), 65), EINVAL);
    CHECK_ERRNO(kill(getpid(), -1), EINVAL);
}

TEST("kill_of_other_user_is_eperm") {
    pid_t pid = sleeper(-1);
    CHECK_EXITED(run_child([&] {
                     OK(setresuid(1000, 1000, 1000));
                     CHECK_ERRNO(kill(pid, SIGTERM), EPERM);
                     CHECK_ERRNO(kill(pid, 0), EPERM);
                 }),
                 0);
    OK(kill(pid, SIGKILL));
    OK(waitpid(pid, nullptr, 0));
}

TEST("kill_minus_one_spares_self") {
    // As another user: it reaches that user's processes only, and not the caller.
    CHECK_EXITED(run_child([] {
                     OK(setresuid(4242, 4242, 4242));
                     pid_t pid = sleeper(-1);
                     OK(kill(-1, SIGKILL));
                     int status;
                     CHECK_EQ(waitpid(pid, &status, 0), pid);
                     CHECK_SIGNALED(status, SIGKILL);
                 }),
                 0);
}

TEST("exit_inside_an_orphaned_group_leaves_stopped_members_alone") {
    // A session's first group is orphaned from the start: an exit within it makes nothing newly orphaned.
    const int status = run_child([] {
        OK(setsid());
        const pid_t stopped = OK(fork());
        if (stopped == 0)
            for (;;) pause();
        OK(kill(stopped, SIGSTOP));
        int stop_status = 0;
        CHECK_EQ(OK(waitpid(stopped, &stop_status, WUNTRACED)), stopped);
        CHECK_EXITED(run_child([] {}), 0);
        CHECK_EQ(OK(waitpid(stopped, &stop_status, WNOHANG | WCONTINUED)), 0);
        OK(kill(stopped, SIGKILL));
        CHECK_EQ(OK(waitpid(stopped, &stop_status, 0)), stopped);
        CHECK_SIGNALED(stop_status, SIGKILL);
    });
    CHECK_EXITED(status, 0);
}

TEST("orphaned_stopped_group_gets_hup_cont") {
    // When a group becomes orphaned with a stopped member, its members get SIGHUP and SIGCONT.
    int fds[2];
    OK(pipe(fds));
    CHECK_EXITED(run_child([&] {
                     pid_t pid = OK(fork());
                     if (pid == 0) {
                         setpgid(0, 0);
                         static int out = fds[1];
                         signal(SIGHUP, [](int) {
                             if (write(out, "H", 1) == 1) _exit(0);
                         });
                         raise(SIGSTOP);
                         for (;;) sleep_ms(1000);
                     }
                     int status;
                     CHECK_EQ(waitpid(pid, &status, WUNTRACED), pid);
                     CHECK(WIFSTOPPED(status));
                 }),
                 0);
    close(fds[1]);
    char byte = 0;
    CHECK_EQ(read(fds[0], &byte, 1), 1);
    CHECK_EQ(byte, 'H');
}

TEST("exited_leader_keeps_group_alive") {
    int fds[2];
    OK(pipe(fds));
    pid_t leader = OK(fork());
    if (leader == 0) {
        OK(setpgid(0, 0));
        pid_t member = OK(fork());
        if (member == 0) {
            close(fds[0]);
            for (;;) sleep_ms(1000);
        }
        _exit(0);
    }
    OK(waitpid(leader, nullptr, 0));
    close(fds[1]);
    OK(kill(-leader, SIGKILL));
    char byte;
    CHECK_EQ(read(fds[0], &byte, 1), 0);
}
