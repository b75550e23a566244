// seccomp(2): modes, actions, the checker of programs, inheritance, synchronisation of threads.
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include <atomic>
#include <cstddef>

#include "tests/guest/guest_test.hpp"

using namespace guest;

namespace {

long seccomp(unsigned operation, unsigned flags, void* argument) {
    return syscall(SYS_seccomp, operation, flags, argument);
}

long install(sock_filter* program, size_t count, unsigned flags = 0) {
    sock_fprog header{static_cast<unsigned short>(count), program};
    return seccomp(SECCOMP_SET_MODE_FILTER, flags, &header);
}
template <size_t N>
long install(sock_filter (&program)[N], unsigned flags = 0) {
    return install(program, N, flags);
}

void no_new_privileges() { OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)); }

// `action` for one call, all others are allowed.
long filter_call(unsigned number, unsigned action, unsigned flags = 0) {
    sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, action),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    return install(program, flags);
}

// What the program makes of getppid: its answer as an errno.
int errno_of(sock_filter* body, size_t count) {
    sock_filter program[64] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    size_t size = 3;
    for (size_t i = 0; i < count; ++i) program[size++] = body[i];
    program[size++] = BPF_STMT(BPF_ALU | BPF_OR | BPF_K, SECCOMP_RET_ERRNO);
    program[size++] = BPF_STMT(BPF_RET | BPF_A, 0);
    no_new_privileges();
    OK(install(program, size));
    errno = 0;
    const long value = syscall(SYS_getppid);
    return value == 0 ? 0 : errno;
}
template <size_t N>
int errno_of(sock_filter (&body)[N]) {
    return errno_of(body, N);
}

int status_line(const char* name) {
    char text[8192];
    CHECK_GT(read_file("/proc/self/status", text, sizeof text), 0);
    const char* at = strstr(text, name);
    CHECK(at);
    int value = -1;
    sscanf(at + strlen(name), "%d", &value);
    return value;
}

volatile sig_atomic_t trapped;
siginfo_t trap_info;

}  // namespace

TEST("without_privilege_or_no_new_privs_is_eacces") {
    CHECK_EXITED(run_child([] {
                     OK(setuid(1234));
                     CHECK_ERRNO(filter_call(SYS_getppid, SECCOMP_RET_ERRNO | 5), EACCES);
                     no_new_privileges();
                     OK(filter_call(SYS_getppid, SECCOMP_RET_ERRNO | 5));
                     CHECK_ERRNO(syscall(SYS_getppid), EIO);
                 }),
                 0);
}

TEST("argument_errors") {
    no_new_privileges();
    sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    CHECK_ERRNO(seccomp(99, 0, nullptr), EINVAL);
    CHECK_ERRNO(seccomp(SECCOMP_SET_MODE_STRICT, 1, nullptr), EINVAL);
    CHECK_ERRNO(seccomp(SECCOMP_SET_MODE_STRICT, 0, &allow), EINVAL);
    CHECK_ERRNO(seccomp(SECCOMP_SET_MODE_FILTER, 0x8000, nullptr), EINVAL);
    CHECK_ERRNO(seccomp(SECCOMP_SET_MODE_FILTER, 0, nullptr), EFAULT);
    CHECK_ERRNO(install(&allow, 0), EINVAL);
    CHECK_ERRNO(install(&allow, 4097), EINVAL);
    CHECK_ERRNO(install(reinterpret_cast<sock_filter*>(8), 1), EFAULT);
}

TEST("action_availability") {
    for (unsigned action : {SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_KILL_THREAD, SECCOMP_RET_TRAP, SECCOMP_RET_ERRNO,
                            SECCOMP_RET_TRACE, SECCOMP_RET_LOG, SECCOMP_RET_ALLOW})
        OK(seccomp(SECCOMP_GET_ACTION_AVAIL, 0, &action));
    unsigned unknown = 0x12340000;
    CHECK_ERRNO(seccomp(SECCOMP_GET_ACTION_AVAIL, 0, &unknown), EOPNOTSUPP);
    CHECK_ERRNO(seccomp(SECCOMP_GET_ACTION_AVAIL, 1, &unknown), EINVAL);
    CHECK_ERRNO(seccomp(SECCOMP_GET_ACTION_AVAIL, 0, nullptr), EFAULT);
}

