// Cgroups of version 2 and mixed hosts on a tree of plain files; those of this machine for real, where the caller may
// make them.
#include "oci/container/cgroup.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "oci/container/small_file.hpp"

namespace kvmsbx::oci {
namespace {

namespace fs = std::filesystem;

constexpr CgroupOverhead kOverhead{64, 2};

TEST(CgroupHierarchies, FoundOnAHybridHost) {
    const auto list = parse_cgroup_hierarchies(
        "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"
        "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:5 - cgroup cgroup rw,cpu,cpuacct\n"
        "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
        "40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n"
        "41 31 0:38 / /sys/fs/cgroup/uni\\040fied rw - cgroup2 cgroup2 rw\n",
        "9:name=systemd:/init\n8:pids:/\n4:memory:/a/b\n3:cpu,cpuacct:/\n0::/x\n");
    ASSERT_EQ(list.size(), 4u);
    EXPECT_EQ(list[0].own, "/sys/fs/cgroup/systemd/init");
    EXPECT_EQ(list[1].name, "memory");
    EXPECT_EQ(list[1].own, "/sys/fs/cgroup/memory/a/b");
    EXPECT_EQ(list[2].own, "/sys/fs/cgroup/cpu,cpuacct");
    EXPECT_TRUE(list[3].unified);
    EXPECT_EQ(list[3].own, "/sys/fs/cgroup/uni fied/x");
}

TEST(CgroupHierarchies, AMountThatShowsAPart) {
    const auto below = [](const char* own) {
        return parse_cgroup_hierarchies("1 1 0:1 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup2 rw\n", own).at(0).own;
    };
    EXPECT_EQ(below("0::/docker/abc\n"), "/sys/fs/cgroup");
    EXPECT_EQ(below("0::/docker/abc/d\n"), "/sys/fs/cgroup/d");
    EXPECT_EQ(below("0::/docker/abcd\n"), "");
    EXPECT_EQ(below("0::/../other\n"), "");
    EXPECT_TRUE(parse_cgroup_hierarchies("rubbish\n\n1 2 3\n", "x\n:\n::\n").empty());
}

TEST(CgroupHierarchies, PathsStayInside) {
    const CgroupHierarchy v1{"memory", false, "/cg/memory", "/cg/memory/own"}, v2{"", true, "/cg", "/cg/slice/own"};
    EXPECT_EQ(cgroup_folder(v1, "/docker/abc"), "/cg/memory/docker/abc");
    EXPECT_EQ(cgroup_folder(v1, "/../../etc"), "/cg/memory/etc");
    EXPECT_EQ(cgroup_folder(v1, "a/./b//c/"), "/cg/memory/own/a/b/c");
    EXPECT_EQ(cgroup_folder(v1, "../../x"), "/cg/memory/own/x");
    EXPECT_EQ(cgroup_folder(v2, "x"), "/cg/slice/x");
    EXPECT_EQ(cgroup_folder(v2, "/x"), "/cg/x");
    EXPECT_EQ(cgroup_folder(v1, "/"), "/cg/memory");
}

TEST(CgroupLimits, HostsNumbersOfThreads) {
    EXPECT_EQ(host_pids_limit(100, sandbox_overhead(SandboxPlatform::kKvm, 2)), 266u);
    EXPECT_EQ(host_pids_limit(100, sandbox_overhead(SandboxPlatform::kProcess, 2)), 366u);
    EXPECT_EQ(host_pids_limit(UINT64_MAX, sandbox_overhead(SandboxPlatform::kProcess, 2)), 1u << 22);
}

TEST(CgroupLimits, TheSentrysShareOfMemory) {
    constexpr uint64_t kMiB = 1 << 20;
    EXPECT_EQ(sentry_memory_limit(0, SandboxPlatform::kKvm), 0u);
    EXPECT_EQ(sentry_memory_limit(24 * kMiB, SandboxPlatform::kKvm), 12 * kMiB);
    EXPECT_EQ(sentry_memory_limit(64 * kMiB, SandboxPlatform::kKvm), 46 * kMiB);
    EXPECT_EQ(sentry_memory_limit(256 * kMiB, SandboxPlatform::kProcess), 228 * kMiB);
    EXPECT_EQ(sentry_memory_limit(16 * kMiB, SandboxPlatform::kProcess), 8 * kMiB);
}

TEST(CgroupLimits, OnlyLimitsAskForACgroup) {
    Resources resources;
    EXPECT_FALSE(needs_cgroup(resources));
    resources.memory.limit = 0;
    resources.block.weight = 0;
    resources.devices.push_back({});
    EXPECT_FALSE(needs_cgroup(resources));
    resources.pids = -1;
    EXPECT_TRUE(needs_cgroup(resources));
}

// A tree of plain files in the place of cgroupfs.
class FakeCgroups : public testing::Test {
  protected:
    FakeCgroups() {
        char name[] = "/tmp/kvmsbx-cgroup-XXXXXX";
        folder_ = mkdtemp(name);
    }
    ~FakeCgroups() override { fs::remove_all(folder_); }

