#pragma once
// A file descriptor with one owner.
#include <unistd.h>

#include <utility>

#include "common/base/result.hpp"
#include "common/host/errno.hpp"

namespace kvmsbx::host {

// Closes its descriptor when it is destroyed, or gets another one by an assignment.
class Fd {
  public:
    Fd() = default;
    // Owns `fd` from now on. A negative number is no descriptor: a failed open() can be given as it is.
    explicit Fd(int fd) : fd_(fd) {}
    Fd(Fd&& other) noexcept : fd_(other.release()) {}
    Fd& operator=(Fd&& other) noexcept {
        if (this != &other) {
            reset();
            fd_ = other.release();
        }
        return *this;
    }
    ~Fd() { reset(); }

    // Negative: there is none.
    int get() const { return fd_; }
    bool is_open() const { return fd_ >= 0; }
    // The caller owns the descriptor from now on.
    [[nodiscard]] int release() { return std::exchange(fd_, -1); }
    void reset() {
        if (fd_ >= 0) close(fd_);
        fd_ = -1;
    }

  private:
    int fd_ = -1;
};

// What a system call gave that returns a descriptor, or -1 and sets errno.
inline Result<Fd> owned(long fd) {
    if (fd < 0) return last_errno();
    return Fd(static_cast<int>(fd));
}

}  // namespace kvmsbx::host
