// Signals and blocking calls: EINTR, SA_RESTART, sigsuspend, sigtimedwait, pause; sigreturn keeps registers.
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <ucontext.h>

#include <atomic>

#include "tests/guest/guest_test.hpp"

using namespace guest;

namespace {
volatile sig_atomic_t hits = 0;

void install(int signo, int flags) {
    struct sigaction action = {};
    action.sa_handler = [](int) { hits = hits + 1; };
    action.sa_flags = flags;
    OK(sigaction(signo, &action, nullptr));
}

// SIGALRM in `ms` milliseconds, and then every 20 ms so that a signal lost before the call blocks cannot hang the test.
void alarm_in(int ms, bool repeat = true) {
    itimerval timer = {{0, repeat ? 20000 : 0}, {ms / 1000, (ms % 1000) * 1000}};
    OK(setitimer(ITIMER_REAL, &timer, nullptr));
}

void stop_alarm() {
    itimerval none = {};
    OK(setitimer(ITIMER_REAL, &none, nullptr));
}

// A child that writes one byte to the pipe later: what a restarted read gets.
pid_t write_later(int fd, int ms) {
    pid_t pid = OK(fork());
    if (pid == 0) {
        sleep_ms(static_cast<unsigned>(ms));
        _exit(write(fd, "z", 1) == 1 ? 0 : 1);
    }
    return pid;
}
}  // namespace

TEST("read_pipe_eintr") {
    int fds[2];
    OK(pipe(fds));
    install(SIGALRM, 0);
    alarm_in(20);
    char byte;
    CHECK_ERRNO(read(fds[0], &byte, 1), EINTR);
    CHECK_GE(hits, 1);
}

TEST("read_pipe_restarts") {
    int fds[2];
    OK(pipe(fds));
    install(SIGALRM, SA_RESTART);
    write_later(fds[1], 80);
    alarm_in(20);
    char byte = 0;
    CHECK_EQ(read(fds[0], &byte, 1), 1);
    stop_alarm();
    CHECK_EQ(byte, 'z');
    CHECK_GE(hits, 1);
}

TEST("write_full_pipe_eintr") {
    int fds[2];
    OK(pipe(fds));
    static char block[65536];
    CHECK_EQ(write(fds[1], block, sizeof(block)), sizeof(block));
    install(SIGALRM, 0);
    alarm_in(20);
    CHECK_ERRNO(write(fds[1], block, 1), EINTR);
}

TEST("write_partly_done_returns_count") {
    int fds[2];
    OK(pipe(fds));
    static char block[100000];
    install(SIGALRM, 0);
    alarm_in(30);
    CHECK_EQ(write(fds[1], block, sizeof(block)), 65536);
}

TEST("waitpid_eintr_and_restart") {
    pid_t pid = OK(fork());
    if (pid == 0) {
        sleep_ms(150);
        _exit(3);
    }
    install(SIGALRM, 0);
    alarm_in(20);
    int status;
    CHECK_ERRNO(waitpid(pid, &status, 0), EINTR);
    install(SIGALRM, SA_RESTART);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    stop_alarm();
    CHECK_EXITED(status, 3);
}

TEST("nanosleep_eintr_even_with_restart") {
    install(SIGALRM, SA_RESTART);
    alarm_in(20, false);
    timespec wanted = {5, 0}, left = {};
    CHECK_ERRNO(nanosleep(&wanted, &left), EINTR);
    CHECK_EQ(left.tv_sec, 4);
    CHECK_GT(left.tv_nsec, 500000000);
}

TEST("nanosleep_goes_on_after_ignored_or_stop_signal") {
    pid_t pid = OK(fork());
    if (pid == 0) {
        uint64_t start = now_ns();
        timespec wanted = {0, 150000000};
        CHECK_EQ(nanosleep(&wanted, nullptr), 0);
        CHECK_GE(now_ns() - start, 150000000u);
        _exit(0);
    }
    int status;
    sleep_ms(20);
    OK(kill(pid, SIGSTOP));
    CHECK_EQ(waitpid(pid, &status, WUNTRACED), pid);
    OK(kill(pid, SIGCONT));
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EXITED(status, 0);
}

