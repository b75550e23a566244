#pragma once
// An OCI config.json (runtime-spec 1.2, and 1.3 where it makes sense), as plain data.
//
// parse_spec() is the only way from JSON to a Spec. The text is hostile: sizes and counts are capped (see kMax*),
// strings hold no NUL, numbers are range-checked, and nothing is looked up on the host. What the file asks for and
// kvmsbx does not do is listed in `unapplied`, one entry a field, so that the caller can warn or, with --strict,
// refuse.
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "oci/outcome.hpp"
#include "oci/resources.hpp"

namespace kvmsbx::oci {

inline constexpr size_t kMaxConfigBytes = 4 * 1024 * 1024;
inline constexpr size_t kMaxStringBytes = 128 * 1024;  // Linux's MAX_ARG_STRLEN
inline constexpr size_t kMaxArguments = 16 * 1024;     // args, env: entries
inline constexpr size_t kMaxMounts = 1024;
inline constexpr size_t kMaxListEntries = 4096;  // groups, masked paths, options, annotations ...
// A smaller memory limit would not hold the first process's page tables and program.
inline constexpr uint64_t kMinMemoryLimit = 8 << 20;
inline constexpr size_t kMaxPathBytes = 4095;  // PATH_MAX without the NUL

struct UserSpec {
    uint32_t uid = 0, gid = 0;
    uint32_t umask = 022;  // runtime-spec leaves the default to the runtime; runc's is 022
    std::vector<uint32_t> additional_gids;
};

// Capability sets; bit n is capability n of capability(7).
struct CapabilitySets {
    uint64_t bounding = 0, effective = 0, inheritable = 0, permitted = 0, ambient = 0;
};

struct RlimitSpec {
    uint32_t resource;  // RLIMIT_*
    uint64_t soft, hard;
};

struct ConsoleSize {
    uint32_t rows, columns;
};

// process.scheduler, for sched_setattr(2).
struct SchedulerSpec {
    uint32_t policy = 0;  // SCHED_*
    int32_t nice = 0;     // -20 to 19
    uint32_t priority = 0;
    bool reset_on_fork = false;
};

// process.execCPUAffinity: bit n is CPU n of the sandbox, all bits 0: not given.
struct CpuAffinity {
    uint64_t initial = 0, final = 0;
};

struct ProcessSpec {
    bool terminal = false;
    std::optional<ConsoleSize> console_size;
    UserSpec user;
    std::vector<std::string> args, env;
    std::string cwd;  // absolute
    CapabilitySets capabilities;
    std::vector<RlimitSpec> rlimits;
    bool no_new_privileges = false;
    std::string apparmor_profile, selinux_label;  // not applied
    std::optional<int32_t> oom_score_adj;         // -1000 to 1000
    std::optional<SchedulerSpec> scheduler;
    std::optional<uint16_t> io_priority;  // as ioprio_set(2) takes it
    CpuAffinity affinity;
};

// The limits that the sandbox itself keeps, out of Resources.
struct ResourceLimits {
    uint64_t memory = 0;                     // bytes; 0: no limit
    uint64_t pids = 0;                       // threads; 0: no limit
    uint64_t cpu_shares = 0;                 // of cgroup v1; 0: the default
    uint64_t cpu_quota = 0, cpu_period = 0;  // us of CPU time in each period; quota 0: no limit
    // The number of whole CPUs that the quota comes to, rounded up; 0: no limit.
    uint32_t cpus() const { return cpu_quota ? static_cast<uint32_t>((cpu_quota + cpu_period - 1) / cpu_period) : 0; }
};

// A range of ids: `size` ids from `inside` are those from `outside` on the host.
struct IdMapping {
    uint32_t inside = 0, outside = 0, size = 0;
};

struct MountSpec {
    std::string destination;          // absolute
    std::string type;                 // as written; "bind" for every bind mount
    std::string source;               // of a bind mount: the host path as written (relative to the bundle)
    uint64_t flags = 0;               // MS_*
    std::string data;                 // the options that are no flags, joined by ','
    bool recursive_bind = false;      // rbind
    bool recursive_readonly = false;  // rro: the mounts below a bind mount, too
    bool copy_up = false;             // tmpcopyup: a tmpfs begins with what was below
    bool idmapped = false;            // a bind mount with mapped owners: by the mappings here, or those of linux
    std::vector<IdMapping> uid_mappings, gid_mappings;
    bool is_bind() const { return type == "bind"; }
};

struct HookSpec {
    std::string path;  // absolute
    std::vector<std::string> args, env;
    std::optional<uint32_t> timeout_s;
};

struct HookSpecs {
    std::vector<HookSpec> prestart, create_runtime, create_container, start_container, poststart, poststop;
};

enum class NamespaceType : uint8_t { kPid, kNetwork, kMount, kIpc, kUts, kUser, kCgroup, kTime };

struct NamespaceSpec {
    NamespaceType type;
    std::string path;  // of a namespace to join; "": a new one
};

struct DeviceSpec {
    std::string path;   // absolute
    uint32_t type = 0;  // S_IFCHR, S_IFBLK, S_IFIFO
    uint32_t major = 0, minor = 0;
    uint32_t mode = 0666;
    uint32_t uid = 0, gid = 0;
};

struct SeccompArgument {
    uint32_t index = 0;  // 0 to 5
    uint64_t value = 0, value_two = 0;
    std::string op;  // "SCMP_CMP_EQ"
};

struct SeccompRule {
    std::vector<std::string> names;
    std::string action;  // "SCMP_ACT_ALLOW"
    std::optional<uint32_t> errno_ret;
    std::vector<SeccompArgument> args;
};

// linux.seccomp as it stands; compile_seccomp() of seccomp_profile.hpp checks the names in it.
struct SeccompSpec {
    std::string default_action;
    std::optional<uint32_t> default_errno_ret;
    std::vector<std::string> architectures, flags;
    std::string listener_path;
    std::vector<SeccompRule> rules;
};

// linux.timeOffsets: what is added to the host's clocks.
struct TimeOffsets {
    int64_t monotonic_ns = 0, boottime_ns = 0;
};

// A field that the file sets and kvmsbx does not apply.
struct UnappliedField {
    std::string field;  // "linux.seccomp"
    std::string why;    // what it means for the user
    bool matters;       // changes behaviour or safety: the user is told even without --debug
};

struct Spec {
    std::string oci_version;
    ProcessSpec process;
    std::string root_path;  // as written (relative to the bundle)
    bool root_readonly = false;
    std::string hostname, domainname;
    std::vector<MountSpec> mounts;
    std::vector<std::string> masked_paths, readonly_paths;
    Resources resources;
    ResourceLimits limits;  // of `resources`
    std::map<std::string, std::string> sysctl, annotations;
    HookSpecs hooks;
    std::string cgroups_path;
    std::vector<NamespaceSpec> namespaces;  // each type once
    std::vector<IdMapping> uid_mappings, gid_mappings;
    std::vector<DeviceSpec> devices;
    std::optional<SeccompSpec> seccomp;
    TimeOffsets time_offsets;
    uint32_t personality = 0;  // PER_*
    std::vector<UnappliedField> unapplied;

    // The namespace of that type, if the file names it.
    const NamespaceSpec* find_namespace(NamespaceType type) const;
};

// Parses the text of a config.json. `file` is the name used in messages: "FILE: line N: FIELD: what is wrong".
Outcome<Spec> parse_spec(std::string_view text, const std::string& file);

// The document of `exec --process`: what is config.json's `process`. What is not applied is appended to `unapplied`.
Outcome<ProcessSpec> parse_process(std::string_view text, const std::string& file,
                                   std::vector<UnappliedField>& unapplied);

// The document of `update --resources`: what is config.json's linux.resources.
Outcome<Resources> parse_resources(std::string_view text, const std::string& file,
                                   std::vector<UnappliedField>& unapplied);

// The limits for the Sentry, out of linux.resources.
ResourceLimits limits_of(const Resources& resources);

// The line (1-based) on which the value with this path ("process.args[1]") ends in the text, or of the deepest parent
// that is there; 0 if the text is no JSON.
size_t find_line(std::string_view text, std::string_view path);

}  // namespace kvmsbx::oci
