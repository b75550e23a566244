#pragma once
// A file descriptor that closes itself.
#include <unistd.h>

#include <utility>

#include "common/base/result.hpp"
#include "common/host/errno.hpp"

namespace kvmsbx::gofer {

class OwnedFd {
  public:
    OwnedFd() = default;
    explicit OwnedFd(int fd) : fd_(fd) {}
    OwnedFd(OwnedFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    OwnedFd& operator=(OwnedFd&& other) noexcept {
        if (this != &other) {
            reset();
            fd_ = std::exchange(other.fd_, -1);
        }
        return *this;
    }
    ~OwnedFd() { reset(); }

    int get() const { return fd_; }
    bool is_open() const { return fd_ >= 0; }
    int release() { return std::exchange(fd_, -1); }
    void reset() {
        if (fd_ >= 0) close(fd_);
        fd_ = -1;
    }

  private:
    int fd_ = -1;
};

// What a system call that returns a descriptor, or -1 and errno, gave.
inline Result<OwnedFd> owned(long fd) {
    if (fd < 0) return host::last_errno();
    return OwnedFd(static_cast<int>(fd));
}

}  // namespace kvmsbx::gofer