TEST("poll_eintr_never_restarts") {
    install(SIGALRM, SA_RESTART);
    alarm_in(20);
    CHECK_ERRNO(poll(nullptr, 0, 5000), EINTR);
}

TEST("select_eintr_never_restarts") {
    install(SIGALRM, SA_RESTART);
    alarm_in(20);
    CHECK_ERRNO(select(0, nullptr, nullptr, nullptr, nullptr), EINTR);
}

TEST("pause_returns_eintr") {
    install(SIGALRM, SA_RESTART);
    alarm_in(20);
    CHECK_ERRNO(pause(), EINTR);
    CHECK_GE(hits, 1);
}

TEST("futex_wait_eintr") {
    install(SIGALRM, 0);
    alarm_in(20);
    int word = 0;
    CHECK_ERRNO(syscall(SYS_futex, &word, FUTEX_WAIT, 0, nullptr, nullptr, 0), EINTR);
}

TEST("futex_wait_restarts") {
    install(SIGALRM, SA_RESTART);
    static std::atomic<int> word{0};
    alarm_in(10);
    pthread_t thread;
    pthread_create(
        &thread, nullptr,
        [](void*) -> void* {
            sleep_ms(60);
            word = 1;
            syscall(SYS_futex, &word, FUTEX_WAKE, 1, nullptr, nullptr, 0);
            return nullptr;
        },
        nullptr);
    long result = 0;
    while (word == 0) result = syscall(SYS_futex, &word, FUTEX_WAIT, 0, nullptr, nullptr, 0);
    stop_alarm();
    CHECK(result == 0 || errno == EAGAIN);
    pthread_join(thread, nullptr);
}

TEST("sigsuspend_sets_mask_and_restores") {
    sigset_t set, empty;
    sigemptyset(&set);
    sigemptyset(&empty);
    sigaddset(&set, SIGUSR1);
    OK(sigprocmask(SIG_BLOCK, &set, nullptr));
    install(SIGUSR1, 0);
    raise(SIGUSR1);
    CHECK_EQ(hits, 0);
    CHECK_ERRNO(sigsuspend(&empty), EINTR);
    CHECK_EQ(hits, 1);
    sigset_t now;
    OK(sigprocmask(SIG_BLOCK, nullptr, &now));
    CHECK(sigismember(&now, SIGUSR1));
}

TEST("sigsuspend_ignores_blocked_others") {
    install(SIGALRM, 0);
    sigset_t set;
    sigfillset(&set);
    sigdelset(&set, SIGALRM);
    alarm_in(20);
    CHECK_ERRNO(sigsuspend(&set), EINTR);
    CHECK_EQ(hits, 1);
}

TEST("sigtimedwait_takes_pending") {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    OK(sigprocmask(SIG_BLOCK, &set, nullptr));
    raise(SIGUSR1);
    siginfo_t info;
    timespec limit = {1, 0};
    CHECK_EQ(sigtimedwait(&set, &info, &limit), SIGUSR1);
    CHECK_EQ(info.si_signo, SIGUSR1);
    sigset_t pending;
    OK(sigpending(&pending));
    CHECK(!sigismember(&pending, SIGUSR1));
}

TEST("sigtimedwait_times_out") {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    OK(sigprocmask(SIG_BLOCK, &set, nullptr));
    timespec limit = {0, 20000000};
    CHECK_ERRNO(sigtimedwait(&set, nullptr, &limit), EAGAIN);
}

TEST("sigwait_woken_by_other_process") {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    OK(sigprocmask(SIG_BLOCK, &set, nullptr));
    pid_t parent = getpid();
    pid_t pid = OK(fork());
    if (pid == 0) {
        sleep_ms(20);
        _exit(kill(parent, SIGUSR1) == 0 ? 0 : 1);
    }
    int signo = 0;
    CHECK_EQ(sigwait(&set, &signo), 0);
    CHECK_EQ(signo, SIGUSR1);
    OK(waitpid(pid, nullptr, 0));
}

