// Pseudoterminals, their line discipline, sessions and job control.
#include <poll.h>
#include <sys/stat.h>

#include "tests/guest/tty/pty.hpp"

using namespace guest;

namespace {

void make_raw(int fd, unsigned char minimum = 1, unsigned char time = 0) {
    termios t;
    OK(tcgetattr(fd, &t));
    cfmakeraw(&t);
    t.c_cc[VMIN] = minimum;
    t.c_cc[VTIME] = time;
    OK(tcsetattr(fd, TCSANOW, &t));
}

const char* read_text(int fd) {
    static char buffer[256];
    const ssize_t got = OK(read(fd, buffer, sizeof buffer - 1));
    buffer[got] = '\0';
    return buffer;
}

void put(int fd, const char* text) { CHECK_EQ(write(fd, text, strlen(text)), static_cast<ssize_t>(strlen(text))); }

short poll_once(int fd, short events, int timeout = 0) {
    pollfd one = {fd, events, 0};
    OK(poll(&one, 1, timeout));
    return one.revents;
}

// Waits until the file has something to read.
bool becomes_readable(int fd) { return poll_once(fd, POLLIN, 5000) & POLLIN; }

// A child that leads a session whose terminal is the slave. Its exit code is the body's.
template <typename Body>
pid_t in_session(const Pty& pty, Body body) {
    const pid_t child = OK(fork());
    if (child) return child;
    OK(setsid());
    OK(ioctl(pty.slave, TIOCSCTTY, 0));
    _exit(body());
}

volatile sig_atomic_t last_signal;
void note_signal(int signal) { last_signal = signal; }

int wait_for(pid_t child) {
    int status = 0;
    OK(waitpid(child, &status, 0));
    return status;
}

}  // namespace

TEST("pty_names_and_attributes") {
    const int master = OK(open("/dev/ptmx", O_RDWR | O_NOCTTY));
    char name[64];
    CHECK_EQ(ptsname_r(master, name, sizeof name), 0);
    CHECK_ERRNO(open(name, O_RDWR | O_NOCTTY), EIO);  // locked
    OK(unlockpt(master));
    const int slave = OK(open(name, O_RDWR | O_NOCTTY));
    CHECK(isatty(slave));
    CHECK_STREQ(ttyname(slave), name);
    struct stat status;
    OK(fstat(slave, &status));
    CHECK(S_ISCHR(status.st_mode));
    CHECK_EQ(status.st_rdev >> 8, 136);
    const int peer = OK(ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC));
    struct stat other;
    OK(fstat(peer, &other));
    CHECK_EQ(other.st_rdev, status.st_rdev);
    CHECK_EQ(OK(fcntl(peer, F_GETFD)), FD_CLOEXEC);
    OK(close(master));
    CHECK_ERRNO(open(name, O_RDWR | O_NOCTTY), ENOENT);
}

TEST("pty_numbers_are_used_again") {
    unsigned first, second;
    {
        Pty pty;
        OK(ioctl(pty.master, TIOCGPTN, &first));
        OK(close(pty.slave));
        OK(close(pty.master));
    }
    Pty pty;
    OK(ioctl(pty.master, TIOCGPTN, &second));
    CHECK_EQ(first, second);
}

TEST("pty_canonical_line_and_echo") {
    Pty pty;
    put(pty.master, "hello\r");
    CHECK(becomes_readable(pty.slave));
    CHECK_STREQ(read_text(pty.slave), "hello\n");
    CHECK_STREQ(read_text(pty.master), "hello\r\n");
    put(pty.slave, "out\n");
    CHECK(becomes_readable(pty.master));
    CHECK_STREQ(read_text(pty.master), "out\r\n");
}

