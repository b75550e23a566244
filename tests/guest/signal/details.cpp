// Corners of sigaction(2), sigaltstack(2) and job control.
#include <pthread.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ctime>

#include "tests/guest/guest_test.hpp"

using namespace guest;

namespace {

volatile sig_atomic_t count;
siginfo_t last;
void note(int, siginfo_t* info, void*) {
    count = count + 1;
    last = *info;
}
void install(int signal, int flags, void (*handler)(int, siginfo_t*, void*) = note) {
    struct sigaction action = {};
    action.sa_sigaction = handler;
    action.sa_flags = SA_SIGINFO | flags;
    OK(sigaction(signal, &action, nullptr));
}

}  // namespace

TEST("unsupported_flag_is_cleared_and_expose_tagbits_is_kept") {
    struct KernelAction {
        void (*handler)(int);
        unsigned long flags;
        void (*restorer)();
        unsigned long mask;
    } action{[](int) {}, 0x400 | 0x800 | 0x04000000, [] {}, 0}, got{};
    OK(syscall(SYS_rt_sigaction, SIGUSR1, &action, nullptr, 8));
    OK(syscall(SYS_rt_sigaction, SIGUSR1, nullptr, &got, 8));
    CHECK_EQ(got.flags & 0x400, 0);
    CHECK_EQ(got.flags & 0x800, 0x800);
}

TEST("nocldwait_reaps_but_signals") {
    install(SIGCHLD, SA_NOCLDWAIT);
    const pid_t pid = OK(fork());
    if (pid == 0) _exit(3);
    CHECK_ERRNO(waitpid(pid, nullptr, 0), ECHILD);
    for (int i = 0; i < 200 && !count; ++i) sleep_ms(5);
    CHECK_EQ(count, 1);
    CHECK_EQ(last.si_code, CLD_EXITED);
    CHECK_EQ(last.si_status, 3);
}

TEST("nocldstop_keeps_stops_quiet") {
    install(SIGCHLD, SA_NOCLDSTOP);
    const pid_t pid = OK(fork());
    if (pid == 0)
        for (;;) pause();
    OK(kill(pid, SIGSTOP));
    int status;
    OK(waitpid(pid, &status, WUNTRACED));
    CHECK(WIFSTOPPED(status));
    OK(kill(pid, SIGCONT));
    OK(waitpid(pid, &status, WCONTINUED));
    CHECK(WIFCONTINUED(status));
    CHECK_EQ(count, 0);
    OK(kill(pid, SIGKILL));
    OK(waitpid(pid, &status, 0));
    for (int i = 0; i < 200 && !count; ++i) sleep_ms(5);
    CHECK_EQ(count, 1);
    CHECK_EQ(last.si_code, CLD_KILLED);
}

TEST("resethand_makes_the_second_fatal") {
    CHECK_SIGNALED(run_child([] {
                       install(SIGUSR1, static_cast<int>(SA_RESETHAND));
                       raise(SIGUSR1);
                       if (count != 1) _exit(1);
                       raise(SIGUSR1);
                   }),
                   SIGUSR1);
}

TEST("nodefer_lets_a_handler_interrupt_itself") {
    static volatile sig_atomic_t depth, deepest;
    install(SIGUSR1, SA_NODEFER, [](int, siginfo_t*, void*) {
        depth = depth + 1;
        if (depth > deepest) deepest = depth;
        if (depth < 3) raise(SIGUSR1);
        depth = depth - 1;
    });
    raise(SIGUSR1);
    CHECK_EQ(deepest, 3);
}

TEST("real_time_signals_come_by_number_then_in_order") {
    static int seen[6], n;
    sigset_t all;
    sigfillset(&all);
    OK(sigprocmask(SIG_BLOCK, &all, nullptr));
    for (int signal : {SIGRTMIN + 2, SIGRTMIN + 1})
        install(signal, 0, [](int number, siginfo_t* info, void*) {
            seen[n++] = (number - SIGRTMIN) * 10 + info->si_value.sival_int;
        });
    for (int i = 0; i < 3; ++i) {
        OK(sigqueue(getpid(), SIGRTMIN + 2, {i}));
        OK(sigqueue(getpid(), SIGRTMIN + 1, {i}));
    }
    sigset_t set;
    for (int i = 0; i < 6; ++i) {
        siginfo_t info;
        sigemptyset(&set);
        sigaddset(&set, SIGRTMIN + 1);
        sigaddset(&set, SIGRTMIN + 2);
        const int number = OK(sigwaitinfo(&set, &info));
        CHECK_EQ(info.si_code, SI_QUEUE);
        seen[i] = (number - SIGRTMIN) * 10 + info.si_value.sival_int;
    }
    const int expected[] = {10, 11, 12, 20, 21, 22};
    CHECK_EQ(memcmp(seen, expected, sizeof expected), 0);
}

TEST("standard_signal_pends_once") {
    install(SIGUSR1, 0);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    OK(sigprocmask(SIG_BLOCK, &set, nullptr));
    for (int i = 0; i < 5; ++i) raise(SIGUSR1);
    OK(sigprocmask(SIG_UNBLOCK, &set, nullptr));
    CHECK_EQ(count, 1);
}

TEST("altstack_errors") {
    static char stack[65536];
    stack_t wanted{stack, 0x40, sizeof stack};
    CHECK_ERRNO(sigaltstack(&wanted, nullptr), EINVAL);
    wanted = {stack, 0, 1024};
    CHECK_ERRNO(sigaltstack(&wanted, nullptr), ENOMEM);
    CHECK_ERRNO(syscall(SYS_sigaltstack, 8, nullptr), EFAULT);
    wanted = {stack, SS_DISABLE, 0};
    OK(sigaltstack(&wanted, nullptr));
}