TEST("ppoll_mask_lets_signal_in") {
    sigset_t set, empty;
    sigemptyset(&set);
    sigemptyset(&empty);
    sigaddset(&set, SIGUSR1);
    OK(sigprocmask(SIG_BLOCK, &set, nullptr));
    install(SIGUSR1, 0);
    raise(SIGUSR1);
    timespec limit = {2, 0};
    CHECK_ERRNO(ppoll(nullptr, 0, &limit, &empty), EINTR);
    CHECK_EQ(hits, 1);
    CHECK_ERRNO((raise(SIGUSR1), pselect(0, nullptr, nullptr, nullptr, &limit, &empty)), EINTR);
    CHECK_EQ(hits, 2);
}

TEST("sigpipe_kills") {
    int status = run_child([] {
        int fds[2];
        OK(pipe(fds));
        close(fds[0]);
        if (write(fds[1], "x", 1) < 0) _exit(1);
    });
    CHECK_SIGNALED(status, SIGPIPE);
}

TEST("signal_to_thread_runs_there") {
    static std::atomic<long> tid{0}, ran_in{0};
    struct sigaction action = {};
    action.sa_handler = [](int) { ran_in = syscall(SYS_gettid); };
    OK(sigaction(SIGUSR1, &action, nullptr));
    pthread_t thread;
    pthread_create(
        &thread, nullptr,
        [](void*) -> void* {
            tid = syscall(SYS_gettid);
            while (ran_in == 0) sleep_ms(2);
            return nullptr;
        },
        nullptr);
    while (tid == 0) sleep_ms(1);
    CHECK_EQ(pthread_kill(thread, SIGUSR1), 0);
    pthread_join(thread, nullptr);
    CHECK_EQ(ran_in.load(), tid.load());
}

TEST("process_signal_goes_to_unblocked_thread") {
    static std::atomic<int> ran{0};
    struct sigaction action = {};
    action.sa_handler = [](int) { ran++; };
    OK(sigaction(SIGUSR1, &action, nullptr));
    pthread_t thread;
    pthread_create(
        &thread, nullptr,
        [](void*) -> void* {
            while (ran == 0) sleep_ms(2);
            return nullptr;
        },
        nullptr);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &set, nullptr);
    OK(kill(getpid(), SIGUSR1));
    pthread_join(thread, nullptr);
    CHECK_EQ(ran.load(), 1);
}

TEST("spinning_program_is_interrupted") {
    install(SIGALRM, 0);
    alarm_in(20);
    while (hits < 3) asm volatile("pause");
    stop_alarm();
}

TEST("registers_survive_handlers") {
    // A spinning loop with known values in the general registers, interrupted many times.
    install(SIGALRM, 0);
    itimerval timer = {{0, 1000}, {0, 1000}};
    OK(setitimer(ITIMER_REAL, &timer, nullptr));
    uint64_t bad = 0;
    uint64_t end = now_ns() + 100000000;
    while (now_ns() < end || hits < 3) {
        asm volatile(
            "mov $0x1111, %%rbx; mov $0x2222, %%rcx; mov $0x3333, %%rdx; mov $0x4444, %%rsi; mov $0x5555, %%rdi\n"
            "mov $0x8888, %%r8; mov $0x9999, %%r9; mov $0xaaaa, %%r10; mov $0xbbbb, %%r11; mov $0xcccc, %%r12; mov "
            "$0xdddd, %%r13; mov $0xeeee, %%r14; mov $0xffff, %%r15\n"
            "mov $100000, %%eax\n"
            "1: dec %%eax\n jnz 1b\n"
            "xor %%eax, %%eax\n"
            "cmp $0x1111, %%rbx; setne %%al; add %%rax, %[bad]; cmp $0x2222, %%rcx; setne %%al; add %%rax, %[bad]\n"
            "cmp $0x3333, %%rdx; setne %%al; add %%rax, %[bad]; cmp $0x4444, %%rsi; setne %%al; add %%rax, %[bad]\n"
            "cmp $0x5555, %%rdi; setne %%al; add %%rax, %[bad]; cmp $0x8888, %%r8; setne %%al; add %%rax, %[bad]\n"
            "cmp $0x9999, %%r9; setne %%al; add %%rax, %[bad]; cmp $0xaaaa, %%r10; setne %%al; add %%rax, %[bad]\n"
            "cmp $0xbbbb, %%r11; setne %%al; add %%rax, %[bad]; cmp $0xcccc, %%r12; setne %%al; add %%rax, %[bad]\n"
            "cmp $0xdddd, %%r13; setne %%al; add %%rax, %[bad]; cmp $0xeeee, %%r14; setne %%al; add %%rax, %[bad]\n"
            "cmp $0xffff, %%r15; setne %%al; add %%rax, %[bad]\n"
            : [bad] "+m"(bad)
            :
            : "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "cc",
              "memory");
    }
    stop_alarm();
    CHECK_EQ(bad, 0);
    CHECK_GE(hits, 3);
}

