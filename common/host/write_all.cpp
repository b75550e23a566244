#include "common/host/write_all.hpp"

#include <unistd.h>

#include <cerrno>

#include "common/host/errno.hpp"

namespace kvmsbx::host {

Result<> write_all(int fd, std::string_view bytes) {
    while (!bytes.empty()) {
        const ssize_t n = write(fd, bytes.data(), bytes.size());
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return last_errno();
        if (n == 0) return Errno::kIO;  // would not end
        bytes.remove_prefix(static_cast<size_t>(n));
    }
    return {};
}

}  // namespace kvmsbx::host
