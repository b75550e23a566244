#pragma once
// The application's stdin, stdout and stderr on the host. vCPU threads read and write only what needs no waiting: the
// file descriptors may be blocking ones and are shared with other programs, so O_NONBLOCK is not ours to set; they are
// polled first. What cannot be done now is armed, and the main thread polls for it.
#include <poll.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <span>

#include "common/base/result.hpp"

namespace kvmsbx::vmm {

// A writable terminal may take less than it is given and then wait, so it wants O_NONBLOCK: set on an open file
// description of our own. Gives `fd` itself where it is no terminal or cannot be opened again. Needs /proc: to be
// called before the process is confined.
int open_terminal_again(int fd);

class Console {
  public:
    // `wake_fd`: an eventfd that tells the main thread that a stream was armed.
    Console(const std::array<int, 3>& fds, int wake_fd);

    // Bytes read, 0 at the end of file, EAGAIN (and armed) when none are there now.
    Result<size_t> read(std::span<std::byte> to);
    // Bytes written (at least 1), EAGAIN (and armed) when it would wait, EPIPE. `stream`: 1 or 2.
    Result<size_t> write(unsigned stream, std::span<const std::byte> from);

    // For the main thread: what to poll for stream 0..2; fd -1 when not armed.
    pollfd wanted(unsigned stream) const;
    // The poll said so: no longer armed.
    void disarm(unsigned stream) { armed_.fetch_and(~(1u << stream)); }

  private:
    Errno arm(unsigned stream);

    std::array<int, 3> fds_;
    std::array<bool, 3> is_socket_{};
    int wake_fd_;
    std::atomic<unsigned> armed_{0};
};

}  // namespace kvmsbx::vmm
