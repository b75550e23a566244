// clone(2) with and without threads, the tid words, exit of threads, set_tid_address.
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <atomic>

#include "tests/guest/guest_test.hpp"

using namespace guest;

namespace {
constexpr size_t kStackSize = 65536;

char* new_stack() {
    void* memory = OK(mmap(nullptr, kStackSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    return static_cast<char*>(memory) + kStackSize;
}

long raw_clone(unsigned long flags, void* stack, int* parent_tid, int* child_tid, unsigned long tls) {
    return syscall(SYS_clone, flags, stack, parent_tid, child_tid, tls);
}
}  // namespace

TEST("clone_without_flags_is_fork") {
    int value = 1;
    long pid = raw_clone(SIGCHLD, nullptr, nullptr, nullptr, 0);
    if (pid == 0) {
        value = 2;
        _exit(6);
    }
    CHECK_GT(pid, 0);
    int status;
    CHECK_EQ(waitpid(static_cast<pid_t>(pid), &status, 0), pid);
    CHECK_EXITED(status, 6);
    CHECK_EQ(value, 1);
}

TEST("clone_vm_shares_memory") {
    static std::atomic<int> value{0};
    int pid = OK(clone(
        [](void*) -> int {
            value = 42;
            return 8;
        },
        new_stack(), CLONE_VM | SIGCHLD, nullptr));
    int status;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EXITED(status, 8);
    CHECK_EQ(value.load(), 42);
}

TEST("clone_files_shares_descriptors") {
    static int fds[2];
    OK(pipe(fds));
    int pid =
        OK(clone([](void*) -> int { return close(fds[0]); }, new_stack(), CLONE_VM | CLONE_FILES | SIGCHLD, nullptr));
    OK(waitpid(pid, nullptr, 0));
    CHECK_ERRNO(fcntl(fds[0], F_GETFD), EBADF);
}

TEST("clone_fs_shares_cwd") {
    scratch();
    int pid = OK(clone([](void*) -> int { return chdir("/"); }, new_stack(), CLONE_VM | CLONE_FS | SIGCHLD, nullptr));
    OK(waitpid(pid, nullptr, 0));
    char path[100];
    CHECK(getcwd(path, sizeof(path)) != nullptr);
    CHECK_STREQ(path, "/");
}

TEST("cwd_and_umask_are_private_without_clone_fs") {
    scratch();
    umask(022);
    CHECK_EXITED(run_child([] {
                     OK(chdir("/"));
                     umask(077);
                 }),
                 0);
    char path[200];
    CHECK(getcwd(path, sizeof(path)) != nullptr);
    CHECK(strcmp(path, "/") != 0);
    CHECK_EQ(umask(0), 022);
}

TEST("clone_writes_parent_and_child_tid") {
    int parent_word = 0, child_word = 0;
    long pid = raw_clone(CLONE_PARENT_SETTID | CLONE_CHILD_SETTID | SIGCHLD, nullptr, &parent_word, &child_word, 0);
    if (pid == 0) _exit(child_word == getpid() ? 0 : 1);
    int status;
    CHECK_EQ(waitpid(static_cast<pid_t>(pid), &status, 0), pid);
    CHECK_EXITED(status, 0);
    CHECK_EQ(parent_word, pid);
    CHECK_EQ(child_word, 0);
}

TEST("clone_exit_signal_other_than_sigchld") {
    static volatile sig_atomic_t got = 0;
    signal(SIGUSR1, [](int) { got = got + 1; });
    long pid = raw_clone(SIGUSR1, nullptr, nullptr, nullptr, 0);
    if (pid == 0) _exit(1);
    int status;
    CHECK_ERRNO(waitpid(static_cast<pid_t>(pid), &status, WNOHANG), ECHILD);
    while (waitpid(static_cast<pid_t>(pid), &status, __WALL) < 0) CHECK_EQ(errno, EINTR);
    CHECK_EXITED(status, 1);
    CHECK_EQ(got, 1);
}

TEST("clone_thread_without_vm_is_einval") {
    CHECK_ERRNO(raw_clone(CLONE_THREAD, nullptr, nullptr, nullptr, 0), EINVAL);
    CHECK_ERRNO(raw_clone(CLONE_SIGHAND | SIGCHLD, nullptr, nullptr, nullptr, 0), EINVAL);
    CHECK_ERRNO(raw_clone(CLONE_THREAD | CLONE_SIGHAND, nullptr, nullptr, nullptr, 0), EINVAL);
}

TEST("clone_parent_gives_sibling") {
    int fds[2];
    OK(pipe(fds));
    CHECK_EXITED(run_child([&] {
                     long pid = raw_clone(CLONE_PARENT | SIGCHLD, nullptr, nullptr, nullptr, 0);
                     if (pid == 0) _exit(33);
                     int word = static_cast<int>(pid);
                     CHECK_EQ(write(fds[1], &word, sizeof(word)), sizeof(word));
                 }),
                 0);
    int pid = 0, status;
    CHECK_EQ(read(fds[0], &pid, sizeof(pid)), sizeof(pid));
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EXITED(status, 33);
}

TEST("thread_has_own_tid_same_pid") {
    static std::atomic<long> tid{0};
    static std::atomic<int> pid{0};
    pthread_t thread;
    CHECK_EQ(pthread_create(
                 &thread, nullptr,
                 [](void*) -> void* {
                     tid = syscall(SYS_gettid);
                     pid = getpid();
                     return nullptr;
                 },
                 nullptr),
             0);
    CHECK_EQ(pthread_join(thread, nullptr), 0);
    CHECK_EQ(pid.load(), getpid());
    CHECK_NE(tid.load(), syscall(SYS_gettid));
}

TEST("thread_returns_value") {
    pthread_t thread;
    CHECK_EQ(pthread_create(
                 &thread, nullptr, [](void* in) -> void* { return static_cast<char*>(in) + 1; },
                 reinterpret_cast<void*>(41)),
             0);
    void* out = nullptr;
    CHECK_EQ(pthread_join(thread, &out), 0);
    CHECK_EQ(out, 42);
}

TEST("thread_locals_differ") {
    static thread_local int local = 7;
    local = 8;
    static std::atomic<int> seen{0};
    pthread_t thread;
    pthread_create(
        &thread, nullptr,
        [](void*) -> void* {
            seen = local;
            local = 9;
            return nullptr;
        },
        nullptr);
    pthread_join(thread, nullptr);
    CHECK_EQ(seen.load(), 7);
    CHECK_EQ(local, 8);
}

TEST("many_threads_create_join") {
    static std::atomic<int> sum{0};
    pthread_t threads[50];
    for (auto& thread : threads)
        CHECK_EQ(pthread_create(
                     &thread, nullptr,
                     [](void*) -> void* {
                         sum++;
                         return nullptr;
                     },
                     nullptr),
                 0);
    for (auto& thread : threads) CHECK_EQ(pthread_join(thread, nullptr), 0);
    CHECK_EQ(sum.load(), 50);
}

TEST("exit_group_from_thread") {
    int status = run_child([] {
        pthread_t thread;
        pthread_create(
            &thread, nullptr, [](void*) -> void* { _exit(12); }, nullptr);
        for (;;) sleep_ms(1000);
    });
    CHECK_EXITED(status, 12);
}

TEST("exit_group_stops_spinning_threads") {
    int status = run_child([] {
        pthread_t thread;
        for (int i = 0; i < 3; i++)
            pthread_create(
                &thread, nullptr,
                [](void*) -> void* {
                    for (;;) asm volatile("pause");
                },
                nullptr);
        sleep_ms(20);
        _exit(13);
    });
    CHECK_EXITED(status, 13);
}

TEST("main_thread_exits_first") {
    // The process lives on until the last thread ends; the exit code is that thread's (Linux 5.17 and later).
    int status = run_child([] {
        pthread_t thread;
        pthread_create(
            &thread, nullptr,
            [](void*) -> void* {
                sleep_ms(50);
                syscall(SYS_exit, 3);
                return nullptr;
            },
            nullptr);
        syscall(SYS_exit, 9);
    });
    CHECK_EXITED(status, 3);
}

TEST("fork_in_thread_copies_one_thread") {
    static std::atomic<int> result{-1};
    pthread_t thread;
    pthread_create(
        &thread, nullptr,
        [](void*) -> void* {
            int status = run_child([] {
                CHECK_EQ(getpid(), syscall(SYS_gettid));
                _exit(5);
            });
            result = WEXITSTATUS(status);
            return nullptr;
        },
        nullptr);
    pthread_join(thread, nullptr);
    CHECK_EQ(result.load(), 5);
}

TEST("child_of_thread_is_child_of_process") {
    static std::atomic<int> pid{0};
    pthread_t thread;
    pthread_create(
        &thread, nullptr,
        [](void*) -> void* {
            int child = fork();
            if (child == 0) _exit(4);
            pid = child;
            return nullptr;
        },
        nullptr);
    pthread_join(thread, nullptr);
    int status;
    CHECK_EQ(waitpid(pid, &status, 0), pid.load());
    CHECK_EXITED(status, 4);
}

TEST("exec_from_thread_replaces_all") {
    int status = run_child([] {
        pthread_t thread;
        pthread_create(
            &thread, nullptr,
            [](void*) -> void* {
                execl("/bin/sh", "sh", "-c", "exit 17", nullptr);
                _exit(1);
            },
            nullptr);
        for (;;) sleep_ms(1000);
    });
    CHECK_EXITED(status, 17);
}

TEST("child_cleartid_wakes_futex") {
    static int word;
    word = -1;
    static char* stack = new_stack();
    int tid = OK(clone(
        [](void*) -> int {
            sleep_ms(10);
            syscall(SYS_exit, 0);
            return 0;
        },
        stack,
        CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_PARENT_SETTID |
            CLONE_CHILD_CLEARTID,
        nullptr, &word, nullptr, &word));
    int now;
    while ((now = __atomic_load_n(&word, __ATOMIC_SEQ_CST)) != 0) {
        CHECK(now == tid || now == -1);
        syscall(SYS_futex, &word, FUTEX_WAIT, now, nullptr, nullptr, 0);
    }
}

TEST("set_tid_address_returns_tid") {
    CHECK_EXITED(run_child([] {
                     int word = 5;
                     CHECK_EQ(syscall(SYS_set_tid_address, &word), syscall(SYS_gettid));
                 }),
                 0);
}

TEST("tgkill_checks_group") {
    CHECK_ERRNO(syscall(SYS_tgkill, getppid(), getpid(), 0), ESRCH);
    OK(syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), 0));
    CHECK_ERRNO(syscall(SYS_tgkill, -1, 1, 0), EINVAL);
    OK(syscall(SYS_tkill, syscall(SYS_gettid), 0));
}

