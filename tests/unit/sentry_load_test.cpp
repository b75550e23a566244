// Load averages: what samples do to them.
#include <gtest/gtest.h>

#include "guestkernel/sched/load.hpp"

namespace kvmsbx::sched {
namespace {

TEST(SentryLoad, RisesToTheNumberOfActiveThreads) {
    LoadAverages load;
    for (int i = 0; i < 4000; ++i) load = after_samples(load, 3, 1);
    for (const uint64_t average : load.fixed) EXPECT_EQ(average, 3 * kLoadOne);
}

TEST(SentryLoad, FallsToNothing) {
    LoadAverages load{{2 * kLoadOne, 2 * kLoadOne, 2 * kLoadOne}};
    for (int i = 0; i < 4000; ++i) load = after_samples(load, 0, 1);
    for (const uint64_t average : load.fixed) EXPECT_EQ(average, 0u);
}

TEST(SentryLoad, TheShorterTheTimeTheFasterTheChange) {
    const LoadAverages load = after_samples({}, 1, 1);
    EXPECT_GT(load.fixed[0], load.fixed[1]);
    EXPECT_GT(load.fixed[1], load.fixed[2]);
    EXPECT_NEAR(static_cast<double>(load.fixed[0]), 0.08 * kLoadOne, 0.01 * kLoadOne);
}

TEST(SentryLoad, ManySamplesAtOnceAreAsManyOneByOne) {
    LoadAverages single{{kLoadOne, kLoadOne, kLoadOne}};
    for (int i = 0; i < 12; ++i) single = after_samples(single, 0, 1);
    const LoadAverages together = after_samples({{kLoadOne, kLoadOne, kLoadOne}}, 0, 12);
    for (unsigned i = 0; i < 3; ++i)
        EXPECT_NEAR(static_cast<double>(single.fixed[i]), static_cast<double>(together.fixed[i]), 0.02 * kLoadOne);
    EXPECT_EQ(after_samples({{kLoadOne, kLoadOne, kLoadOne}}, 0, ~0ULL).fixed[2], 0u);
}

}  // namespace
}  // namespace kvmsbx::sched
