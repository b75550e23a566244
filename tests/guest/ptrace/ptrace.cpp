// ptrace: stops, registers, memory, system calls, events, and who may.
#include <elf.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>

#include <cstddef>

#include "tests/guest/guest_test.hpp"

using namespace guest;

namespace {
constexpr long kOptionsBase = PTRACE_O_TRACESYSGOOD;

// A child that stops itself and then runs `body`.
template <typename Body>
pid_t traced(Body body) {
    pid_t pid = OK(fork());
    if (pid == 0) {
        OK(ptrace(PTRACE_TRACEME, 0, nullptr, nullptr));
        raise(SIGSTOP);
        body();
        _exit(0);
    }
    int status = 0;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFSTOPPED(status));
    CHECK_EQ(WSTOPSIG(status), SIGSTOP);
    OK(ptrace(static_cast<__ptrace_request>(PTRACE_SETOPTIONS), pid, nullptr, kOptionsBase | PTRACE_O_EXITKILL));
    return pid;
}

template <typename Body>
pid_t untraced(Body body) {
    pid_t pid = OK(fork());
    if (pid == 0) {
        body();
        _exit(0);
    }
    return pid;
}

int wait_status(pid_t pid) {
    int status = 0;
    CHECK_EQ(waitpid(pid, &status, __WALL), pid);
    return status;
}

void cont(pid_t pid, int signal = 0) { OK(ptrace(PTRACE_CONT, pid, nullptr, static_cast<long>(signal))); }
void to_syscall(pid_t pid) { OK(ptrace(PTRACE_SYSCALL, pid, nullptr, nullptr)); }

user_regs_struct registers(pid_t pid) {
    user_regs_struct regs;
    OK(ptrace(PTRACE_GETREGS, pid, nullptr, &regs));
    return regs;
}

void expect_syscall_stop(pid_t pid) {
    const int status = wait_status(pid);
    CHECK(WIFSTOPPED(status));
    CHECK_EQ(WSTOPSIG(status), SIGTRAP | 0x80);
}

// Runs to the next entry of that call.
void run_to(pid_t pid, long number) {
    for (int i = 0; i < 200; i++) {
        to_syscall(pid);
        expect_syscall_stop(pid);
        if (static_cast<long>(registers(pid).orig_rax) == number) return;
    }
    fail(__FILE__, __LINE__, "system call %ld did not come", number);
}

void expect_event(int status, int event) { CHECK_EQ(status, SIGTRAP << 8 | event << 16 | 0x7f); }

long message(pid_t pid) {
    unsigned long value = 0;
    OK(ptrace(static_cast<__ptrace_request>(PTRACE_GETEVENTMSG), pid, nullptr, &value));
    return static_cast<long>(value);
}

void set_options(pid_t pid, long options) {
    OK(ptrace(static_cast<__ptrace_request>(PTRACE_SETOPTIONS), pid, nullptr, options | PTRACE_O_EXITKILL));
}

volatile long word = 0x1122334455667788;

// From here on getppid(2) asks the tracer, with 77 as the message; getpgrp(2) is ENOENT.
void trace_getppid_by_filter() {
    sock_filter code[] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
                          BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
                          BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE | 77),
                          BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getpgrp, 0, 1),
                          BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOENT),
                          BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
    sock_fprog program{static_cast<unsigned short>(sizeof code / sizeof code[0]), code};
    OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    OK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program));
}
}  // namespace

TEST("traceme_stops_at_a_signal") {
    pid_t pid = traced([] { _exit(7); });
    cont(pid);
    CHECK_EXITED(wait_status(pid), 7);
}

TEST("traceme_twice_is_eperm") {
    CHECK_EXITED(run_child([] {
                     OK(ptrace(PTRACE_TRACEME, 0, nullptr, nullptr));
                     CHECK_ERRNO(ptrace(PTRACE_TRACEME, 0, nullptr, nullptr), EPERM);
                 }),
                 0);
}

TEST("signal_is_suppressed") {
    pid_t pid = traced([] {
        raise(SIGUSR1);
        _exit(3);
    });
    cont(pid);
    CHECK_EQ(wait_status(pid) >> 8, SIGUSR1);
    cont(pid, 0);
    CHECK_EXITED(wait_status(pid), 3);
}

TEST("signal_is_delivered") {
    pid_t pid = traced([] {
        raise(SIGUSR1);
        _exit(3);
    });
    cont(pid);
    CHECK_EQ(wait_status(pid) >> 8, SIGUSR1);
    cont(pid, SIGUSR1);
    CHECK_SIGNALED(wait_status(pid), SIGUSR1);
}

TEST("signal_is_replaced") {
    pid_t pid = traced([] { raise(SIGUSR1); });
    cont(pid);
    CHECK_EQ(wait_status(pid) >> 8, SIGUSR1);
    cont(pid, SIGTERM);
    CHECK_SIGNALED(wait_status(pid), SIGTERM);
}

TEST("ignored_signal_is_seen") {
    pid_t pid = traced([] {
        signal(SIGUSR2, SIG_IGN);
        raise(SIGUSR2);
        _exit(5);
    });
    cont(pid);
    CHECK_EQ(wait_status(pid) >> 8, SIGUSR2);
    cont(pid, SIGUSR2);
    CHECK_EXITED(wait_status(pid), 5);
}

