// Nothing of config.json may be left out in silence: every field of the runtime specification is in the table of
// oci/fields.cpp, an applied one is really read by the parser, and a named one is listed when it is set.
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "oci/fields.hpp"
#include "oci/spec.hpp"

namespace kvmsbx::oci {
namespace {

using nlohmann::json;

// A document with every field of runtime-spec 1.2 and 1.3 (config.md, config-linux.md), each set to something that is
// not its default. Other platforms' sections count as one field.
constexpr const char* kEverything = R"({
"ociVersion": "1.2.1",
"root": {"path": "rootfs", "readonly": true},
"hostname": "h", "domainname": "d",
"annotations": {"org.example": "x"},
"process": {
  "terminal": true, "consoleSize": {"height": 25, "width": 80},
  "user": {"uid": 1, "gid": 2, "umask": 18, "additionalGids": [3], "username": "u"},
  "args": ["/bin/true"], "commandLine": "c", "env": ["A=1"], "cwd": "/",
  "capabilities": {"bounding": ["CAP_KILL"], "effective": ["CAP_KILL"], "inheritable": ["CAP_KILL"],
                   "permitted": ["CAP_KILL"], "ambient": ["CAP_KILL"]},
  "rlimits": [{"type": "RLIMIT_CORE", "soft": 1, "hard": 2}],
  "noNewPrivileges": true, "apparmorProfile": "a", "selinuxLabel": "s", "oomScoreAdj": 7,
  "scheduler": {"policy": "SCHED_FIFO", "nice": 1, "priority": 5, "flags": ["SCHED_FLAG_RESET_ON_FORK"],
                "runtime": 1, "deadline": 2, "period": 3},
  "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 4},
  "execCPUAffinity": {"initial": "0", "final": "1-2"}},
"mounts": [{"destination": "/m", "type": "bind", "source": "/s", "options": ["ro"],
  "uidMappings": [{"containerID": 1, "hostID": 2, "size": 3}],
  "gidMappings": [{"containerID": 1, "hostID": 2, "size": 3}]}],
"hooks": {
  "prestart": [{"path": "/h", "args": ["h"], "env": ["A=1"], "timeout": 1}],
  "createRuntime": [{"path": "/h", "args": ["h"], "env": ["A=1"], "timeout": 1}],
  "createContainer": [{"path": "/h", "args": ["h"], "env": ["A=1"], "timeout": 1}],
  "startContainer": [{"path": "/h", "args": ["h"], "env": ["A=1"], "timeout": 1}],
  "poststart": [{"path": "/h", "args": ["h"], "env": ["A=1"], "timeout": 1}],
  "poststop": [{"path": "/h", "args": ["h"], "env": ["A=1"], "timeout": 1}]},
"linux": {
  "namespaces": [{"type": "network", "path": "/n"}, {"type": "user"}, {"type": "time"}],
  "uidMappings": [{"containerID": 1, "hostID": 2, "size": 3}],
  "gidMappings": [{"containerID": 1, "hostID": 2, "size": 3}],
  "timeOffsets": {"monotonic": {"secs": 1, "nanosecs": 2}},
  "devices": [{"path": "/dev/x", "type": "c", "major": 1, "minor": 3, "fileMode": 438, "uid": 1, "gid": 2}],
  "netDevices": {"eth0": {"name": "e"}},
  "cgroupsPath": "/c", "sysctl": {"kernel.shmmax": "1"},
  "maskedPaths": ["/m"], "readonlyPaths": ["/r"], "rootfsPropagation": "slave", "mountLabel": "l",
  "personality": {"domain": "LINUX32", "flags": []},
  "intelRdt": {"closID": "c", "schemata": ["L3:0=f"], "l3CacheSchema": "s", "memBwSchema": "m", "enableCMT": true,
               "enableMBM": true, "enableMonitoring": true},
  "memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]},
  "seccomp": {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1, "architectures": ["SCMP_ARCH_X86_64"],
    "flags": ["SECCOMP_FILTER_FLAG_LOG"], "listenerPath": "/l", "listenerMetadata": "m",
    "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW", "errnoRet": 2,
                  "args": [{"index": 1, "value": 2, "valueTwo": 3, "op": "SCMP_CMP_EQ"}]}]},
  "resources": {
    "memory": {"limit": 16777216, "reservation": 1, "swap": 2, "kernel": 3, "kernelTCP": 4, "swappiness": 5,
               "disableOOMKiller": true, "useHierarchy": true, "checkBeforeUpdate": true},
    "cpu": {"shares": 2, "quota": 50000, "burst": 1, "period": 100000, "realtimeRuntime": 1, "realtimePeriod": 2,
            "cpus": "0", "mems": "0", "idle": 1},
    "pids": {"limit": 5},
    "blockIO": {"weight": 10, "leafWeight": 10,
      "weightDevice": [{"major": 8, "minor": 1, "weight": 10, "leafWeight": 10}],
      "throttleReadBpsDevice": [{"major": 8, "minor": 1, "rate": 5}],
      "throttleWriteBpsDevice": [{"major": 8, "minor": 1, "rate": 5}],
      "throttleReadIOPSDevice": [{"major": 8, "minor": 1, "rate": 5}],
      "throttleWriteIOPSDevice": [{"major": 8, "minor": 1, "rate": 5}]},
    "hugepageLimits": [{"pageSize": "2MB", "limit": 1}],
    "network": {"classID": 1, "priorities": [{"name": "eth0", "priority": 1}]},
    "devices": [{"allow": true, "type": "c", "major": 1, "minor": 2, "access": "rwm"}],
    "rdma": {"mlx": {"hcaHandles": 1, "hcaObjects": 2}},
    "unified": {"memory.high": "1"}}},
