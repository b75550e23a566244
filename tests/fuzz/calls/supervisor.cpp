// call_fuzzer --seed N --seconds S [--workers W] [--only CALL,CALL...]: pid 1 of a sandbox. Rounds of some seconds;
// after each, all else is killed and the sandbox is looked at. call_fuzzer --seed N --round R --worker W --life L: this
// life alone, until it ends.
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>

#include "tests/fuzz/calls/calls.hpp"

namespace calls {
namespace {

constexpr uint64_t kMillisecond = 1'000'000, kSecond = 1'000'000'000;
constexpr uint64_t kRound = 4 * kSecond;
uint64_t patience = 300 * kMillisecond;  // with a worker that makes no operation

struct Worker {
    pid_t pid = 0;
    uint64_t seen = 0, changed = 0;  // operations, and since when they have been so many
    unsigned life = 0;
};

Worker workers[kMaxWorkers];
Slot* slots;
unsigned worker_count = 4;
uint64_t seed = 1, present_round;
uint64_t lives, sleepers;
uint64_t ends[512];  // by the call that was a life's last

uint64_t now() {
    timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * kSecond + time.tv_nsec;
}

void start(unsigned index) {
    Worker& worker = workers[index];
    const Life life = {seed, present_round, index, worker.life++};
    worker.seen = slots[index].operations, worker.changed = now();
    worker.pid = fork();
    if (worker.pid == 0) {
        const sched_param normal = {0};
        sched_setscheduler(0, SCHED_OTHER, &normal);
        live(life, &slots[index], false);
    }
    lives++;
}

// All who ended, the orphans of workers among them. Who was stopped, or is traced by pid 1, is killed.
void reap() {
    int status;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG | WUNTRACED)) > 0;) {
        if (WIFSTOPPED(status)) {
            kill(pid, SIGKILL);
            continue;
        }
        for (unsigned i = 0; i < worker_count; i++)
            if (workers[i].pid == pid) workers[i].pid = 0, ends[slots[i].call & 511]++;
    }
}

void watch(unsigned index) {
    Worker& worker = workers[index];
    if (worker.pid <= 0) return start(index);
    if (slots[index].operations != worker.seen) {
        worker.seen = slots[index].operations, worker.changed = now();
    } else if (now() - worker.changed > patience) {
        kill(worker.pid, SIGKILL);
        worker.changed = now();
        sleepers++;
        ends[slots[index].call & 511]++;
    }
}

// The threads of all, from loadavg.
unsigned count_tasks() {
    char text[128] = {};
    FILE* file = open_proc("loadavg");
    unsigned running = 0, total = 0;
    if (file && fgets(text, sizeof text, file)) sscanf(text, "%*s %*s %*s %u/%u", &running, &total);
    if (file) fclose(file);
    return total;
}

void run_round(uint64_t end) {
    constexpr unsigned kCrowd = 300;
    for (Worker& worker : workers) worker.pid = 0, worker.life = 0;
    for (unsigned i = 0; now() < end; i++) {
        reap();
        if (i % 64 == 63 && count_tasks() > kCrowd) kill(-1, SIGKILL);
        for (unsigned k = 0; k < worker_count; k++) watch(k);
        const timespec pause = {0, 5 * kMillisecond};
        nanosleep(&pause, nullptr);
    }
}

bool end_all() {
    const uint64_t end = now() + 20 * kSecond;
    kill(-1, SIGKILL);
    for (int status; now() < end;) {
        const pid_t pid = waitpid(-1, &status, WNOHANG);
        if (pid < 0 && errno == ECHILD) break;
        if (pid != 0) continue;
        const timespec pause = {0, 2 * kMillisecond};
        nanosleep(&pause, nullptr);
        kill(-1, SIGKILL);
    }
    const unsigned tasks = count_tasks();
    if (tasks != 1) printf("FAULT %u tasks are left after SIGKILL to all\n", tasks);
    return tasks == 1;
}

void print_state() {
    for (unsigned i = 0; i < worker_count; i++)
        printf("  seed %lu round %lu worker %u life %u: %lu operations, call %u\n", seed, present_round, i,
               workers[i].life - 1, slots[i].operations, slots[i].call);
    FILE* file = open_proc("self/mountinfo");
    for (char line[8192]; file && fgets(line, sizeof line, file);) printf("  %s", line);
    if (file) fclose(file);
}

// What the pools do not reach, or what always fails.
void print_never_good() {
    printf("never succeeded:");
    for (unsigned i = 0; i < kCallCount; i++) {
        uint64_t good = 0;
        for (unsigned k = 0; k < worker_count; k++) good += slots[k].good[kCalls[i].number];
        if (good == 0) printf(" %s", kCalls[i].name);
    }
    printf("\nends of lives:");
    for (unsigned i = 0; i < kCallCount; i++)
        if (ends[kCalls[i].number] * 100 > lives) printf(" %s %lu", kCalls[i].name, ends[kCalls[i].number]);
    printf("\n");
}

bool run_rounds(uint64_t end) {
    uint64_t calls = 0, succeeded = 0;
    for (; now() < end; present_round++) {
        // Where a run ends with a panic, this line says which.
        printf("round %lu of seed %lu\n", present_round, seed);
        fflush(stdout);
        const uint64_t left = end - now();
        run_round(now() + (left < kRound ? left : kRound));
        const bool ended = end_all();
        clean_sandbox();
        if (!check_sandbox(present_round >= 2) || !ended) return print_state(), false;
    }
    for (unsigned i = 0; i < worker_count; i++) calls += slots[i].calls, succeeded += slots[i].succeeded;
    print_never_good();
    printf("ok calls: %lu calls, %lu of them succeeded, %lu lives, %lu ended asleep, seed %lu\n", calls, succeeded,
           lives, sleepers, seed);
    return true;
}

}  // namespace
}  // namespace calls

int main(int count, char** words) {
    using namespace calls;
    // Workers execute this program, too, with any arguments.
    if (count < 3 || strcmp(words[1], "--seed") != 0) return 2;
    uint64_t seconds = 10, only_life = ~0ULL;
    Life life = {};
    for (int i = 1; i + 1 < count; i += 2) {
        const uint64_t value = strtoull(words[i + 1], nullptr, 0);
        if (!strcmp(words[i], "--seed")) seed = life.seed = value;
        if (!strcmp(words[i], "--seconds")) seconds = value;
        if (!strcmp(words[i], "--workers")) worker_count = value < kMaxWorkers ? value : kMaxWorkers;
        if (!strcmp(words[i], "--round")) life.round = present_round = value;
        if (!strcmp(words[i], "--worker")) life.worker = value;
        if (!strcmp(words[i], "--life")) only_life = value;
        if (!strcmp(words[i], "--patience")) patience = value * kMillisecond;
        if (!strcmp(words[i], "--only")) only_calls = words[i + 1];
    }
    if (getpid() != 1)
        return fprintf(stderr, "this makes random system calls as root: only in a sandbox, as pid 1\n"), 2;
    slots = (Slot*)mmap(nullptr, sizeof(Slot) * kMaxWorkers, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    prctl(PR_SET_DUMPABLE, 0);
    const sched_param highest = {99};
    if (sched_setscheduler(0, SCHED_FIFO, &highest) != 0) return perror("sched_setscheduler"), 2;
    if (!remember_sandbox()) return 2;
    if (only_life != ~0ULL) {
        life.number = only_life;
        if (fork() == 0) live(life, slots, true);
        wait(nullptr);
        return 0;
    }
    return run_rounds(now() + seconds * kSecond) ? 0 : 1;
}