TEST("sigkill_ends_a_stopped_tracee") {
    pid_t pid = traced([] { pause(); });
    OK(kill(pid, SIGKILL));
    CHECK_SIGNALED(wait_status(pid), SIGKILL);
}

TEST("ptrace_kill_ends_it") {
    pid_t pid = traced([] { pause(); });
    OK(ptrace(PTRACE_KILL, pid, nullptr, nullptr));
    CHECK_SIGNALED(wait_status(pid), SIGKILL);
}

TEST("siginfo_tells_the_sender") {
    pid_t pid = traced([] { raise(SIGUSR1); });
    cont(pid);
    wait_status(pid);
    siginfo_t info;
    OK(ptrace(static_cast<__ptrace_request>(PTRACE_GETSIGINFO), pid, nullptr, &info));
    CHECK_EQ(info.si_signo, SIGUSR1);
    CHECK_EQ(info.si_code, SI_TKILL);
    CHECK_EQ(info.si_pid, pid);
}

TEST("siginfo_can_be_changed") {
    pid_t pid = traced([] {
        struct sigaction action = {};
        action.sa_flags = SA_SIGINFO;
        action.sa_sigaction = [](int, siginfo_t* info, void*) { _exit(info->si_value.sival_int); };
        OK(sigaction(SIGUSR1, &action, nullptr));
        raise(SIGUSR1);
    });
    cont(pid);
    wait_status(pid);
    siginfo_t info = {};
    info.si_signo = SIGUSR1;
    info.si_code = SI_QUEUE;
    info.si_value.sival_int = 42;
    OK(ptrace(static_cast<__ptrace_request>(PTRACE_SETSIGINFO), pid, nullptr, &info));
    cont(pid, SIGUSR1);
    CHECK_EXITED(wait_status(pid), 42);
}

TEST("peek_and_poke_memory") {
    pid_t pid = traced([] { _exit(word == 99 ? 1 : 2); });
    errno = 0;
    CHECK_EQ(ptrace(PTRACE_PEEKDATA, pid, const_cast<long*>(&word), nullptr), 0x1122334455667788);
    CHECK_EQ(errno, 0);
    OK(ptrace(PTRACE_POKEDATA, pid, const_cast<long*>(&word), 99l));
    CHECK_EQ(word, 0x1122334455667788);
    cont(pid);
    CHECK_EXITED(wait_status(pid), 1);
}

TEST("poke_writes_code") {
    static unsigned char* code;
    code = static_cast<unsigned char*>(
        OK(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)));
    memcpy(code, "\xb8\x01\x00\x00\x00\xc3", 6);  // mov eax, 1; ret
    OK(mprotect(code, 4096, PROT_READ | PROT_EXEC));
    pid_t pid = traced([] { _exit(reinterpret_cast<int (*)()>(code)()); });
    OK(ptrace(PTRACE_POKETEXT, pid, code, 0xc300000009b8));
    cont(pid);
    CHECK_EXITED(wait_status(pid), 9);
    CHECK_EQ(code[1], 1);
}

TEST("peek_of_nothing_is_eio") {
    pid_t pid = traced([] {});
    CHECK_ERRNO(ptrace(PTRACE_PEEKDATA, pid, 8, nullptr), EIO);
    CHECK_ERRNO(ptrace(PTRACE_POKEDATA, pid, 8, 1l), EIO);
}

TEST("registers_are_read_and_written") {
    pid_t pid = traced([] {
        long result;
        asm volatile("mov $5, %%r12; int3; mov %%r12, %0" : "=r"(result)::"r12");
        _exit(static_cast<int>(result));
    });
    cont(pid);
    CHECK_EQ(wait_status(pid) >> 8, SIGTRAP);
    user_regs_struct regs = registers(pid);
    CHECK_EQ(regs.r12, 5);
    CHECK_EQ(regs.cs, 0x33);
    CHECK_EQ(regs.ss, 0x2b);
    CHECK_EQ(static_cast<long>(regs.orig_rax), -1);
    regs.r12 = 77;
    OK(ptrace(PTRACE_SETREGS, pid, nullptr, &regs));
    cont(pid);
    CHECK_EXITED(wait_status(pid), 77);
}

TEST("breakpoint_stops_behind_int3") {
    pid_t pid = traced([] {
        asm volatile("int3; nop");
        _exit(4);
    });
    cont(pid);
    CHECK_EQ(wait_status(pid) >> 8, SIGTRAP);
    const auto regs = registers(pid);
    const long before = ptrace(PTRACE_PEEKTEXT, pid, regs.rip - 1, nullptr);
    CHECK_EQ(before & 0xff, 0xcc);
    siginfo_t info;
    OK(ptrace(static_cast<__ptrace_request>(PTRACE_GETSIGINFO), pid, nullptr, &info));
    CHECK_EQ(info.si_code, SI_KERNEL);
    cont(pid);
    CHECK_EXITED(wait_status(pid), 4);
}

