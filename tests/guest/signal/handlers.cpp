// Installing handlers, what they are told, masks, flags, alternate stacks, default actions.
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <ucontext.h>
#include <csetjmp>

#include "tests/guest/guest_test.hpp"

using namespace guest;

namespace {
volatile sig_atomic_t hits = 0;
siginfo_t last_info;

void count(int) { hits = hits + 1; }

void install(int signo, void (*handler)(int), int flags = 0) {
    struct sigaction action = {};
    action.sa_handler = handler;
    action.sa_flags = flags;
    OK(sigaction(signo, &action, nullptr));
}

void install_info(int signo, void (*handler)(int, siginfo_t*, void*), int flags = 0) {
    struct sigaction action = {};
    action.sa_sigaction = handler;
    action.sa_flags = flags | SA_SIGINFO;
    OK(sigaction(signo, &action, nullptr));
}

void keep_info(int, siginfo_t* info, void*) {
    last_info = *info;
    hits = hits + 1;
}

void set_blocked(int signo, bool blocked) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, signo);
    OK(sigprocmask(blocked ? SIG_BLOCK : SIG_UNBLOCK, &set, nullptr));
}

// The status can be waited for before the parent is told by the signal.
void wait_for_hits(int count) {
    for (int i = 0; i < 2000 && hits < count; i++) sleep_ms(1);
    CHECK_GE(hits, count);
}

bool is_blocked(int signo) {
    sigset_t set;
    OK(sigprocmask(SIG_BLOCK, nullptr, &set));
    return sigismember(&set, signo) == 1;
}

bool is_pending(int signo) {
    sigset_t set;
    OK(sigpending(&set));
    return sigismember(&set, signo) == 1;
}
}  // namespace

TEST("raise_runs_handler_before_return") {
    install(SIGUSR1, count);
    raise(SIGUSR1);
    CHECK_EQ(hits, 1);
    kill(getpid(), SIGUSR1);
    CHECK_EQ(hits, 2);
}

TEST("siginfo_of_kill") {
    install_info(SIGUSR1, keep_info);
    OK(kill(getpid(), SIGUSR1));
    CHECK_EQ(last_info.si_signo, SIGUSR1);
    CHECK_EQ(last_info.si_code, SI_USER);
    CHECK_EQ(last_info.si_pid, getpid());
    CHECK_EQ(last_info.si_uid, getuid());
}

TEST("siginfo_of_tgkill") {
    install_info(SIGUSR1, keep_info);
    OK(syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), SIGUSR1));
    CHECK_EQ(last_info.si_code, SI_TKILL);
    CHECK_EQ(last_info.si_pid, getpid());
}

TEST("siginfo_of_sigqueue") {
    install_info(SIGUSR1, keep_info);
    sigval value;
    value.sival_int = 77;
    OK(sigqueue(getpid(), SIGUSR1, value));
    CHECK_EQ(last_info.si_code, SI_QUEUE);
    CHECK_EQ(last_info.si_value.sival_int, 77);
}

TEST("siginfo_of_sigchld") {
    install_info(SIGCHLD, keep_info);
    pid_t pid = OK(fork());
    if (pid == 0) _exit(11);
    while (waitpid(pid, nullptr, 0) < 0) {}
    CHECK_EQ(hits, 1);
    CHECK_EQ(last_info.si_code, CLD_EXITED);
    CHECK_EQ(last_info.si_pid, pid);
    CHECK_EQ(last_info.si_status, 11);
}