    void file(const std::string& name, const std::string& text = "") {
        fs::create_directories(fs::path(folder_ + "/" + name).parent_path());
        std::ofstream(folder_ + "/" + name) << text;
    }
    std::string read(const std::string& name) const { return read_line_of(folder_ + "/" + name); }
    std::string apply(const Resources& resources, LimitsFor what = LimitsFor::kNewCgroup) const {
        const Outcome<> outcome = apply_limits({folder_ + "/one", folder_ + "/c"}, resources, kOverhead, what);
        return outcome.is_ok() ? "" : outcome.error().message;
    }

    std::string folder_;
};

TEST_F(FakeCgroups, VersionTwo) {
    for (const char* name :
         {"memory.max", "memory.low", "memory.swap.max", "cpu.weight", "cpu.idle", "cpu.max.burst", "pids.max",
          "io.max", "io.weight", "cpuset.cpus", "hugetlb.2MB.max", "hugetlb.2MB.rsvd.max", "rdma.max", "memory.high"})
        file(std::string("c/") + name);
    file("c/cpu.max", "max 100000\n");
    Resources resources;
    resources.memory.limit = 64 << 20;
    resources.memory.swap = 96 << 20;
    resources.memory.reservation = 32 << 20;
    resources.memory.swappiness = 5;
    resources.cpu.shares = 512;
    resources.cpu.quota = 50000;
    resources.cpu.burst = 1000;
    resources.cpu.cpus = "0-1";
    resources.pids = 15;
    resources.block.weight = 1000;
    resources.block.write_bytes.push_back({{8, 16}, 4096});
    resources.hugepages.push_back({"2MB", 4 << 20});
    resources.rdma.push_back({"mlx", 3, {}});
    resources.unified["memory.high"] = "60M";
    EXPECT_EQ(apply(resources), "");
    EXPECT_EQ(read("c/memory.max"), "67108864");
    EXPECT_EQ(read("c/memory.swap.max"), "33554432");
    EXPECT_EQ(read("c/memory.low"), "33554432");
    EXPECT_EQ(read("c/cpu.weight"), "20");
    EXPECT_EQ(read("c/cpu.max"), "50000 100000");
    EXPECT_EQ(read("c/cpu.max.burst"), "1000");
    EXPECT_EQ(read("c/cpuset.cpus"), "0-1");
    EXPECT_EQ(read("c/pids.max"), "94");
    EXPECT_EQ(read("c/io.weight"), "10000");
    EXPECT_EQ(read("c/io.max"), "8:16 wbps=4096");
    EXPECT_EQ(read("c/hugetlb.2MB.max"), "4194304");
    EXPECT_EQ(read("c/hugetlb.2MB.rsvd.max"), "4194304");
    EXPECT_EQ(read("c/rdma.max"), "mlx hca_handle=3");
    EXPECT_EQ(read("c/memory.high"), "60M");
}

TEST_F(FakeCgroups, LimitsAreTakenBackAndKept) {
    for (const char* name : {"memory.max", "memory.swap.max", "pids.max"}) file(std::string("c/") + name, "5");
    file("c/cpu.max", "50000 100000\n");
    Resources resources;
    resources.memory.limit = kUnlimited;
    resources.memory.swap = kUnlimited;
    resources.pids = kUnlimited;
    resources.cpu.period = 20000;
    EXPECT_EQ(apply(resources, LimitsFor::kRunningContainer), "");
    EXPECT_EQ(read("c/memory.max"), "max");
    EXPECT_EQ(read("c/memory.swap.max"), "max");
    EXPECT_EQ(read("c/pids.max"), "max");
    EXPECT_EQ(read("c/cpu.max"), "50000 20000");
    resources = {};
    resources.cpu.quota = kUnlimited;
    resources.memory.limit = 0;  // engines write 0 for "leave it"
    EXPECT_EQ(apply(resources, LimitsFor::kRunningContainer), "");
    EXPECT_EQ(read("c/memory.max"), "max");
    EXPECT_EQ(read("c/cpu.max"), "max 20000");
}

TEST_F(FakeCgroups, AMissingControllerIsNamed) {
    file("c/memory.max");
    Resources resources;
    resources.pids = 5;
    EXPECT_EQ(
        apply(resources),
        "linux.resources.pids.limit: this host's cgroups have no pids.max (controller \"pids\"); mount and enable "
        "the controller, or remove the limit");
    resources = {};
    resources.unified["io.latency"] = "x";
    EXPECT_TRUE(apply(resources).starts_with("linux.resources.unified.io.latency: ")) << apply(resources);
}

TEST_F(FakeCgroups, ALimitBelowTheUseIsRefused) {
    file("c/memory.max", "max");
    file("c/memory.current", "100000000");
    file("c/memory.reclaim");
    Resources resources;
    resources.memory.limit = 50'000'000;
    EXPECT_EQ(apply(resources, LimitsFor::kRunningContainer),
              "linux.resources.memory.limit: 50000000 bytes are less than the 100000000 that the sandbox uses now");
    EXPECT_EQ(read("c/memory.max"), "max");
    EXPECT_EQ(read("c/memory.reclaim"), "50000000");
    resources.memory.swap = 1;
    EXPECT_TRUE(apply(resources).find("memory.swap") == std::string::npos);  // no swap here: any such limit is kept
}

TEST_F(FakeCgroups, VersionTwoIsMadeBelowItsMount) {
    file("cgroup.controllers", "cpu memory pids");
    file("cgroup.subtree_control");
    file("a/cgroup.controllers", "memory");
    file("a/cgroup.subtree_control");
    file("a/c/memory.max");
    file("a/c/cgroup.procs");
    const std::vector<CgroupHierarchy> host{{"", true, folder_, folder_}};
    Resources resources;
    resources.memory.limit = 64 << 20;
    Reporter reporter;
    const Outcome<Cgroup> cgroup = Cgroup::create_in(host, {"/a/c", "id", &resources, kOverhead}, reporter);
    ASSERT_TRUE(cgroup.is_ok()) << cgroup.error().message;
    EXPECT_EQ(cgroup.value().paths(), std::vector<std::string>{folder_ + "/a/c"});
    EXPECT_EQ(read("a/c/memory.max"), "67108864");
    EXPECT_EQ(read("cgroup.subtree_control"), "+pids");  // the last of the writes
    EXPECT_EQ(read("a/cgroup.subtree_control"), "+memory");
    EXPECT_TRUE(cgroup.value().enter().is_ok());
    EXPECT_EQ(read("a/c/cgroup.procs"), "0");
}

TEST_F(FakeCgroups, NothingIsLeftOfWhatFails) {
    const std::vector<CgroupHierarchy> host{{"", true, folder_, folder_}};
    Resources resources;
    resources.pids = 5;
    Reporter reporter;
    EXPECT_TRUE(Cgroup::create_in(host, {"/new", "id", &resources, kOverhead}, reporter).is_error());
    EXPECT_FALSE(fs::exists(folder_ + "/new"));
    file("used/cgroup.procs", "1\n");
    resources = {};
    EXPECT_NE(Cgroup::create_in(host, {"/used", "id", &resources, kOverhead}, reporter)
                  .error()
                  .message.find("holds processes already"),
              std::string::npos);
    EXPECT_TRUE(Cgroup::create_in(host, {"/", "id", &resources, kOverhead}, reporter).is_error());
    EXPECT_TRUE(Cgroup::create_in({}, {"/x", "id", &resources, kOverhead}, reporter).is_error());
    // Nobody asked for one.
    const Outcome<Cgroup> none = Cgroup::create_in(host, {"", "id", &resources, kOverhead}, reporter);
    ASSERT_TRUE(none.is_ok());
    EXPECT_TRUE(none.value().paths().empty());
}

TEST_F(FakeCgroups, RemovalTouchesOnlyCgroups) {
    fs::create_directories(folder_ + "/home/empty");
    EXPECT_TRUE(Cgroup::from_paths({folder_ + "/home"}).remove(Leftovers::kKeep).is_error());
    EXPECT_TRUE(fs::exists(folder_ + "/home/empty"));
    EXPECT_TRUE(Cgroup::from_paths({folder_ + "/gone"}).remove(Leftovers::kKeep).is_ok());
}

TEST_F(FakeCgroups, UsageOfVersionTwo) {
    file("c/cpu.stat", "usage_usec 7\nuser_usec 4\nsystem_usec 3\nnr_periods 2\nnr_throttled 1\nthrottled_usec 9\n");
    file("c/memory.current", "4096\n");
    file("c/memory.max", "max\n");
    file("c/memory.stat", "anon 5\nfile 6\n");
    file("c/memory.events", "low 0\nmax 3\noom_kill 1\n");
    file("c/pids.current", "4\n");
    file("c/pids.max", "max\n");
    const CgroupUsage usage = Cgroup::from_paths({folder_ + "/c"}).usage();
    EXPECT_EQ(usage.cpu_ns, 7000u);
    EXPECT_EQ(usage.throttled_ns, 9000u);
    EXPECT_EQ(usage.memory, 4096u);
    EXPECT_EQ(usage.memory_limit, UINT64_MAX);
    EXPECT_EQ(usage.memory_failures, 3u);
    EXPECT_EQ(usage.memory_details.at("file"), 6u);
    EXPECT_EQ(usage.pids, 4u);
    EXPECT_EQ(usage.pids_limit, 0u);
}

// On this machine's cgroups, below a name of the test's own.
class RealCgroups : public testing::Test {
  protected:
    void SetUp() override {
        path_ = "/kvmsbx-test-" + std::to_string(getpid());
        hierarchies_ = host_cgroup_hierarchies().release_value();
        if (hierarchies_.empty()) GTEST_SKIP() << "no cgroups here";
        for (const CgroupHierarchy& hierarchy : hierarchies_)
            if (access(hierarchy.mount.c_str(), W_OK) != 0) GTEST_SKIP() << "no right to make cgroups here";
    }
    void TearDown() override {
        if (!cgroup_) return;
        const Outcome<> removed = cgroup_->remove(Leftovers::kKill);
        EXPECT_TRUE(removed.is_ok()) << removed.error().message;
        for (const std::string& folder : cgroup_->paths()) EXPECT_FALSE(fs::exists(folder)) << folder;
        for (const CgroupHierarchy& hierarchy : hierarchies_)
            for (const char* parent : {"/a", ""}) rmdir((hierarchy.mount + path_ + parent).c_str());
    }
    Outcome<> create(const Resources& resources) {
        Reporter reporter;
        cgroup_.emplace(TRY(Cgroup::create({path_ + "/a/b", "id", &resources, kOverhead}, reporter)));
        return {};
    }
    std::string read(const std::string& name) const {
        for (const std::string& folder : cgroup_->paths())
            if (file_exists(folder + "/" + name)) return read_line_of(folder + "/" + name);
        return "(none)";
    }
    bool has(const char* controller) const {
        return std::any_of(hierarchies_.begin(), hierarchies_.end(), [&](const CgroupHierarchy& h) {
            return ("," + h.name + ",").find(std::string(",") + controller + ",") != std::string::npos ||
                   (h.unified && read_line_of(h.mount + "/cgroup.controllers").find(controller) != std::string::npos);
        });
    }

