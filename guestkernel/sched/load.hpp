#pragma once
// What the scheduler counts for /proc and sysinfo(2). Kernel lock held.
//
// Load averages are sampled every 5 seconds, as Linux does it, but only while there is something to sample: a timer is
// armed when a thread becomes runnable, and stays armed until a sample finds nothing active. The samples that an idle
// sandbox left out are all zero, and are made up for by the next sample or reader.
#include "guestkernel/platform/cpu.hpp"
#include "guestkernel/sched/sched.hpp"

namespace kvmsbx::sched {

struct LoadAverages {
    uint64_t fixed[3] = {};  // over 1, 5 and 15 minutes, in units of 1 / kLoadOne
};
inline constexpr unsigned kLoadShift = 11;
inline constexpr uint64_t kLoadOne = 1 << kLoadShift;
inline constexpr Nanoseconds kLoadPeriod = 5'000'000'000;

// The averages after `count` more samples that all saw `active` threads.
LoadAverages after_samples(const LoadAverages& averages, uint64_t active, uint64_t count);

LoadAverages load_averages();
// A thread became runnable.
void watch_load();

struct CpuTimes {
    Nanoseconds busy = 0, idle = 0;
};
CpuTimes cpu_times(unsigned cpu);
uint64_t context_switches();  // on all vCPUs since the start
uint64_t interrupts(unsigned cpu, platform::Event event);
// Threads that run, wait for a vCPU, or are blocked and cannot be interrupted.
uint64_t active_threads();

}  // namespace kvmsbx::sched