TEST("sigchld_for_stop_and_continue") {
    install_info(SIGCHLD, keep_info);
    pid_t pid = OK(fork());
    if (pid == 0)
        for (;;) sleep_ms(1000);
    int status;
    OK(kill(pid, SIGSTOP));
    while (waitpid(pid, &status, WUNTRACED) < 0) {}
    wait_for_hits(1);
    CHECK_EQ(last_info.si_code, CLD_STOPPED);
    CHECK_EQ(last_info.si_status, SIGSTOP);
    int before = hits;
    OK(kill(pid, SIGCONT));
    while (waitpid(pid, &status, WCONTINUED) < 0) {}
    wait_for_hits(before + 1);
    CHECK_EQ(last_info.si_code, CLD_CONTINUED);
    install(SIGCHLD, SIG_DFL);
    OK(kill(pid, SIGKILL));
    OK(waitpid(pid, nullptr, 0));
}

TEST("nocldstop_sends_nothing_for_stop") {
    install_info(SIGCHLD, keep_info, SA_NOCLDSTOP);
    pid_t pid = OK(fork());
    if (pid == 0)
        for (;;) sleep_ms(1000);
    int status;
    OK(kill(pid, SIGSTOP));
    CHECK_EQ(waitpid(pid, &status, WUNTRACED), pid);
    CHECK_EQ(hits, 0);
    OK(kill(pid, SIGKILL));
    while (waitpid(pid, nullptr, 0) < 0) {}
    CHECK_EQ(hits, 1);
}

TEST("nocldwait_reaps_by_itself") {
    install(SIGCHLD, count, SA_NOCLDWAIT);
    pid_t pid = OK(fork());
    if (pid == 0) _exit(0);
    int error = 0;
    while (waitpid(pid, nullptr, 0) < 0 && (error = errno) == EINTR) {}
    CHECK_EQ(error, ECHILD);
}

TEST("sigaction_reports_old") {
    install(SIGUSR1, count, SA_RESTART | SA_NODEFER);
    struct sigaction old;
    OK(sigaction(SIGUSR1, nullptr, &old));
    CHECK(old.sa_handler == count);
    CHECK_EQ(old.sa_flags & (SA_RESTART | SA_NODEFER), SA_RESTART | SA_NODEFER);
}

TEST("sigaction_errors") {
    struct sigaction action = {};
    action.sa_handler = count;
    CHECK_ERRNO(sigaction(SIGKILL, &action, nullptr), EINVAL);
    CHECK_ERRNO(sigaction(SIGSTOP, &action, nullptr), EINVAL);
    CHECK_ERRNO(sigaction(65, &action, nullptr), EINVAL);
    CHECK_ERRNO(sigaction(0, &action, nullptr), EINVAL);
    CHECK_ERRNO(syscall(SYS_rt_sigaction, SIGUSR1, nullptr, nullptr, 4), EINVAL);
    CHECK_ERRNO(syscall(SYS_rt_sigprocmask, SIG_BLOCK, nullptr, nullptr, 4), EINVAL);
}

TEST("sigprocmask_bad_how_is_einval") {
    unsigned long set = 0;
    CHECK_ERRNO(syscall(SYS_rt_sigprocmask, 77, &set, nullptr, 8), EINVAL);
}

TEST("blocked_signal_waits") {
    install(SIGUSR1, count);
    set_blocked(SIGUSR1, true);
    raise(SIGUSR1);
    CHECK_EQ(hits, 0);
    CHECK(is_pending(SIGUSR1));
    set_blocked(SIGUSR1, false);
    CHECK_EQ(hits, 1);
    CHECK(!is_pending(SIGUSR1));
}

TEST("standard_signals_do_not_queue") {
    install(SIGUSR1, count);
    set_blocked(SIGUSR1, true);
    for (int i = 0; i < 5; i++) raise(SIGUSR1);
    set_blocked(SIGUSR1, false);
    CHECK_EQ(hits, 1);
}

TEST("realtime_signals_queue_in_order") {
    static int seen[10];
    static int total = 0;
    int signo = SIGRTMIN + 2;
    install_info(signo, [](int, siginfo_t* info, void*) { seen[total++] = info->si_value.sival_int; });
    set_blocked(signo, true);
    for (int i = 0; i < 5; i++) {
        sigval value;
        value.sival_int = i;
        OK(sigqueue(getpid(), signo, value));
    }
    set_blocked(signo, false);
    CHECK_EQ(total, 5);
    for (int i = 0; i < 5; i++) CHECK_EQ(seen[i], i);
}