    std::string path_;
    std::vector<CgroupHierarchy> hierarchies_;
    std::optional<Cgroup> cgroup_;
};

// A process inside that waits for its death.
pid_t start_inside(const Cgroup& cgroup) {
    const pid_t child = fork();
    if (child != 0) return child;
    if (cgroup.enter().is_error()) _exit(1);
    if (fork() < 0) _exit(1);
    for (;;) pause();
}

TEST_F(RealCgroups, HoldsProcessesAndKillsThem) {
    const Outcome<> made = create({});
    ASSERT_TRUE(made.is_ok()) << made.error().message;
    EXPECT_EQ(cgroup_->paths().size(), hierarchies_.size());
    const pid_t child = start_inside(*cgroup_);
    for (int i = 0; i < 500 && cgroup_->processes().size() < 2; ++i) usleep(10'000);
    EXPECT_EQ(cgroup_->processes().size(), 2u);
    fs::create_directory(cgroup_->paths()[0] + "/below");
    EXPECT_TRUE(cgroup_->remove(Leftovers::kKeep).is_error());  // it is in use
    const Outcome<> removed = cgroup_->remove(Leftovers::kKill);
    EXPECT_TRUE(removed.is_ok()) << removed.error().message;
    int status = 0;
    waitpid(child, &status, 0);
    EXPECT_TRUE(WIFSIGNALED(status));
}

TEST_F(RealCgroups, KeepsLimits) {
    if (!has("memory") || !has("pids") || !has("cpu")) GTEST_SKIP() << "controllers are missing";
    Resources resources;
    resources.memory.limit = 64 << 20;
    resources.memory.swap = 128 << 20;
    resources.pids = 20;
    resources.cpu.quota = 50'000;
    resources.cpu.shares = 512;
    const Outcome<> made = create(resources);
    ASSERT_TRUE(made.is_ok()) << made.error().message;
    EXPECT_EQ(cgroup_->usage().memory_limit, 64u << 20);
    EXPECT_EQ(cgroup_->usage().pids_limit, 104u);
    Resources more;
    more.memory.limit = 256 << 20;
    more.memory.swap = 256 << 20;
    EXPECT_TRUE(cgroup_->update(more, kOverhead).is_ok());
    EXPECT_EQ(cgroup_->usage().memory_limit, 256u << 20);
    Resources less;
    less.memory.limit = 32 << 20;
    less.memory.swap = 64 << 20;
    less.cpu.quota = kUnlimited;
    EXPECT_TRUE(cgroup_->update(less, kOverhead).is_ok());
    EXPECT_EQ(cgroup_->usage().memory_limit, 32u << 20);
    EXPECT_EQ(cgroup_->usage().pids_limit, 104u);
    if (has("cpu") && read("cpu.cfs_quota_us") != "(none)") {
        EXPECT_EQ(read("cpu.cfs_quota_us"), "-1");
        EXPECT_EQ(read("cpu.shares"), "512");
        EXPECT_EQ(read("memory.memsw.limit_in_bytes"), std::to_string(64 << 20));
    }
    EXPECT_TRUE(cgroup_->remove(Leftovers::kKeep).is_ok());
}

TEST_F(RealCgroups, MembershipIsTheWayBack) {
    for (const CgroupHierarchy& hierarchy : hierarchies_)
        if (hierarchy.own.empty()) GTEST_SKIP() << "this process is outside of its cgroup namespace";
    const Outcome<> made = create({});
    ASSERT_TRUE(made.is_ok()) << made.error().message;
    const pid_t child = fork();
    if (child == 0) {
        const Outcome<CgroupMembership> before = CgroupMembership::current();
        if (before.is_error() || cgroup_->enter().is_error()) _exit(1);
        if (cgroup_->processes() != std::vector<pid_t>{getpid()}) _exit(2);
        if (before.value().enter().is_error() || !cgroup_->processes().empty()) _exit(3);
        _exit(0);
    }
    int status = -1;
    waitpid(child, &status, 0);
    EXPECT_EQ(status, 0);
    EXPECT_TRUE(cgroup_->remove(Leftovers::kKeep).is_ok());
}

}  // namespace
}  // namespace kvmsbx::oci
