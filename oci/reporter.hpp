#pragma once
// Where messages go: errors to stderr and to --log (in runc's two formats), warnings to --log, or to stderr without one
// (an engine's stderr is the container's), debug lines to --debug-log or stderr.
//
// While the host's terminal is raw (see terminal.hpp), what the sandbox's processes print is kept back until it is
// restored, or the lines would run down the screen as a staircase; debug lines are written at once, with carriage
// returns.
#include <string>
#include <string_view>

#include "common/host/fd.hpp"
#include "oci/outcome.hpp"

namespace kvmsbx::oci {

enum class LogFormat { kText, kJson };

class Reporter {
  public:
    struct Options {
        bool debug = false;
        bool stream_children = false;  // --strace: what the children write is written at once, as with debug
        std::string debug_log;         // file for debug lines; "" for stderr
        std::string log;               // file for errors and warnings besides stderr; "" for none
        LogFormat log_format = LogFormat::kText;
    };

    // Opens the files (appending). The reporter is usable, with stderr only, when this failed.
    Outcome<> open(const Options& options);

    bool is_debug() const { return debug_; }
    void error(const std::string& message);
    void warning(const std::string& message);
    void debug(const std::string& message);

    // Bytes that the gofer or the sandbox process wrote: "kvmsbx: ..." lines, panics, debug lines.
    void child_output(std::string_view bytes);
    // Whether a child already said what went wrong: a line of its own that starts with "kvmsbx: ".
    bool child_reported() const { return child_reported_; }

    void set_terminal_raw(bool raw);

  private:
    void log_line(const char* level, const std::string& message);
    void write_stderr(std::string_view text);
    void write_debug(std::string_view text);
    void child_line(std::string_view line);

    bool debug_ = false;
    bool stream_children_ = false;
    bool terminal_raw_ = false;
    bool child_reported_ = false;
    LogFormat log_format_ = LogFormat::kText;
    host::Fd debug_fd_, log_fd_;
    std::string partial_line_, held_back_;
};

}  // namespace kvmsbx::oci