TEST("lower_numbers_first") {
    static int order[2], total = 0;
    auto note = [](int signo) { order[total++] = signo; };
    install(SIGUSR1, note);
    install(SIGUSR2, note);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGUSR2);
    OK(sigprocmask(SIG_BLOCK, &set, nullptr));
    raise(SIGUSR2);
    raise(SIGUSR1);
    OK(sigprocmask(SIG_UNBLOCK, &set, nullptr));
    CHECK_EQ(total, 2);
    // Frames are pushed lowest number first, so the highest number's handler runs first on return to the program.
    CHECK_EQ(order[0], SIGUSR2);
    CHECK_EQ(order[1], SIGUSR1);
}

TEST("sigkill_and_sigstop_cannot_be_blocked") {
    set_blocked(SIGKILL, true);
    set_blocked(SIGSTOP, true);
    CHECK(!is_blocked(SIGKILL));
    CHECK(!is_blocked(SIGSTOP));
}

TEST("signal_is_blocked_in_own_handler") {
    static bool inside = false;
    install(SIGUSR1, [](int) { inside = is_blocked(SIGUSR1); });
    raise(SIGUSR1);
    CHECK(inside);
    CHECK(!is_blocked(SIGUSR1));
}

TEST("sa_mask_is_blocked_in_handler") {
    static bool inside = false;
    struct sigaction action = {};
    action.sa_handler = [](int) { inside = is_blocked(SIGUSR2); };
    sigaddset(&action.sa_mask, SIGUSR2);
    OK(sigaction(SIGUSR1, &action, nullptr));
    raise(SIGUSR1);
    CHECK(inside);
    CHECK(!is_blocked(SIGUSR2));
}

TEST("raise_in_handler_runs_after_it") {
    static int depth = 0, deepest = 0;
    install(SIGUSR1, [](int) {
        depth++;
        if (depth > deepest) deepest = depth;
        hits = hits + 1;
        if (hits < 3) raise(SIGUSR1);
        depth--;
    });
    raise(SIGUSR1);
    CHECK_EQ(hits, 3);
    CHECK_EQ(deepest, 1);
}

TEST("nodefer_nests") {
    static int depth = 0, deepest = 0;
    install(
        SIGUSR1,
        [](int) {
            depth++;
            if (depth > deepest) deepest = depth;
            hits = hits + 1;
            if (hits < 4) raise(SIGUSR1);
            depth--;
        },
        SA_NODEFER);
    raise(SIGUSR1);
    CHECK_EQ(hits, 4);
    CHECK_EQ(deepest, 4);
}

TEST("resethand_goes_back_to_default") {
    install(SIGUSR1, count, SA_RESETHAND);
    raise(SIGUSR1);
    CHECK_EQ(hits, 1);
    struct sigaction now;
    OK(sigaction(SIGUSR1, nullptr, &now));
    CHECK(now.sa_handler == SIG_DFL);
}

TEST("ignored_signal_is_dropped") {
    install(SIGUSR1, SIG_IGN);
    set_blocked(SIGUSR1, true);
    raise(SIGUSR1);
    install(SIGUSR1, count);
    set_blocked(SIGUSR1, false);
    CHECK_LE(hits, 1);  // Linux keeps it while blocked, or not: either is allowed by POSIX
    install(SIGUSR2, SIG_IGN);
    raise(SIGUSR2);
    install(SIGUSR2, count);
    int before = hits;
    raise(SIGUSR2);
    CHECK_EQ(hits, before + 1);
}

TEST("set_ignore_discards_pending") {
    install(SIGUSR1, count);
    set_blocked(SIGUSR1, true);
    raise(SIGUSR1);
    install(SIGUSR1, SIG_IGN);
    CHECK(!is_pending(SIGUSR1));
    install(SIGUSR1, count);
    set_blocked(SIGUSR1, false);
    CHECK_EQ(hits, 0);
}