TEST("errno_action_answers_and_others_pass") {
    no_new_privileges();
    OK(filter_call(SYS_getppid, SECCOMP_RET_ERRNO | EDOM));
    CHECK_ERRNO(syscall(SYS_getppid), EDOM);
    OK(syscall(SYS_getuid));
}

TEST("errno_zero_is_success_without_the_call") {
    int fds[2];
    OK(pipe(fds));
    no_new_privileges();
    OK(filter_call(SYS_dup, SECCOMP_RET_ERRNO));
    CHECK_EQ(syscall(SYS_dup, fds[0]), 0);
}

TEST("errno_is_capped_at_4095") {
    no_new_privileges();
    OK(filter_call(SYS_getppid, SECCOMP_RET_ERRNO | 0xffff));
    CHECK_ERRNO(syscall(SYS_getppid), 4095);
}

TEST("log_action_allows") {
    no_new_privileges();
    OK(filter_call(SYS_getppid, SECCOMP_RET_LOG, SECCOMP_FILTER_FLAG_LOG));
    CHECK_GT(syscall(SYS_getppid), 0);
}

TEST("trace_without_tracer_is_enosys") {
    no_new_privileges();
    OK(filter_call(SYS_getppid, SECCOMP_RET_TRACE | 3));
    CHECK_ERRNO(syscall(SYS_getppid), ENOSYS);
}

TEST("user_notification_without_listener_is_enosys") {
    no_new_privileges();
    OK(filter_call(SYS_getppid, SECCOMP_RET_USER_NOTIF));
    CHECK_ERRNO(syscall(SYS_getppid), ENOSYS);
}

TEST("kill_process_dies_of_sigsys") {
    CHECK_SIGNALED(run_child([] {
                       no_new_privileges();
                       signal(SIGSYS, SIG_IGN);
                       OK(filter_call(SYS_getppid, SECCOMP_RET_KILL_PROCESS));
                       syscall(SYS_getppid);
                   }),
                   SIGSYS);
}

TEST("unknown_action_kills_the_process") {
    CHECK_SIGNALED(run_child([] {
                       no_new_privileges();
                       OK(filter_call(SYS_getppid, 0x00010000));
                       syscall(SYS_getppid);
                   }),
                   SIGSYS);
}

TEST("kill_thread_of_single_thread_is_sigsys") {
    CHECK_SIGNALED(run_child([] {
                       no_new_privileges();
                       OK(filter_call(SYS_getppid, SECCOMP_RET_KILL_THREAD));
                       syscall(SYS_getppid);
                   }),
                   SIGSYS);
}

TEST("kill_thread_spares_other_threads") {
    CHECK_EXITED(run_child([] {
                     pthread_t thread;
                     CHECK_EQ(pthread_create(
                                  &thread, nullptr,
                                  [](void*) -> void* {
                                      no_new_privileges();
                                      OK(filter_call(SYS_getppid, SECCOMP_RET_KILL_THREAD));
                                      syscall(SYS_getppid);
                                      _exit(1);
                                  },
                                  nullptr),
                              0);
                     pthread_join(thread, nullptr);
                     CHECK_GT(syscall(SYS_getppid), 0);
                     _exit(44);
                 }),
                 44);
}

TEST("kill_process_takes_all_threads") {
    CHECK_SIGNALED(run_child([] {
                       pthread_t thread;
                       pthread_create(
                           &thread, nullptr,
                           [](void*) -> void* {
                               no_new_privileges();
                               OK(filter_call(SYS_getppid, SECCOMP_RET_KILL_PROCESS));
                               syscall(SYS_getppid);
                               return nullptr;
                           },
                           nullptr);
                       pthread_join(thread, nullptr);
                       _exit(1);
                   }),
                   SIGSYS);
}

TEST("trap_action_tells_the_call") {
    struct sigaction action = {};
    action.sa_flags = SA_SIGINFO;
    action.sa_sigaction = [](int, siginfo_t* info, void*) {
        trapped = 1;
        trap_info = *info;
    };
    OK(sigaction(SIGSYS, &action, nullptr));
    no_new_privileges();
    OK(filter_call(SYS_getppid, SECCOMP_RET_TRAP | 0x123));
    long result;
    uintptr_t after;
    asm volatile("lea 1f(%%rip), %1\n\tsyscall\n1:"
                 : "=a"(result), "=&r"(after)
                 : "a"(SYS_getppid)
                 : "rcx", "r11", "memory");
    CHECK(trapped);
    CHECK_EQ(trap_info.si_signo, SIGSYS);
    CHECK_EQ(trap_info.si_code, 1);
    CHECK_EQ(trap_info.si_errno, 0x123);
    CHECK_EQ(trap_info.si_syscall, SYS_getppid);
    CHECK_EQ(trap_info.si_arch, 0xc000003e);
    CHECK_EQ(reinterpret_cast<uintptr_t>(trap_info.si_call_addr), after);
    CHECK_EQ(result, SYS_getppid);  // the number stays where the result would be
}

