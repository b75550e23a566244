#include "gofer/log.hpp"

#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace kvmsbx::gofer {
namespace {

int log_fd = STDERR_FILENO;
bool log_debugging = false;

}  // namespace

void set_log(int fd, bool debug) {
    log_fd = fd;
    log_debugging = debug;
}

bool debug_enabled() { return log_debugging; }

void log_line(const std::string& text) {
    std::string line = "kvmsbx gofer: " + text + "\n";
    [[maybe_unused]] ssize_t written = write(log_fd, line.data(), line.size());
}

void log_debug(const std::string& text) {
    if (log_debugging) log_line(text);
}

std::string because() { return std::string(": ") + strerror(errno); }

}  // namespace kvmsbx::gofer
