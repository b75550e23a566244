// The arithmetic of CPU bandwidth control.
#include "guestkernel/sched/quota.hpp"

#include <gtest/gtest.h>

namespace kvmsbx::sched {
namespace {

constexpr Nanoseconds kMs = 1'000'000, kQuota = 50 * kMs, kPeriod = 100 * kMs, kStart = 7'000 * kMs;

struct Quota : testing::Test {
    QuotaAccount account;
    Nanoseconds time = kStart, total = 300 * kMs;

    Quota() { account.set(kQuota, kPeriod, time, total); }
    void pass(Nanoseconds wall, Nanoseconds run) {
        time += wall;
        total += run;
        account.update(time, total);
    }
    QuotaAccount::Statistics statistics() const { return account.statistics(time); }
};

TEST_F(Quota, IsUsedUpAndWholeAgainInTheNextPeriod) {
    pass(49 * kMs, 49 * kMs);
    EXPECT_FALSE(account.used_up());
    pass(1 * kMs, 1 * kMs);
    EXPECT_TRUE(account.used_up());
    EXPECT_EQ(account.next_look(time, total, 2), kStart + kPeriod);
    pass(20 * kMs, 0);
    EXPECT_EQ(statistics().throttled_time, 20 * kMs);
    pass(30 * kMs, 0);
    EXPECT_FALSE(account.used_up());
    EXPECT_EQ(statistics().periods, 1U);
    EXPECT_EQ(statistics().throttled_periods, 1U);
    EXPECT_EQ(statistics().throttled_time, 50 * kMs);
}

// Two vCPUs use a quota in half the time.
TEST_F(Quota, LooksBeforeItCanBeUsedUp) {
    EXPECT_EQ(account.next_look(time, total, 1), time + kQuota);
    EXPECT_EQ(account.next_look(time, total, 2), time + kQuota / 2);
    pass(10 * kMs, 20 * kMs);
    EXPECT_EQ(account.next_look(time, total, 2), time + 15 * kMs);
    pass(85 * kMs, 1 * kMs);
    EXPECT_EQ(account.next_look(time, total, 2), kStart + kPeriod);
}

// Who could not be stopped in time pays later.
TEST_F(Quota, WhatWasTooMuchIsTakenFromTheNextPeriods) {
    pass(100 * kMs, 120 * kMs);  // 70 too much
    EXPECT_TRUE(account.used_up());
    pass(100 * kMs, 0);
    EXPECT_FALSE(account.used_up());  // 20 too much
    pass(30 * kMs, 30 * kMs);
    EXPECT_TRUE(account.used_up());
}

TEST_F(Quota, IsNotSavedUp) {
    pass(1000 * kMs, 0);
    EXPECT_TRUE(account.rests());
    pass(50 * kMs, 50 * kMs);
    EXPECT_TRUE(account.used_up());
}

TEST_F(Quota, PeriodsOfARestDoNotCount) {
    pass(100 * kMs, 10 * kMs);
    EXPECT_FALSE(account.rests());
    pass(100 * kMs, 0);
    EXPECT_TRUE(account.rests());
    time += 100'000 * kMs;
    account.begin(time, total);
    EXPECT_FALSE(account.rests());
    pass(100 * kMs, 50 * kMs);
    EXPECT_EQ(statistics().periods, 3U);
}

TEST_F(Quota, LateLooksCountEachPeriod) {
    pass(60 * kMs, 60 * kMs);
    pass(290 * kMs, 0);
    EXPECT_EQ(statistics().periods, 3U);
    EXPECT_EQ(statistics().throttled_periods, 3U);
    EXPECT_FALSE(account.used_up());
}

TEST_F(Quota, CanBeTakenAway) {
    pass(60 * kMs, 60 * kMs);
    EXPECT_TRUE(account.used_up());
    account.set(0, kPeriod, time, total);
    pass(1000 * kMs, 1000 * kMs);
    EXPECT_FALSE(account.used_up());
}

}  // namespace
}  // namespace kvmsbx::sched