TEST("blocked_trap_kills") {
    CHECK_SIGNALED(run_child([] {
                       signal(SIGSYS, [](int) {});
                       sigset_t set;
                       sigfillset(&set);
                       OK(sigprocmask(SIG_BLOCK, &set, nullptr));
                       no_new_privileges();
                       OK(filter_call(SYS_getppid, SECCOMP_RET_TRAP));
                       syscall(SYS_getppid);
                   }),
                   SIGSYS);
}

TEST("strict_mode_allows_four_calls") {
    int fds[2];
    OK(pipe(fds));
    CHECK_EXITED(run_child([&] {
                     OK(seccomp(SECCOMP_SET_MODE_STRICT, 0, nullptr));
                     char byte = 'x';
                     if (write(fds[1], &byte, 1) != 1 || read(fds[0], &byte, 1) != 1) syscall(SYS_exit, 1);
                     syscall(SYS_exit, 12);
                 }),
                 12);
}

TEST("strict_mode_kills_for_others") {
    CHECK_SIGNALED(run_child([] {
                       OK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT, 0, 0, 0));
                       syscall(SYS_getpid);
                   }),
                   SIGKILL);
}

TEST("strict_mode_after_filter_is_einval") {
    no_new_privileges();
    OK(filter_call(SYS_getppid, SECCOMP_RET_ERRNO | 1));
    CHECK_ERRNO(seccomp(SECCOMP_SET_MODE_STRICT, 0, nullptr), EINVAL);
}

TEST("prctl_installs_and_tells_the_mode") {
    CHECK_EQ(OK(prctl(PR_GET_SECCOMP, 0, 0, 0, 0)), 0);
    no_new_privileges();
    sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    sock_fprog header{1, &allow};
    CHECK_ERRNO(prctl(PR_SET_SECCOMP, 3, &header, 0, 0), EINVAL);
    OK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &header, 0, 0));
    CHECK_EQ(OK(prctl(PR_GET_SECCOMP, 0, 0, 0, 0)), 2);
}

TEST("status_shows_mode_and_count") {
    const int before = status_line("\nSeccomp_filters:\t");
    no_new_privileges();
    OK(filter_call(SYS_getppid, SECCOMP_RET_ERRNO | 1));
    OK(filter_call(SYS_getppid, SECCOMP_RET_ERRNO | 2));
    CHECK_EQ(status_line("\nSeccomp:\t"), 2);
    CHECK_EQ(status_line("\nSeccomp_filters:\t"), before + 2);
}

TEST("most_severe_of_several_filters_wins") {
    no_new_privileges();
    OK(filter_call(SYS_getppid, SECCOMP_RET_ERRNO | EDOM));
    OK(filter_call(SYS_getppid, SECCOMP_RET_LOG));
    CHECK_ERRNO(syscall(SYS_getppid), EDOM);
}

TEST("newest_of_equal_answers_wins") {
    no_new_privileges();
    OK(filter_call(SYS_getppid, SECCOMP_RET_ERRNO | EDOM));
    OK(filter_call(SYS_getppid, SECCOMP_RET_ERRNO | ERANGE));
    CHECK_ERRNO(syscall(SYS_getppid), ERANGE);
}

TEST("child_inherits_filters") {
    no_new_privileges();
    OK(filter_call(SYS_getppid, SECCOMP_RET_ERRNO | EDOM));
    CHECK_EXITED(run_child([] { CHECK_ERRNO(syscall(SYS_getppid), EDOM); }), 0);
}

TEST("program_inherits_filters") {
    int fds[2];
    OK(pipe(fds));
    CHECK_SIGNALED(run_child([] {
                       no_new_privileges();
                       OK(filter_call(SYS_exit_group, SECCOMP_RET_KILL_PROCESS));
                       execl("/proc/self/exe", "self", "--list", nullptr);
                       syscall(SYS_exit, 1);
                   }),
                   SIGSYS);
}

