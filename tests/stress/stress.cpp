// stress --seed N --seconds S --workers W [--directory D] [--worker W --operation K] | --child ...
#include "tests/stress/stress.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <ctime>

namespace stress {
namespace {

Operation* operations;
unsigned operation_count;
uint64_t seed = 1, present_operation;
unsigned present_worker;
const char* present_name = "start";

struct Shared {  // between the workers
    uint64_t done[64];
};
Shared* shared;

uint64_t seconds_now() {
    timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return static_cast<uint64_t>(time.tv_sec);
}

void run_operation(unsigned worker, uint64_t number) {
    Random random(seed * 1000003 + worker * 7919 + number);
    random.next();
    unsigned pick = random.below(operation_count), index = 0;
    Operation* operation = operations;
    while (index < pick) operation = operation->next, index++;
    present_worker = worker, present_operation = number, present_name = operation->name;
    operation->run(random);
    shared->done[pick]++;
}

void work(unsigned worker, uint64_t end) {
    char folder[64];
    snprintf(folder, sizeof folder, "worker%u", worker);
    mkdir(folder, 0777);
    EXPECT(chdir(folder) == 0);
    for (uint64_t number = 0; seconds_now() < end; number++) run_operation(worker, number);
    _exit(0);
}

int wait_for_workers(unsigned workers) {
    int failed = 0;
    for (unsigned left = workers; left > 0;) {
        int status = 0;
        if (wait(&status) < 0) {
            if (errno == EINTR) continue;
            break;
        }
        left--;
        if (status != 0) {
            printf("a worker ended with status 0x%x\n", status);
            failed = 1;
        }
    }
    return failed;
}

uint64_t number_of(const char* text) { return strtoull(text, nullptr, 0); }

}  // namespace

Operation::Operation(const char* its_name, void (*body)(Random&)) : name(its_name), run(body) {
    next = operations;
    operations = this;
    operation_count++;
}

void fault(const char* file, int line, const char* what) {
    char text[512];
    const int length =
        snprintf(text, sizeof text, "FAULT %s (seed %llu, worker %u, operation %llu): %s:%d %s (errno %d)\n",
                 present_name, static_cast<unsigned long long>(seed), present_worker,
                 static_cast<unsigned long long>(present_operation), file, line, what, errno);
    if (write(1, text, length) != length) _exit(98);
    _exit(99);
}

uint64_t checksum(const void* bytes, size_t size, uint64_t start) {
    uint64_t sum = start;
    const auto* p = static_cast<const unsigned char*>(bytes);
    for (size_t i = 0; i < size; i++) sum = (sum ^ p[i]) * 0x100000001b3;
    return sum;
}

void fill(void* bytes, size_t size, uint64_t from) {
    Random random(from);
    auto* p = static_cast<unsigned char*>(bytes);
    for (size_t i = 0; i < size; i += 8) {
        const uint64_t value = random.next();
        memcpy(p + i, &value, size - i < 8 ? size - i : 8);
    }
}

int exit_code_of(int pid) {
    int status = 0;
    while (waitpid(pid, &status, 0) < 0) EXPECT(errno == EINTR);
    if (!WIFEXITED(status)) printf("process %d ended with status %#x\n", pid, status);
    EXPECT(WIFEXITED(status));
    return WEXITSTATUS(status);
}

}  // namespace stress

int main(int count, char** words) {
    using namespace stress;
    if (count == 4 && !strcmp(words[1], "--child")) {  // what fork_exec starts: a checksum of standard input
        char bytes[4096];
        uint64_t sum = number_of(words[2]);
        for (ssize_t got; (got = read(0, bytes, sizeof bytes)) > 0;) sum = checksum(bytes, got, sum);
        return static_cast<int>(sum % 199) + static_cast<int>(number_of(words[3]));
    }
    uint64_t seconds = 10, only = ~0ULL;
    unsigned workers = 4, worker = 0;
    const char* directory = "/tmp";
    for (int i = 1; i + 1 < count; i += 2) {
        if (!strcmp(words[i], "--seed"))
            seed = number_of(words[i + 1]);
        else if (!strcmp(words[i], "--seconds"))
            seconds = number_of(words[i + 1]);
        else if (!strcmp(words[i], "--workers"))
            workers = number_of(words[i + 1]);
        else if (!strcmp(words[i], "--directory"))
            directory = words[i + 1];
        else if (!strcmp(words[i], "--worker"))
            worker = number_of(words[i + 1]);
        else if (!strcmp(words[i], "--operation"))
            only = number_of(words[i + 1]);
        else
            return fprintf(stderr, "unknown option %s\n", words[i]), 2;
    }
    if (chdir(directory) != 0) return perror(directory), 2;
    shared =
        static_cast<Shared*>(mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    if (shared == MAP_FAILED) return perror("mmap"), 2;
    if (only != ~0ULL) return run_operation(worker, only), printf("%s passed\n", present_name), 0;
    const uint64_t end = seconds_now() + seconds;
    for (unsigned i = 0; i < workers; i++) {
        const pid_t pid = fork();
        if (pid < 0) return perror("fork"), 2;
        if (pid == 0) work(i, end);
    }
    const int failed = wait_for_workers(workers);
    uint64_t total = 0;
    unsigned index = 0;
    for (Operation* operation = operations; operation; operation = operation->next, index++) {
        printf("%s %llu\n", operation->name, static_cast<unsigned long long>(shared->done[index]));
        total += shared->done[index];
        if (shared->done[index] == 0 && seconds >= 30) printf("note: %s never ran\n", operation->name);
    }
    printf("%s stress: %llu operations, seed %llu\n", failed ? "FAIL" : "ok", static_cast<unsigned long long>(total),
           static_cast<unsigned long long>(seed));
    return failed;
}
