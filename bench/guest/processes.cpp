// Processes, and a byte through a pipe to another process and back.
#include <sys/wait.h>
#include <unistd.h>
#include <csignal>

#include "bench/guest/bench_guest.hpp"

namespace bench {
namespace {

int there[2], back[2];

void reap(pid_t pid) {
    if (pid < 0) die("fork");
    int status;
    if (waitpid(pid, &status, 0) != pid || status != 0) die("child");
}

void fork_wait(uint64_t operations) {
    for (uint64_t i = 0; i < operations; i++) {
        pid_t pid = fork();
        if (pid == 0) _exit(0);
        reap(pid);
    }
}

void fork_exec_wait(uint64_t operations) {
    for (uint64_t i = 0; i < operations; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            execl("/bench/true", "true", nullptr);
            _exit(127);
        }
        reap(pid);
    }
}

void start_echo() {
    if (pipe(there) != 0 || pipe(back) != 0) die("pipe");
    pid_t pid = fork();
    if (pid < 0) die("fork");
    if (pid != 0) {
        close(there[0]);
        close(back[1]);
        return;
    }
    close(there[1]);
    close(back[0]);
    char byte;
    while (read(there[0], &byte, 1) == 1)
        if (write(back[1], &byte, 1) != 1) break;
    _exit(0);
}

void round_trip(uint64_t operations) {
    char byte = 'x';
    for (uint64_t i = 0; i < operations; i++)
        if (write(there[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1) die("pipe");
}

}  // namespace

const Metric kProcessMetrics[] = {
    {"fork_wait", "child", 4, nullptr, fork_wait},
    {"fork_exec_wait", "child", 4, nullptr, fork_exec_wait},
    {"pipe_round_trip", "round trip", 50, start_echo, round_trip},
    {},
};

}  // namespace bench
