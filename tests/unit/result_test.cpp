#include "common/base/result.hpp"

#include <gtest/gtest.h>

#include <memory>

namespace kvmsbx {
namespace {

Result<int> half(int n) {
    if (n % 2) return Errno::kINVAL;
    return n / 2;
}

Result<> quarter(int n, int& out) {
    out = TRY(half(TRY(half(n))));
    return {};
}

TEST(Result, TryUnwrapsOrReturnsTheError) {
    int out = 0;
    EXPECT_TRUE(quarter(12, out).is_ok());
    EXPECT_EQ(out, 3);
    EXPECT_EQ(quarter(6, out).error(), Errno::kINVAL);
    EXPECT_EQ(out, 3);
}

TEST(Result, MovesOnlyTypes) {
    Result<std::unique_ptr<int>> r(std::make_unique<int>(5));
    std::unique_ptr<int> p = r.release_value();
    EXPECT_EQ(*p, 5);
}

TEST(Result, MustUnwrapsOrPanicsWithTheExpression) {
    EXPECT_EQ(MUST(half(8)), 4);
    EXPECT_DEATH(MUST(half(7)), "result_test.cpp:[0-9]+: MUST: half\\(7\\)");
}

TEST(Result, IgnoreGoesOn) {
    ignore(half(7), "seven has no half");
    ignore(Result<>(Errno::kIO), "a result without a value does, too");
}

}  // namespace
}  // namespace kvmsbx
