#include "oci/terminal.hpp"

#include <sys/ioctl.h>

namespace kvmsbx::oci {

std::optional<RawTerminal> RawTerminal::of(int fd) {
    termios modes{};
    if (tcgetattr(fd, &modes) < 0) return std::nullopt;
    return RawTerminal(fd, modes);
}

void RawTerminal::make_raw() {
    termios raw = saved_;
    cfmakeraw(&raw);
    tcsetattr(fd_, TCSANOW, &raw);
}

// TCSANOW, not TCSADRAIN: a stopped terminal (^S) must not hold up the exit.
void RawTerminal::restore() { tcsetattr(fd_, TCSANOW, &saved_); }

ConsoleSize RawTerminal::size() const {
    winsize size{};
    if (ioctl(fd_, TIOCGWINSZ, &size) < 0) return {0, 0};
    return {size.ws_row, size.ws_col};
}

}  // namespace kvmsbx::oci