TEST("user_area_has_registers") {
    pid_t pid = traced([] {
        asm volatile("mov $6, %%rbx; int3" ::: "rbx");
        _exit(0);
    });
    cont(pid);
    wait_status(pid);
    CHECK_EQ(ptrace(PTRACE_PEEKUSER, pid, offsetof(user, regs.rbx), nullptr), 6);
    OK(ptrace(PTRACE_POKEUSER, pid, offsetof(user, regs.rbx), 8l));
    CHECK_EQ(registers(pid).rbx, 8);
    CHECK_ERRNO(ptrace(PTRACE_PEEKUSER, pid, 3, nullptr), EIO);
    CHECK_ERRNO(ptrace(PTRACE_PEEKUSER, pid, sizeof(user) + 16, nullptr), EIO);
    errno = 0;
    CHECK_EQ(ptrace(PTRACE_PEEKUSER, pid, offsetof(user, u_debugreg[7]), nullptr), 0);
    CHECK_EQ(errno, 0);
    OK(ptrace(PTRACE_POKEUSER, pid, offsetof(user, u_debugreg[7]), 0l));
}

TEST("bad_selector_is_eio") {
    pid_t pid = traced([] {});
    user_regs_struct regs = registers(pid);
    regs.cs = 0x10;
    CHECK_ERRNO(ptrace(PTRACE_SETREGS, pid, nullptr, &regs), EIO);
}

TEST("regset_prstatus") {
    pid_t pid = traced([] {});
    user_regs_struct regs;
    iovec window = {&regs, sizeof regs + 64};
    OK(ptrace(static_cast<__ptrace_request>(PTRACE_GETREGSET), pid, NT_PRSTATUS, &window));
    CHECK_EQ(window.iov_len, sizeof regs);
    CHECK_EQ(regs.rip, registers(pid).rip);
    window = {&regs, 16};
    OK(ptrace(static_cast<__ptrace_request>(PTRACE_GETREGSET), pid, NT_PRSTATUS, &window));
    CHECK_EQ(window.iov_len, 16);
    window = {&regs, 13};
    CHECK_ERRNO(ptrace(static_cast<__ptrace_request>(PTRACE_GETREGSET), pid, NT_PRSTATUS, &window), EINVAL);
    CHECK_ERRNO(ptrace(static_cast<__ptrace_request>(PTRACE_GETREGSET), pid, 0x7777, &window), EINVAL);
}

TEST("floating_point_registers") {
    pid_t pid = traced([] {
        double value = 1.5;
        asm volatile("movsd %0, %%xmm9; int3; movsd %%xmm9, %0" : "+m"(value)::"xmm9");
        _exit(static_cast<int>(value));
    });
    cont(pid);
    wait_status(pid);
    user_fpregs_struct fp;
    OK(ptrace(PTRACE_GETFPREGS, pid, nullptr, &fp));
    double value;
    memcpy(&value, &fp.xmm_space[9 * 4], sizeof value);
    CHECK(value == 1.5);
    CHECK_EQ(fp.cwd, 0x37f);
    value = 33;
    memcpy(&fp.xmm_space[9 * 4], &value, sizeof value);
    OK(ptrace(PTRACE_SETFPREGS, pid, nullptr, &fp));
    cont(pid);
    CHECK_EXITED(wait_status(pid), 33);
}

TEST("xstate_regset_round_trip") {
    pid_t pid = traced([] {
        double value = 2;
        asm volatile("movsd %0, %%xmm3; int3; movsd %%xmm3, %0" : "+m"(value)::"xmm3");
        _exit(static_cast<int>(value));
    });
    cont(pid);
    wait_status(pid);
    alignas(64) static char area[16384];
    iovec window = {area, sizeof area};
    if (ptrace(static_cast<__ptrace_request>(PTRACE_GETREGSET), pid, NT_X86_XSTATE, &window) < 0) SKIP("no XSAVE");
    CHECK_GE(window.iov_len, 576);
    uint64_t features;
    memcpy(&features, area + 464, sizeof features);
    CHECK_EQ(features & 3, 3);
    double value = 21;
    memcpy(area + 160 + 3 * 16, &value, sizeof value);
    OK(ptrace(static_cast<__ptrace_request>(PTRACE_SETREGSET), pid, NT_X86_XSTATE, &window));
    cont(pid);
    CHECK_EXITED(wait_status(pid), 21);
}

TEST("syscall_stops_show_number_arguments_and_result") {
    pid_t pid = traced([] {
        syscall(SYS_getpgid, 0);
        _exit(0);
    });
    run_to(pid, SYS_getpgid);
    auto regs = registers(pid);
    CHECK_EQ(static_cast<long>(regs.rax), -ENOSYS);
    CHECK_EQ(regs.rdi, 0);
    to_syscall(pid);
    expect_syscall_stop(pid);
    regs = registers(pid);
    CHECK_EQ(regs.orig_rax, SYS_getpgid);
    CHECK_EQ(regs.rax, getpgid(pid));
}

TEST("syscall_number_can_be_changed") {
    pid_t pid = traced([] { _exit(syscall(SYS_getuid) == getpid() ? 1 : 2); });
    run_to(pid, SYS_getuid);
    OK(ptrace(PTRACE_POKEUSER, pid, offsetof(user, regs.orig_rax), static_cast<long>(SYS_getpid)));
    cont(pid);
    CHECK_EXITED(wait_status(pid), 1);
}