TEST("pty_raw_minimum_and_time") {
    Pty pty;
    make_raw(pty.slave, 3);
    put(pty.master, "ab");
    sleep_ms(20);
    CHECK_EQ(poll_once(pty.slave, POLLIN), 0);
    put(pty.master, "c");
    CHECK(becomes_readable(pty.slave));
    CHECK_STREQ(read_text(pty.slave), "abc");
    make_raw(pty.slave, 0, 0);
    CHECK_STREQ(read_text(pty.slave), "");
    make_raw(pty.slave, 0, 1);
    const uint64_t start = now_ns();
    CHECK_STREQ(read_text(pty.slave), "");
    CHECK_GE(now_ns() - start, 90'000'000u);
    make_raw(pty.slave, 5, 1);
    put(pty.master, "xy");
    CHECK_STREQ(read_text(pty.slave), "xy");
}

TEST("pty_ioctls") {
    Pty pty;
    winsize size = {33, 101, 0, 0}, got = {};
    OK(ioctl(pty.master, TIOCSWINSZ, &size));
    OK(ioctl(pty.slave, TIOCGWINSZ, &got));
    CHECK_EQ(got.ws_row, 33);
    CHECK_EQ(got.ws_col, 101);
    int value = -1;
    put(pty.master, "ab\ncd");
    CHECK(becomes_readable(pty.slave));
    OK(ioctl(pty.slave, FIONREAD, &value));
    CHECK_EQ(value, 3);
    OK(tcflush(pty.slave, TCIFLUSH));
    OK(ioctl(pty.slave, FIONREAD, &value));
    CHECK_EQ(value, 0);
    OK(ioctl(pty.slave, TIOCGETD, &value));
    CHECK_EQ(value, 0);
    CHECK_ERRNO(ioctl(pty.slave, TIOCGPGRP, &value), ENOTTY);
    CHECK_ERRNO(ioctl(pty.slave, 0x5499, &value), ENOTTY);
    CHECK_ERRNO(ioctl(pty.slave, TCGETS, 8), EFAULT);
    CHECK_ERRNO(lseek(pty.slave, 0, SEEK_SET), ESPIPE);
}

TEST("pty_stop_output") {
    Pty pty;
    OK(fcntl(pty.slave, F_SETFL, O_NONBLOCK));
    OK(tcflow(pty.slave, TCOOFF));
    CHECK_ERRNO(write(pty.slave, "x", 1), EAGAIN);
    OK(tcflow(pty.slave, TCOON));
    put(pty.slave, "x");
    CHECK(becomes_readable(pty.master));
}

TEST("pty_slave_closed") {
    Pty pty;
    put(pty.slave, "last");
    OK(close(pty.slave));
    CHECK(becomes_readable(pty.master));
    CHECK_EQ(poll_once(pty.master, POLLIN) & POLLHUP, POLLHUP);
    CHECK_STREQ(read_text(pty.master), "last");
    char byte;
    CHECK_ERRNO(read(pty.master, &byte, 1), EIO);
    pty.slave = OK(open(ptsname(pty.master), O_RDWR | O_NOCTTY));
    CHECK_EQ(poll_once(pty.master, POLLIN), 0);
}

TEST("pty_master_closed") {
    Pty pty;
    OK(close(pty.master));
    char byte;
    CHECK_EQ(OK(read(pty.slave, &byte, 1)), 0);
    CHECK_ERRNO(write(pty.slave, "x", 1), EIO);
    CHECK_EQ(poll_once(pty.slave, POLLIN) & POLLHUP, POLLHUP);
    termios t;
    CHECK_ERRNO(tcgetattr(pty.slave, &t), EIO);
}

TEST("tty_hang_up_signals_the_session_leader") {
    Pty pty;
    int ready[2];
    OK(pipe(ready));
    const pid_t child = in_session(pty, [&] {
        OK(close(pty.master));
        OK(write(ready[1], "x", 1));
        for (;;) pause();
        return 0;
    });
    char byte;
    OK(read(ready[0], &byte, 1));
    OK(close(pty.master));
    const int status = wait_for(child);
    CHECK(WIFSIGNALED(status));
    CHECK_EQ(WTERMSIG(status), SIGHUP);
}

