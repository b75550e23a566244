#include "vmm/console.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdint>
#include <cstdio>

#include "common/host/errno.hpp"

namespace kvmsbx::vmm {
namespace {

short events_of(unsigned stream) { return stream == 0 ? POLLIN : POLLOUT; }

bool ready(int fd, short events) {
    pollfd p{fd, events, 0};
    return poll(&p, 1, 0) > 0;
}

ssize_t send_now(int fd, std::span<const std::byte> bytes) {
    iovec part{const_cast<std::byte*>(bytes.data()), bytes.size()};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    return sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

}  // namespace

int open_terminal_again(int fd) {
    if (!isatty(fd)) return fd;
    char path[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int access = fcntl(fd, F_GETFL) & O_ACCMODE;
    int again = open(path, access | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    return again < 0 ? fd : again;
}

Console::Console(const std::array<int, 3>& fds, int wake_fd) : fds_(fds), wake_fd_(wake_fd) {
    for (unsigned stream = 0; stream < 3; stream++) {
        struct stat status {};
        is_socket_[stream] = fds[stream] >= 0 && fstat(fds[stream], &status) == 0 && S_ISSOCK(status.st_mode);
    }
}

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
    return host::last_errno();
}

Result<size_t> Console::write(unsigned stream, std::span<const std::byte> from) {
    int fd = fds_[stream];
    if (fd < 0) return from.size();
    size_t done = 0;
    // A pipe that is writable takes PIPE_BUF bytes without waiting; more it may not.
    while (done < from.size() && ready(fd, POLLOUT)) {
        auto part = from.subspan(done, std::min<size_t>(from.size() - done, PIPE_BUF));
        ssize_t put = is_socket_[stream] ? send_now(fd, part) : ::write(fd, part.data(), part.size());
        if (put < 0 && errno == EINTR) continue;
        if (put < 0 && errno == EAGAIN) break;
        if (put < 0) return host::last_errno();
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
