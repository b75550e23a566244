#include "vmm/console.hpp"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdint>

namespace kvmsbx::vmm {
namespace {

short events_of(unsigned stream) { return stream == 0 ? POLLIN : POLLOUT; }

bool ready(int fd, short events) {
    pollfd p{fd, events, 0};
    return poll(&p, 1, 0) > 0;
}

}  // namespace

Errno Console::arm(unsigned stream) {
    armed_.fetch_or(1u << stream);
    uint64_t one = 1;
    ssize_t ignored = ::write(wake_fd_, &one, sizeof one);
    static_cast<void>(ignored);
    return Errno::kAGAIN;
}

Result<size_t> Console::read(std::span<std::byte> to) {
    if (fds_[0] < 0) return size_t{0};
    if (!ready(fds_[0], POLLIN)) return arm(0);
    ssize_t got = ::read(fds_[0], to.data(), to.size());
    if (got >= 0) return static_cast<size_t>(got);
    if (errno == EAGAIN || errno == EINTR) return arm(0);
    if (errno == EIO) return size_t{0};  // the terminal hung up
    return Errno{errno};
}

Result<size_t> Console::write(unsigned stream, std::span<const std::byte> from) {
    int fd = fds_[stream];
    if (fd < 0) return from.size();
    size_t done = 0;
    // A pipe or terminal that is writable takes PIPE_BUF bytes without blocking; more it may not.
    while (done < from.size() && ready(fd, POLLOUT)) {
        ssize_t put = ::write(fd, from.data() + done, std::min<size_t>(from.size() - done, PIPE_BUF));
        if (put < 0 && errno == EINTR) continue;
        if (put < 0 && errno == EAGAIN) break;
        if (put < 0) return Errno{errno};
        done += put;
    }
    if (done == 0 && !from.empty()) return arm(stream);
    return done;
}

pollfd Console::wanted(unsigned stream) const {
    bool armed = armed_.load() >> stream & 1;
    return {armed ? fds_[stream] : -1, events_of(stream), 0};
}

}  // namespace kvmsbx::vmm
