#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/resource.h>

#include <string>

#include "oci/default_spec.hpp"
#include "oci/spec.hpp"

namespace kvmsbx::oci {
namespace {

Spec parse_ok(std::string_view text) {
    Outcome<Spec> spec = parse_spec(text, "config.json");
    EXPECT_TRUE(spec.is_ok()) << spec.error().message;
    return spec.is_ok() ? spec.release_value() : Spec{};
}

std::string message_of(std::string_view text) {
    Outcome<Spec> spec = parse_spec(text, "config.json");
    EXPECT_TRUE(spec.is_error());
    return spec.is_error() ? spec.error().message : "";
}

// A good document, with something added to the process or at the top level, each on a line of its own.
std::string document(const std::string& process = "", const std::string& top = "") {
    return "{\"ociVersion\": \"1.1.0\",\n"
           "\"process\": {\"args\": [\"/bin/true\"], \"cwd\": \"/\"" +
           (process.empty() ? "" : ",\n" + process) + "},\n\"root\": {\"path\": \"rootfs\"}" +
           (top.empty() ? "" : ",\n" + top) + "}\n";
}

TEST(SpecParser, SmallestDocument) {
    const Spec spec = parse_ok(document());
    EXPECT_EQ(spec.process.args, std::vector<std::string>{"/bin/true"});
    EXPECT_EQ(spec.process.cwd, "/");
    EXPECT_EQ(spec.root_path, "rootfs");
    EXPECT_FALSE(spec.root_readonly);
    EXPECT_FALSE(spec.process.terminal);
    EXPECT_EQ(spec.process.user.umask, 022u);
    EXPECT_EQ(spec.process.capabilities.bounding, 0u);
    EXPECT_TRUE(spec.unapplied.empty());
}

TEST(SpecParser, OurOwnSpecRunsWithoutNoise) {
    const Spec spec = parse_ok(default_spec());
    EXPECT_TRUE(spec.unapplied.empty());
    EXPECT_TRUE(spec.process.terminal);
    EXPECT_TRUE(spec.root_readonly);
    EXPECT_TRUE(spec.process.no_new_privileges);
    EXPECT_EQ(spec.process.capabilities.effective, 1u << 29 | 1u << 5 | 1u << 10);
    ASSERT_EQ(spec.process.rlimits.size(), 1u);
    EXPECT_EQ(spec.process.rlimits[0].resource, static_cast<uint32_t>(RLIMIT_NOFILE));
    ASSERT_EQ(spec.mounts.size(), 7u);
    EXPECT_EQ(spec.mounts[1].type, "tmpfs");
    EXPECT_EQ(spec.mounts[1].flags, static_cast<uint64_t>(MS_NOSUID | MS_STRICTATIME));
    EXPECT_EQ(spec.mounts[1].data, "mode=755,size=65536k");
    EXPECT_EQ(spec.masked_paths.size(), 10u);
}

TEST(SpecParser, ReadsTheProcess) {
    const Spec spec =
        parse_ok(document(R"("terminal": true, "consoleSize": {"height": 25, "width": 80}, "env": ["A=1", "B="],
        "user": {"uid": 1000, "gid": 100, "umask": 63, "additionalGids": [5, 6]},
        "rlimits": [{"type": "RLIMIT_CORE", "soft": 0, "hard": 18446744073709551615}], "capabilities": {"ambient": ["CAP_CHOWN", "CAP_CHECKPOINT_RESTORE"]})"));
    EXPECT_EQ(spec.process.env, (std::vector<std::string>{"A=1", "B="}));
    EXPECT_EQ(spec.process.user.uid, 1000u);
    EXPECT_EQ(spec.process.user.umask, 077u);
    EXPECT_EQ(spec.process.user.additional_gids, (std::vector<uint32_t>{5, 6}));
    ASSERT_TRUE(spec.process.console_size.has_value());
    EXPECT_EQ(spec.process.console_size->columns, 80u);
    EXPECT_EQ(spec.process.rlimits[0].hard, ~uint64_t{0});
    EXPECT_EQ(spec.process.capabilities.ambient, uint64_t{1} << 40 | 1);
}

TEST(SpecParser, BindMountsByTypeOrOption) {
    const Spec spec = parse_ok(
        document("", R"("mounts": [{"destination": "/a", "type": "bind", "source": "x", "options": ["ro", "rbind"]},
        {"destination": "/b", "type": "none", "source": "/y", "options": ["bind", "nosuid", "suid", "rprivate"]}])"));
    EXPECT_TRUE(spec.mounts[0].is_bind());
    EXPECT_EQ(spec.mounts[0].flags, static_cast<uint64_t>(MS_RDONLY));
    EXPECT_TRUE(spec.mounts[1].is_bind());
    EXPECT_EQ(spec.mounts[1].flags, 0u);
    EXPECT_EQ(spec.mounts[1].data, "");
}

TEST(SpecParser, NamesWhatIsNotApplied) {
    const Spec spec = parse_ok(document("\"apparmorProfile\": \"x\"", R"("linux": {"intelRdt": {"closID": "a"},
        "devices": [{"path": "/dev/null", "type": "c", "major": 1, "minor": 3}, {"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229},
                    {"path": "/f", "type": "p"}, {"path": "/sda", "type": "b", "major": 1, "minor": 3}],
        "resources": {"memory": {"disableOOMKiller": true}}})"));
    std::vector<std::string> fields;
    for (const UnappliedField& field : spec.unapplied) fields.push_back(field.field + (field.matters ? "!" : ""));
    EXPECT_EQ(fields, (std::vector<std::string>{"process.apparmorProfile", "linux.intelRdt!",
                                                "linux.resources.memory.disableOOMKiller!", "linux.devices!"}));
    EXPECT_TRUE(spec.unapplied.back().why.ends_with("and no /dev/fuse, /sda")) << spec.unapplied.back().why;
}

TEST(SpecParser, ReadsLimits) {
    const Spec none =
        parse_ok(document("", R"("linux": {"resources": {"memory": {"limit": -1}, "cpu": {"quota": -1}}})"));
    EXPECT_EQ(none.limits.memory, 0u);
    EXPECT_EQ(none.limits.cpus(), 0u);
    const Spec some = parse_ok(document(
        "", R"("linux": {"resources": {"memory": {"limit": 67108864}, "cpu": {"quota": 150000, "period": 50000}}})"));
    EXPECT_EQ(some.limits.memory, 64u << 20);
    EXPECT_EQ(some.limits.cpus(), 3u);
    EXPECT_EQ(parse_ok(document("", R"("linux": {"resources": {"cpu": {"quota": 100001}}})")).limits.cpus(), 2u);
}

TEST(SpecParser, ReadsResources) {
    const Resources r = parse_ok(document("", R"("linux": {"resources": {
        "memory": {"limit": 67108864, "swap": -1, "reservation": 0, "swappiness": 0},
        "cpu": {"shares": 512, "quota": -1, "burst": 7, "cpus": "0-1", "idle": 1},
        "pids": {"limit": -1},
        "blockIO": {"weight": 0, "throttleReadBpsDevice": [{"major": 8, "minor": 16, "rate": 1048576}]},
        "hugepageLimits": [{"pageSize": "2MB", "limit": 9}], "unified": {"memory.high": "max"},
        "rdma": {"mlx5_1": {"hcaHandles": 3}}, "network": {"classID": 1048577, "priorities": [{"name": "lo", "priority": 2}]},
        "devices": [{"allow": false, "access": "rwm"}]}})"))
                            .resources;
    EXPECT_EQ(r.memory.limit, 67108864);
    EXPECT_EQ(r.memory.swap, kUnlimited);
    EXPECT_EQ(r.memory.reservation, 0);
    EXPECT_EQ(r.memory.swappiness, 0u);
    EXPECT_EQ(r.cpu.shares, 512u);
    EXPECT_FALSE(r.cpu.period.has_value());
    EXPECT_EQ(r.cpu.cpus, "0-1");
    EXPECT_EQ(r.pids, kUnlimited);
    EXPECT_EQ(r.block.read_bytes.at(0).rate, 1048576u);
    EXPECT_EQ(r.hugepages.at(0).page_size, "2MB");
    EXPECT_EQ(r.unified.at("memory.high"), "max");
    EXPECT_EQ(r.rdma.at(0).handles, 3u);
    EXPECT_FALSE(r.rdma.at(0).objects.has_value());
    EXPECT_EQ(r.network.priorities.at(0).interface, "lo");
    EXPECT_FALSE(r.devices.at(0).allow);
    EXPECT_EQ(limits_of(r).cpu_shares, 512u);
    EXPECT_EQ(limits_of(r).pids, 0u);
}

TEST(SpecParser, ReadsHooks) {
    const HookSpecs hooks =
        parse_ok(
            document("", R"("hooks": {"prestart": [{"path": "/p", "args": ["a", "b"], "env": ["X=1"], "timeout": 5}],
        "poststop": [{"path": "/q"}, {"path": "/r"}]})"))
            .hooks;
    ASSERT_EQ(hooks.prestart.size(), 1u);
    EXPECT_EQ(hooks.prestart[0].args, (std::vector<std::string>{"a", "b"}));
    EXPECT_EQ(hooks.prestart[0].timeout_s, 5u);
    ASSERT_EQ(hooks.poststop.size(), 2u);
    EXPECT_EQ(hooks.poststop[1].path, "/r");
    EXPECT_FALSE(hooks.poststop[1].timeout_s.has_value());
}

TEST(SpecParser, ReadsTheLinuxSection) {
    const Spec spec = parse_ok(document("", R"("linux": {"cgroupsPath": "/docker/abc",
        "namespaces": [{"type": "pid"}, {"type": "network", "path": "/run/netns/x"}, {"type": "time"}, {"type": "user"}],
        "uidMappings": [{"containerID": 0, "hostID": 100000, "size": 65536}],
        "devices": [{"path": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 8630, "uid": 5}],
        "timeOffsets": {"monotonic": {"secs": -1, "nanosecs": 500000000}, "boottime": {"secs": 2}},
        "personality": {"domain": "LINUX32"}, "seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
          {"names": ["personality"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38, "args": [{"index": 0, "value": 18446744073709551615, "op": "SCMP_CMP_NE"}]}]}})"));
    EXPECT_EQ(spec.cgroups_path, "/docker/abc");
    ASSERT_NE(spec.find_namespace(NamespaceType::kNetwork), nullptr);
    EXPECT_EQ(spec.find_namespace(NamespaceType::kNetwork)->path, "/run/netns/x");
    EXPECT_EQ(spec.find_namespace(NamespaceType::kIpc), nullptr);
    EXPECT_EQ(spec.uid_mappings.at(0).outside, 100000u);
    EXPECT_EQ(spec.devices.at(0).mode, 0666u);
    EXPECT_EQ(spec.time_offsets.monotonic_ns, -500'000'000);
    EXPECT_EQ(spec.time_offsets.boottime_ns, 2'000'000'000);
    EXPECT_EQ(spec.personality, 8u);
    ASSERT_TRUE(spec.seccomp.has_value());
    EXPECT_EQ(spec.seccomp->rules.at(0).args.at(0).value, ~uint64_t{0});
    EXPECT_EQ(spec.seccomp->rules.at(0).errno_ret, 38u);
}

TEST(SpecParser, ReadsSchedulingOfTheProcess) {
    const ProcessSpec process = parse_ok(document(R"("oomScoreAdj": -500, "ioPriority": {"class": "IOPRIO_CLASS_IDLE"},
        "scheduler": {"policy": "SCHED_BATCH", "nice": -5}, "execCPUAffinity": {"initial": "0-2,5", "final": "63,70"})"))
                                    .process;
    EXPECT_EQ(process.oom_score_adj, -500);
    EXPECT_EQ(process.io_priority, 3u << 13);
    ASSERT_TRUE(process.scheduler.has_value());
    EXPECT_EQ(process.scheduler->policy, 3u);
    EXPECT_EQ(process.scheduler->nice, -5);
    EXPECT_EQ(process.affinity.initial, 0x27u);
    EXPECT_EQ(process.affinity.final, uint64_t{1} << 63);
}

TEST(SpecParser, ReadsTheDocumentsOfExecAndUpdate) {
    std::vector<UnappliedField> unapplied;
    const Outcome<ProcessSpec> process = parse_process(
        R"({"args": ["id"], "cwd": "/tmp", "apparmorProfile": "docker-default"})", "process.json", unapplied);
    ASSERT_TRUE(process.is_ok()) << process.error().message;
    EXPECT_EQ(process.value().cwd, "/tmp");
    ASSERT_EQ(unapplied.size(), 1u);
    EXPECT_EQ(unapplied[0].field, "apparmorProfile");
    EXPECT_EQ(parse_process("{\"cwd\": \"/\",\n\"args\": [\"a\", 5]}", "p.json", unapplied).error().message,
              "p.json: line 2: args[1]: expected a string, found a number");
    const Outcome<Resources> resources = parse_resources(
        R"({"memory":{"limit":33554432,"reservation":0,"swap":67108864,"kernel":0},"cpu":{"shares":0,"quota":50000,"period":100000},"blockIO":{"weight":0}})",
        "stdin", unapplied);
    ASSERT_TRUE(resources.is_ok()) << resources.error().message;
    EXPECT_EQ(resources.value().memory.swap, 67108864);
    EXPECT_EQ(unapplied.size(), 1u);
}

TEST(SpecParser, RefusesLimitsThatCannotHold) {
    EXPECT_NE(
        message_of(document("", R"("linux": {"resources": {"memory": {"limit": 4096}}})")).find("at least 8388608"),
        std::string::npos);
    EXPECT_NE(message_of(document("", R"("linux": {"resources": {"cpu": {"quota": 5}}})")).find("at least 1000"),
              std::string::npos);
    EXPECT_NE(message_of(document("", R"("linux": {"resources": {"cpu": {"period": 5}}})")).find("1000 to 1000000"),
              std::string::npos);
}

struct BadField {
    const char* process;
    const char* top;
    const char* message;
};

class SpecParserRefuses : public testing::TestWithParam<BadField> {};

TEST_P(SpecParserRefuses, WithLineAndField) {
    const BadField& bad = GetParam();
    EXPECT_EQ(message_of(document(bad.process, bad.top)), std::string("config.json: ") + bad.message);
}

INSTANTIATE_TEST_SUITE_P(
    Fields, SpecParserRefuses,
    testing::Values(
        BadField{"\"args\": [\"/bin/sh\",\n7]", "", "line 4: process.args[1]: expected a string, found a number"},
        BadField{"\"args\": []", "",
                 "line 3: process.args: empty; it needs at least the program (\"args\": [\"/bin/sh\"])"},
        BadField{"\"args\": [\"\"]", "", "line 3: process.args[0]: the program's name is empty"},
        BadField{"\"args\": {}", "", "line 3: process.args: expected an array, found an object"},
        BadField{"\"env\": [\"A=\\u0000\"]", "", "line 3: process.env[0]: the string contains a NUL character"},
        BadField{"\"cwd\": \"tmp\"", "", "line 3: process.cwd: expected an absolute path, found \"tmp\""},
        BadField{"\"user\": {\"uid\": -1}", "",
                 "line 3: process.user.uid: expected an integer from 0 to 4294967294, found -1"},
        BadField{"\"user\": {\"uid\": 4294967295}", "",
                 "line 3: process.user.uid: expected an integer from 0 to 4294967294, found 4294967295"},
        BadField{"\"user\": {\"gid\": 1.5}", "",
                 "line 3: process.user.gid: expected an integer from 0 to 4294967294, found 1.5"},
        BadField{"\"user\": {\"umask\": 512}", "",
                 "line 3: process.user.umask: expected an integer from 0 to 511, found 512"},
        BadField{"\"terminal\": \"yes\"", "", "line 3: process.terminal: expected true or false, found a string"},
        BadField{"\"consoleSize\": {\"height\": 1}", "",
                 "line 3: process.consoleSize.width: missing; it says the columns of the terminal"},
        BadField{"\"capabilities\": {\"bounding\": [\"CAP_FLY\"]}", "",
                 "line 3: process.capabilities.bounding[0]: \"CAP_FLY\" is no Linux capability (they look like "
                 "\"CAP_KILL\")"},
        BadField{"\"rlimits\": [{\"type\": \"NOFILE\", \"hard\": 1, \"soft\": 1}]", "",
                 "line 3: process.rlimits[0].type: \"NOFILE\" is no resource limit (they look like \"RLIMIT_NOFILE\")"},
        BadField{"\"rlimits\": [{\"type\": \"RLIMIT_CORE\", \"hard\": 1, \"soft\": 2}]", "",
                 "line 3: process.rlimits[0].soft: the soft limit is above the hard limit 1"},
        BadField{"\"rlimits\": [{\"type\": \"RLIMIT_CORE\", \"hard\": 1, \"soft\": 1},\n{\"type\": \"RLIMIT_CORE\", "
                 "\"hard\": 1, \"soft\": 1}]",
                 "", "line 4: process.rlimits[1]: this limit is given twice"},
        BadField{"", "\"process\": 5", "line 4: process: expected an object, found a number"},
        BadField{"", "\"root\": {\"path\": \"\"}",
                 "line 4: root.path: empty; give the root file system's folder (\"rootfs\")"},
        BadField{"", "\"root\": null",
                 "line 4: root: missing; it says where the root file system is (\"root\": {\"path\": \"rootfs\"})"},
        BadField{"", "\"ociVersion\": \"2.0.0\"", "line 4: ociVersion: version \"2.0.0\" is not supported; 1.x is"},
        BadField{"", "\"mounts\": [{\"type\": \"tmpfs\"}]",
                 "line 4: mounts[0].destination: missing; it says where to mount it"},
        BadField{"", "\"mounts\": [{\"destination\": \"a\", \"type\": \"tmpfs\"}]",
                 "line 4: mounts[0].destination: expected an absolute path, found \"a\""},
        BadField{"", "\"mounts\": [{\"destination\": \"/a\"}]",
                 "line 4: mounts[0].type: missing; it says what to mount (\"tmpfs\", \"bind\" ...)"},
        BadField{"", "\"mounts\": [{\"destination\": \"/a\", \"type\": \"ext4\"}]",
                 "line 4: mounts[0].type: \"ext4\" is not supported; use bind, proc, tmpfs, devtmpfs, devpts, sysfs, "
                 "mqueue or cgroup"},
        BadField{"", "\"mounts\": [{\"destination\": \"/a\", \"type\": \"bind\"}]",
                 "line 4: mounts[0].source: missing; it says which file or folder of the host to bind"},
        BadField{"",
                 "\"mounts\": [{\"destination\": \"/a\", \"type\": \"bind\", \"source\": \"/\", \"options\": [\"rw\", "
                 "\"size=1\"]}]",
                 "line 4: mounts[0].options[1]: \"size=1\" is not an option of bind mounts; remove it"},
        BadField{"", "\"annotations\": {\"org.example\": 1}",
                 "line 4: annotations.org.example: expected a string, found a number"},
        BadField{"", "\"hooks\": {\"poststop\": [{\"path\": \"x\"}]}",
                 "line 4: hooks.poststop[0].path: expected an absolute path, found \"x\""},
        BadField{"", "\"hooks\": {\"prestart\": [{\"path\": \"/x\", \"timeout\": 0}]}",
                 "line 4: hooks.prestart[0].timeout: expected an integer from 1 to 2147483, found 0"},
        BadField{"", "\"linux\": {\"namespaces\": [{\"type\": \"net\"}]}",
                 "line 4: linux.namespaces[0].type: \"net\" is no namespace; use pid, network, mount, ipc, uts, user, "
                 "cgroup or time"},
        BadField{"", "\"linux\": {\"namespaces\": [{\"type\": \"pid\"},\n{\"type\": \"pid\"}]}",
                 "line 5: linux.namespaces[1]: this namespace is given twice"},
        BadField{"", "\"linux\": {\"uidMappings\": [{\"containerID\": 0, \"hostID\": 0, \"size\": 1}]}",
                 "line 4: linux.uidMappings: it needs a \"user\" entry in linux.namespaces"},
        BadField{"", "\"linux\": {\"gidMappings\": [{\"containerID\": 4294967295, \"hostID\": 0, \"size\": 2}]}",
                 "line 4: linux.gidMappings[0]: the ids go beyond 4294967295"},
        BadField{"", "\"linux\": {\"timeOffsets\": {\"realtime\": {}}}",
                 "line 4: linux.timeOffsets.realtime: no clock that can be offset; those are monotonic and boottime"},
        BadField{"", "\"linux\": {\"timeOffsets\": {\"boottime\": {}}}",
                 "line 4: linux.timeOffsets: it needs a \"time\" entry in linux.namespaces"},
        BadField{"", "\"linux\": {\"devices\": [{\"path\": \"/a\", \"type\": \"x\"}]}",
                 "line 4: linux.devices[0].type: \"x\" is no kind of device; use c, u, b or p"},
        BadField{"", "\"linux\": {\"personality\": {\"domain\": \"BSD\"}}",
                 "line 4: linux.personality.domain: \"BSD\" is no domain; use LINUX or LINUX32"},
        BadField{"", "\"linux\": {\"resources\": {\"memory\": {\"limit\": -2}}}",
                 "line 4: linux.resources.memory.limit: expected an integer from -1 to 9223372036854775807, found -2"},
        BadField{"", "\"linux\": {\"resources\": {\"memory\": {\"limit\": 18446744073709551615}}}",
                 "line 4: linux.resources.memory.limit: expected an integer from -1 to 9223372036854775807, found "
                 "18446744073709551615"},
        BadField{"", "\"linux\": {\"resources\": {\"unified\": {\"../x.y\": \"1\"}}}",
                 "line 4: linux.resources.unified.../x.y: no file of a cgroup; they look like \"memory.high\""},
        BadField{"", "\"linux\": {\"resources\": {\"hugepageLimits\": [{\"pageSize\": \"../2MB\", \"limit\": 1}]}}",
                 "line 4: linux.resources.hugepageLimits[0].pageSize: expected a size such as \"2MB\" or \"1GB\", "
                 "found \"../2MB\""},
        BadField{"\"oomScoreAdj\": 1001", "",
                 "line 3: process.oomScoreAdj: expected an integer from -1000 to 1000, found 1001"},
        BadField{"\"scheduler\": {\"policy\": \"SCHED_FIFO\"}", "",
                 "line 3: process.scheduler.priority: 0 does not go with the policy; SCHED_FIFO and SCHED_RR take 1 to "
                 "99, the others 0"},
        BadField{"\"scheduler\": {\"policy\": \"SCHED_DEADLINE\"}", "",
                 "line 3: process.scheduler.policy: \"SCHED_DEADLINE\" is not supported; use SCHED_OTHER, SCHED_FIFO, "
                 "SCHED_RR, SCHED_BATCH or SCHED_IDLE"},
        BadField{"\"execCPUAffinity\": {\"initial\": \"3-1\"}", "",
                 "line 3: process.execCPUAffinity.initial: expected a list of CPUs (\"0-3,7\"), found \"3-1\""},
        BadField{"", "\"linux\": {\"maskedPaths\": \"/proc\"}",
                 "line 4: linux.maskedPaths: expected an array, found a string"},
        BadField{"", "\"linux\": []", "line 4: linux: expected an object, found an array"}));

TEST(SpecParser, SyntaxErrorsNameTheLine) {
    EXPECT_TRUE(message_of("{\n\"a\": 1,\n}").starts_with("config.json: line 3: not valid JSON: "))
        << message_of("{\n\"a\": 1,\n}");
    EXPECT_TRUE(message_of("").starts_with("config.json: line 1: not valid JSON: "));
    EXPECT_TRUE(message_of("{\"a\": \"\xff\"}").starts_with("config.json: line 1: not valid JSON: "));
    EXPECT_TRUE(message_of("{\"a\": 1e999}").starts_with("config.json: "));
    EXPECT_EQ(message_of("[]"), "config.json: line 1: expected an object, found an array");
    EXPECT_EQ(message_of(document("\"hostname\": 1").substr(0, 40)).find('\n'), std::string::npos);
}

TEST(SpecParser, CapsSizes) {
    EXPECT_NE(message_of(std::string(kMaxConfigBytes + 1, ' ')).find("at most 4194304"), std::string::npos);
    EXPECT_NE(message_of(document("\"cwd\": \"/" + std::string(5000, 'a') + "\"")).find("at most 4095 are allowed"),
              std::string::npos);
    EXPECT_NE(message_of(document("", "\"hostname\": \"" + std::string(65, 'h') + "\"")).find("Linux allows 64"),
              std::string::npos);
    std::string many = "\"env\": [\"a\"";
    for (size_t i = 0; i < kMaxArguments; ++i) many += ",\"a\"";
    EXPECT_NE(message_of(document(many + "]")).find("at most 16384 are allowed"), std::string::npos);
}

TEST(SpecParser, DeepNestingIsNoStackOverflow) {
    const std::string deep = std::string(500000, '[') + std::string(500000, ']');
    parse_ok(document("", "\"x\": " + deep));
    message_of(std::string(1000000, '['));
    EXPECT_GT(find_line(document("", "\"x\": " + deep), "root.path"), 0u);
}

TEST(FindLine, DeepestParentThatIsThere) {
    const std::string text = "{\n \"a\": {\n  \"b\": [1,\n  2\n  ]\n }\n}";
    EXPECT_EQ(find_line(text, "a"), 2u);
    EXPECT_EQ(find_line(text, "a.b"), 3u);
    EXPECT_EQ(find_line(text, "a.b[0]"), 3u);
    EXPECT_EQ(find_line(text, "a.b[1]"), 4u);
    EXPECT_EQ(find_line(text, "a.b[7]"), 3u);
    EXPECT_EQ(find_line(text, "a.missing"), 2u);
    EXPECT_EQ(find_line(text, "missing"), 1u);
    EXPECT_EQ(find_line("", "a"), 0u);
}

}  // namespace
}  // namespace kvmsbx::oci
