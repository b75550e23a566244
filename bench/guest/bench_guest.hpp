#pragma once
// What every guest measurement shares. A measurement is a function that does `operations` operations; the frame around
// it (bench_guest.cpp) finds a number that fills the wanted time, takes the best estimate of several samples and prints
// one JSON line.
#include <sys/types.h>
#include <cstdint>

namespace bench {

struct Metric {
    const char* name;
    const char* unit;           // of one operation, for people: "call", "page", "round trip"
    uint64_t first_operations;  // of the first sample
    void (*prepare)();          // once, untimed; may be null
    void (*run)(uint64_t operations);
    // Instead of run where set-up between operations must not be counted: gives ns.
    uint64_t (*time)(uint64_t operations) = nullptr;
    uint64_t granule = 1;  // operations are rounded up to a multiple of it
    uint64_t bytes = 0;    // that one operation moves, where the rate is what counts
};

[[noreturn]] void die(const char* what);  // prints what and strerror(errno), exits 1
uint64_t now_ns();                        // CLOCK_MONOTONIC

// Size of the files of kMappedMetrics, in MiB.
extern uint64_t mapped_mib;

// Each list ends with a null name.
extern const Metric kCallMetrics[], kMemoryMetrics[], kProcessMetrics[], kFileMetrics[], kMappedMetrics[],
    kTaskMetrics[], kSocketMetrics[], kEventMetrics[];

// Runs a command again and again, its output thrown away: the median wall time of fork + exec + wait, as a metric's
// line. The first run is a warm-up, if it does not take very long. Exits when the command fails.
void report_program(char** command, double seconds, int samples);

}  // namespace bench
