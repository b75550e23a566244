// System V semaphores.
#include "tests/guest/sysv/sysv_test.hpp"

using namespace guest;

namespace {

constexpr key_t kKey = 0x5eed02;

int new_set(int count = 1) { return OK(semget(IPC_PRIVATE, count, IPC_CREAT | 0600)); }
int value(int id, int number = 0) { return OK(semctl(id, number, GETVAL)); }
void set_value(int id, int number, int wanted) { OK(semctl(id, number, SETVAL, wanted)); }
int change(int id, int number, int by, int flags = 0) {
    sembuf one{static_cast<unsigned short>(number), static_cast<short>(by), static_cast<short>(flags)};
    return semop(id, &one, 1);
}
semid_ds status_of(int id) {
    semid_ds status{};
    OK(semctl(id, 0, IPC_STAT, &status));
    return status;
}

}  // namespace

TEST("sem_new_set_is_zero") {
    int id = new_set(3);
    for (int i = 0; i < 3; ++i) CHECK_EQ(value(id, i), 0);
    CHECK_EQ(status_of(id).sem_nsems, 3);
    CHECK_EQ(status_of(id).sem_otime, 0);
}

TEST("sem_get_errors") {
    CHECK_ERRNO(semget(kKey, 1, 0600), ENOENT);
    CHECK_ERRNO(semget(kKey, 0, IPC_CREAT | 0600), EINVAL);
    CHECK_ERRNO(semget(kKey, -1, IPC_CREAT | 0600), EINVAL);
    CHECK_ERRNO(semget(kKey, 32001, IPC_CREAT | 0600), EINVAL);
    int id = OK(semget(kKey, 2, IPC_CREAT | 0600));
    CHECK_ERRNO(semget(kKey, 2, IPC_CREAT | IPC_EXCL | 0600), EEXIST);
    CHECK_ERRNO(semget(kKey, 3, 0600), EINVAL);
    CHECK_EQ(OK(semget(kKey, 0, 0600)), id);
    OK(semctl(id, 0, IPC_RMID));
}

TEST("sem_set_and_get_all") {
    int id = new_set(3);
    unsigned short in[3] = {7, 0, 32767}, out[3] = {};
    OK(semctl(id, 0, SETALL, in));
    OK(semctl(id, 0, GETALL, out));
    CHECK_EQ(memcmp(in, out, sizeof in), 0);
    in[1] = 32768;
    CHECK_ERRNO(semctl(id, 0, SETALL, in), ERANGE);
    CHECK_EQ(value(id, 0), 7);
    CHECK_ERRNO(semctl(id, 0, GETALL, 8), EFAULT);
}

TEST("sem_set_value_range") {
    int id = new_set();
    CHECK_ERRNO(semctl(id, 0, SETVAL, -1), ERANGE);
    CHECK_ERRNO(semctl(id, 0, SETVAL, 32768), ERANGE);
    CHECK_ERRNO(semctl(id, 1, SETVAL, 1), EINVAL);
    CHECK_ERRNO(semctl(id, -1, GETVAL), EINVAL);
}

TEST("sem_operations_are_one") {
    int id = new_set(2);
    set_value(id, 0, 5);
    sembuf both[2] = {{0, -2, 0}, {1, -1, IPC_NOWAIT}};
    CHECK_ERRNO(semop(id, both, 2), EAGAIN);
    CHECK_EQ(value(id, 0), 5);
    set_value(id, 1, 1);
    OK(semop(id, both, 2));
    CHECK_EQ(value(id, 0), 3);
    CHECK_EQ(value(id, 1), 0);
}

TEST("sem_operations_see_those_before_them") {
    int id = new_set();
    sembuf up_down[3] = {{0, 2, 0}, {0, -2, IPC_NOWAIT}, {0, 0, IPC_NOWAIT}};
    OK(semop(id, up_down, 3));
    sembuf up_zero[2] = {{0, 1, 0}, {0, 0, IPC_NOWAIT}};
    CHECK_ERRNO(semop(id, up_zero, 2), EAGAIN);
    CHECK_EQ(value(id), 0);
}

TEST("sem_operation_errors") {
    int id = new_set();
    CHECK_ERRNO(change(id, 1, 1), EFBIG);
    CHECK_ERRNO(change(id, 0, -1, IPC_NOWAIT), EAGAIN);
    CHECK_ERRNO(semop(id, nullptr, 0), EINVAL);
    CHECK_ERRNO(semop(id, reinterpret_cast<sembuf*>(8), 1), EFAULT);
    static sembuf many[501];
    CHECK_ERRNO(semop(id, many, 501), E2BIG);
    OK(semop(id, many, 500));
    CHECK_ERRNO(change(-1, 0, 1), EINVAL);
    set_value(id, 0, 32767);
    CHECK_ERRNO(change(id, 0, 1), ERANGE);
}

