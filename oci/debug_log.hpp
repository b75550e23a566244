#pragma once
// The name of --debug-log with its patterns filled in.
#include <ctime>
#include <string>

#include "oci/outcome.hpp"

namespace kvmsbx::oci {

struct DebugLogNames {
    std::string id;       // of the container; "": the command has none
    std::string command;  // "create"
    timespec time{};      // since 1970
};

// %ID%, %COMMAND% and %TIMESTAMP% (UTC, "20260131-235959.123456") become what they stand for; a name that ends with '/'
// is a folder, in which the file is called kvmsbx.%TIMESTAMP%.%ID%.%COMMAND%.log.
std::string expand_debug_log(std::string pattern, const DebugLogNames& names);

// The same, with the folders of the file made.
Outcome<std::string> prepare_debug_log(const std::string& pattern, const DebugLogNames& names);

}  // namespace kvmsbx::oci
