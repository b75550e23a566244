#pragma once
// A pty for the tests of terminals.
#include <fcntl.h>
#include <sys/ioctl.h>
#include <termios.h>

#include <cstdlib>

#include "tests/guest/guest_test.hpp"

namespace guest {

struct Pty {
    int master, slave;
    Pty() {
        master = OK(open("/dev/ptmx", O_RDWR | O_NOCTTY));
        OK(unlockpt(master));
        slave = OK(open(ptsname(master), O_RDWR | O_NOCTTY));
    }
};

}  // namespace guest
