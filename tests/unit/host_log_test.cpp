// One line per message, whole, with the prefix of its process (common/host/log.hpp).
#include "common/host/log.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <string>

#include "common/host/fd.hpp"

namespace kvmsbx::host {
namespace {

class LogTest : public testing::Test {
  protected:
    void SetUp() override {
        int ends[2];
        ASSERT_EQ(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
        reader_ = Fd(ends[0]);
        writer_ = Fd(ends[1]);
    }

    // What was written since the last call.
    std::string taken() const {
        std::string text(64 * 1024, '\0');
        const ssize_t n = read(reader_.get(), text.data(), text.size());
        text.resize(n < 0 ? 0 : static_cast<size_t>(n));
        return text;
    }

    Fd reader_, writer_;
};

TEST_F(LogTest, PrefixesTellProcessAndKind) {
    const Log sandbox(writer_.get(), true), gofer(writer_.get(), true, kGoferPrefixes);
    sandbox.error("%d of %s", 1, "two");
    EXPECT_EQ(taken(), "kvmsbx: 1 of two\n");
    sandbox.debug("three");
    EXPECT_EQ(taken(), "kvmsbx: debug: three\n");
    gofer.error_text("100%d");
    EXPECT_EQ(taken(), "kvmsbx gofer: 100%d\n");
    gofer.debug_text("five");
    EXPECT_EQ(taken(), "kvmsbx gofer: five\n");
}

TEST_F(LogTest, DebugLinesComeWithDebugOnly) {
    const Log log(writer_.get(), false);
    log.debug("a");
    log.debug_text("b");
    EXPECT_EQ(taken(), "");
    log.error("c");
    EXPECT_EQ(taken(), "kvmsbx: c\n");
}

TEST_F(LogTest, FailGivesTheErrorBackAndKnowsErrno) {
    const Log log(writer_.get(), false);
    errno = ENOENT;
    EXPECT_EQ(log.fail(Errno::kBUSY, "no: %m"), Errno::kBUSY);
    EXPECT_EQ(taken(), "kvmsbx: no: No such file or directory\n");
}

TEST_F(LogTest, FormattedLinesAreCutAndTextsAreNot) {
    const Log log(writer_.get(), false);
    const std::string text(5000, 'x');
    const std::string prefix = kSandboxPrefixes.error;
    log.error("%s", text.c_str());
    EXPECT_EQ(taken(), prefix + std::string(Log::kLongestLine - prefix.size() - 1, 'x') + "\n");
    log.error_text(text);
    EXPECT_EQ(taken(), prefix + text + "\n");
}

TEST_F(LogTest, RawBytesStayAsTheyAre) {
    const Log log(writer_.get(), false);
    log.raw("a\nb");
    EXPECT_EQ(taken(), "a\nb");
    Log(-1, true).raw("nowhere");
    Log(-1, true).error("nowhere");
    EXPECT_EQ(taken(), "");
}

}  // namespace
}  // namespace kvmsbx::host