TEST("tty_signal_keys_reach_the_foreground_group") {
    Pty pty;
    int ready[2];
    OK(pipe(ready));
    const pid_t child = in_session(pty, [&] {
        signal(SIGINT, note_signal);
        signal(SIGQUIT, note_signal);
        OK(write(ready[1], "x", 1));
        while (last_signal != SIGINT) sleep_ms(5);
        OK(write(ready[1], "y", 1));
        while (last_signal != SIGQUIT) sleep_ms(5);
        return 7;
    });
    char byte;
    OK(read(ready[0], &byte, 1));
    put(pty.master, "\x03");
    OK(read(ready[0], &byte, 1));
    put(pty.master, "\x1c");
    CHECK_EXITED(wait_for(child), 7);
}

TEST("tty_controlling_terminal_rules") {
    Pty pty;
    CHECK_ERRNO(open("/dev/tty", O_RDWR), ENXIO);
    CHECK_ERRNO(tcgetpgrp(pty.slave), ENOTTY);
    const pid_t child = in_session(pty, [&] {
        CHECK_EQ(OK(tcgetpgrp(pty.slave)), getpid());
        CHECK_EQ(OK(tcgetsid(pty.slave)), getpid());
        const int tty = OK(open("/dev/tty", O_RDWR));
        CHECK(isatty(tty));
        CHECK_ERRNO(tcsetpgrp(tty, 30000), ESRCH);
        CHECK_ERRNO(ioctl(tty, TIOCSPGRP, 8), EFAULT);
        Pty other;
        CHECK_ERRNO(ioctl(other.slave, TIOCSCTTY, 0), EPERM);
        OK(signal(SIGHUP, SIG_IGN) == SIG_ERR ? -1 : 0);
        OK(ioctl(tty, TIOCNOTTY));
        CHECK_ERRNO(open("/dev/tty", O_RDWR), ENXIO);
        return 0;
    });
    CHECK_EXITED(wait_for(child), 0);
}

TEST("tty_open_by_a_session_leader_makes_it_controlling") {
    Pty pty;
    const pid_t child = OK(fork());
    if (child == 0) {
        OK(setsid());
        const int fd = OK(open(ptsname(pty.master), O_RDWR));
        CHECK_EQ(OK(tcgetpgrp(fd)), getpid());
        _exit(0);
    }
    CHECK_EXITED(wait_for(child), 0);
}

TEST("tty_background_read_and_write") {
    Pty pty;
    const pid_t child = in_session(pty, [&] {
        const pid_t background = OK(fork());
        if (background == 0) {
            OK(setpgid(0, 0));
            char byte;
            (void)!read(pty.slave, &byte, 1);
            _exit(3);
        }
        int status;
        OK(waitpid(background, &status, WUNTRACED));
        CHECK(WIFSTOPPED(status));
        CHECK_EQ(WSTOPSIG(status), SIGTTIN);
        OK(kill(background, SIGKILL));
        OK(waitpid(background, &status, 0));
        const pid_t writer = OK(fork());
        if (writer == 0) {
            OK(setpgid(0, 0));
            OK(write(pty.slave, "x", 1));  // without TOSTOP
            termios t;
            OK(tcgetattr(pty.slave, &t));
            t.c_lflag |= TOSTOP;
            tcsetattr(pty.slave, TCSANOW, &t);
            _exit(3);
        }
        OK(waitpid(writer, &status, WUNTRACED));
        CHECK(WIFSTOPPED(status));
        CHECK_EQ(WSTOPSIG(status), SIGTTOU);
        OK(kill(writer, SIGKILL));
        OK(waitpid(writer, &status, 0));
        return 0;
    });
    CHECK_EXITED(wait_for(child), 0);
}

TEST("tty_background_with_ignored_signals") {
    Pty pty;
    const pid_t child = in_session(pty, [&] {
        const pid_t background = OK(fork());
        if (background == 0) {
            OK(setpgid(0, 0));
            signal(SIGTTIN, SIG_IGN);
            signal(SIGTTOU, SIG_IGN);
            char byte;
            CHECK_ERRNO(read(pty.slave, &byte, 1), EIO);
            OK(tcsetpgrp(pty.slave, getpid()));
            CHECK_EQ(OK(tcgetpgrp(pty.slave)), getpid());
            _exit(0);
        }
        CHECK_EXITED(wait_for(background), 0);
        return 0;
    });
    CHECK_EXITED(wait_for(child), 0);
}

