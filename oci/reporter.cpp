#include "oci/reporter.hpp"

#include <fcntl.h>

#include <cerrno>
#include <nlohmann/json.hpp>

#include "common/host/log.hpp"
#include "common/host/write_all.hpp"
#include "oci/timestamp.hpp"

namespace kvmsbx::oci {
namespace {

constexpr size_t kMaxHeldBack = 256 * 1024;
constexpr size_t kMaxChildLine = 16 * 1024;

void write_all(int fd, std::string_view text) { ignore(host::write_all(fd, text), "there is nowhere to complain"); }

Outcome<host::Fd> open_append(const std::string& path) {
    host::Fd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
    if (!fd.is_open()) return errno_failure("cannot open the log file " + path, errno);
    return fd;
}

std::string with_carriage_returns(std::string_view text) {
    std::string out;
    for (char c : text) {
        if (c == '\n') out += '\r';
        out += c;
    }
    return out;
}

// As a JSON string, in its quotes, which is also how runc's text format has values.
std::string json_text(const nlohmann::ordered_json& value) {
    return value.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace

Outcome<> Reporter::open(const Options& options) {
    debug_ = options.debug;
    log_format_ = options.log_format;
    if (!options.log.empty()) log_fd_ = TRY(open_append(options.log));
    if (!options.debug_log.empty()) {
        debug_fd_ = TRY(open_append(options.debug_log));
        debug_ = true;
    }
    stream_children_ = debug_ || options.stream_children;
    return {};
}

void Reporter::log_line(const char* level, const std::string& message) {
    if (!log_fd_.is_open()) return;
    const std::string time = rfc3339_now();
    if (log_format_ == LogFormat::kJson) {
        const nlohmann::ordered_json entry{{"level", level}, {"msg", message}, {"time", time}};
        write_all(log_fd_.get(), json_text(entry) + "\n");
    } else {
        write_all(log_fd_.get(), "time=\"" + time + "\" level=" + level + " msg=" + json_text(message) + "\n");
    }
}

void Reporter::write_stderr(std::string_view text) {
    if (terminal_raw_) {
        if (held_back_.size() < kMaxHeldBack) held_back_ += text;
    } else {
        write_all(2, text);
    }
}

void Reporter::write_debug(std::string_view text) {
    if (debug_fd_.is_open()) {
        write_all(debug_fd_.get(), text);
    } else if (terminal_raw_) {
        write_all(2, with_carriage_returns(text));
    } else {
        write_all(2, text);
    }
}

void Reporter::error(const std::string& message) {
    write_stderr(host::kSandboxPrefixes.error + message + "\n");
    log_line("error", message);
}

void Reporter::warning(const std::string& message) {
    if (!log_fd_.is_open()) write_stderr(host::kSandboxPrefixes.error + ("warning: " + message) + "\n");
    log_line("warning", message);
}

void Reporter::debug(const std::string& message) {
    if (!debug_) return;
    write_debug(host::kSandboxPrefixes.debug + message + "\n");
    log_line("debug", message);
}

void Reporter::child_line(std::string_view line) {
    // The gofer marks its debug lines in the same way, so with --debug they say nothing about how it ended.
    const bool is_message =
        (line.starts_with(host::kSandboxPrefixes.error) && !line.starts_with(host::kSandboxPrefixes.debug)) ||
        (line.starts_with(host::kGoferPrefixes.error) && !stream_children_);
    if (is_message) {
        child_reported_ = true;
        const size_t start = line.find(": ") + 2;
        log_line("error", std::string(line.substr(start, line.size() - start - 1)));
    }
    if (stream_children_ && (debug_fd_.is_open() || !is_message)) write_debug(line);
    if (is_message || !stream_children_) write_stderr(line);
}

void Reporter::child_output(std::string_view bytes) {
    partial_line_ += bytes;
    size_t start = 0;
    for (size_t end; (end = partial_line_.find('\n', start)) != std::string::npos; start = end + 1) {
        child_line(std::string_view(partial_line_).substr(start, end + 1 - start));
    }
    partial_line_.erase(0, start);
    if (partial_line_.size() > kMaxChildLine) {
        child_line(partial_line_ + "\n");
        partial_line_.clear();
    }
}

void Reporter::set_terminal_raw(bool raw) {
    terminal_raw_ = raw;
    if (raw) return;
    write_all(2, held_back_);
    held_back_.clear();
    if (!partial_line_.empty()) child_line(partial_line_ + "\n");
    partial_line_.clear();
}

}  // namespace kvmsbx::oci
