// How the clock takes what the host says at a synchronization.
#include "guestkernel/sched/clock.hpp"

#include <gtest/gtest.h>

#include "guestkernel/platform/test/machine.hpp"

namespace kvmsbx::sched {
namespace {

constexpr uint64_t kNominal = 1ULL << 32;  // 1 ns per tick
constexpr uint64_t kMinute = 60'000'000'000;

Nanoseconds monotonic_at(const abi::VdsoData& data, uint64_t tsc) {
    return data.monotonic_base + ticks_to_ns(tsc - data.tsc_base, data.mult);
}

abi::VdsoData start() { return {0, 0, 1000, kNominal, 5000, 9000, 7000}; }

TEST(Clock, LargeTickCountsDoNotOverflow) { EXPECT_EQ(ticks_to_ns(1ULL << 50, kNominal / 2), 1ULL << 49); }

TEST(Clock, ExactHostChangesNothing) {
    const abi::VdsoData next = synchronize(start(), {1000, 9000, 5000, 7000},
                                           {1000 + kMinute, 9000 + kMinute, 5000 + kMinute, 7000 + kMinute}, kNominal);
    EXPECT_EQ(next.monotonic_base, 5000 + kMinute);
    EXPECT_EQ(next.mult, kNominal);
    EXPECT_EQ(next.realtime_base, 9000 + kMinute);
}

TEST(Clock, NeverGoesBackWhenTheHostIsBehind) {
    const uint64_t slow = kMinute - 1'000'000;
    const abi::VdsoData next = synchronize(start(), {1000, 0, 5000, 0}, {1000 + kMinute, 0, 5000 + slow, 0}, kNominal);
    EXPECT_EQ(next.monotonic_base, monotonic_at(start(), 1000 + kMinute));
    EXPECT_LT(next.mult, kNominal);
    // A minute later it has caught up with a host that goes on at that rate.
    const int64_t error = static_cast<int64_t>(monotonic_at(next, 1000 + 2 * kMinute) - (5000 + 2 * slow));
    EXPECT_LT(std::abs(error), 50'000);
}

TEST(Clock, JumpsForwardAfterASuspend) {
    const abi::VdsoData next =
        synchronize(start(), {1000, 0, 5000, 0}, {1000 + kMinute, 0, 5000 + 100 * kMinute, 0}, kNominal);
    EXPECT_EQ(next.monotonic_base, 5000 + 100 * kMinute);
    EXPECT_EQ(next.mult, kNominal);  // that rate was not believed
}

// A time namespace.
TEST(Clock, OffsetsMoveTwoOfThree) {
    platform::test::Machine machine;
    constexpr int64_t kDay = 86'400'000'000'000;
    const Nanoseconds monotonic = now(), boottime = boottime_now(), realtime = realtime_now();
    ASSERT_TRUE(set_clock_offsets({kDay, 2 * kDay}).is_ok());
    EXPECT_NEAR(static_cast<double>(now() - monotonic), kDay, 60e9);
    EXPECT_NEAR(static_cast<double>(boottime_now() - boottime), 2 * kDay, 60e9);
    EXPECT_NEAR(static_cast<double>(realtime_now() - realtime), 0, 60e9);
    EXPECT_EQ(set_clock_offsets({-kDay * 365 * 100, 0}).error(), Errno::kRANGE);
    EXPECT_EQ(set_clock_offsets({0, INT64_MAX}).error(), Errno::kRANGE);
    EXPECT_EQ(clock_offsets().monotonic, kDay);
    EXPECT_TRUE(set_clock_offsets({}).is_ok());
    EXPECT_GE(now(), monotonic);
}

}  // namespace
}  // namespace kvmsbx::sched