TEST("syscall_can_be_skipped") {
    pid_t pid = traced([] { _exit(syscall(SYS_getuid) == -1 && errno == ENOSYS ? 1 : 2); });
    run_to(pid, SYS_getuid);
    OK(ptrace(PTRACE_POKEUSER, pid, offsetof(user, regs.orig_rax), -1l));
    cont(pid);
    CHECK_EXITED(wait_status(pid), 1);
}

TEST("syscall_arguments_can_be_changed") {
    pid_t pid = traced([] { _exit(1); });
    run_to(pid, SYS_exit_group);
    OK(ptrace(PTRACE_POKEUSER, pid, offsetof(user, regs.rdi), 55l));
    cont(pid);
    CHECK_EXITED(wait_status(pid), 55);
}

TEST("syscall_result_can_be_changed") {
    pid_t pid = traced([] { _exit(static_cast<int>(syscall(SYS_getuid))); });
    run_to(pid, SYS_getuid);
    to_syscall(pid);
    expect_syscall_stop(pid);
    OK(ptrace(PTRACE_POKEUSER, pid, offsetof(user, regs.rax), 66l));
    cont(pid);
    CHECK_EXITED(wait_status(pid), 66);
}

TEST("without_sysgood_it_is_plain_sigtrap") {
    pid_t pid = traced([] { getppid(); });
    set_options(pid, 0);
    to_syscall(pid);
    CHECK_EQ(wait_status(pid) >> 8, SIGTRAP);
}

TEST("syscall_info_entry_and_exit") {
    pid_t pid = traced([] {
        syscall(SYS_close, 12345);
        _exit(0);
    });
    run_to(pid, SYS_close);
    char raw[96] = {};
    long size = OK(ptrace(static_cast<__ptrace_request>(0x420e), pid, sizeof raw, raw));
    CHECK_EQ(size, 80);
    CHECK_EQ(raw[0], 1);
    uint64_t words[3];
    memcpy(words, raw + 24, sizeof words);
    CHECK_EQ(words[0], SYS_close);
    CHECK_EQ(words[1], 12345);
    to_syscall(pid);
    expect_syscall_stop(pid);
    size = OK(ptrace(static_cast<__ptrace_request>(0x420e), pid, sizeof raw, raw));
    CHECK_EQ(size, 33);
    CHECK_EQ(raw[0], 2);
    memcpy(words, raw + 24, sizeof words);
    CHECK_EQ(static_cast<long>(words[0]), -EBADF);
    CHECK_EQ(raw[32], 1);
}

TEST("single_steps_count_instructions") {
    pid_t pid = traced([] {
        asm volatile("int3; nop; nop; nop; nop; int3");
        _exit(0);
    });
    cont(pid);
    wait_status(pid);
    const auto start = registers(pid).rip;
    for (int i = 1; i <= 4; i++) {
        OK(ptrace(PTRACE_SINGLESTEP, pid, nullptr, nullptr));
        CHECK_EQ(wait_status(pid) >> 8, SIGTRAP);
        const auto regs = registers(pid);
        CHECK_EQ(regs.rip, start + i);
        CHECK_EQ(regs.eflags & 0x100, 0);
    }
    siginfo_t info;
    OK(ptrace(static_cast<__ptrace_request>(PTRACE_GETSIGINFO), pid, nullptr, &info));
    CHECK_EQ(info.si_code, TRAP_TRACE);
}

TEST("single_step_over_a_system_call") {
    pid_t pid = traced([] {
        asm volatile("int3; syscall; nop; nop" ::"a"(SYS_getppid) : "rcx", "r11", "memory");
        _exit(9);
    });
    cont(pid);
    wait_status(pid);
    const auto start = registers(pid).rip;
    OK(ptrace(PTRACE_SINGLESTEP, pid, nullptr, nullptr));
    CHECK_EQ(wait_status(pid) >> 8, SIGTRAP);
    CHECK_EQ(registers(pid).rip, start + 2);
    CHECK_EQ(registers(pid).rax, getpid());
    OK(ptrace(PTRACE_SINGLESTEP, pid, nullptr, nullptr));
    CHECK_EQ(wait_status(pid) >> 8, SIGTRAP);
    CHECK_EQ(registers(pid).rip, start + 3);
    cont(pid);
    CHECK_EXITED(wait_status(pid), 9);
}

TEST("single_step_into_a_handler") {
    static void (*handler)(int) = [](int) { _exit(8); };
    pid_t pid = traced([] {
        signal(SIGUSR1, handler);
        raise(SIGUSR1);
    });
    cont(pid);
    CHECK_EQ(wait_status(pid) >> 8, SIGUSR1);
    OK(ptrace(PTRACE_SINGLESTEP, pid, nullptr, static_cast<long>(SIGUSR1)));
    CHECK_EQ(wait_status(pid) >> 8, SIGTRAP);
    CHECK_EQ(registers(pid).rip, reinterpret_cast<uintptr_t>(handler));
    cont(pid);
    CHECK_EXITED(wait_status(pid), 8);
}