TEST("default_actions_terminate") {
    for (int signo : {SIGHUP, SIGINT, SIGPIPE, SIGALRM, SIGTERM, SIGUSR1, SIGUSR2, SIGVTALRM, SIGPROF, SIGXCPU, SIGSYS,
                      SIGQUIT, SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGSTKFLT, SIGIO, SIGPWR}) {
        int status = run_child([=] {
            rlimit none = {0, 0};
            setrlimit(RLIMIT_CORE, &none);
            raise(signo);
        });
        CHECK_SIGNALED(status, signo);
        CHECK(!WCOREDUMP(status));
    }
}

TEST("default_actions_ignore") {
    for (int signo : {SIGCHLD, SIGURG, SIGWINCH, SIGCONT}) CHECK_EXITED(run_child([=] { raise(signo); }), 0);
}

TEST("default_actions_stop") {
    for (int signo : {SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU}) {
        pid_t pid = OK(fork());
        if (pid == 0) {
            setpgid(0, 0);
            raise(signo);
            _exit(8);
        }
        int status;
        CHECK_EQ(waitpid(pid, &status, WUNTRACED), pid);
        CHECK(WIFSTOPPED(status));
        CHECK_EQ(WSTOPSIG(status), signo);
        OK(kill(pid, SIGCONT));
        CHECK_EQ(waitpid(pid, &status, 0), pid);
        CHECK_EXITED(status, 8);
    }
}

TEST("sigcont_runs_handler_and_clears_stop") {
    pid_t pid = OK(fork());
    if (pid == 0) {
        install(SIGCONT, [](int) { _exit(14); });
        raise(SIGSTOP);
        for (;;) sleep_ms(1000);
    }
    int status;
    CHECK_EQ(waitpid(pid, &status, WUNTRACED), pid);
    OK(kill(pid, SIGCONT));
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EXITED(status, 14);
}

TEST("stop_stops_every_thread") {
    static volatile unsigned long counter = 0;
    int fds[2];
    OK(pipe(fds));
    pid_t pid = OK(fork());
    if (pid == 0) {
        CHECK_EQ(write(fds[1], "x", 1), 1);
        for (;;) counter = counter + 1;
    }
    char byte;
    CHECK_EQ(read(fds[0], &byte, 1), 1);
    OK(kill(pid, SIGSTOP));
    int status;
    CHECK_EQ(waitpid(pid, &status, WUNTRACED), pid);
    CHECK(WIFSTOPPED(status));
    OK(kill(pid, SIGKILL));
    OK(waitpid(pid, nullptr, 0));
}

TEST("alternate_stack_is_used") {
    static char stack[65536];
    static bool on_it = false;
    stack_t alternate = {};
    alternate.ss_sp = stack;
    alternate.ss_size = sizeof(stack);
    OK(sigaltstack(&alternate, nullptr));
    install(
        SIGUSR1,
        [](int) {
            char local;
            on_it = &local >= stack && &local < stack + sizeof(stack);
            stack_t now;
            OK(sigaltstack(nullptr, &now));
            CHECK_EQ(now.ss_flags, SS_ONSTACK);
            CHECK_ERRNO(sigaltstack(&now, nullptr), EPERM);
        },
        SA_ONSTACK);
    raise(SIGUSR1);
    CHECK(on_it);
    stack_t now;
    OK(sigaltstack(nullptr, &now));
    CHECK_EQ(now.ss_flags, 0);
    CHECK_EQ(now.ss_sp, stack);
}

TEST("without_onstack_normal_stack") {
    static char stack[65536];
    static bool on_it = true;
    stack_t alternate = {};
    alternate.ss_sp = stack;
    alternate.ss_size = sizeof(stack);
    OK(sigaltstack(&alternate, nullptr));
    install(SIGUSR1, [](int) {
        char local;
        on_it = &local >= stack && &local < stack + sizeof(stack);
    });
    raise(SIGUSR1);
    CHECK(!on_it);
}

