#pragma once
// Messages of the sandbox process: one line each, to SandboxConfig::log_fd. Async-signal-safe and without allocation,
// so that any thread may use it under its seccomp filter (write only).
#include <cstddef>
#include <string_view>

#include "common/base/errno.hpp"

namespace kvmsbx::vmm {

class Log {
  public:
    Log(int fd, bool debug) : fd_(fd), debug_(debug) {}

    // "kvmsbx: <message>\n". For what the user must see.
    void error(const char* format, ...) const __attribute__((format(printf, 2, 3)));
    // The same, and gives `why` back, for `return log.fail(...)`.
    Errno fail(Errno why, const char* format, ...) const __attribute__((format(printf, 3, 4)));
    // "kvmsbx: debug: ..." with --debug, else nothing.
    void debug(const char* format, ...) const __attribute__((format(printf, 2, 3)));
    // Bytes as they are.
    void raw(std::string_view bytes) const;
    bool debugging() const { return debug_; }

  private:
    int fd_;
    bool debug_;
};

}  // namespace kvmsbx::vmm
