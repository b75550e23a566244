// The control group that a container sees: limits and usage, as the JVM, Go and systemd read them.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysinfo.h>

#include <string>

#include "tests/guest/guest_test.hpp"

using namespace guest;

namespace {

constexpr long kCgroup2Magic = 0x63677270;

std::string group(const char* name) {
    static char text[65536];
    const std::string path = std::string("/sys/fs/cgroup/") + name;
    if (read_file(path.c_str(), text, sizeof text) < 0)
        fail(__FILE__, __LINE__, "%s: %s", path.c_str(), strerror(errno));
    return text;
}

long long number_in(const std::string& table, const std::string& name) {
    const size_t at = ("\n" + table).find("\n" + name);
    if (at == std::string::npos) fail(__FILE__, __LINE__, "no line %s in %s", name.c_str(), table.c_str());
    return strtoll(table.c_str() + at + name.size(), nullptr, 10);
}

// Only a group that is not the root has limits.
void need_group() {
    struct statfs fs;
    if (statfs("/sys/fs/cgroup", &fs) < 0 || fs.f_type != kCgroup2Magic ||
        access("/sys/fs/cgroup/memory.max", F_OK) < 0)
        SKIP("no control group of version 2 is mounted here");
}

bool has_line(const std::string& text, const std::string& line) {
    return ("\n" + text).find("\n" + line + "\n") != std::string::npos;
}

}  // namespace

TEST("own_group_is_the_root_of_what_is_seen") {
    need_group();
    static char text[4096];
    OK(read_file("/proc/self/cgroup", text, sizeof text));
    CHECK_STREQ(text, "0::/\n");
}

TEST("controllers_have_their_files") {
    need_group();
    const std::string controllers = " " + group("cgroup.controllers");
    CHECK(controllers.find("memory") != std::string::npos);
    for (const char* name :
         {"cgroup.events", "cgroup.procs", "cgroup.threads", "cgroup.stat", "cgroup.type", "memory.max", "memory.high",
          "memory.low", "memory.min", "memory.current", "memory.stat", "memory.events", "memory.events.local",
          "memory.numa_stat", "memory.oom.group", "memory.swap.max", "memory.swap.events"})
        (void)group(name);
    for (const char* name : {"cpu.idle", "cpu.weight", "cpu.weight.nice", "cpuset.cpus.partition", "io.stat", "io.max",
                             "pids.max", "pids.current", "pids.events", "hugetlb.2MB.max", "hugetlb.2MB.current"})
        if (controllers.find(" " + std::string(name).substr(0, strcspn(name, "."))) != std::string::npos)
            (void)group(name);
}

TEST("group_lists_the_process") {
    need_group();
    CHECK(has_line(group("cgroup.procs"), std::to_string(getpid())));
    CHECK_EXITED(run_child([] { CHECK(has_line(group("cgroup.procs"), std::to_string(getpid()))); }), 0);
    CHECK(has_line(group("cgroup.threads"), std::to_string(getpid())));
}

TEST("group_is_populated") {
    need_group();
    CHECK(has_line(group("cgroup.events"), "populated 1"));
    CHECK(has_line(group("cgroup.events"), "frozen 0"));
}

TEST("memory_max_is_a_number_or_max") {
    need_group();
    const std::string max = group("memory.max");
    CHECK(max == "max\n" || strtoull(max.c_str(), nullptr, 10) >= 1 << 20);
}

TEST("memory_current_grows_with_use") {
    need_group();
    const long long before = atoll(group("memory.current").c_str());
    constexpr size_t kSize = 32 << 20;
    char* area =
        static_cast<char*>(OK(mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)));
    memset(area, 1, kSize);
    CHECK_GE(atoll(group("memory.current").c_str()), before + (16 << 20));
}

TEST("memory_peak_is_not_below_current") {
    need_group();
    if (access("/sys/fs/cgroup/memory.peak", F_OK) < 0) SKIP("this kernel has no memory.peak");
    constexpr size_t kSize = 32 << 20;
    char* area =
        static_cast<char*>(OK(mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)));
    memset(area, 1, kSize);
    const long long with = atoll(group("memory.current").c_str());
    OK(munmap(area, kSize));
    CHECK_GE(atoll(group("memory.peak").c_str()), with - (4 << 20));
}

TEST("memory_stat_has_kinds") {
    need_group();
    const std::string stat = group("memory.stat");
    for (const char* name :
         {"anon ", "file ", "kernel_stack ", "pagetables ", "active_file ", "inactive_file ", "pgfault "})
        CHECK_GE(number_in(stat, name), 0);
    CHECK_GT(number_in(stat, "anon "), 0);
}

TEST("memory_events_count_from_nothing") {
    need_group();
    for (const char* name : {"low ", "high ", "max ", "oom ", "oom_kill ", "oom_group_kill "}) {
        CHECK_GE(number_in(group("memory.events"), name), 0);
        CHECK_GE(number_in(group("memory.events.local"), name), 0);
    }
}

TEST("memory_of_the_nodes_is_the_groups") {
    need_group();
    const std::string nodes = group("memory.numa_stat");
    CHECK(nodes.find("anon N0=") != std::string::npos && nodes.find("file N0=") != std::string::npos);
}

TEST("cgroup_kill_is_write_only") {
    need_group();
    struct stat status;
    if (stat("/sys/fs/cgroup/cgroup.kill", &status) < 0) SKIP("this kernel has no cgroup.kill");
    CHECK_EQ(status.st_mode, S_IFREG | 0200);
}

TEST("cpu_max_has_quota_and_period") {
    need_group();
    const std::string max = group("cpu.max");
    long long quota = 0, period = 0;
    CHECK(sscanf(max.c_str(), "max %lld\n", &period) == 1 || sscanf(max.c_str(), "%lld %lld\n", &quota, &period) == 2);
    CHECK_GE(period, 1000);
}

TEST("cpu_stat_grows_with_work") {
    need_group();
    const long long before = number_in(group("cpu.stat"), "usage_usec ");
    burn_ms(100);
    const std::string after = group("cpu.stat");
    CHECK_GE(number_in(after, "usage_usec "), before + 10'000);
    CHECK_LE(number_in(after, "user_usec ") + number_in(after, "system_usec "), number_in(after, "usage_usec ") + 1000);
}

TEST("effective_cpus_are_those_that_are_there") {
    need_group();
    const std::string cpus = group("cpuset.cpus.effective");
    CHECK(isdigit(static_cast<unsigned char>(cpus[0])));
    CHECK_STREQ(group("cpuset.mems.effective").c_str(), "0\n");
}

TEST("pids_current_counts_threads") {
    need_group();
    const long long before = atoll(group("pids.current").c_str());
    const pid_t child = OK(fork());
    if (child == 0)
        for (;;) pause();
    CHECK_EQ(atoll(group("pids.current").c_str()), before + 1);
    OK(kill(child, SIGKILL));
    CHECK(!group("pids.max").empty());
}

TEST("limits_cannot_be_changed_from_inside") {
    need_group();
    const int fd = open("/sys/fs/cgroup/memory.max", O_WRONLY);
    if (fd < 0)
        CHECK(errno == EROFS || errno == EACCES || errno == EPERM);
    else
        CHECK_ERRNO(write(fd, "1", 1), EPERM);
    CHECK(mkdir("/sys/fs/cgroup/x", 0755) < 0);
}
