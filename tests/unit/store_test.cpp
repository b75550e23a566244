#include "oci/container/store.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <thread>

#include "oci/janitor.hpp"

namespace kvmsbx::oci {
namespace {

class StoreTest : public testing::Test {
  protected:
    void SetUp() override {
        char folder[] = "/tmp/kvmsbx-state-XXXXXX";
        root_ = std::string(mkdtemp(folder)) + "/deep/root";
    }
    bool exists(const std::string& name) const { return access((root_ + "/" + name).c_str(), F_OK) == 0; }
    static ContainerRecord record(const std::string& id) {
        ContainerRecord record;
        record.id = id;
        record.bundle = "/some/bundle";
        record.monitor = ProcessIdentity::of(getpid());
        record.status = Status::kRunning;
        record.cgroups = {"/sys/fs/cgroup/a", "/sys/fs/cgroup/b"};
        record.annotations = {{"org.example.key", "a \"quoted\" value\n"}};
        return record;
    }

    std::string root_;
};

TEST_F(StoreTest, RemembersAContainer) {
    ContainerFolder folder = ContainerFolder::create(root_, "box").release_value();
    ASSERT_TRUE(folder.write_record(record("box")).is_ok());
    ASSERT_TRUE(folder.write_config("{}").is_ok());
    const ContainerFolder again = ContainerFolder::open(root_, "box").release_value();
    const ContainerRecord found = again.read_record().release_value();
    EXPECT_EQ(found.id, "box");
    EXPECT_EQ(found.cgroups.size(), 2u);
    EXPECT_EQ(found.effective_status(), Status::kRunning);
    EXPECT_EQ(again.read_config().release_value(), "{}");
    const nlohmann::json state = nlohmann::json::parse(oci_state_json(found, Status::kRunning));
    EXPECT_EQ(state["status"], "running");
    EXPECT_EQ(state["pid"], getpid());
    EXPECT_EQ(state["annotations"]["org.example.key"], "a \"quoted\" value\n");
    EXPECT_EQ(list_container_ids(root_), std::vector<std::string>{"box"});
    ASSERT_TRUE(folder.remove().is_ok());
    EXPECT_FALSE(exists("box"));
    EXPECT_TRUE(exists("."));
}

TEST_F(StoreTest, OneOfTwoCreatesWins) {
    ContainerFolder first = ContainerFolder::create(root_, "box").release_value();
    const Outcome<ContainerFolder> second = ContainerFolder::create(root_, "box");
    ASSERT_TRUE(second.is_error());
    EXPECT_NE(second.error().message.find("exists already and is running"), std::string::npos);
    EXPECT_TRUE(ContainerFolder::create(root_, "other").is_ok());
    EXPECT_TRUE(ContainerFolder::open(root_, "box").value().is_held());
    first = ContainerFolder();  // its lock goes, its folder stays: somebody was killed
    EXPECT_FALSE(ContainerFolder::open(root_, "box").value().is_held());
    EXPECT_TRUE(ContainerFolder::create(root_, "box").is_ok()) << "what is half-made may be taken over";
}

TEST_F(StoreTest, AStoppedContainerKeepsItsId) {
    { ASSERT_TRUE(ContainerFolder::create(root_, "box").value().write_record(record("box")).is_ok()); }
    const Outcome<ContainerFolder> again = ContainerFolder::create(root_, "box");
    ASSERT_TRUE(again.is_error());
    EXPECT_NE(again.error().message.find("`kvmsbx delete box` removes it"), std::string::npos);
}

TEST_F(StoreTest, NumbersOfDeadProcessesMeanNothing) {
    ContainerRecord gone = record("box");
    gone.monitor.start_time--;  // another process had this number
    EXPECT_EQ(gone.effective_status(), Status::kStopped);
    EXPECT_EQ(nlohmann::json::parse(oci_state_json(gone, Status::kStopped)).count("pid"), 0u);
    const pid_t child = fork();
    if (child == 0) _exit(0);
    siginfo_t info{};
    waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT);
    EXPECT_FALSE(ProcessIdentity::of(child).is_alive()) << "a zombie";
    waitpid(child, nullptr, 0);
}

TEST_F(StoreTest, DamagedRecordsAreErrors) {
    const ContainerFolder folder = ContainerFolder::create(root_, "box").release_value();
    const std::string good = record_to_json(record("box"));
    for (const std::string& text : {std::string(), std::string("{"), std::string("[]"), std::string("{\"id\": 5}"),
                                    good.substr(0, good.size() / 2)}) {
        const Outcome<ContainerRecord> parsed = record_from_json(text);
        EXPECT_TRUE(parsed.is_error()) << text;
    }
    const Outcome<ContainerRecord> missing = folder.read_record();
    ASSERT_TRUE(missing.is_error());
    EXPECT_NE(missing.error().message.find("state.json of container box"), std::string::npos);
    EXPECT_TRUE(record_from_json(good).is_ok());
}

TEST_F(StoreTest, UnknownContainersDoNotExist) {
    for (const char* root : {"/nowhere/at/all", root_.c_str()}) {
        const Outcome<ContainerFolder> folder = ContainerFolder::open(root, "box");
        ASSERT_TRUE(folder.is_error());
        EXPECT_NE(folder.error().message.find("container \"box\" does not exist"), std::string::npos);
    }
    EXPECT_TRUE(list_container_ids(root_).empty());
}

TEST_F(StoreTest, JanitorCleansUpAfterAKilledRun) {
    const pid_t run = fork();
    if (run == 0) {
        Outcome<Janitor> janitor = Janitor::start(root_, "box", std::nullopt);
        Outcome<ContainerFolder> folder = ContainerFolder::create(root_, "box");
        if (janitor.is_error() || folder.is_error()) _exit(1);
        ContainerRecord own = record("box");
        own.cgroups.clear();
        if (folder.value().write_record(own).is_error()) _exit(1);
        kill(getpid(), SIGKILL);
    }
    waitpid(run, nullptr, 0);
    for (int i = 0; i < 200 && exists("box"); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    EXPECT_FALSE(exists("box"));
}

TEST_F(StoreTest, DismissedJanitorLeavesEverything) {
    Janitor janitor = Janitor::start(root_, "box", std::nullopt).release_value();
    { const ContainerFolder stale = ContainerFolder::create(root_, "box").release_value(); }
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
