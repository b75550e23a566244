// The pids controller: what counts, and what is refused.
#include "guestkernel/task/pids.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace kvmsbx::task {
namespace {

struct Pids : testing::Test {
    ~Pids() override { set_pids_limit(0); }
    const uint64_t before = pids_statistics().current;
};

TEST_F(Pids, WhatIsNotKeptIsGivenBack) {
    {
        auto charge = PidCharge::take();
        ASSERT_TRUE(charge.is_ok());
        EXPECT_EQ(pids_statistics().current, before + 1);
    }
    EXPECT_EQ(pids_statistics().current, before);
    auto kept = PidCharge::take();
    kept->keep();
    kept = PidCharge::take();
    EXPECT_EQ(pids_statistics().current, before + 2);
    kept = Errno::kAGAIN;
    EXPECT_EQ(pids_statistics().current, before + 1);
    release_pid();
    EXPECT_GE(pids_statistics().peak, before + 2);
}

TEST_F(Pids, BeyondTheLimitIsEagainAndCounted) {
    set_pids_limit(before + 2);
    const uint64_t refused = pids_statistics().refused;
    auto first = PidCharge::take(), second = PidCharge::take(), third = PidCharge::take();
    EXPECT_TRUE(first.is_ok() && second.is_ok());
    EXPECT_EQ(third.error(), Errno::kAGAIN);
    EXPECT_EQ(pids_statistics().refused, refused + 1);
    EXPECT_EQ(pids_statistics().current, before + 2);
}

// As on Linux: nobody is ended for it.
TEST_F(Pids, ALimitBelowWhatThereIsHoldsForNewOnes) {
    std::vector<Result<PidCharge>> charges;
    for (int i = 0; i < 3; ++i) charges.push_back(PidCharge::take());
    set_pids_limit(before + 1);
    EXPECT_EQ(PidCharge::take().error(), Errno::kAGAIN);
    charges.clear();
    EXPECT_TRUE(PidCharge::take().is_ok());
}

}  // namespace
}  // namespace kvmsbx::task
