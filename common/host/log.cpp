#include "common/host/log.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <string>

namespace kvmsbx::host {
namespace {

void write_once(int fd, std::string_view bytes) {
    [[maybe_unused]] const ssize_t written = write(fd, bytes.data(), bytes.size());  // nowhere to complain
}

void write_line(int fd, const char* prefix, const char* format, va_list arguments) {
    char line[Log::kLongestLine];
    constexpr size_t kMost = sizeof line - 1;  // the newline comes where snprintf has its NUL
    size_t length = static_cast<size_t>(snprintf(line, sizeof line, "%s", prefix));
    const int more = vsnprintf(line + length, sizeof line - length, format, arguments);
    if (more > 0) length = std::min(length + static_cast<size_t>(more), kMost);
    line[length++] = '\n';
    write_once(fd, {line, length});
}

void write_text(int fd, const char* prefix, std::string_view text) {
    std::string line(prefix);
    line += text;
    line += '\n';
    write_once(fd, line);
}

}  // namespace

void Log::error(const char* format, ...) const {
    va_list arguments;
    va_start(arguments, format);
    write_line(fd_, prefixes_.error, format, arguments);
    va_end(arguments);
}

Errno Log::fail(Errno why, const char* format, ...) const {
    va_list arguments;
    va_start(arguments, format);
    write_line(fd_, prefixes_.error, format, arguments);
    va_end(arguments);
    return why;
}

void Log::debug(const char* format, ...) const {
    if (!debug_) return;
    va_list arguments;
    va_start(arguments, format);
    write_line(fd_, prefixes_.debug, format, arguments);
    va_end(arguments);
}

void Log::error_text(std::string_view text) const { write_text(fd_, prefixes_.error, text); }

void Log::debug_text(std::string_view text) const {
    if (debug_) write_text(fd_, prefixes_.debug, text);
}

void Log::raw(std::string_view bytes) const {
    while (!bytes.empty()) {
        ssize_t n = write(fd_, bytes.data(), bytes.size());
        if (n <= 0) return;
        bytes.remove_prefix(n);
    }
}

}  // namespace kvmsbx::host