TEST("sem_wait_ends_when_the_value_comes") {
    int id = new_set();
    pid_t pid = OK(fork());
    if (pid == 0) _exit(change(id, 0, -3) == 0 ? 0 : 1);
    wait_until_blocked(pid);
    CHECK_EQ(OK(semctl(id, 0, GETNCNT)), 1);
    OK(change(id, 0, 2));
    sleep_ms(20);
    CHECK_EQ(value(id), 2);
    OK(change(id, 0, 2));
    CHECK_EXITED(finish(pid), 0);
    CHECK_EQ(value(id), 1);
    CHECK_EQ(OK(semctl(id, 0, GETNCNT)), 0);
}

TEST("sem_wait_for_zero") {
    int id = new_set();
    set_value(id, 0, 1);
    pid_t pid = OK(fork());
    if (pid == 0) _exit(change(id, 0, 0) == 0 ? 0 : 1);
    wait_until_blocked(pid);
    CHECK_EQ(OK(semctl(id, 0, GETZCNT)), 1);
    CHECK_EQ(OK(semctl(id, 0, GETNCNT)), 0);
    OK(change(id, 0, -1));
    CHECK_EXITED(finish(pid), 0);
}

TEST("sem_waiters_are_served_in_order") {
    int id = new_set(2);
    pid_t pids[3];
    for (int i = 0; i < 3; ++i) {
        pids[i] = OK(fork());
        if (pids[i] == 0) {
            if (change(id, 0, -1) != 0) _exit(99);
            _exit(0);
        }
        wait_until_blocked(pids[i]);
    }
    for (int i = 0; i < 3; ++i) {
        OK(change(id, 0, 1));
        int status;
        CHECK_EQ(OK(waitpid(-1, &status, 0)), pids[i]);
        CHECK_EXITED(status, 0);
    }
}

TEST("sem_small_request_passes_a_big_one") {
    int id = new_set();
    pid_t big = OK(fork());
    if (big == 0) _exit(change(id, 0, -5) == 0 ? 0 : 1);
    wait_until_blocked(big);
    pid_t small = OK(fork());
    if (small == 0) _exit(change(id, 0, -1) == 0 ? 0 : 1);
    wait_until_blocked(small);
    OK(change(id, 0, 1));
    CHECK_EXITED(finish(small), 0);
    OK(change(id, 0, 5));
    CHECK_EXITED(finish(big), 0);
}

TEST("sem_value_is_gone_before_the_waiter_runs") {
    int id = new_set();
    pid_t pid = OK(fork());
    if (pid == 0) _exit(change(id, 0, -1) == 0 ? 0 : 1);
    wait_until_blocked(pid);
    OK(change(id, 0, 1));
    CHECK_ERRNO(change(id, 0, -1, IPC_NOWAIT), EAGAIN);
    CHECK_EXITED(finish(pid), 0);
}

TEST("sem_removal_ends_waits") {
    int id = new_set();
    pid_t pid = OK(fork());
    if (pid == 0) _exit(change(id, 0, -1) == -1 && errno == EIDRM ? 0 : 1);
    wait_until_blocked(pid);
    OK(semctl(id, 0, IPC_RMID));
    CHECK_EXITED(finish(pid), 0);
    CHECK_ERRNO(change(id, 0, 1), EINVAL);
}

TEST("sem_signal_interrupts_without_restart") {
    int id = new_set();
    pid_t pid = OK(fork());
    if (pid == 0) {
        struct sigaction action {};
        action.sa_handler = [](int) {};
        action.sa_flags = SA_RESTART;
        sigaction(SIGUSR1, &action, nullptr);
        _exit(change(id, 0, -1) == -1 && errno == EINTR ? 0 : 1);
    }
    wait_until_blocked(pid);
    OK(kill(pid, SIGUSR1));
    CHECK_EXITED(finish(pid), 0);
    CHECK_EQ(OK(semctl(id, 0, GETNCNT)), 0);
}

