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
    const Spec spec = parse_ok(document("", R"("hooks": {"poststop": [{"path": "/x"}]},
        "linux": {"seccomp": {"defaultAction": "SCMP_ACT_ERRNO"}, "cgroupsPath": "/a", "resources": {"memory": {"limit": 16777216, "swap": 16777216, "reservation": 1}, "cpu": {"quota": 150000, "shares": 5}, "pids": {"limit": 7}, "devices": []},
                  "namespaces": [{"type": "pid"}, {"type": "network", "path": "/var/run/netns/x"}]})"));
    std::vector<std::string> fields;
    for (const UnappliedField& field : spec.unapplied) fields.push_back(field.field + (field.matters ? "!" : ""));
    EXPECT_EQ(fields, (std::vector<std::string>{"hooks!", "linux.seccomp!", "linux.cgroupsPath",
                                                "linux.resources.cpu.shares", "linux.resources.memory.reservation!",
                                                "linux.resources.pids!", "linux.namespaces[1].path!"}));
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
