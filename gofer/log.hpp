#pragma once
// Lines for the user: "kvmsbx gofer: ...", to stderr or to --log-fd.
#include <string>

namespace kvmsbx::gofer {

void set_log(int fd, bool debug);
bool debug_enabled();
void log_line(const std::string& text);
void log_debug(const std::string& text);
// ": No such file or directory" of errno.
std::string because();

}  // namespace kvmsbx::gofer
