// Processes, and a byte through a pipe to another process and back.
#include <sys/wait.h>
#include <unistd.h>

#include "bench/guest/bench_guest.hpp"
#include "bench/guest/peers.hpp"

namespace bench {
namespace {

Ends pipes;

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

// What posix_spawn does: no copy of the address space. Not inlined, for the child writes into the caller's frame.
[[gnu::noinline]] pid_t vfork_and_exec() {
    pid_t pid = vfork();
    if (pid != 0) return pid;
    execl("/bench/true", "true", nullptr);
    _exit(127);
}

void vfork_exec_wait(uint64_t operations) {
    for (uint64_t i = 0; i < operations; i++) reap(vfork_and_exec());
}

void start_echo() {
    PipePair both = make_pipes();
    pipes = both.near;
    if (start_child("fork of the echo") != 0) {
        close(both.far.send);
        close(both.far.receive);
        return;
    }
    close(both.near.send);
    close(both.near.receive);
    echo(both.far);
    _exit(0);
}

void pipe_round_trip(uint64_t operations) { round_trips(pipes, operations); }

}  // namespace

const Metric kProcessMetrics[] = {
    {"fork_wait", "child", 4, nullptr, fork_wait},
    {"fork_exec_wait", "child", 4, nullptr, fork_exec_wait},
    {"vfork_exec_wait", "child", 4, nullptr, vfork_exec_wait},
    {"pipe_round_trip", "round trip", 50, start_echo, pipe_round_trip},
    {},
};

}  // namespace bench