TEST("red_zone_survives_handler") {
    install(SIGALRM, 0);
    itimerval timer = {{0, 1000}, {0, 1000}};
    OK(setitimer(ITIMER_REAL, &timer, nullptr));
    uint64_t bad = 0;
    while (hits < 5) {
        uint64_t got;
        asm volatile(
            "movq $0x12345678, -8(%%rsp); movq $0x7654321, -128(%%rsp)\n"
            "mov $50000, %%ecx\n1: dec %%ecx\n jnz 1b\n"
            "mov -8(%%rsp), %%rcx; add -128(%%rsp), %%rcx; mov %%rcx, %0"
            : "=r"(got)
            :
            : "rcx", "cc", "memory");
        bad += got != 0x12345678 + 0x7654321;
    }
    stop_alarm();
    CHECK_EQ(bad, 0);
}

TEST("handler_changes_registers_by_context") {
    static int dummy = 0;
    struct sigaction action = {};
    action.sa_flags = SA_SIGINFO;
    action.sa_sigaction = [](int, siginfo_t*, void* context) {
        auto* user = static_cast<ucontext_t*>(context);
        user->uc_mcontext.gregs[REG_RAX] = reinterpret_cast<greg_t>(&dummy);
    };
    OK(sigaction(SIGSEGV, &action, nullptr));
    asm volatile("movl $7, (%%rax)" : : "a"(8ul) : "memory");
    CHECK_EQ(dummy, 7);
}

TEST("stack_is_aligned_in_handler") {
    static uintptr_t frame = 1;
    struct sigaction action = {};
    action.sa_handler = [](int) { frame = reinterpret_cast<uintptr_t>(__builtin_frame_address(0)); };
    OK(sigaction(SIGUSR1, &action, nullptr));
    raise(SIGUSR1);
    CHECK_EQ(frame % 16, 0);
}

TEST("signal_storm_between_two_processes") {
    install(SIGUSR1, SA_RESTART);
    pid_t parent = getpid();
    pid_t pid = OK(fork());
    if (pid == 0) {
        for (int i = 0; i < 300; i++) kill(parent, SIGUSR1);
        _exit(0);
    }
    int status;
    while (waitpid(pid, &status, 0) < 0) {}
    CHECK_EXITED(status, 0);
    CHECK_GE(hits, 1);
}

TEST("eintr_close_race_of_wait_with_sigchld_handler") {
    // The classical shell loop: SIGCHLD handler reaps, main waits by sigsuspend.
    static std::atomic<int> reaped{0};
    struct sigaction action = {};
    action.sa_handler = [](int) {
        while (waitpid(-1, nullptr, WNOHANG) > 0) reaped++;
    };
    OK(sigaction(SIGCHLD, &action, nullptr));
    sigset_t set, old;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    OK(sigprocmask(SIG_BLOCK, &set, &old));
    for (int i = 0; i < 20; i++)
        if (OK(fork()) == 0) _exit(0);
    while (reaped < 20) sigsuspend(&old);
    CHECK_EQ(reaped.load(), 20);
}
