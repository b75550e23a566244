#pragma once
// The clocks, from the TSC. At start and then every minute of activity the host is asked for its clocks (kGetTime); in
// between they are base + (tsc - tsc_base) * rate. The same four numbers are in the vDSO's data page, so applications
// and the Sentry agree to the nanosecond. CLOCK_MONOTONIC never goes back and never jumps by less than a suspended
// machine would make it: small errors are worked off by the rate.
#include "common/abi/boot_info.hpp"
#include "guestkernel/sched/sched.hpp"

namespace kvmsbx::sched {

// Once at start, on vCPU 0, before anything asks for the time.
void init_clock();
// Offsets of a time namespace (time_namespaces(7)), ns: CLOCK_MONOTONIC and CLOCK_BOOTTIME, and all that is derived from
// them, are that far from the host's.
struct ClockOffsets {
    int64_t monotonic = 0, boottime = 0;
};
// Once at start, right after init_clock(): no time that was asked for before is comparable. ERANGE: a clock would be
// before 0, or beyond 146 years.
Result<> set_clock_offsets(const ClockOffsets& offsets);
const ClockOffsets& clock_offsets();
// Fills an application-visible VdsoData page, and keeps it up to date from then on (one page for all).
void update_vdso_data(void* page);

// What a synchronization makes of the clock; pure, for tests.
struct ClockSample {
    uint64_t tsc;
    uint64_t realtime, monotonic, boottime;  // ns, of the host at `tsc`
};
// `previous`: as set at the last sample, with tsc_base and bases. nominal: ns per TSC tick, 32.32.
abi::VdsoData synchronize(const abi::VdsoData& previous, const ClockSample& last, const ClockSample& sample,
                          uint64_t nominal);
uint64_t ticks_to_ns(uint64_t ticks, uint64_t mult);

}  // namespace kvmsbx::sched
