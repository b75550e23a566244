// Meets the sandbox's own limits, and says what it was told.
//   limits_user tasks     makes as many tasks as it may: children, zombies and threads all count
//   limits_user burn MS   two threads compute for so long (wall time); prints the CPU time that they got, in ms
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

namespace {

constexpr int kMost = 200;

[[noreturn]] void fail(const char* what) {
    printf("FAIL: %s: %s\n", what, strerror(errno));
    exit(1);
}

struct Pipe {
    int ends[2];
    Pipe() {
        if (pipe(ends) != 0) fail("pipe");
    }
    void await_end() const {
        char byte;
        close(ends[1]);
        if (read(ends[0], &byte, 1) < 0) fail("read");
    }
};

void await(pid_t child) {
    int status;
    if (waitpid(child, &status, 0) != child || status != 0) fail("waitpid");
}

// Children that live until `pipe` is closed; how many there could be, with the errno that ended it.
int fork_until_refused(const Pipe& pipe, pid_t* children) {
    for (int count = 0; count < kMost; count++) {
        children[count] = fork();
        if (children[count] < 0) return count;
        if (children[count] == 0) {
            pipe.await_end();
            _exit(0);
        }
    }
    errno = 0;
    return kMost;
}

bool can_fork() {
    const pid_t child = fork();
    if (child == 0) _exit(0);
    if (child < 0) return false;
    await(child);
    return true;
}

void* wait_for_end(void* pipe) {
    char byte;
    if (read(static_cast<Pipe*>(pipe)->ends[0], &byte, 1) < 0) fail("read");
    return nullptr;
}

int threads_until_refused(int* error) {
    static pthread_t threads[kMost];
    Pipe pipe;
    int count = 0;
    for (; count < kMost; count++)
        if ((*error = pthread_create(&threads[count], nullptr, wait_for_end, &pipe)) != 0) break;
    close(pipe.ends[1]);
    for (int i = 0; i < count; i++) pthread_join(threads[i], nullptr);
    return count;
}

// A process whose first thread has ended is as many tasks as before.
void end_first_thread() {
    static Pipe pipe;
    pthread_t thread;
    if (pthread_create(&thread, nullptr, wait_for_end, &pipe) != 0) fail("pthread_create");
    syscall(SYS_exit, 0);
}

void make_tasks() {
    static pid_t children[kMost];
    Pipe pipe;
    const int count = fork_until_refused(pipe, children);
    printf("children %d %s\n", count, strerrorname_np(errno));
    close(pipe.ends[1]);
    siginfo_t info;
    for (int i = 0; i < count; i++)
        if (waitid(P_PID, static_cast<id_t>(children[i]), &info, WEXITED | WNOWAIT) != 0) fail("waitid");
    printf("with zombies %s\n", can_fork() ? "forks" : strerrorname_np(errno));
    await(children[0]);
    printf("with one less %s\n", can_fork() ? "forks" : strerrorname_np(errno));
    for (int i = 1; i < count; i++) await(children[i]);
    int error;
    const int threads = threads_until_refused(&error);
    printf("threads %d %s\n", threads, strerrorname_np(error));
    const pid_t leaderless = fork();
    if (leaderless == 0) end_first_thread();
    usleep(50'000);
    const int left = threads_until_refused(&error);
    printf("beside a process without its first thread %d\n", left);
    kill(leaderless, SIGKILL);
    waitpid(leaderless, nullptr, 0);
    printf("then %s\n", can_fork() ? "forks" : strerrorname_np(errno));
}

uint64_t now_ms(clockid_t clock) {
    timespec time;
    clock_gettime(clock, &time);
    return static_cast<uint64_t>(time.tv_sec) * 1000 + static_cast<uint64_t>(time.tv_nsec) / 1'000'000;
}

uint64_t end;

void* compute(void*) {
    while (now_ms(CLOCK_MONOTONIC) < end) {}
    return nullptr;
}

void burn(uint64_t milliseconds) {
    pthread_t thread;
    end = now_ms(CLOCK_MONOTONIC) + milliseconds;
    if (pthread_create(&thread, nullptr, compute, nullptr) != 0) fail("pthread_create");
    compute(nullptr);
    pthread_join(thread, nullptr);
    printf("%llu\n", static_cast<unsigned long long>(now_ms(CLOCK_PROCESS_CPUTIME_ID)));
}

}  // namespace

int main(int count, char** arguments) {
    setvbuf(stdout, nullptr, _IOLBF, 0);
    if (count == 2 && strcmp(arguments[1], "tasks") == 0)
        make_tasks();
    else if (count == 3 && strcmp(arguments[1], "burn") == 0)
        burn(strtoull(arguments[2], nullptr, 10));
    else
        return 2;
}