TEST("alternate_stack_errors") {
    stack_t alternate = {};
    static char stack[100];
    alternate.ss_sp = stack;
    alternate.ss_size = sizeof(stack);
    CHECK_ERRNO(sigaltstack(&alternate, nullptr), ENOMEM);
    alternate.ss_flags = 0x100;
    CHECK_ERRNO(sigaltstack(&alternate, nullptr), EINVAL);
    alternate.ss_flags = SS_DISABLE;
    OK(sigaltstack(&alternate, nullptr));
    stack_t now;
    OK(sigaltstack(nullptr, &now));
    CHECK_EQ(now.ss_flags, SS_DISABLE);
}

TEST("stack_overflow_caught_on_alternate_stack") {
    Trap trap = trap_of([] {
        struct Recurse {
            static __attribute__((noinline)) int down(int n) {
                volatile char frame[4096];
                frame[0] = static_cast<char>(n);
                return n < 0 ? 0 : down(n + 1) + frame[0];
            }
        };
        Recurse::down(0);
    });
    CHECK_EQ(trap.signo, SIGSEGV);
}

TEST("no_room_for_frame_kills") {
    // The handler's frame cannot be written: SIGSEGV, and the process dies although SIGUSR1 has a handler.
    int status = run_child([] {
        rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
        install(SIGUSR1, count);
        pid_t self = getpid();
        asm volatile("mov $64, %%rsp\n\tsyscall" : : "a"(SYS_kill), "D"(self), "S"(SIGUSR1) : "rcx", "r11", "memory");
    });
    CHECK_SIGNALED(status, SIGSEGV);
}

TEST("longjmp_out_of_handler") {
    static sigjmp_buf place;
    install(SIGSEGV, [](int) { siglongjmp(place, 1); });
    for (int i = 0; i < 3; i++) {
        if (sigsetjmp(place, 1) == 0) {
            *reinterpret_cast<volatile int*>(8) = 1;
            CHECK(false);
        }
        hits = hits + 1;
    }
    CHECK_EQ(hits, 3);
    CHECK(!is_blocked(SIGSEGV));
}

TEST("blocked_fault_kills") {
    // A synchronous SIGSEGV that is blocked is forced: the process dies.
    int status = run_child([] {
        install(SIGSEGV, count);
        set_blocked(SIGSEGV, true);
        *reinterpret_cast<volatile int*>(8) = 1;
    });
    CHECK_SIGNALED(status, SIGSEGV);
}

TEST("ignored_fault_kills") {
    int status = run_child([] {
        install(SIGSEGV, SIG_IGN);
        *reinterpret_cast<volatile int*>(8) = 1;
    });
    CHECK_SIGNALED(status, SIGSEGV);
}

TEST("fork_clears_pending_keeps_mask") {
    install(SIGUSR1, count);
    set_blocked(SIGUSR1, true);
    raise(SIGUSR1);
    CHECK_EXITED(run_child([] {
                     CHECK(is_blocked(SIGUSR1));
                     CHECK(!is_pending(SIGUSR1));
                 }),
                 0);
    CHECK(is_pending(SIGUSR1));
}

TEST("handler_mask_change_is_undone_by_sigreturn") {
    install(SIGUSR1, [](int) { set_blocked(SIGUSR2, true); });
    raise(SIGUSR1);
    CHECK(!is_blocked(SIGUSR2));
}

TEST("mask_in_context_is_restored") {
    install_info(SIGUSR1, [](int, siginfo_t*, void* context) {
        sigaddset(&static_cast<ucontext_t*>(context)->uc_sigmask, SIGUSR2);
    });
    raise(SIGUSR1);
    CHECK(is_blocked(SIGUSR2));
}
