#include "oci/container/small_file.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "common/host/fd.hpp"

namespace kvmsbx::oci {

bool read_small_file(const std::string& path, std::string& text) {
    constexpr size_t kMaxBytes = 1 << 20;
    text.clear();
    const host::Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (!fd.is_open()) return false;
    char buffer[4096];
    while (text.size() < kMaxBytes) {
        const ssize_t n = read(fd.get(), buffer, sizeof buffer);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return n == 0;
        text.append(buffer, static_cast<size_t>(n));
    }
    return true;
}

std::string read_line_of(const std::string& path) {
    std::string text;
    if (!read_small_file(path, text)) return "";
    while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
    return text;
}

bool write_small_file(const std::string& path, std::string_view text) {
    const host::Fd fd(open(path.c_str(), O_WRONLY | O_CLOEXEC | O_NOFOLLOW | O_TRUNC));
    if (!fd.is_open()) return false;
    ssize_t n = 0;
    do n = write(fd.get(), text.data(), text.size());
    while (n < 0 && errno == EINTR);
    return n == static_cast<ssize_t>(text.size());
}

bool file_exists(const std::string& path) { return access(path.c_str(), F_OK) == 0; }

}  // namespace kvmsbx::oci