"windows": {"x": 1}, "solaris": {"x": 1}, "zos": {"x": 1}, "freebsd": {"x": 1},
"vm": {"hypervisor": {"path": "/h"}}})";

// Objects whose names are the user's.
bool is_map(const std::string& path) {
    static const std::set<std::string> kMaps = {"annotations", "linux.sysctl", "linux.resources.unified",
                                                "linux.netDevices"};
    return kMaps.contains(path);
}
bool has_free_names(const std::string& path) { return path == "linux.timeOffsets" || path == "linux.resources.rdma"; }
bool is_one_field(const std::string& path) {
    static const std::set<std::string> kSections = {"windows",        "solaris",           "zos", "freebsd", "vm",
                                                    "linux.intelRdt", "linux.memoryPolicy"};
    return is_map(path) || kSections.contains(path);
}

struct Leaf {
    std::string field;           // as in the table
    json::json_pointer pointer;  // into the document
};

void collect(const json& value, const std::string& path, const json::json_pointer& pointer, std::vector<Leaf>& out) {
    const bool objects = value.is_array() && !value.empty() && value[0].is_object();
    if (objects) {
        for (size_t i = 0; i < value.size(); ++i) collect(value[i], path + "[]", pointer / i, out);
    } else if (value.is_object() && !is_one_field(path)) {
        for (const auto& [name, child] : value.items()) {
            const std::string shown = has_free_names(path) ? "*" : name;
            collect(child, path.empty() ? shown : path + "." + shown, pointer / name, out);
        }
    } else {
        out.push_back({path, pointer});
    }
}

std::vector<Leaf> leaves() {
    std::vector<Leaf> out;
    collect(json::parse(kEverything), "", json::json_pointer(), out);
    return out;
}

const Field* find_field(std::string_view path) {
    const auto fields = spec_fields();
    const auto found = std::find_if(fields.begin(), fields.end(), [&](const Field& f) { return f.path == path; });
    return found == fields.end() ? nullptr : &*found;
}

Outcome<Spec> parse(const json& document) { return parse_spec(document.dump(), "config.json"); }

TEST(SpecFields, TheDocumentWithEverythingParses) {
    const Outcome<Spec> spec = parse(json::parse(kEverything));
    ASSERT_TRUE(spec.is_ok()) << spec.error().message;
}

TEST(SpecFields, TheTableHasEachFieldOnce) {
    std::set<std::string_view> seen;
    for (const Field& field : spec_fields()) EXPECT_TRUE(seen.insert(field.path).second) << field.path;
    for (const Leaf& leaf : leaves())
        EXPECT_NE(find_field(leaf.field), nullptr) << leaf.field << " is not in the table";
    for (const Field& field : spec_fields()) {
        const std::vector<Leaf> all = leaves();
        const bool known = std::any_of(all.begin(), all.end(), [&](const Leaf& l) { return l.field == field.path; });
        EXPECT_TRUE(known) << field.path << " is no field of the specification";
    }
}

// A value of a type that no field has at that place: a parser that reads the field refuses it.
json wrong_type(const json& value) { return value.is_number() ? json("not a number") : json(12345); }

TEST(SpecFields, WhatIsParsedIsAppliedAndWhatIsAppliedIsParsed) {
    const json everything = json::parse(kEverything);
    for (const Leaf& leaf : leaves()) {
        const Field* field = find_field(leaf.field);
        if (!field) continue;
        json document = everything;
        document[leaf.pointer] = wrong_type(document[leaf.pointer]);
        const bool parsed = parse(document).is_error();
        if (field->treatment == Treatment::kApplied) {
            EXPECT_TRUE(parsed) << leaf.field << " is applied by the table, but nobody reads it";
        }
    }
}

TEST(SpecFields, NamedFieldsAreListedWhenTheyAreSet) {
    const Outcome<Spec> spec = parse(json::parse(kEverything));
    ASSERT_TRUE(spec.is_ok());
    std::set<std::string> listed;
    for (const UnappliedField& field : spec.value().unapplied) {
        EXPECT_FALSE(field.why.empty()) << field.field;
        std::string path = field.field;
        for (size_t at = path.find("[0]"); at != std::string::npos; at = path.find("[0]", at)) path.erase(at + 1, 1);
        listed.insert(path);
    }
    for (const Field& field : spec_fields())
        EXPECT_EQ(listed.contains(std::string(field.path)), field.treatment == Treatment::kNamed) << field.path;
}

TEST(SpecFields, DefaultsAndUnknownFieldsAreNotListed) {
    json document = {{"ociVersion", "1.2.0"},
                     {"root", {{"path", "r"}}},
                     {"process", {{"args", {"x"}}, {"cwd", "/"}, {"apparmorProfile", ""}}},
                     {"linux", {{"resources", {{"memory", {{"disableOOMKiller", false}, {"kernel", 0}}}}}}},
                     {"windows", json::object()},
                     {"unheardOf", 1}};
    const Outcome<Spec> spec = parse(document);
    ASSERT_TRUE(spec.is_ok()) << spec.error().message;
    EXPECT_TRUE(spec.value().unapplied.empty());
}

}  // namespace
}  // namespace kvmsbx::oci
