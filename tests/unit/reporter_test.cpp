#include "oci/reporter.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

namespace kvmsbx::oci {
namespace {

std::string contents(const std::string& path) {
    std::ostringstream text;
    text << std::ifstream(path).rdbuf();
    return text.str();
}

class ReporterTest : public testing::Test {
  protected:
    void SetUp() override {
        char folder[] = "/tmp/kvmsbx-reporter-XXXXXX";
        folder_ = mkdtemp(folder);
    }
    Reporter::Options log_to(const std::string& name, LogFormat format) const {
        Reporter::Options options;
        options.log = folder_ + name;
        options.log_format = format;
        return options;
    }
    std::string folder_;
};

TEST_F(ReporterTest, JsonLogIsOneObjectALine) {
    Reporter reporter;
    ASSERT_TRUE(reporter.open(log_to("/log", LogFormat::kJson)).is_ok());
    testing::internal::CaptureStderr();
    reporter.error("a \"bad\"\tthing\x01");
    reporter.warning("less bad");
    EXPECT_EQ(testing::internal::GetCapturedStderr(), "kvmsbx: a \"bad\"\tthing\x01\n")
        << "with a log, warnings are for the log alone";
    std::ifstream log(folder_ + "/log");
    std::string line;
    ASSERT_TRUE(std::getline(log, line));
    const nlohmann::json first = nlohmann::json::parse(line);
    EXPECT_EQ(first["level"], "error");
    EXPECT_EQ(first["msg"], "a \"bad\"\tthing\x01");
    ASSERT_TRUE(std::getline(log, line));
    EXPECT_EQ(nlohmann::json::parse(line)["level"], "warning");
}

TEST_F(ReporterTest, DebugLinesGoToTheDebugLogOnly) {
    Reporter reporter;
    Reporter::Options options;
    options.debug_log = folder_ + "/debug";
    ASSERT_TRUE(reporter.open(options).is_ok());
    EXPECT_TRUE(reporter.is_debug());
    testing::internal::CaptureStderr();
    reporter.debug("detail");
    reporter.child_output("kvmsbx: debug: det");
    reporter.child_output("ail\nkvmsbx: a failure\n");
    EXPECT_EQ(testing::internal::GetCapturedStderr(), "kvmsbx: a failure\n");
    EXPECT_EQ(contents(folder_ + "/debug"), "kvmsbx: debug: detail\nkvmsbx: debug: detail\nkvmsbx: a failure\n");
    EXPECT_TRUE(reporter.child_reported());
}

TEST_F(ReporterTest, HoldsBackWhileTheTerminalIsRaw) {
    Reporter reporter;
    testing::internal::CaptureStderr();
    reporter.set_terminal_raw(true);
    reporter.child_output("panic: x\nrest");
    EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
    testing::internal::CaptureStderr();
    reporter.set_terminal_raw(false);
    EXPECT_EQ(testing::internal::GetCapturedStderr(), "panic: x\nrest\n");
    EXPECT_FALSE(reporter.child_reported());
}

TEST_F(ReporterTest, UnwritableLogIsAFailure) {
    Reporter reporter;
    const Outcome<> opened = reporter.open(log_to("/missing/log", LogFormat::kText));
    ASSERT_TRUE(opened.is_error());
    EXPECT_EQ(opened.error().message,
              "cannot open the log file " + folder_ + "/missing/log: No such file or directory");
}

}  // namespace
}  // namespace kvmsbx::oci