TEST("prctl_name_is_kept_and_cut") {
    OK(prctl(PR_SET_NAME, "abcdefghijklmnopqrstuvwxyz"));
    char name[32] = {};
    OK(prctl(PR_GET_NAME, name));
    CHECK_STREQ(name, "abcdefghijklmno");
}

TEST("prctl_pdeathsig") {
    int fds[2];
    OK(pipe(fds));
    CHECK_EXITED(run_child([&] {
                     int ready[2];
                     OK(pipe(ready));
                     if (fork() == 0) {
                         close(fds[0]);
                         OK(prctl(PR_SET_PDEATHSIG, SIGKILL));
                         CHECK_EQ(write(ready[1], "x", 1), 1);
                         for (;;) sleep_ms(1000);
                     }
                     char byte;
                     CHECK_EQ(read(ready[0], &byte, 1), 1);
                 }),
                 0);
    close(fds[1]);
    char byte;
    CHECK_EQ(read(fds[0], &byte, 1), 0);
}

TEST("subreaper_adopts_orphan") {
    OK(prctl(PR_SET_CHILD_SUBREAPER, 1));
    CHECK_EXITED(run_child([&] {
                     if (fork() == 0) {
                         sleep_ms(20);
                         _exit(44);
                     }
                 }),
                 0);
    int status;
    OK(wait(&status));
    CHECK_EXITED(status, 44);
}
