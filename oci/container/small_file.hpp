#pragma once
// Files of proc and cgroup: one short text, read and written at once.
#include <string>
#include <string_view>

namespace kvmsbx::oci {

// The whole text; at most 1 MiB of it. False and errno when it cannot be read.
bool read_small_file(const std::string& path, std::string& text);
// The text without spaces and newlines at its end; "" when it cannot be read.
std::string read_line_of(const std::string& path);
// One write(2) of an existing file. False and errno.
bool write_small_file(const std::string& path, std::string_view text);
bool file_exists(const std::string& path);

}  // namespace kvmsbx::oci