TEST("fork_event") {
    pid_t pid = traced([] {
        pid_t child = syscall(SYS_fork);
        if (child == 0) _exit(11);
        int status;
        waitpid(child, &status, 0);
        _exit(WEXITSTATUS(status) + 1);
    });
    set_options(pid, PTRACE_O_TRACEFORK);
    cont(pid);
    expect_event(wait_status(pid), PTRACE_EVENT_FORK);
    const pid_t child = static_cast<pid_t>(message(pid));
    CHECK_EQ(wait_status(child) >> 8, SIGSTOP);
    cont(child);
    cont(pid);
    CHECK_EXITED(wait_status(child), 11);
    int status = wait_status(pid);
    if (WIFSTOPPED(status)) {
        CHECK_EQ(WSTOPSIG(status), SIGCHLD);
        cont(pid);
        status = wait_status(pid);
    }
    CHECK_EXITED(status, 12);
}

TEST("vfork_events") {
    pid_t pid = traced([] {
        if (vfork() == 0) _exit(0);
        _exit(5);
    });
    set_options(pid, PTRACE_O_TRACEVFORK | PTRACE_O_TRACEVFORKDONE);
    cont(pid);
    expect_event(wait_status(pid), PTRACE_EVENT_VFORK);
    const pid_t child = static_cast<pid_t>(message(pid));
    cont(pid);
    CHECK_EQ(wait_status(child) >> 8, SIGSTOP);
    OK(ptrace(PTRACE_DETACH, child, nullptr, nullptr));
    int status = wait_status(pid);
    if (WIFSTOPPED(status) && status >> 8 == SIGCHLD) {
        cont(pid);
        status = wait_status(pid);
    }
    expect_event(status, PTRACE_EVENT_VFORK_DONE);
    CHECK_EQ(message(pid), child);
}

TEST("clone_event_of_a_thread") {
    pid_t pid = traced([] {
        pthread_t thread;
        pthread_create(
            &thread, nullptr, [](void*) -> void* { return nullptr; }, nullptr);
        pthread_join(thread, nullptr);
        _exit(6);
    });
    set_options(pid, PTRACE_O_TRACECLONE);
    cont(pid);
    expect_event(wait_status(pid), PTRACE_EVENT_CLONE);
    const pid_t thread = static_cast<pid_t>(message(pid));
    CHECK_EQ(wait_status(thread) >> 8, SIGSTOP);
    cont(thread);
    cont(pid);
    CHECK(WIFEXITED(wait_status(thread)));  // with 6 where exit_group(2) came first
    CHECK_EXITED(wait_status(pid), 6);
}

TEST("exec_event") {
    pid_t pid = traced([] {
        execl("/bin/helper_static", "helper_static", nullptr);
        _exit(77);
    });
    set_options(pid, PTRACE_O_TRACEEXEC);
    cont(pid);
    expect_event(wait_status(pid), PTRACE_EVENT_EXEC);
    CHECK_EQ(message(pid), pid);
    CHECK_EQ(registers(pid).orig_rax, SYS_execve);
    OK(ptrace(PTRACE_KILL, pid, nullptr, nullptr));
    CHECK_SIGNALED(wait_status(pid), SIGKILL);
}

TEST("exec_without_option_is_sigtrap") {
    pid_t pid = traced([] {
        execl("/bin/helper_static", "helper_static", nullptr);
        _exit(77);
    });
    cont(pid);
    CHECK_EQ(wait_status(pid) >> 8, SIGTRAP);
    siginfo_t info;
    OK(ptrace(static_cast<__ptrace_request>(PTRACE_GETSIGINFO), pid, nullptr, &info));
    CHECK_EQ(info.si_code, SI_USER);
    OK(kill(pid, SIGKILL));
    wait_status(pid);
}

TEST("seccomp_event_and_call_goes_on") {
    const pid_t parent = getpid();
    pid_t pid = traced([parent] {
        trace_getppid_by_filter();
        _exit(syscall(SYS_getppid) == parent ? 0 : 1);
    });
    set_options(pid, PTRACE_O_TRACESECCOMP);
    cont(pid);
    expect_event(wait_status(pid), PTRACE_EVENT_SECCOMP);
    CHECK_EQ(message(pid), 77);
    const user_regs_struct regs = registers(pid);
    CHECK_EQ(regs.orig_rax, SYS_getppid);
    CHECK_EQ(static_cast<long>(regs.rax), -ENOSYS);
    cont(pid);
    CHECK_EXITED(wait_status(pid), 0);
}

TEST("seccomp_event_can_skip_and_change_the_call") {
    pid_t pid = traced([] {
        trace_getppid_by_filter();
        if (syscall(SYS_getppid) != 4711) _exit(1);
        if (syscall(SYS_getppid) != getpid()) _exit(2);
        // Changed into a call that the filter refuses.
        if (syscall(SYS_getppid) != -1 || errno != ENOENT) _exit(3);
        _exit(0);
    });
    set_options(pid, PTRACE_O_TRACESECCOMP);
    for (const long number : {-1L, static_cast<long>(SYS_getpid), static_cast<long>(SYS_getpgrp)}) {
        cont(pid);
        expect_event(wait_status(pid), PTRACE_EVENT_SECCOMP);
        user_regs_struct regs = registers(pid);
        regs.orig_rax = static_cast<unsigned long long>(number);
        if (number == -1) regs.rax = 4711;
        OK(ptrace(PTRACE_SETREGS, pid, nullptr, &regs));
    }
    cont(pid);
    CHECK_EXITED(wait_status(pid), 0);
}

