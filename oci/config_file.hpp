#pragma once
// Where global flags come from besides the command line: /etc/kvmsbx.toml, since a containerd shim passes none, and
// annotations of config.json, where that file allows them. The command line wins over both, annotations over the file.
//
//   platform = "process"
//   cpus = 2
//   debug-log = "/var/log/kvmsbx/%ID%.%COMMAND%.log"
//   allow-flag-annotations = true
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "oci/outcome.hpp"

namespace kvmsbx::oci {

inline constexpr const char* kConfigFile = "/etc/kvmsbx.toml";
// dev.kvmsbx.flag.NAME=VALUE
inline constexpr const char* kFlagAnnotationPrefix = "dev.kvmsbx.flag.";

// A global flag with its value, as the command line would have it.
struct ConfiguredFlag {
    std::string name;   // "file-access"
    std::string value;  // "shared"; "true" or "false" of a switch
    std::string where;  // for messages: "/etc/kvmsbx.toml: line 3", "annotation dev.kvmsbx.flag.cpus"

    std::string argument() const { return "--" + name + "=" + value; }
};

struct FlagConfig {
    std::vector<ConfiguredFlag> flags;
    bool allow_annotations = false;
};

enum class Missing : bool { kIsEmpty, kIsFailure };

// Failures name file and line. Values are checked for their kind only (text, number, switch).
Outcome<FlagConfig> load_flag_config(const std::string& path, Missing missing);
Outcome<FlagConfig> parse_flag_config(std::string_view text, const std::string& file);

// The flags that annotations ask for. Flags that name files of the host or weaken the confinement are refused in any
// case: whoever may set annotations is often not root of the host.
Outcome<std::vector<ConfiguredFlag>> flags_of_annotations(const std::map<std::string, std::string>& annotations);

}  // namespace kvmsbx::oci
