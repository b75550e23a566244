// The measured program: the same static binary runs in a chroot, under runc, runsc and kvmsbx.
//   bench_guest METRIC [--seconds S] [--samples N]   -> {"metric": ..., "ns_per_op": median, "samples": [...],
//   "operations": n} bench_guest METRIC --operations N                does exactly N operations once (for counting what
//   they cost elsewhere) bench_guest idle                                 prints "ready" and waits to be killed;
//   touches as little as it can bench_guest --list
#include "bench/guest/bench_guest.hpp"

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

const Metric* find(const char* name) {
    for (const Metric* list : {kCallMetrics, kMemoryMetrics, kProcessMetrics, kFileMetrics})
        for (; list->name != nullptr; list++)
            if (strcmp(list->name, name) == 0) return list;
    return nullptr;
}

void print_list() {
    for (const Metric* list : {kCallMetrics, kMemoryMetrics, kProcessMetrics, kFileMetrics})
        for (; list->name != nullptr; list++) printf("%s\n", list->name);
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

void report(const Metric& metric, double seconds, int samples) {
    uint64_t operations = calibrate(metric, seconds * 1e9 / samples);
    double values[kMaxSamples], sorted[kMaxSamples];
    for (int i = 0; i < samples; i++)
        sorted[i] = values[i] = static_cast<double>(measure(metric, operations)) / static_cast<double>(operations);
    std::sort(sorted, sorted + samples);
    printf("{\"metric\": \"%s\", \"unit\": \"%s\", \"ns_per_op\": %.3f, \"operations\": %lu, \"samples\": [",
           metric.name, metric.unit, sorted[samples / 2], operations);
    for (int i = 0; i < samples; i++) printf("%s%.3f", i == 0 ? "" : ", ", values[i]);
    printf("]}\n");
}

}  // namespace
}  // namespace bench

int main(int argc, char** argv) {
    using namespace bench;
    if (argc < 2 || strcmp(argv[1], "--list") == 0) {
        print_list();
        return 0;
    }
    if (strcmp(argv[1], "idle") == 0) {
        if (write(1, "ready\n", 6) != 6) return 1;
        for (;;) pause();
    }
    double seconds = 0.3;
    int samples = 5;
    uint64_t operations = 0;
    bool exact = false;
    for (int i = 2; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--seconds") == 0) seconds = atof(argv[i + 1]);
        if (strcmp(argv[i], "--samples") == 0) samples = std::clamp(atoi(argv[i + 1]), 1, kMaxSamples);
        if (strcmp(argv[i], "--operations") == 0) {
            operations = strtoull(argv[i + 1], nullptr, 10);
            exact = true;
        }
    }
    const Metric* metric = find(argv[1]);
    if (metric == nullptr) {
        fprintf(stderr, "bench_guest: no metric '%s'; see --list\n", argv[1]);
        return 2;
    }
    if (metric->prepare != nullptr) metric->prepare();
    if (exact) {
        uint64_t took = operations == 0 ? 0 : measure(*metric, operations);
        printf("{\"metric\": \"%s\", \"operations\": %lu, \"ns\": %lu}\n", metric->name, operations, took);
    } else {
        report(*metric, seconds, samples);
    }
    return 0;
}