TEST("seccomp_trace_without_the_option_is_enosys") {
    pid_t pid = traced([] {
        trace_getppid_by_filter();
        _exit(syscall(SYS_getppid) == -1 && errno == ENOSYS ? 0 : 1);
    });
    cont(pid);
    CHECK_EXITED(wait_status(pid), 0);
}

TEST("syscall_info") {
    struct {  // struct ptrace_syscall_info
        uint8_t op, pad[3];
        uint32_t arch;
        uint64_t instruction, stack, words[7];
        uint32_t filter_data, reserved;
    } info{};
    constexpr auto kGetSyscallInfo = static_cast<__ptrace_request>(0x420e);
    const auto get = [&](pid_t pid) { return ptrace(kGetSyscallInfo, pid, sizeof info, &info); };
    pid_t pid = traced([] {
        trace_getppid_by_filter();
        syscall(SYS_getppid, 1, 2, 3, 4, 5, 6);
        _exit(0);
    });
    CHECK_EQ(get(pid), 24);
    CHECK_EQ(info.op, 0);
    CHECK_EQ(info.arch, 0xc000003e);
    set_options(pid, PTRACE_O_TRACESECCOMP | PTRACE_O_TRACESYSGOOD);
    cont(pid);
    expect_event(wait_status(pid), PTRACE_EVENT_SECCOMP);
    CHECK_GE(get(pid), 84);
    CHECK_EQ(info.op, 3);
    CHECK_EQ(info.words[0], SYS_getppid);
    for (uint64_t i = 1; i <= 6; i++) CHECK_EQ(info.words[i], i);
    CHECK_EQ(info.filter_data, 77);
    to_syscall(pid);
    expect_syscall_stop(pid);
    CHECK_EQ(get(pid), 33);
    CHECK_EQ(info.op, 2);
    CHECK_GT(info.words[0], 0);
    to_syscall(pid);
    expect_syscall_stop(pid);
    CHECK_EQ(get(pid), 80);
    CHECK_EQ(info.op, 1);
    CHECK_EQ(info.words[0], SYS_exit_group);
    cont(pid);
    CHECK_EXITED(wait_status(pid), 0);
}

TEST("exit_event") {
    pid_t pid = traced([] { _exit(13); });
    set_options(pid, PTRACE_O_TRACEEXIT);
    cont(pid);
    expect_event(wait_status(pid), PTRACE_EVENT_EXIT);
    CHECK_EQ(message(pid), 13 << 8);
    cont(pid);
    CHECK_EXITED(wait_status(pid), 13);
}

TEST("exit_event_of_a_killed_process") {
    pid_t pid = traced([] { raise(SIGTERM); });
    set_options(pid, PTRACE_O_TRACEEXIT);
    cont(pid);
    CHECK_EQ(wait_status(pid) >> 8, SIGTERM);
    cont(pid, SIGTERM);
    expect_event(wait_status(pid), PTRACE_EVENT_EXIT);
    CHECK_EQ(message(pid), SIGTERM);
    cont(pid);
    CHECK_SIGNALED(wait_status(pid), SIGTERM);
}

TEST("attach_stops_and_detach_goes_on") {
    pid_t pid = untraced([] {
        sleep_ms(300);
        _exit(21);
    });
    OK(ptrace(PTRACE_ATTACH, pid, nullptr, nullptr));
    CHECK_EQ(wait_status(pid) >> 8, SIGSTOP);
    OK(ptrace(PTRACE_DETACH, pid, nullptr, nullptr));
    CHECK_EXITED(wait_status(pid), 21);
}

TEST("attach_restarts_an_interrupted_sleep") {
    pid_t pid = untraced([] {
        timespec time = {0, 300'000'000};
        _exit(nanosleep(&time, nullptr) == 0 ? 1 : 2);
    });
    sleep_ms(50);
    OK(ptrace(PTRACE_ATTACH, pid, nullptr, nullptr));
    CHECK_EQ(wait_status(pid) >> 8, SIGSTOP);
    cont(pid);
    CHECK_EXITED(wait_status(pid), 1);
}

TEST("detach_with_a_signal") {
    pid_t pid = traced([] { pause(); });
    OK(ptrace(PTRACE_DETACH, pid, nullptr, static_cast<long>(SIGTERM)));
    CHECK_SIGNALED(wait_status(pid), SIGTERM);
}

TEST("attach_errors") {
    CHECK_ERRNO(ptrace(PTRACE_ATTACH, 999999, nullptr, nullptr), ESRCH);
    CHECK_ERRNO(ptrace(PTRACE_ATTACH, getpid(), nullptr, nullptr), EPERM);
    pid_t pid = traced([] {});
    CHECK_ERRNO(ptrace(PTRACE_ATTACH, pid, nullptr, nullptr), EPERM);
}

TEST("attach_needs_the_same_user") {
    pid_t pid = untraced([] { pause(); });
    CHECK_EXITED(run_child([=] {
                     OK(setgid(1000));
                     OK(setuid(1000));
                     CHECK_ERRNO(ptrace(PTRACE_ATTACH, pid, nullptr, nullptr), EPERM);
                     CHECK_ERRNO(ptrace(static_cast<__ptrace_request>(PTRACE_SEIZE), pid, nullptr, nullptr), EPERM);
                 }),
                 0);
    OK(kill(pid, SIGKILL));
}

