#include "oci/config_file.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "oci/debug_log.hpp"

namespace kvmsbx::oci {
namespace {

std::string arguments(const std::vector<ConfiguredFlag>& flags) {
    std::string text;
    for (const ConfiguredFlag& flag : flags) text += flag.argument() + " ";
    return text;
}
std::string refusal(std::string_view text) {
    const Outcome<FlagConfig> config = parse_flag_config(text, "k.toml");
    return config.is_ok() ? "" : config.error().message;
}

TEST(FlagConfig, ReadsFlags) {
    const Outcome<FlagConfig> config = parse_flag_config(
        "# defaults\nplatform = \"process\"\ncpus = 2\ndebug = true\noverlay = false\nmemory = \"512M\"\n"
        "debug-log = '/var/log/%ID%.log'\nallow-flag-annotations = true\n",
        "k.toml");
    ASSERT_TRUE(config.is_ok()) << config.error().message;
    EXPECT_TRUE(config.value().allow_annotations);
    EXPECT_EQ(arguments(config.value().flags),
              "--cpus=2 --debug=true --debug-log=/var/log/%ID%.log --memory=512M --overlay=false --platform=process ");
    EXPECT_EQ(config.value().flags[0].where, "k.toml: line 3");
    EXPECT_TRUE(parse_flag_config("", "k.toml").value().flags.empty());
}

TEST(FlagConfig, NamesFileAndLine) {
    EXPECT_EQ(refusal("cpus = 1\n\nwarp = 9\n"),
              "k.toml: line 3: \"warp\" is no flag of kvmsbx that a file can set (kvmsbx --help lists them)");
    EXPECT_EQ(refusal("debug = \"yes\"\n"), "k.toml: line 1: debug: expected true or false");
    EXPECT_EQ(refusal("cpus = 1.5\n"), "k.toml: line 1: cpus: expected a number");
    EXPECT_EQ(refusal("platform = 5\n"), "k.toml: line 1: platform: expected a text in quotes");
    EXPECT_EQ(refusal("memory = true\n"), "k.toml: line 1: memory: expected a size such as \"512M\"");
    EXPECT_EQ(refusal("allow-flag-annotations = 1\n"),
              "k.toml: line 1: allow-flag-annotations: expected true or false");
    EXPECT_TRUE(refusal("cpus = 1\ncpus\n").starts_with("k.toml: line 2: not valid TOML: "))
        << refusal("cpus = 1\ncpus\n");
    EXPECT_TRUE(refusal("cpus = 1\ncpus = 2\n").starts_with("k.toml: line 2: ")) << refusal("cpus = 1\ncpus = 2\n");
    EXPECT_EQ(refusal("cpus = 1\n [debug]\nx = 1\n"), "k.toml: line 2: a section; flags stand by themselves");
    EXPECT_NE(refusal("[[[[["), "");
    EXPECT_NE(refusal("debug-log = [[[[[["), "");
}

TEST(FlagConfig, AMissingFileIsEmptyUnlessItWasAskedFor) {
    EXPECT_TRUE(load_flag_config("/no/such/file", Missing::kIsEmpty).value().flags.empty());
    EXPECT_EQ(load_flag_config("/no/such/file", Missing::kIsFailure).error().message,
              "/no/such/file: No such file or directory");
    EXPECT_TRUE(load_flag_config("/", Missing::kIsEmpty).is_error());
}

TEST(FlagConfig, Annotations) {
    const auto flags = flags_of_annotations(
        {{"dev.kvmsbx.flag.cpus", "4"}, {"dev.kvmsbx.flag.file-access", "shared"}, {"org.example", "x"}});
    ASSERT_TRUE(flags.is_ok());
    EXPECT_EQ(arguments(flags.value()), "--cpus=4 --file-access=shared ");
    for (const char* name : {"root", "debug-log", "log", "no-namespaces", "warp", "", "network"})
        EXPECT_TRUE(flags_of_annotations({{std::string("dev.kvmsbx.flag.") + name, "1"}}).is_error()) << name;
}

TEST(DebugLog, Patterns) {
    const DebugLogNames names{"web", "create", {1767225599, 123456789}};
    EXPECT_EQ(expand_debug_log("/l/%ID%.%COMMAND%.%TIMESTAMP%.%ID%", names),
              "/l/web.create.20251231-235959.123456.web");
    EXPECT_EQ(expand_debug_log("/l/", names), "/l/kvmsbx.20251231-235959.123456.web.create.log");
    EXPECT_EQ(expand_debug_log("%ID%", {"", "list", {}}), "none");
    EXPECT_EQ(expand_debug_log("%ID%", {"%COMMAND%%ID%", "x", {}}), "%COMMAND%%ID%");
}

TEST(DebugLog, FoldersAreMade) {
    char folder[] = "/tmp/kvmsbx-log-XXXXXX";
    ASSERT_NE(mkdtemp(folder), nullptr);
    const Outcome<std::string> path = prepare_debug_log(std::string(folder) + "/a/b/%ID%.log", {"web", "run", {}});
    ASSERT_TRUE(path.is_ok()) << path.error().message;
    EXPECT_EQ(path.value(), std::string(folder) + "/a/b/web.log");
    EXPECT_TRUE(std::filesystem::is_directory(std::string(folder) + "/a/b"));
    std::ofstream(std::string(folder) + "/file") << "x";
    EXPECT_TRUE(prepare_debug_log(std::string(folder) + "/file/x.log", {}).is_error());
    std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace kvmsbx::oci
