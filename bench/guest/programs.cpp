// The wall time of a command, seen from inside.
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "bench/guest/bench_guest.hpp"

namespace bench {
namespace {

// A first run beyond it counts: what warming up would save is little of it, and there is no time for two.
constexpr uint64_t kLong = 20'000'000'000;

void become(char** command) {
    int sink = open("/dev/null", O_WRONLY);
    if (sink < 0 || dup2(sink, 1) < 0) _exit(126);
    execvp(command[0], command);
    _exit(127);
}

uint64_t time_once(char** command) {
    uint64_t start = now_ns();
    pid_t pid = fork();
    if (pid < 0) die("fork");
    if (pid == 0) become(command);
    int status;
    if (waitpid(pid, &status, 0) != pid) die("waitpid");
    uint64_t took = now_ns() - start;
    if (status == 0) return took;
    fprintf(stderr, "bench_guest: %s ended with wait status %#x\n", command[0], static_cast<unsigned>(status));
    exit(1);
}

}  // namespace

void report_program(char** command, double seconds, int samples) {
    auto limit = static_cast<uint64_t>(seconds * 1e9);
    std::vector<uint64_t> times;
    uint64_t spent = time_once(command);
    if (spent > kLong)
        times.push_back(spent);
    else
        spent = 0;
    while (times.empty() || (spent < limit && times.size() < static_cast<size_t>(samples))) {
        times.push_back(time_once(command));
        spent += times.back();
    }
    std::nth_element(times.begin(), times.begin() + static_cast<long>(times.size() / 2), times.end());
    printf("{\"metric\": \"program\", \"unit\": \"run\", \"ns_per_op\": %lu, \"operations\": %zu}\n",
           times[times.size() / 2], times.size());
}

}  // namespace bench