TEST("tty_window_change_signal") {
    Pty pty;
    int ready[2];
    OK(pipe(ready));
    const pid_t child = in_session(pty, [&] {
        signal(SIGWINCH, note_signal);
        OK(write(ready[1], "x", 1));
        while (last_signal != SIGWINCH) sleep_ms(5);
        return 0;
    });
    char byte;
    OK(read(ready[0], &byte, 1));
    winsize size = {50, 50, 0, 0};
    OK(ioctl(pty.master, TIOCSWINSZ, &size));
    CHECK_EXITED(wait_for(child), 0);
}

TEST("tty_stop_key_and_continue") {
    Pty pty;
    const pid_t child = in_session(pty, [&] {
        const pid_t job = OK(fork());
        if (job == 0) {
            OK(setpgid(0, 0));
            signal(SIGTTOU, SIG_IGN);
            OK(tcsetpgrp(pty.slave, getpid()));
            put(pty.slave, "!");
            char line[8];
            _exit(read(pty.slave, line, sizeof line) == 3 ? 4 : 5);
        }
        int status;
        OK(waitpid(job, &status, WUNTRACED));
        CHECK(WIFSTOPPED(status));
        CHECK_EQ(WSTOPSIG(status), SIGTSTP);
        OK(kill(-job, SIGCONT));
        put(pty.slave, "?");
        CHECK_EXITED(wait_for(job), 4);
        return 0;
    });
    CHECK_STREQ(read_text(pty.master), "!");
    put(pty.master, "\x1a");
    for (char byte = 0; byte != '?';) OK(read(pty.master, &byte, 1));
    put(pty.master, "ok\n");
    CHECK_EXITED(wait_for(child), 0);
}

TEST("locked_attributes_stay") {
    Pty pty;
    termios locked, t;
    memset(&locked, 0xff, sizeof locked);
    OK(ioctl(pty.slave, TIOCGLCKTRMIOS, &locked));
    CHECK_EQ(locked.c_lflag, 0U);
    CHECK_EQ(locked.c_cc[VINTR], 0);
    locked.c_lflag = ECHO;
    locked.c_cc[VINTR] = 1;
    OK(ioctl(pty.master, TIOCSLCKTRMIOS, &locked));  // of the slave, through either end
    OK(ioctl(pty.slave, TIOCGLCKTRMIOS, &t));
    CHECK_EQ(t.c_lflag, static_cast<tcflag_t>(ECHO));
    OK(tcgetattr(pty.slave, &t));
    t.c_lflag &= ~static_cast<tcflag_t>(ECHO | ICANON);
    t.c_cc[VINTR] = 'i', t.c_cc[VQUIT] = 'q';
    OK(tcsetattr(pty.slave, TCSANOW, &t));
    OK(tcgetattr(pty.slave, &t));
    CHECK_EQ(t.c_lflag & (ECHO | ICANON), static_cast<tcflag_t>(ECHO));
    CHECK_EQ(t.c_cc[VINTR], 3);
    CHECK_EQ(t.c_cc[VQUIT], 'q');
    CHECK_ERRNO(ioctl(pty.slave, TIOCSLCKTRMIOS, nullptr), EFAULT);
    CHECK_ERRNO(ioctl(pty.slave, TIOCGLCKTRMIOS, nullptr), EFAULT);
    CHECK_EXITED(run_child([&] {
                     OK(setuid(1000));
                     CHECK_ERRNO(ioctl(pty.slave, TIOCSLCKTRMIOS, &locked), EPERM);
                     OK(ioctl(pty.slave, TIOCGLCKTRMIOS, &t));
                     return 0;
                 }),
                 0);
}