TEST("altstack_cannot_change_while_in_use") {
    static char stack[65536];
    static int result, error;
    stack_t wanted{stack, 0, sizeof stack};
    OK(sigaltstack(&wanted, nullptr));
    install(SIGUSR1, SA_ONSTACK, [](int, siginfo_t*, void*) {
        stack_t other{stack, SS_DISABLE, 0}, now;
        result = sigaltstack(&other, nullptr);
        error = errno;
        sigaltstack(nullptr, &now);
        CHECK_EQ(now.ss_flags, SS_ONSTACK);
    });
    raise(SIGUSR1);
    CHECK_EQ(result, -1);
    CHECK_EQ(error, EPERM);
}

TEST("autodisarm_frees_the_altstack_for_the_handler") {
    static char stack[65536];
    stack_t wanted{stack, static_cast<int>(1U << 31), sizeof stack};
    OK(sigaltstack(&wanted, nullptr));
    install(SIGUSR1, SA_ONSTACK, [](int, siginfo_t*, void*) {
        stack_t now;
        sigaltstack(nullptr, &now);
        CHECK_EQ(now.ss_flags, SS_DISABLE);
        count = 1;
    });
    raise(SIGUSR1);
    CHECK_EQ(count, 1);
    stack_t now;
    OK(sigaltstack(nullptr, &now));
    CHECK_EQ(now.ss_size, sizeof stack);
}

TEST("auxiliary_vector_tells_the_smallest_signal_stack") {
    const unsigned long size = getauxval(51);
    CHECK_GE(size, 1024);
    CHECK_LE(size, 65536);
}

TEST("continue_discards_pending_stop") {
    const pid_t pid = OK(fork());
    if (pid == 0) {
        sigset_t set;
        sigemptyset(&set);
        sigaddset(&set, SIGTSTP);
        sigprocmask(SIG_BLOCK, &set, nullptr);
        kill(getpid(), SIGTSTP);
        kill(getpid(), SIGCONT);
        sigset_t pending;
        sigpending(&pending);
        _exit(sigismember(&pending, SIGTSTP) ? 1 : 0);
    }
    int status;
    OK(waitpid(pid, &status, 0));
    CHECK_EXITED(status, 0);
}

TEST("orphaned_group_ignores_terminal_stop") {
    CHECK_EXITED(run_child([] {
                     OK(setsid());
                     raise(SIGTSTP);
                     _exit(6);
                 }),
                 6);
}

TEST("orphaned_stopped_group_gets_hangup_and_continue") {
    int fds[2];
    OK(pipe(fds));
    const pid_t parent = OK(fork());
    if (parent == 0) {
        if (fork() == 0) {
            setpgid(0, 0);
            signal(SIGHUP, [](int) { count = 1; });
            kill(getpid(), SIGSTOP);
            char seen = count ? 'y' : 'n';
            if (write(fds[1], &seen, 1) != 1) _exit(1);
            _exit(0);
        }
        int status;
        waitpid(-1, &status, WUNTRACED);
        _exit(0);
    }
    OK(waitpid(parent, nullptr, 0));
    char seen = 0;
    CHECK_EQ(read(fds[0], &seen, 1), 1);
    CHECK_EQ(seen, 'y');
}

TEST("exec_keeps_ignored_and_blocked_signals") {
    CHECK_EXITED(run_child([] {
                     signal(SIGUSR1, SIG_IGN);
                     sigset_t set;
                     sigemptyset(&set);
                     sigaddset(&set, SIGUSR2);
                     sigprocmask(SIG_BLOCK, &set, nullptr);
                     char text[4096];
                     CHECK_GT(read_file("/proc/self/status", text, sizeof text), 0);
                     CHECK(strstr(text, "SigBlk:\t0000000000000800"));
                 }),
                 0);
}

TEST("timer_to_one_thread") {
    static volatile sig_atomic_t tid;
    install(SIGUSR1, 0, [](int, siginfo_t*, void*) { tid = static_cast<int>(syscall(SYS_gettid)); });
    pthread_t thread;
    CHECK_EQ(pthread_create(
                 &thread, nullptr,
                 [](void*) -> void* {
                     sigevent event{};
                     event.sigev_notify = SIGEV_THREAD_ID;
                     event.sigev_signo = SIGUSR1;
                     event._sigev_un._tid = static_cast<int>(syscall(SYS_gettid));
                     timer_t timer;
                     OK(timer_create(CLOCK_MONOTONIC, &event, &timer));
                     itimerspec setting{{0, 0}, {0, 20'000'000}};
                     OK(timer_settime(timer, 0, &setting, nullptr));
                     while (!tid) sleep_ms(5);
                     CHECK_EQ(tid, event._sigev_un._tid);
                     return nullptr;
                 },
                 nullptr),
             0);
    pthread_join(thread, nullptr);
    CHECK(tid);
}

TEST("timer_overrun_is_counted") {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    OK(sigprocmask(SIG_BLOCK, &set, nullptr));
    sigevent event{};
    event.sigev_notify = SIGEV_SIGNAL;
    event.sigev_signo = SIGUSR1;
    timer_t timer;
    OK(timer_create(CLOCK_MONOTONIC, &event, &timer));
    itimerspec setting{{0, 5'000'000}, {0, 5'000'000}};
    OK(timer_settime(timer, 0, &setting, nullptr));
    sleep_ms(60);
    siginfo_t info;
    OK(sigwaitinfo(&set, &info));
    CHECK_EQ(info.si_code, SI_TIMER);
    CHECK_GE(info.si_overrun, 5);
}
