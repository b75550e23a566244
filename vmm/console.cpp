#include "vmm/console.hpp"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <climits>
#include <cstdio>

#include "common/host/errno.hpp"

namespace kvmsbx::vmm {
namespace {

// Descriptors for all else: what vCPUs have, and the streams of a frame that is under way.
constexpr unsigned kReserve = 256 + control::kMaxFrameDescriptors;

unsigned stream_capacity() {
    rlimit limit{};
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur <= 2 * kReserve) return kReserve / 2;
    return static_cast<unsigned>(std::min<rlim_t>(limit.rlim_cur - kReserve, Console::kStreams));
}

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
    int again = ::open(path, access | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    return again < 0 ? fd : again;
}

Console::Console(std::span<const int> fds, int wake_fd)
    : capacity_(std::max<unsigned>(stream_capacity(), fds.size())), wake_fd_(wake_fd) {
    for (unsigned stream = 0; stream < std::min<size_t>(fds.size(), kStreams); stream++) open(stream, fds[stream]);
}

void Console::open(unsigned stream, int fd) {
    Stream& opened = streams_[stream];
    const int access = fd < 0 ? O_RDWR : fcntl(fd, F_GETFL) & O_ACCMODE;
    opened.readable = access != O_WRONLY;
    opened.writable = access != O_RDONLY;
    opened.is_socket = true;
    opened.fd = fd;
    opened.state = State::kOpen;
}

Result<Console::Stream*> Console::find(unsigned stream) {
    if (stream >= kStreams || streams_[stream].state.load() != State::kOpen) return Errno::kBADF;
    return &streams_[stream];
}

void Console::wake_main() {
    uint64_t one = 1;
    ssize_t ignored = ::write(wake_fd_, &one, sizeof one);
    static_cast<void>(ignored);
}

Errno Console::arm(Set& set, unsigned stream) {
    set.add(stream);
    wake_main();
    return Errno::kAGAIN;
}

Result<size_t> Console::read(unsigned stream, std::span<std::byte> to) {
    Stream& from = *TRY(find(stream));
    if (!from.readable) return Errno::kBADF;
    const int fd = from.fd;
    if (fd < 0 || to.empty()) return size_t{0};
    if (!ready(fd, POLLIN)) return arm(armed_for_reading_, stream);
    ssize_t got = ::read(fd, to.data(), to.size());
    if (got >= 0) return static_cast<size_t>(got);
    if (errno == EAGAIN || errno == EINTR) return arm(armed_for_reading_, stream);
    if (errno == EIO) return size_t{0};  // the terminal hung up
    return host::last_errno();
}

// Bytes written, 0: none now.
Result<size_t> Console::write_now(Stream& stream, std::span<const std::byte> from) {
    const int fd = stream.fd;
    size_t done = 0;
    // A pipe that is writable takes PIPE_BUF bytes without waiting; more it may not.
    while (done < from.size() && ready(fd, POLLOUT)) {
        auto part = from.subspan(done, std::min<size_t>(from.size() - done, PIPE_BUF));
        ssize_t put = stream.is_socket ? send_now(fd, part) : ::write(fd, part.data(), part.size());
        if (put < 0 && errno == ENOTSOCK) {
            stream.is_socket = false;
            continue;
        }
        if (put < 0 && errno == EINTR) continue;
        if (put < 0 && errno == EAGAIN) break;
        if (put < 0) return host::last_errno();
        done += put;
    }
    return done;
}

Result<size_t> Console::write(unsigned stream, std::span<const std::byte> from) {
    Stream& to = *TRY(find(stream));
    if (!to.writable) return Errno::kBADF;
    if (to.fd < 0 || from.empty()) return from.size();
    const size_t done = TRY(write_now(to, from));
    if (done == 0) return arm(armed_for_writing_, stream);
    return done;
}

Result<> Console::close(unsigned stream) {
    Stream& closed = *TRY(find(stream));
    State open = State::kOpen;
    if (!closed.state.compare_exchange_strong(open, State::kClosing)) return Errno::kBADF;
    closing_.add(stream);
    wake_main();
    return {};
}

void Console::finish_closing() {
    for (unsigned word = 0; word < Set::kWords; word++) {
        for (uint64_t left = closing_.word(word); left != 0; left &= left - 1) {
            const unsigned stream = word * 64 + std::countr_zero(left);
            closing_.remove(stream);
            armed_for_reading_.remove(stream);
            armed_for_writing_.remove(stream);
            host::Fd(streams_[stream].fd.exchange(-1)).reset();
            streams_[stream].state = State::kFree;
        }
    }
}

Result<unsigned> Console::add(std::vector<host::Fd> fds) {
    finish_closing();
    unsigned run = 0, open_streams = 0;
    unsigned first = kStreams;
    for (unsigned stream = 0; stream < kStreams; stream++) {
        const bool free = streams_[stream].state.load() == State::kFree;
        open_streams += !free;
        run = free ? run + 1 : 0;
        if (run == fds.size() && first == kStreams) first = stream + 1 - run;
    }
    if (first == kStreams || open_streams + fds.size() > capacity_) return Errno::kMFILE;
    for (unsigned i = 0; i < fds.size(); i++) open(first + i, fds[i].release());
    return first;
}

void Console::prepare_poll(std::vector<pollfd>& polled) {
    finish_closing();
    polled_streams_.clear();
    for (unsigned word = 0; word < Set::kWords; word++) {
        const uint64_t in = armed_for_reading_.word(word), out = armed_for_writing_.word(word);
        for (uint64_t left = in | out; left != 0; left &= left - 1) {
            const unsigned bit = std::countr_zero(left), stream = word * 64 + bit;
            const short events = static_cast<short>((in >> bit & 1 ? POLLIN : 0) | (out >> bit & 1 ? POLLOUT : 0));
            polled.push_back({streams_[stream].fd, events, 0});
            polled_streams_.push_back(stream);
        }
    }
}

bool Console::take_ready(std::span<const pollfd> polled, HostEvents& events) {
    bool any = false;
    for (size_t i = 0; i < polled.size(); i++) {
        const short came = polled[i].revents;
        if (came == 0) continue;
        const unsigned stream = polled_streams_[i];
        if (came & ~POLLOUT) armed_for_reading_.remove(stream);
        if (came & ~POLLIN) armed_for_writing_.remove(stream);
        events.push_console(stream);
        any = true;
    }
    return any;
}

}  // namespace kvmsbx::vmm
