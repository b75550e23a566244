#pragma once
// The parts of an OCI config.json (runtime-spec 1.1) that kvmsbx applies, as plain data.
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

struct ProcessSpec {
    bool terminal = false;
    std::optional<ConsoleSize> console_size;
    UserSpec user;
    std::vector<std::string> args, env;
    std::string cwd;  // absolute
    CapabilitySets capabilities;
    std::vector<RlimitSpec> rlimits;
    bool no_new_privileges = false;
};

// linux.resources, as far as it is applied.
struct ResourceLimits {
    uint64_t memory = 0;                     // bytes; 0: no limit
    uint64_t cpu_quota = 0, cpu_period = 0;  // us of CPU time in each period; quota 0: no limit
    // The number of whole CPUs that the quota comes to, rounded up; 0: no limit.
    uint32_t cpus() const { return cpu_quota ? static_cast<uint32_t>((cpu_quota + cpu_period - 1) / cpu_period) : 0; }
};

struct MountSpec {
    std::string destination;  // absolute
    std::string type;         // as written; "bind" for every bind mount
    std::string source;       // of a bind mount: the host path as written (relative to the bundle)
    uint64_t flags = 0;       // MS_*
    std::string data;         // the options that are no flags, joined by ','
    bool is_bind() const { return type == "bind"; }
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
    ResourceLimits limits;
    std::map<std::string, std::string> sysctl, annotations;
    std::vector<UnappliedField> unapplied;
};

// Parses the text of a config.json. `file` is the name used in messages: "FILE: line N: FIELD: what is wrong".
Outcome<Spec> parse_spec(std::string_view text, const std::string& file);

// The line (1-based) on which the value with this path ("process.args[1]") ends in the text, or of the deepest parent
// that is there; 0 if the text is no JSON.
size_t find_line(std::string_view text, std::string_view path);

}  // namespace kvmsbx::oci
