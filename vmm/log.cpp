#include "vmm/log.hpp"

#include <unistd.h>
#include <cstdarg>
#include <cstdio>

namespace kvmsbx::vmm {
namespace {

void write_line(int fd, const char* prefix, const char* format, va_list arguments) {
    char line[1024];
    int used = snprintf(line, sizeof line, "%s", prefix);
    int more = vsnprintf(line + used, sizeof line - used - 1, format, arguments);
    size_t length = used + (more < 0 ? 0 : more);
    if (length > sizeof line - 2) length = sizeof line - 2;
    line[length++] = '\n';
    ssize_t ignored = write(fd, line, length);
    static_cast<void>(ignored);
}

}  // namespace

void Log::error(const char* format, ...) const {
    va_list arguments;
    va_start(arguments, format);
    write_line(fd_, "kvmsbx: ", format, arguments);
    va_end(arguments);
}

Errno Log::fail(Errno why, const char* format, ...) const {
    va_list arguments;
    va_start(arguments, format);
    write_line(fd_, "kvmsbx: ", format, arguments);
    va_end(arguments);
    return why;
}

void Log::debug(const char* format, ...) const {
    if (!debug_) return;
    va_list arguments;
    va_start(arguments, format);
    write_line(fd_, "kvmsbx: debug: ", format, arguments);
    va_end(arguments);
}

void Log::raw(std::string_view bytes) const {
    while (!bytes.empty()) {
        ssize_t n = write(fd_, bytes.data(), bytes.size());
        if (n <= 0) return;
        bytes.remove_prefix(n);
    }
}

}  // namespace kvmsbx::vmm