TEST("requests_need_a_stopped_tracee") {
    pid_t pid = traced([] { pause(); });
    cont(pid);
    CHECK_ERRNO(ptrace(PTRACE_PEEKDATA, pid, const_cast<long*>(&word), nullptr), ESRCH);
    CHECK_ERRNO(ptrace(PTRACE_CONT, pid, nullptr, nullptr), ESRCH);
    pid_t stranger = untraced([] { pause(); });
    CHECK_ERRNO(ptrace(PTRACE_CONT, stranger, nullptr, nullptr), ESRCH);
    OK(kill(pid, SIGKILL));
    OK(kill(stranger, SIGKILL));
}

TEST("bad_signal_or_option_is_refused") {
    pid_t pid = traced([] {});
    CHECK_ERRNO(ptrace(PTRACE_CONT, pid, nullptr, 65l), EIO);
    CHECK_ERRNO(ptrace(static_cast<__ptrace_request>(PTRACE_SETOPTIONS), pid, nullptr, 0x8000l), EINVAL);
    CHECK_ERRNO(ptrace(static_cast<__ptrace_request>(0x7fff), pid, nullptr, nullptr), EIO);
}

TEST("seize_does_not_stop_and_interrupt_does") {
    pid_t pid = untraced([] { pause(); });
    OK(ptrace(static_cast<__ptrace_request>(PTRACE_SEIZE), pid, nullptr, PTRACE_O_TRACESYSGOOD));
    sleep_ms(30);
    int status;
    CHECK_EQ(waitpid(pid, &status, WNOHANG | __WALL), 0);
    OK(ptrace(static_cast<__ptrace_request>(PTRACE_INTERRUPT), pid, nullptr, nullptr));
    expect_event(wait_status(pid), PTRACE_EVENT_STOP);
    cont(pid);
    OK(kill(pid, SIGKILL));
    CHECK_SIGNALED(wait_status(pid), SIGKILL);
}

TEST("interrupt_of_an_attached_tracee_is_eio") {
    pid_t pid = traced([] { pause(); });
    CHECK_ERRNO(ptrace(static_cast<__ptrace_request>(PTRACE_INTERRUPT), pid, nullptr, nullptr), EIO);
    CHECK_ERRNO(ptrace(static_cast<__ptrace_request>(PTRACE_LISTEN), pid, nullptr, nullptr), EIO);
}

TEST("seize_with_bad_arguments_is_eio") {
    pid_t pid = untraced([] { pause(); });
    CHECK_ERRNO(ptrace(static_cast<__ptrace_request>(PTRACE_SEIZE), pid, 1, nullptr), EIO);
    CHECK_ERRNO(ptrace(static_cast<__ptrace_request>(PTRACE_SEIZE), pid, nullptr, 0x8000l), EIO);
    OK(kill(pid, SIGKILL));
}

TEST("group_stop_of_an_attached_tracee") {
    pid_t pid = traced([] {
        raise(SIGTSTP);
        _exit(4);
    });
    cont(pid);
    CHECK_EQ(wait_status(pid) >> 8, SIGTSTP);
    cont(pid, SIGSTOP);
    CHECK_EQ(wait_status(pid) >> 8, SIGSTOP);
    siginfo_t info;
    CHECK_ERRNO(ptrace(static_cast<__ptrace_request>(PTRACE_GETSIGINFO), pid, nullptr, &info), EINVAL);
    cont(pid);
    CHECK_EXITED(wait_status(pid), 4);
}

TEST("group_stop_of_a_seized_tracee_and_listen") {
    pid_t pid = untraced([] {
        for (;;) pause();
    });
    OK(ptrace(static_cast<__ptrace_request>(PTRACE_SEIZE), pid, nullptr, nullptr));
    OK(kill(pid, SIGSTOP));
    CHECK_EQ(wait_status(pid) >> 8, SIGSTOP);
    cont(pid, SIGSTOP);
    CHECK_EQ(wait_status(pid) >> 8, SIGSTOP | PTRACE_EVENT_STOP << 8);
    OK(ptrace(static_cast<__ptrace_request>(PTRACE_LISTEN), pid, nullptr, nullptr));
    sleep_ms(30);
    int status;
    CHECK_EQ(waitpid(pid, &status, WNOHANG | __WALL), 0);
    OK(kill(pid, SIGCONT));
    CHECK_EQ(wait_status(pid) >> 8, SIGTRAP | PTRACE_EVENT_STOP << 8);
    cont(pid);
    CHECK_EQ(wait_status(pid) >> 8, SIGCONT);
    OK(kill(pid, SIGKILL));
    CHECK_SIGNALED(wait_status(pid), SIGKILL);
}

TEST("seized_fork_child_starts_with_event_stop") {
    pid_t pid = untraced([] {
        sleep_ms(100);
        if (fork() == 0) _exit(0);
        pause();
    });
    OK(ptrace(static_cast<__ptrace_request>(PTRACE_SEIZE), pid, nullptr, PTRACE_O_TRACEFORK | PTRACE_O_TRACECLONE));
    int status = wait_status(pid);
    CHECK(status >> 16 == PTRACE_EVENT_FORK || status >> 16 == PTRACE_EVENT_CLONE);
    pid_t child = static_cast<pid_t>(message(pid));
    CHECK_EQ(wait_status(child) >> 16, PTRACE_EVENT_STOP);
    cont(child);
    CHECK_EXITED(wait_status(child), 0);
    OK(kill(pid, SIGKILL));
}

