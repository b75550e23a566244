#include "oci/features.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "oci/fields.hpp"
#include "oci/names.hpp"
#include "oci/spec.hpp"

namespace kvmsbx::oci {
namespace {

using nlohmann::json;

bool has(const json& list, const std::string& name) { return std::find(list.begin(), list.end(), name) != list.end(); }

TEST(Features, SaysWhatEnginesAskFor) {
    const json features = json::parse(features_json("1.2.3"));
    EXPECT_EQ(features["ociVersionMin"], "1.0.0");
    EXPECT_EQ(features["hooks"],
              json({"prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"}));
    for (const char* option : {"rro", "idmap", "ridmap", "rbind", "tmpcopyup", "ro", "nosuid"})
        EXPECT_TRUE(has(features["mountOptions"], option)) << option;
    for (const char* name : {"user", "time", "cgroup"}) EXPECT_TRUE(has(features["linux"]["namespaces"], name)) << name;
    EXPECT_EQ(features["linux"]["mountExtensions"]["idmap"]["enabled"], true);
    EXPECT_EQ(features["linux"]["capabilities"].size(), capability_names().size());
    EXPECT_EQ(features["linux"]["cgroup"]["v2"], true);
    EXPECT_EQ(features["linux"]["seccomp"]["enabled"], true);
    EXPECT_FALSE(has(features["linux"]["seccomp"]["actions"], "SCMP_ACT_NOTIFY"));
    EXPECT_TRUE(has(features["linux"]["seccomp"]["actions"], "SCMP_ACT_ERRNO"));
    for (const char* off : {"apparmor", "selinux", "intelRdt", "netDevices"})
        EXPECT_EQ(features["linux"][off]["enabled"], false) << off;
    EXPECT_EQ(features["annotations"]["dev.kvmsbx.version"], "1.2.3");
    EXPECT_TRUE(has(features["potentiallyUnsafeConfigAnnotations"], "dev.kvmsbx.flag."));
}

// What is announced is what the parser takes: each mount option and each namespace.
TEST(Features, AnnouncesOnlyWhatIsParsed) {
    const json features = json::parse(features_json("1"));
    for (const auto& option : features["mountOptions"]) {
        const bool tmpfs = option.get<std::string>().ends_with("tmpcopyup");
        json mount = {
            {"destination", "/m"}, {"source", "/s"}, {"type", tmpfs ? "tmpfs" : "bind"}, {"options", {option}}};
        if (option.get<std::string>().ends_with("idmap"))
            mount["uidMappings"] = mount["gidMappings"] = {{{"containerID", 0}, {"hostID", 0}, {"size", 1}}};
        json document = {{"ociVersion", features["ociVersionMax"]},
                         {"root", {{"path", "r"}}},
                         {"process", {{"args", {"x"}}, {"cwd", "/"}}},
                         {"mounts", {mount}}};
        for (const auto& name : features["linux"]["namespaces"])
            document["linux"]["namespaces"].push_back({{"type", name}});
        const Outcome<Spec> spec = parse_spec(document.dump(), "c");
        EXPECT_TRUE(spec.is_ok()) << spec.error().message;
        EXPECT_TRUE(spec.is_error() || spec.value().unapplied.empty());
    }
}

}  // namespace
}  // namespace kvmsbx::oci