TEST("tsync_puts_all_threads_under_the_filter") {
    static std::atomic<int> ready{0}, go{0};
    static int seen;
    pthread_t thread;
    CHECK_EQ(pthread_create(
                 &thread, nullptr,
                 [](void*) -> void* {
                     ready = 1;
                     while (!go) sleep_ms(1);
                     seen = syscall(SYS_getppid) < 0 ? errno : 0;
                     return nullptr;
                 },
                 nullptr),
             0);
    while (!ready) sleep_ms(1);
    no_new_privileges();
    OK(filter_call(SYS_getppid, SECCOMP_RET_ERRNO | EDOM, SECCOMP_FILTER_FLAG_TSYNC));
    go = 1;
    pthread_join(thread, nullptr);
    CHECK_EQ(seen, EDOM);
}

TEST("tsync_names_the_thread_that_differs") {
    static std::atomic<int> tid{0}, stop{0};
    no_new_privileges();
    pthread_t thread;
    CHECK_EQ(pthread_create(
                 &thread, nullptr,
                 [](void*) -> void* {
                     OK(filter_call(SYS_getppid, SECCOMP_RET_ERRNO | EDOM));
                     tid = static_cast<int>(syscall(SYS_gettid));
                     while (!stop) sleep_ms(1);
                     return nullptr;
                 },
                 nullptr),
             0);
    while (!tid) sleep_ms(1);
    CHECK_EQ(filter_call(SYS_getppid, SECCOMP_RET_ERRNO | 1, SECCOMP_FILTER_FLAG_TSYNC), tid.load());
    CHECK_ERRNO(filter_call(SYS_getppid, SECCOMP_RET_ERRNO | 1, SECCOMP_FILTER_FLAG_TSYNC | 16), ESRCH);
    stop = 1;
    pthread_join(thread, nullptr);
}

TEST("filter_without_tsync_leaves_other_threads_alone") {
    no_new_privileges();
    pthread_t thread;
    pthread_create(
        &thread, nullptr,
        [](void*) -> void* {
            OK(filter_call(SYS_getppid, SECCOMP_RET_ERRNO | EDOM));
            return nullptr;
        },
        nullptr);
    pthread_join(thread, nullptr);
    CHECK_GT(syscall(SYS_getppid), 0);
}

TEST("filter_sees_arguments_and_instruction_pointer") {
    no_new_privileges();
    sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 7),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args[5]) + 4),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0x1234, 0, 5),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, arch)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0xc000003e, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, instruction_pointer)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EDOM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    OK(install(program));
    CHECK_ERRNO(syscall(SYS_getppid, 0, 0, 0, 0, 0, 0x123400000000), EDOM);
    OK(syscall(SYS_getppid, 0, 0, 0, 0, 0, 1));
}

TEST("filter_can_answer_for_unknown_numbers") {
    no_new_privileges();
    OK(filter_call(5000, SECCOMP_RET_ERRNO | EDOM));
    CHECK_ERRNO(syscall(5000), EDOM);
    CHECK_ERRNO(syscall(5001), ENOSYS);
}

TEST("arithmetic") {
    sock_filter body[] = {
        BPF_STMT(BPF_LD | BPF_IMM, 10),         BPF_STMT(BPF_LDX | BPF_IMM, 3),
        BPF_STMT(BPF_ALU | BPF_MUL | BPF_X, 0),                                             // 30
        BPF_STMT(BPF_ALU | BPF_DIV | BPF_K, 4),                                             // 7
        BPF_STMT(BPF_ALU | BPF_LSH | BPF_X, 0),                                             // 56
        BPF_STMT(BPF_ALU | BPF_XOR | BPF_K, 5),                                             // 61
        BPF_STMT(BPF_ALU | BPF_SUB | BPF_X, 0),                                             // 58
        BPF_STMT(BPF_ALU | BPF_NEG, 0),         BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0xff),  // 198
        BPF_STMT(BPF_ALU | BPF_RSH | BPF_K, 1),                                             // 99
        BPF_STMT(BPF_ALU | BPF_ADD | BPF_K, 1),                                             // 100
    };
    CHECK_EQ(errno_of(body), 100);
}

