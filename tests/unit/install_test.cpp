#include "oci/install.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace kvmsbx::oci {
namespace {

namespace fs = std::filesystem;

const Registration kPlain{"kvmsbx", "/usr/bin/kvmsbx", {}};

std::string registered(std::string_view text, const Registration& registration = kPlain) {
    Outcome<std::string> after = register_runtime(text, "d.json", registration);
    return after.is_ok() ? after.value() : "failure: " + after.error().message;
}
std::string unregistered(std::string_view text, const std::string& name = "kvmsbx") {
    Outcome<std::string> after = unregister_runtime(text, "d.json", name);
    return after.is_ok() ? after.value() : "failure: " + after.error().message;
}

TEST(Install, EmptyFile) {
    const char* expected =
        "{\n  \"runtimes\": {\n    \"kvmsbx\": {\n      \"path\": \"/usr/bin/kvmsbx\"\n    }\n  }\n}\n";
    EXPECT_EQ(registered(""), expected);
    EXPECT_EQ(registered("\n"), expected);
    EXPECT_EQ(registered("{}"), expected);
    EXPECT_EQ(unregistered(expected), "{}\n");
    EXPECT_EQ(unregistered(""), "");
}

TEST(Install, KeepsOrderAndIndentation) {
    const std::string before =
        "{\n\t\"zeta\": 1,\n\t\"runtimes\": {\n\t\t\"runsc\": {\n\t\t\t\"path\": \"/x\"\n\t\t}\n\t},\n\t\"alpha\": "
        "[\n\t\t\"ä\"\n\t]\n}\n";
    const std::string after = registered(before, {"sbx", "/k", {"--platform=process", "--overlay"}});
    EXPECT_EQ(after,
              "{\n\t\"zeta\": 1,\n\t\"runtimes\": {\n\t\t\"runsc\": {\n\t\t\t\"path\": \"/x\"\n\t\t},\n\t\t\"sbx\": "
              "{\n\t\t\t\"path\": "
              "\"/k\",\n\t\t\t\"runtimeArgs\": "
              "[\n\t\t\t\t\"--platform=process\",\n\t\t\t\t\"--overlay\"\n\t\t\t]\n\t\t}\n\t},\n\t\"alpha\": "
              "[\n\t\t\"ä\"\n\t]\n}\n");
    EXPECT_EQ(unregistered(after, "sbx"), before);
    EXPECT_EQ(registered(after, {"sbx", "/k", {"--platform=process", "--overlay"}}), after);
    EXPECT_NE(registered(after, {"sbx", "/other", {}}), after);
    EXPECT_EQ(unregistered(before, "nobody"), before);
}

TEST(Install, RefusesWhatItWouldBreak) {
    EXPECT_EQ(registered("{\n\"a\": 1,\n}"), "failure: d.json: line 3: not valid JSON; correct it first");
    EXPECT_EQ(registered("[]"), "failure: d.json: not a JSON object; correct it first");
    EXPECT_EQ(registered("{\"runtimes\": []}"), "failure: d.json: \"runtimes\" is not an object; correct it first");
    EXPECT_TRUE(registered("", {"a b", "/k", {}}).starts_with("failure: --name: \"a b\""));
    for (const char* argument : {"--debug-log=/a b", "overlay", "", "--x=$HOME", "--x='1'"})
        EXPECT_TRUE(registered("", {"k", "/k", {argument}}).starts_with("failure: \"")) << argument;
    EXPECT_TRUE(registered("", {"k", "/k", {"--debug-log=/l/%ID%.%COMMAND%.log"}}).starts_with("{"));
    const std::string standard = registered("{\"default-runtime\": \"kvmsbx\"}");
    EXPECT_EQ(unregistered(standard), "failure: d.json: \"default-runtime\" is kvmsbx; set another one first");
}

TEST(Install, SnippetsNameTheExecutable) {
    EXPECT_NE(podman_snippet(kPlain).find("kvmsbx = [\"/usr/bin/kvmsbx\"]"), std::string::npos);
    const std::string containerd = containerd_snippet(kPlain);
    EXPECT_NE(containerd.find("[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.kvmsbx.options]"),
              std::string::npos);
    EXPECT_NE(containerd.find("[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.kvmsbx]"),
              std::string::npos);
}

TEST(Install, ReplacesTheFileAtOnce) {
    char name[] = "/tmp/kvmsbx-install-XXXXXX";
    const std::string folder = mkdtemp(name);
    const std::string path = folder + "/etc/docker/daemon.json";
    EXPECT_EQ(read_config(path).value(), "");
    ASSERT_TRUE(replace_config(path, "{}\n").is_ok());
    EXPECT_EQ(read_config(path).value(), "{}\n");
    struct stat status {};
    ASSERT_EQ(stat(path.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777, 0644u);
    ASSERT_EQ(chmod(path.c_str(), 0600), 0);
    const bool root = geteuid() == 0;
    ASSERT_TRUE(!root || chown(path.c_str(), 5, 6) == 0);
    fs::create_symlink("etc/docker/daemon.json", folder + "/link");
    ASSERT_TRUE(replace_config(folder + "/link", "{\"a\": 1}\n").is_ok());
    EXPECT_TRUE(fs::is_symlink(folder + "/link"));
    ASSERT_EQ(stat(path.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777, 0600u);
    EXPECT_EQ(status.st_uid, root ? 5u : geteuid());
    EXPECT_EQ(read_config(path).value(), "{\"a\": 1}\n");
    EXPECT_EQ(std::distance(fs::directory_iterator(folder + "/etc/docker"), {}), 1);
    EXPECT_TRUE(read_config(folder).is_error());
    EXPECT_TRUE(replace_config("/proc/no/such", "x").is_error());
    fs::remove_all(folder);
}

}  // namespace
}  // namespace kvmsbx::oci
