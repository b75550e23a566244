#include "guestkernel/sched/clock.hpp"

#include <atomic>

#include "guestkernel/lib/assert.hpp"
#include "guestkernel/platform/host.hpp"

namespace kvmsbx::sched {
namespace {

constexpr Nanoseconds kResync = 60'000'000'000;
constexpr Nanoseconds kFirstResync = 1'000'000'000;  // a longer base line soon makes the rate exact
constexpr Nanoseconds kJump = 50'000'000;            // the host is that far ahead: it was suspended, or we were

constexpr int64_t kMostSet = INT64_MAX / 2;  // Linux: KTIME_SEC_MAX / 2

abi::VdsoData data;
ClockOffsets offsets;
ClockSample last_sample;
uint64_t nominal_mult;
uint64_t next_sync_ticks = ~0ULL;  // TSC ticks after tsc_base
abi::VdsoData* user_page;
bool synchronizing;

// The host's clocks at the TSC value in the middle of the call; of a few tries the quickest.
ClockSample ask_host() {
    ClockSample best{};
    uint64_t shortest = ~0ULL;
    for (int i = 0; i < 3; ++i) {
        const uint64_t before = platform::read_tsc();
        const abi::HostTime time = platform::host_time();
        const uint64_t after = platform::read_tsc();
        if (after - before >= shortest) continue;
        shortest = after - before;
        best = {before + (after - before) / 2, time.realtime_ns,
                time.monotonic_ns + static_cast<uint64_t>(offsets.monotonic),
                time.boottime_ns + static_cast<uint64_t>(offsets.boottime)};
    }
    return best;
}

void publish() {
    if (!user_page) return;
    const uint32_t seq = user_page->seq;
    __atomic_store_n(&user_page->seq, seq + 1, __ATOMIC_RELAXED);
    std::atomic_thread_fence(std::memory_order_release);
    user_page->tsc_base = data.tsc_base;
    user_page->mult = data.mult;
    user_page->monotonic_base = data.monotonic_base;
    user_page->realtime_base = data.realtime_base;
    user_page->boottime_base = data.boottime_base;
    std::atomic_thread_fence(std::memory_order_release);
    __atomic_store_n(&user_page->seq, seq + 2, __ATOMIC_RELAXED);
}

uint64_t ns_to_ticks(Nanoseconds ns) {
    return static_cast<uint64_t>((static_cast<unsigned __int128>(ns) << 32) / data.mult);
}

void resynchronize() {
    synchronizing = true;
    const ClockSample sample = ask_host();
    if (sample.tsc > last_sample.tsc) {
        data = synchronize(data, last_sample, sample, nominal_mult);
        last_sample = sample;
        publish();
    }
    next_sync_ticks = ns_to_ticks(kResync);
    synchronizing = false;
}

// Nanoseconds since tsc_base.
Nanoseconds elapsed() {
    // Another vCPU's TSC may be a few ticks behind the one that set the base.
    const uint64_t tsc = platform::read_tsc();
    const uint64_t ticks = tsc > data.tsc_base ? tsc - data.tsc_base : 0;
    if (ticks < next_sync_ticks || synchronizing) [[likely]]
        return ticks_to_ns(ticks, data.mult);
    resynchronize();
    const uint64_t again = platform::read_tsc();
    return ticks_to_ns(again > data.tsc_base ? again - data.tsc_base : 0, data.mult);
}

}  // namespace

uint64_t ticks_to_ns(uint64_t ticks, uint64_t mult) {
    return static_cast<uint64_t>(static_cast<unsigned __int128>(ticks) * mult >> 32);
}

abi::VdsoData synchronize(const abi::VdsoData& previous, const ClockSample& last, const ClockSample& sample,
                          uint64_t nominal) {
    abi::VdsoData next = previous;
    const Nanoseconds ours = previous.monotonic_base + ticks_to_ns(sample.tsc - previous.tsc_base, previous.mult);
    // The host's rate since the last sample; a nonsensical one (suspend, a host without a steady TSC) is not believed.
    const uint64_t ticks = sample.tsc - last.tsc;
    const uint64_t measured =
        static_cast<uint64_t>((static_cast<unsigned __int128>(sample.monotonic - last.monotonic) << 32) / ticks);
    const uint64_t margin = nominal >> 10;
    uint64_t rate = measured > nominal - margin && measured < nominal + margin ? measured : nominal;
    next.tsc_base = sample.tsc;
    next.realtime_base = sample.realtime;
    next.boottime_base = sample.boottime;
    const int64_t behind = static_cast<int64_t>(sample.monotonic - ours);
    if (behind > static_cast<int64_t>(kJump)) {
        next.monotonic_base = sample.monotonic;
    } else {
        next.monotonic_base = ours;
        // Work the error off within a minute, at 500 ppm at most.
        const auto correction = static_cast<int64_t>(static_cast<__int128>(behind) * static_cast<int64_t>(rate) /
                                                     static_cast<int64_t>(kResync));
        const int64_t most = static_cast<int64_t>(rate >> 11);
        rate += static_cast<uint64_t>(correction > most ? most : correction < -most ? -most : correction);
    }
    next.mult = rate;
    return next;
}

void init_clock() {
    const uint64_t khz = platform::boot_info().tsc_khz;
    VERIFY(khz > 0);
    nominal_mult = (1'000'000ULL << 32) / khz;
    last_sample = ask_host();
    data = {0, 0, last_sample.tsc, nominal_mult, last_sample.monotonic, last_sample.realtime, last_sample.boottime};
    next_sync_ticks = ns_to_ticks(kFirstResync);
}

Result<> set_clock_offsets(const ClockOffsets& wanted) {
    const auto fits = [](Nanoseconds time, int64_t offset) {
        const __int128 moved = __int128{time} + offset;
        return moved >= 0 && moved <= kMostSet;
    };
    if (!fits(now(), wanted.monotonic) || !fits(boottime_now(), wanted.boottime)) return Errno::kRANGE;
    offsets = wanted;
    init_clock();
    publish();
    return {};
}

const ClockOffsets& clock_offsets() { return offsets; }

void update_vdso_data(void* page) {
    user_page = static_cast<abi::VdsoData*>(page);
    publish();
}

Nanoseconds now() {
    const Nanoseconds since = elapsed();
    return since + data.monotonic_base;
}
Nanoseconds realtime_now() {
    const Nanoseconds since = elapsed();
    return since + data.realtime_base;
}
Nanoseconds boottime_now() {
    const Nanoseconds since = elapsed();
    return since + data.boottime_base;
}

}  // namespace kvmsbx::sched
