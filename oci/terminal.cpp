#include "oci/terminal.hpp"

#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

namespace kvmsbx::oci {
namespace {

bool in_background(int fd) {
    const pid_t foreground = tcgetpgrp(fd);  // -1: not the controlling terminal, or none
    return foreground >= 0 && foreground != getpgrp();
}

}  // namespace

std::optional<RawTerminal> RawTerminal::of(int fd) {
    // The sandbox's own processes are in other sessions, whose reading no job control stops. Once only: where nobody
    // could continue the job, the signal does not stop it.
    if (in_background(fd)) kill(0, SIGTTIN);
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