TEST("sem_timedop_gives_up") {
    int id = new_set();
    sembuf down{0, -1, 0};
    timespec soon{0, 30'000'000}, bad{0, 1'000'000'000};
    uint64_t before = now_ns();
    CHECK_ERRNO(semtimedop(id, &down, 1, &soon), EAGAIN);
    CHECK_GE(now_ns() - before, 30'000'000);
    CHECK_ERRNO(semtimedop(id, &down, 1, &bad), EINVAL);
    set_value(id, 0, 1);
    OK(semtimedop(id, &down, 1, &soon));
}

TEST("sem_undo_at_exit") {
    int id = new_set();
    set_value(id, 0, 2);
    CHECK_EXITED(run_child([id] {
                     OK(change(id, 0, -1, SEM_UNDO));
                     OK(change(id, 0, 3, SEM_UNDO));
                     CHECK_EQ(value(id), 4);
                 }),
                 0);
    CHECK_EQ(value(id), 2);
}

TEST("sem_undo_wakes_waiters") {
    int id = new_set();
    set_value(id, 0, 1);
    pid_t holder = OK(fork());
    if (holder == 0) {
        OK(change(id, 0, -1, SEM_UNDO));
        pause();
    }
    wait_until_blocked(holder);
    pid_t waiter = OK(fork());
    if (waiter == 0) _exit(change(id, 0, -1) == 0 ? 0 : 1);
    wait_until_blocked(waiter);
    OK(kill(holder, SIGKILL));
    CHECK_SIGNALED(finish(holder), SIGKILL);
    CHECK_EXITED(finish(waiter), 0);
}

TEST("sem_undo_is_not_inherited_by_fork") {
    int id = new_set();
    CHECK_EXITED(run_child([id] {
                     OK(change(id, 0, 5, SEM_UNDO));
                     CHECK_EXITED(run_child([] {}), 0);
                     CHECK_EQ(value(id), 5);
                 }),
                 0);
    CHECK_EQ(value(id), 0);
}

TEST("sem_undo_outlives_exec") {
    int id = new_set();
    CHECK_EXITED(run_child([id] {
                     OK(change(id, 0, 5, SEM_UNDO));
                     execl("/bin/true", "true", nullptr);
                     _exit(3);
                 }),
                 0);
    CHECK_EQ(value(id), 0);
}

TEST("sem_set_value_forgets_undo") {
    int id = new_set(2);
    CHECK_EXITED(run_child([id] {
                     OK(change(id, 0, 5, SEM_UNDO));
                     OK(change(id, 1, 5, SEM_UNDO));
                     set_value(id, 0, 3);
                 }),
                 0);
    CHECK_EQ(value(id, 0), 3);
    CHECK_EQ(value(id, 1), 0);
}

TEST("sem_undo_stops_at_zero") {
    int id = new_set();
    CHECK_EXITED(run_child([id] {
                     OK(change(id, 0, 5, SEM_UNDO));
                     OK(change(id, 0, -4));
                 }),
                 0);
    CHECK_EQ(value(id), 0);
}

TEST("sem_last_process_and_time") {
    int id = new_set(2);
    CHECK_EQ(OK(semctl(id, 0, GETPID)), 0);
    pid_t pid = OK(fork());
    if (pid == 0) _exit(change(id, 1, 1));
    CHECK_EXITED(finish(pid), 0);
    CHECK_EQ(OK(semctl(id, 1, GETPID)), pid);
    CHECK_EQ(OK(semctl(id, 0, GETPID)), 0);
    CHECK_GE(status_of(id).sem_otime, time(nullptr) - 10);
}

TEST("sem_permissions_of_others") {
    int secret = new_set(), readable = OK(semget(IPC_PRIVATE, 1, IPC_CREAT | 0644));
    CHECK_EXITED(run_child([=] {
                     become_user(1000);
                     CHECK_ERRNO(semctl(secret, 0, GETVAL), EACCES);
                     CHECK_EQ(value(readable), 0);
                     OK(change(readable, 0, 0));
                     CHECK_ERRNO(change(readable, 0, 1), EACCES);
                     CHECK_ERRNO(semctl(readable, 0, SETVAL, 1), EACCES);
                     CHECK_ERRNO(semctl(readable, 0, IPC_RMID), EPERM);
                 }),
                 0);
}

TEST("sem_set_owner") {
    int id = new_set();
    semid_ds status = status_of(id);
    status.sem_perm.uid = 1000;
    status.sem_perm.mode = 0660;
    OK(semctl(id, 0, IPC_SET, &status));
    CHECK_EQ(status_of(id).sem_perm.mode, 0660);
    CHECK_EXITED(run_child([id] {
                     become_user(1000);
                     OK(change(id, 0, 1));
                     OK(semctl(id, 0, IPC_RMID));
                 }),
                 0);
}

TEST("sem_limits_are_linux_defaults") {
    seminfo limits{};
    OK(semctl(0, 0, IPC_INFO, &limits));
    CHECK_EQ(limits.semmsl, 32000);
    CHECK_EQ(limits.semmns, 1024000000);
    CHECK_EQ(limits.semopm, 500);
    CHECK_EQ(limits.semmni, 32000);
    CHECK_EQ(limits.semvmx, 32767);
    char text[64];
    CHECK_GT(read_file("/proc/sys/kernel/sem", text, sizeof text), 0);
    CHECK_STREQ(text, "32000\t1024000000\t500\t32000\n");
}

TEST("sem_info_counts_and_proc_lists") {
    int id = new_set(4);
    seminfo usage{};
    int highest = OK(semctl(0, 0, SEM_INFO, &usage));
    CHECK_GE(usage.semaem, 4);
    semid_ds status;
    bool found = false;
    for (int index = 0; index <= highest; ++index) found |= semctl(index, 0, SEM_STAT, &status) == id;
    CHECK(found);
    static char text[8192];
    CHECK_GT(read_file("/proc/sysvipc/sem", text, sizeof text), 0);
    char wanted[100];
    snprintf(wanted, sizeof wanted, "%10d %10d  %4o %10u %5u %5u", 0, id, 0600, 4, 0, 0);
    CHECK(strstr(text, wanted));
}