TEST("scratch_memory_and_transfers") {
    sock_filter body[] = {
        BPF_STMT(BPF_LD | BPF_IMM, 17),
        BPF_STMT(BPF_ST, 15),
        BPF_STMT(BPF_LDX | BPF_MEM, 15),
        BPF_STMT(BPF_LD | BPF_IMM, 0),
        BPF_STMT(BPF_MISC | BPF_TXA, 0),
        BPF_STMT(BPF_MISC | BPF_TAX, 0),
        BPF_STMT(BPF_STX, 0),
        BPF_STMT(BPF_LD | BPF_MEM, 0),
    };
    CHECK_EQ(errno_of(body), 17);
}

TEST("length_is_that_of_the_record") {
    sock_filter body[] = {BPF_STMT(BPF_LD | BPF_W | BPF_LEN, 0)};
    CHECK_EQ(errno_of(body), 64);
}

TEST("division_by_zero_register_ends_with_zero") {
    CHECK_SIGNALED(run_child([] {
                       sock_filter body[] = {BPF_STMT(BPF_LDX | BPF_IMM, 0), BPF_STMT(BPF_ALU | BPF_DIV | BPF_X, 0)};
                       errno_of(body);
                   }),
                   SIGSYS);
}

TEST("jumps_compare_unsigned") {
    sock_filter body[] = {
        BPF_STMT(BPF_LD | BPF_IMM, 0x80000000),
        BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, 1, 0, 3),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 0x80000000, 0, 2),
        BPF_STMT(BPF_LD | BPF_IMM, 21),
        BPF_JUMP(BPF_JMP | BPF_JA, 1, 0, 0),
        BPF_STMT(BPF_LD | BPF_IMM, 22),
    };
    CHECK_EQ(errno_of(body), 21);
}

namespace {
const sock_filter kReturn = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
void check_refused(sock_filter first) {
    no_new_privileges();
    sock_filter program[] = {first, kReturn};
    CHECK_ERRNO(install(program), EINVAL);
}
}  // namespace

TEST("checker_refuses_loads_outside_the_record") {
    check_refused(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 64));
    check_refused(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 2));
    check_refused(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<unsigned>(SKF_AD_OFF)));
    check_refused(BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 0));
    check_refused(BPF_STMT(BPF_LD | BPF_W | BPF_IND, 0));
    check_refused(BPF_STMT(BPF_LDX | BPF_B | BPF_MSH, 0));
}

TEST("checker_refuses_scratch_beyond_sixteen") {
    check_refused(BPF_STMT(BPF_ST, 16));
    check_refused(BPF_STMT(BPF_LD | BPF_MEM, 16));
}

TEST("checker_refuses_unwritten_scratch") {
    check_refused(BPF_STMT(BPF_LD | BPF_MEM, 0));
    no_new_privileges();
    sock_filter one_path[] = {BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1), BPF_STMT(BPF_ST, 1),
                              BPF_STMT(BPF_LD | BPF_MEM, 1), kReturn};
    CHECK_ERRNO(install(one_path), EINVAL);
}

TEST("checker_refuses_jumps_out") {
    check_refused(BPF_JUMP(BPF_JMP | BPF_JA, 1, 0, 0));
    check_refused(BPF_JUMP(BPF_JMP | BPF_JA, 0xffffffff, 0, 0));
    check_refused(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 1, 1, 0));
    check_refused(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 1, 0, 255));
}

TEST("checker_refuses_constant_faults") {
    check_refused(BPF_STMT(BPF_ALU | BPF_DIV | BPF_K, 0));
    check_refused(BPF_STMT(BPF_ALU | BPF_LSH | BPF_K, 32));
    check_refused(BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, 3));
    check_refused(BPF_STMT(0xffff, 0));
}

TEST("checker_wants_a_return_at_the_end") {
    no_new_privileges();
    sock_filter program[] = {kReturn, BPF_STMT(BPF_LD | BPF_IMM, 0)};
    CHECK_ERRNO(install(program), EINVAL);
}

TEST("too_many_instructions_are_enomem") {
    no_new_privileges();
    static sock_filter program[4096];
    for (auto& instruction : program) instruction = kReturn;
    int installed = 0;
    while (installed < 20 && install(program) == 0) ++installed;
    CHECK_EQ(errno, ENOMEM);
    CHECK_GE(installed, 2);
    CHECK_LE(installed, 8);
}
