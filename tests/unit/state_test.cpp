#include "oci/state.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "oci/janitor.hpp"

namespace kvmsbx::oci {
namespace {

class StateTest : public testing::Test {
  protected:
    void SetUp() override {
        char folder[] = "/tmp/kvmsbx-state-XXXXXX";
        root_ = std::string(mkdtemp(folder)) + "/deep/root";
    }
    bool exists(const std::string& name) const { return access((root_ + "/" + name).c_str(), F_OK) == 0; }

    std::string root_;
};

TEST_F(StateTest, WritesTheOciStateAndRemovesIt) {
    StateDirectory state = StateDirectory::create(root_, "box").release_value();
    Spec spec;
    spec.annotations = {{"org.example.key", "a \"quoted\" value\n"}};
    ASSERT_TRUE(state.write_running(42, "/some/bundle", spec).is_ok());
    const nlohmann::json json = nlohmann::json::parse(std::ifstream(root_ + "/box/state.json"));
    EXPECT_EQ(json["id"], "box");
    EXPECT_EQ(json["status"], "running");
    EXPECT_EQ(json["pid"], 42);
    EXPECT_EQ(json["bundle"], "/some/bundle");
    EXPECT_EQ(json["annotations"]["org.example.key"], "a \"quoted\" value\n");
    state.remove();
    EXPECT_FALSE(exists("box"));
    EXPECT_TRUE(exists("."));
}

TEST_F(StateTest, RefusesARunningIdAndTakesOverAStaleOne) {
    StateDirectory first = StateDirectory::create(root_, "box").release_value();
    Outcome<StateDirectory> second = StateDirectory::create(root_, "box");
    ASSERT_TRUE(second.is_error());
    EXPECT_NE(second.error().message.find("a container with the ID \"box\" is running"), std::string::npos);
    EXPECT_TRUE(StateDirectory::create(root_, "other").is_ok());
    first = StateDirectory();  // its lock goes, its files stay: a killed run
    EXPECT_TRUE(exists("box"));
    EXPECT_TRUE(StateDirectory::create(root_, "box").is_ok());
}

TEST_F(StateTest, RemovesOnlyWhatNobodyHolds) {
    const host::Fd root = open_state_root(root_).release_value();
    StateDirectory held = StateDirectory::create(root_, "held").release_value();
    { StateDirectory stale = StateDirectory::create(root_, "stale").release_value(); }
    StateDirectory::remove_if_stale(root.get(), "held");
    StateDirectory::remove_if_stale(root.get(), "stale");
    EXPECT_TRUE(exists("held"));
    EXPECT_FALSE(exists("stale"));
}

TEST_F(StateTest, JanitorCleansUpAfterAKilledRun) {
    const pid_t run = fork();
    if (run == 0) {
        Outcome<Janitor> janitor = Janitor::start(root_, "box", std::nullopt);
        Outcome<StateDirectory> state = StateDirectory::create(root_, "box");
        if (janitor.is_error() || state.is_error()) _exit(1);
        if (state.value().write_running(1, "/b", Spec{}).is_error()) _exit(1);
        kill(getpid(), SIGKILL);
    }
    waitpid(run, nullptr, 0);
    for (int i = 0; i < 200 && exists("box"); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    EXPECT_FALSE(exists("box"));
}

TEST_F(StateTest, DismissedJanitorLeavesEverything) {
    Janitor janitor = Janitor::start(root_, "box", std::nullopt).release_value();
    { StateDirectory stale = StateDirectory::create(root_, "box").release_value(); }
    janitor.dismiss();
    EXPECT_TRUE(exists("box"));
}

TEST(ContainerId, Rules) {
    for (const char* good : {"a", "A-1_b+c.d", "..a"}) EXPECT_TRUE(validate_container_id(good).is_ok()) << good;
    for (const std::string& bad :
         std::vector<std::string>{"", ".", "..", "a/b", "a b", "\xc3\xa4", std::string(256, 'a')}) {
        EXPECT_TRUE(validate_container_id(bad).is_error()) << bad;
    }
}

TEST(ContainerId, MadeUpOnesAreValidAndDiffer) {
    for (const char* bundle : {"/a/b", "/", "/x/.hidden", "/with space/\xc3\xa4"}) {
        EXPECT_TRUE(validate_container_id(make_container_id(bundle)).is_ok()) << make_container_id(bundle);
    }
    EXPECT_NE(make_container_id("/a/b"), make_container_id("/a/b"));
}

}  // namespace
}  // namespace kvmsbx::oci