TEST("exitkill_when_the_tracer_ends") {
    int fds[2];
    OK(pipe(fds));
    CHECK_EXITED(run_child([=] {
                     pid_t pid = traced([=] {
                         close(fds[0]);
                         pause();
                     });
                     cont(pid);
                 }),
                 0);
    close(fds[1]);
    char byte;
    CHECK_EQ(read(fds[0], &byte, 1), 0);  // the tracee is gone
}

TEST("tracee_goes_on_when_the_tracer_ends") {
    int fds[2];
    OK(pipe(fds));
    pid_t pid = untraced([=] {
        char byte;
        while (read(fds[0], &byte, 1) != 1) {}
        _exit(31);
    });
    CHECK_EXITED(run_child([=] {
                     OK(ptrace(PTRACE_ATTACH, pid, nullptr, nullptr));
                     int status;
                     CHECK_EQ(waitpid(pid, &status, __WALL), pid);
                     cont(pid);
                 }),
                 0);
    CHECK_EQ(write(fds[1], "x", 1), 1);
    CHECK_EXITED(wait_status(pid), 31);
}

TEST("waitid_reports_trapped") {
    pid_t pid = traced([] { raise(SIGUSR1); });
    cont(pid);
    siginfo_t info = {};
    OK(waitid(P_PID, static_cast<id_t>(pid), &info, WSTOPPED | WEXITED | WNOWAIT));
    CHECK_EQ(info.si_code, CLD_TRAPPED);
    CHECK_EQ(info.si_status, SIGUSR1);
    OK(waitid(P_PID, static_cast<id_t>(pid), &info, WSTOPPED | WEXITED));
    CHECK_EQ(info.si_pid, pid);
    int status;
    CHECK_EQ(waitpid(pid, &status, WNOHANG), 0);
}

TEST("tracer_pid_and_state_in_proc") {
    pid_t pid = traced([] {});
    char path[64], text[4096], want[64];
    snprintf(path, sizeof path, "/proc/%d/status", pid);
    CHECK_GT(read_file(path, text, sizeof text), 0);
    snprintf(want, sizeof want, "TracerPid:\t%d\n", getpid());
    CHECK(strstr(text, want));
    CHECK(strstr(text, "State:\tt (tracing stop)"));
}

TEST("sigmask_is_read_and_written") {
    pid_t pid = traced([] {
        raise(SIGUSR1);
        _exit(2);
    });
    uint64_t mask = 0;
    OK(ptrace(static_cast<__ptrace_request>(0x420a), pid, 8, &mask));
    mask |= 1ull << (SIGUSR1 - 1);
    OK(ptrace(static_cast<__ptrace_request>(0x420b), pid, 8, &mask));
    CHECK_ERRNO(ptrace(static_cast<__ptrace_request>(0x420a), pid, 4, &mask), EINVAL);
    cont(pid);
    CHECK_EXITED(wait_status(pid), 2);
}

TEST("process_vm_readv_and_writev") {
    pid_t pid = traced([] { _exit(word == 5 ? 1 : 2); });
    long mine = 0;
    iovec local = {&mine, sizeof mine}, remote = {const_cast<long*>(&word), sizeof word};
    CHECK_EQ(process_vm_readv(pid, &local, 1, &remote, 1, 0), 8);
    CHECK_EQ(mine, 0x1122334455667788);
    mine = 5;
    CHECK_EQ(process_vm_writev(pid, &local, 1, &remote, 1, 0), 8);
    remote.iov_base = reinterpret_cast<void*>(8);
    CHECK_ERRNO(process_vm_readv(pid, &local, 1, &remote, 1, 0), EFAULT);
    CHECK_ERRNO(process_vm_readv(pid, &local, 1, &remote, 1, 1), EINVAL);
    CHECK_ERRNO(process_vm_readv(999999, &local, 1, &remote, 1, 0), ESRCH);
    cont(pid);
    CHECK_EXITED(wait_status(pid), 1);
}

TEST("kcmp_of_files_and_memory") {
    int fd = OK(open("/", O_RDONLY)), same = OK(dup(fd)), other = OK(open("/", O_RDONLY));
    pid_t self = getpid();
    long result = syscall(SYS_kcmp, self, self, 0, fd, same);
    if (result == -1 && errno == ENOSYS) SKIP("the kernel has no kcmp");
    CHECK_EQ(result, 0);
    CHECK_NE(syscall(SYS_kcmp, self, self, 0, fd, other), 0);
    CHECK_ERRNO(syscall(SYS_kcmp, self, self, 0, fd, 999), EBADF);
    CHECK_ERRNO(syscall(SYS_kcmp, self, self, 99, 0, 0), EINVAL);
    CHECK_ERRNO(syscall(SYS_kcmp, 999999, self, 1, 0, 0), ESRCH);
    pid_t pid = untraced([] { pause(); });
    CHECK_GT(syscall(SYS_kcmp, self, pid, 1, 0, 0), 0);
    OK(kill(pid, SIGKILL));
}
