#pragma once
// Messages of the sandbox's processes: one line each, to the descriptor that the monitor reads (oci/reporter.hpp).
#include <cstddef>
#include <string_view>

#include "common/base/errno.hpp"

namespace kvmsbx::host {

// What a line starts with. The monitor has the sandbox process's prefixes for its own lines, and tells by them whose line a
// child's is, and of which kind (Reporter::child_output()).
struct LogPrefixes {
    const char* error;
    const char* debug;
};
inline constexpr LogPrefixes kSandboxPrefixes{"kvmsbx: ", "kvmsbx: debug: "};
inline constexpr LogPrefixes kGoferPrefixes{"kvmsbx gofer: ", "kvmsbx gofer: "};

// Each line is one write(2), so that the lines of several processes do not mix. A line that cannot be written is lost.
//
// The functions with a printf format are async-signal-safe and do not allocate: any thread may use them under its
// seccomp filter, which must allow write. They cut a line after kLongestLine bytes.
class Log {
  public:
    static constexpr size_t kLongestLine = 1023;  // with its prefix and the newline

    // `fd` -1: all lines are lost. The descriptor stays the caller's.
    constexpr Log(int fd, bool debug, LogPrefixes prefixes = kSandboxPrefixes)
        : fd_(fd), debug_(debug), prefixes_(prefixes) {}

    // For what the user must see.
    void error(const char* format, ...) const __attribute__((format(printf, 2, 3)));
    // The same, and gives `why` back, for `return log.fail(...)`.
    Errno fail(Errno why, const char* format, ...) const __attribute__((format(printf, 3, 4)));
    // With --debug, else nothing.
    void debug(const char* format, ...) const __attribute__((format(printf, 2, 3)));

    // error() and debug() for a text of any length, which is no format. They allocate.
    void error_text(std::string_view text) const;
    void debug_text(std::string_view text) const;

    // Bytes as they are, in as many writes as it takes. A signal ends it early: a vCPU's thread that is told to stop
    // must not wait for a reader.
    void raw(std::string_view bytes) const;

  private:
    int fd_;
    bool debug_;
    LogPrefixes prefixes_;
};

}  // namespace kvmsbx::host
