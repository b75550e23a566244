#include "oci/debug_log.hpp"

#include <cstdio>
#include <filesystem>

namespace kvmsbx::oci {
namespace {

void replace_all(std::string& text, const std::string& what, const std::string& by) {
    for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + by.size()))
        text.replace(at, what.size(), by);
}

std::string timestamp(const timespec& time) {
    tm utc{};
    gmtime_r(&time.tv_sec, &utc);
    char day[32], text[64];
    strftime(day, sizeof day, "%Y%m%d-%H%M%S", &utc);
    snprintf(text, sizeof text, "%s.%06ld", day, time.tv_nsec / 1000);
    return text;
}

}  // namespace

std::string expand_debug_log(std::string pattern, const DebugLogNames& names) {
    if (pattern.ends_with('/')) pattern += "kvmsbx.%TIMESTAMP%.%ID%.%COMMAND%.log";
    replace_all(pattern, "%TIMESTAMP%", timestamp(names.time));
    replace_all(pattern, "%COMMAND%", names.command);
    replace_all(pattern, "%ID%", names.id.empty() ? "none" : names.id);
    return pattern;
}

Outcome<std::string> prepare_debug_log(const std::string& pattern, const DebugLogNames& names) {
    const std::string path = expand_debug_log(pattern, names);
    const std::filesystem::path folder = std::filesystem::path(path).parent_path();
    std::error_code error;
    if (!folder.empty()) std::filesystem::create_directories(folder, error);
    if (error) return Failure{"--debug-log: cannot make the folder " + folder.string() + ": " + error.message()};
    return path;
}

}  // namespace kvmsbx::oci
