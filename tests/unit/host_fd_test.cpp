// Who closes a descriptor, and when (common/host/fd.hpp).
#include "common/host/fd.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>

namespace kvmsbx::host {
namespace {

Fd open_null() { return Fd(open("/dev/null", O_RDONLY | O_CLOEXEC)); }

bool is_open_here(int fd) { return fcntl(fd, F_GETFD) >= 0; }

TEST(Fd, ClosesAtItsEnd) {
    int number;
    {
        const Fd fd = open_null();
        ASSERT_TRUE(fd.is_open());
        number = fd.get();
        EXPECT_TRUE(is_open_here(number));
    }
    EXPECT_FALSE(is_open_here(number));
}

TEST(Fd, MovesItsDescriptor) {
    Fd from = open_null();
    const int number = from.get();
    Fd to(std::move(from));
    EXPECT_FALSE(from.is_open());
    EXPECT_EQ(to.get(), number);
    EXPECT_TRUE(is_open_here(number));
}

TEST(Fd, AssignmentClosesWhatWasThere) {
    Fd to = open_null(), from = open_null();
    const int old = to.get(), number = from.get();
    to = std::move(from);
    EXPECT_FALSE(is_open_here(old));
    EXPECT_FALSE(from.is_open());
    EXPECT_EQ(to.get(), number);
    Fd& itself = to;
    to = std::move(itself);
    EXPECT_EQ(to.get(), number);
    EXPECT_TRUE(is_open_here(number));
}

TEST(Fd, ReleaseGivesTheDescriptorAway) {
    Fd fd = open_null();
    const int number = fd.release();
    EXPECT_FALSE(fd.is_open());
    EXPECT_TRUE(is_open_here(number));
    Fd again(number);
    again.reset();
    EXPECT_FALSE(again.is_open());
    EXPECT_FALSE(is_open_here(number));
}

TEST(Fd, OwnedTakesWhatASystemCallGave) {
    const Result<Fd> missing = owned(open("/dev/null/none", O_RDONLY | O_CLOEXEC));
    ASSERT_TRUE(missing.is_error());
    EXPECT_EQ(missing.error(), Errno::kNOTDIR);
    EXPECT_FALSE(Fd(-1).is_open());
    EXPECT_TRUE(owned(open("/dev/null", O_RDONLY | O_CLOEXEC)).is_ok());
    EXPECT_EQ(checked(close(-1)).error(), Errno::kBADF);
    EXPECT_TRUE(checked(0).is_ok());
}

}  // namespace
}  // namespace kvmsbx::host
