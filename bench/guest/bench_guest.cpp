// The measured program: the same static binary runs in a chroot, under runc, runsc and kvmsbx.
//   bench_guest METRIC [--seconds S] [--samples N]
//       -> {"metric": ..., "ns_per_op": median, "samples": [...], "operations": n}
//   bench_guest METRIC --operations N    does exactly N operations once (for counting what they cost elsewhere)
//   bench_guest program [--seconds S] [--samples N] -- COMMAND...
//       -> the same line for the wall time of a command
//   bench_guest check [--operations N]   does N operations of every metric, each in a child, and says ok or FAIL
//   bench_guest idle                     prints "ready" and waits to be killed; touches as little as it can
//   bench_guest --list
// --mapped-mib N: another size of the large files.
#include "bench/guest/bench_guest.hpp"

#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace bench {

void die(const char* what) {
    fprintf(stderr, "bench_guest: %s: %s\n", what, strerror(errno));
    exit(1);
}

uint64_t now_ns() {
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<uint64_t>(now.tv_sec) * 1000000000u + static_cast<uint64_t>(now.tv_nsec);
}

namespace {

constexpr int kMaxSamples = 100;

uint64_t measure(const Metric& metric, uint64_t operations) {
    if (metric.time != nullptr) return metric.time(operations);
    uint64_t start = now_ns();
    metric.run(operations);
    return now_ns() - start;
}

template <typename Visit>
void for_each(Visit visit) {
    for (const Metric* list : {kCallMetrics, kMemoryMetrics, kProcessMetrics, kFileMetrics, kMappedMetrics,
                               kTaskMetrics, kSocketMetrics, kEventMetrics})
        for (; list->name != nullptr; list++) visit(*list);
}

const Metric* find(const char* name) {
    const Metric* found = nullptr;
    for_each([&](const Metric& metric) {
        if (strcmp(metric.name, name) == 0) found = &metric;
    });
    return found;
}

uint64_t rounded(const Metric& metric, uint64_t operations) {
    return (operations + metric.granule - 1) / metric.granule * metric.granule;
}

// Grows the number of operations until a sample lasts as long as one should.
uint64_t calibrate(const Metric& metric, double sample_ns) {
    uint64_t operations = metric.first_operations;
    for (;;) {
        auto took = static_cast<double>(std::max<uint64_t>(measure(metric, operations), 1));
        if (took >= sample_ns / 2)
            return rounded(metric, std::max<uint64_t>(
                                       1, static_cast<uint64_t>(static_cast<double>(operations) * sample_ns / took)));
        operations =
            static_cast<uint64_t>(static_cast<double>(operations) * std::min(10.0, std::max(2.0, sample_ns / took)));
        operations = rounded(metric, operations);
    }
}

// Where one sample takes much longer than it should, there are fewer of them.
constexpr double kPatience = 3;

void report(const Metric& metric, double seconds, int samples) {
    uint64_t operations = calibrate(metric, seconds * 1e9 / samples);
    uint64_t last_start = now_ns() + static_cast<uint64_t>(kPatience * seconds * 1e9);
    double values[kMaxSamples], sorted[kMaxSamples];
    int taken = 0;
    while (taken == 0 || (taken < samples && now_ns() < last_start)) {
        values[taken] = static_cast<double>(measure(metric, operations)) / static_cast<double>(operations);
        sorted[taken] = values[taken];
        taken++;
    }
    std::sort(sorted, sorted + taken);
    printf(
        "{\"metric\": \"%s\", \"unit\": \"%s\", \"bytes_per_op\": %lu, \"ns_per_op\": %.3f, \"operations\": %lu, "
        "\"samples\": [",
        metric.name, metric.unit, metric.bytes, sorted[taken / 2], operations);
    for (int i = 0; i < taken; i++) printf("%s%.3f", i == 0 ? "" : ", ", values[i]);
    printf("]}\n");
}

struct Options {
    double seconds = 0.3;
    int samples = 5;
    uint64_t operations = 0;
    bool exact = false;
    char** command = nullptr;  // behind "--"
};

Options parse(int argc, char** argv) {
    Options options;
    for (int i = 2; i + 1 < argc; i += 2) {
        const char* value = argv[i + 1];
        if (strcmp(argv[i], "--") == 0) {
            options.command = argv + i + 1;
            break;
        }
        if (strcmp(argv[i], "--seconds") == 0) options.seconds = atof(value);
        if (strcmp(argv[i], "--samples") == 0) options.samples = std::clamp(atoi(value), 1, kMaxSamples);
        if (strcmp(argv[i], "--mapped-mib") == 0) mapped_mib = strtoull(value, nullptr, 10);
        if (strcmp(argv[i], "--operations") == 0) {
            options.operations = strtoull(value, nullptr, 10);
            options.exact = true;
        }
    }
    return options;
}

uint64_t measure_exactly(const Metric& metric, uint64_t operations) {
    if (metric.prepare != nullptr) metric.prepare();
    return operations == 0 ? 0 : measure(metric, operations);
}

constexpr unsigned kCheckSeconds = 30;

// Each metric in a child of its own; they leave descriptors, threads and children behind.
bool check_one(const Metric& metric, uint64_t operations) {
    pid_t pid = fork();
    if (pid < 0) die("fork");
    if (pid == 0) {
        alarm(kCheckSeconds);
        measure_exactly(metric, operations);
        exit(0);
    }
    int status;
    if (waitpid(pid, &status, 0) != pid) die("waitpid");
    if (status == 0)
        printf("ok %s\n", metric.name);
    else
        printf("FAIL %s: wait status %#x\n", metric.name, static_cast<unsigned>(status));
    fflush(stdout);
    return status == 0;
}

int check_all(uint64_t operations) {
    int failed = 0;
    for_each([&](const Metric& metric) { failed += check_one(metric, operations) ? 0 : 1; });
    return failed == 0 ? 0 : 1;
}

int idle() {
    if (write(1, "ready\n", 6) != 6) return 1;
    for (;;) pause();
}

int run_metric(const char* name, const Options& options) {
    const Metric* metric = find(name);
    if (metric == nullptr) {
        fprintf(stderr, "bench_guest: no metric '%s'; see --list\n", name);
        return 2;
    }
    if (options.exact) {
        uint64_t took = measure_exactly(*metric, options.operations);
        printf("{\"metric\": \"%s\", \"operations\": %lu, \"ns\": %lu}\n", metric->name, options.operations, took);
        return 0;
    }
    if (metric->prepare != nullptr) metric->prepare();
    report(*metric, options.seconds, options.samples);
    return 0;
}

}  // namespace
}  // namespace bench

int main(int argc, char** argv) {
    using namespace bench;
    if (argc < 2 || strcmp(argv[1], "--list") == 0) {
        for_each([](const Metric& metric) { printf("%s\n", metric.name); });
        return 0;
    }
    if (strcmp(argv[1], "idle") == 0) return idle();
    Options options = parse(argc, argv);
    if (strcmp(argv[1], "check") == 0) return check_all(options.exact ? options.operations : 10);
    if (strcmp(argv[1], "program") != 0) return run_metric(argv[1], options);
    if (options.command == nullptr) {
        fprintf(stderr, "bench_guest: program takes a command behind --\n");
        return 2;
    }
    report_program(options.command, options.seconds, options.samples);
    return 0;
}
