#pragma once
// The host's terminal in raw mode while an application with process.terminal runs: its bytes go to the Sentry as they
// are, which has the line discipline.
#include <termios.h>

#include <optional>

#include "oci/spec.hpp"

namespace kvmsbx::oci {

class RawTerminal {
  public:
    // Nothing when the descriptor is no terminal. A job in the background stops here until it is in the foreground, as
    // one that reads from its terminal does.
    static std::optional<RawTerminal> of(int fd);

    // Raw mode; restore() brings back the modes found by of(). Both may be called any number of times.
    void make_raw();
    void restore();

    int fd() const { return fd_; }
    ConsoleSize size() const;

  private:
    RawTerminal(int fd, const termios& saved) : fd_(fd), saved_(saved) {}

    int fd_;
    termios saved_;
};

}  // namespace kvmsbx::oci
