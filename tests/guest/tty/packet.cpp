// Packet mode of a pty's master (TIOCPKT), and lines that who holds the master edits himself (EXTPROC).
#include <poll.h>

#include <string>

#include "tests/guest/tty/pty.hpp"

using namespace guest;

namespace {

struct PacketPty : Pty {
    void set_packet_mode(int on) const { OK(ioctl(master, TIOCPKT, &on)); }
    // Sets and clears flags of the slave.
    void change(tcflag_t termios::*flags, tcflag_t set, tcflag_t cleared, int when = TCSANOW) const {
        termios t;
        OK(tcgetattr(slave, &t));
        t.*flags = (t.*flags & ~cleared) | set;
        OK(tcsetattr(slave, when, &t));
    }
    void say(const char* text) const { CHECK_EQ(write(slave, text, strlen(text)), static_cast<ssize_t>(strlen(text))); }
    void type(const char* text) const {
        CHECK_EQ(write(master, text, strlen(text)), static_cast<ssize_t>(strlen(text)));
    }
    std::string packet(size_t size = 256) const {
        std::string buffer(size, '\0');
        CHECK(revents(master) & POLLIN);
        buffer.resize(static_cast<size_t>(OK(read(master, buffer.data(), size))));
        return buffer;
    }
    // The byte of a packet that holds no data.
    int event() const {
        CHECK(revents(master) & POLLPRI);
        const std::string got = packet();
        CHECK_EQ(got.size(), 1U);
        return static_cast<unsigned char>(got[0]);
    }
    static short revents(int fd) {
        pollfd one = {fd, POLLIN | POLLPRI, 0};
        OK(poll(&one, 1, 1000));
        return one.revents;
    }
    bool silent() const {
        pollfd one = {master, POLLIN | POLLPRI, 0};
        return OK(poll(&one, 1, 20)) == 0;
    }
};

}  // namespace

TEST("packet_mode_is_told_and_only_masters_have_it") {
    PacketPty pty;
    int on = 7;
    OK(ioctl(pty.master, TIOCGPKT, &on));
    CHECK_EQ(on, 0);
    pty.set_packet_mode(5);
    OK(ioctl(pty.master, TIOCGPKT, &on));
    CHECK_EQ(on, 1);
    CHECK_ERRNO(ioctl(pty.slave, TIOCPKT, &on), ENOTTY);
    CHECK_ERRNO(ioctl(pty.slave, TIOCGPKT, &on), ENOTTY);
    CHECK_ERRNO(ioctl(pty.master, TIOCPKT, nullptr), EFAULT);
    CHECK_ERRNO(ioctl(pty.master, TIOCGPKT, nullptr), EFAULT);
}

TEST("packets_of_data_begin_with_a_zero") {
    PacketPty pty;
    pty.set_packet_mode(1);
    CHECK(pty.silent());
    pty.say("hello");
    CHECK(PacketPty::revents(pty.master) == POLLIN);
    CHECK(pty.packet(1) == std::string(1, '\0'));  // room for the first byte alone
    CHECK(pty.packet(3) == std::string("\0he", 3));
    CHECK(pty.packet() == std::string("\0llo", 4));
    OK(fcntl(pty.master, F_SETFL, O_NONBLOCK));
    char byte;
    CHECK_ERRNO(read(pty.master, &byte, 1), EAGAIN);
    pty.say("plain");
    pty.set_packet_mode(0);
    CHECK(pty.packet() == "plain");
}

TEST("flushes_are_told") {
    PacketPty pty;
    pty.change(&termios::c_lflag, 0, ECHO);
    pty.set_packet_mode(1);
    pty.type("abc");
    OK(tcflush(pty.slave, TCIFLUSH));
    CHECK_EQ(pty.event(), TIOCPKT_FLUSHREAD);
    OK(tcflush(pty.slave, TCOFLUSH));  // nothing was written: Linux may have moved it to the master already
    CHECK_EQ(pty.event(), TIOCPKT_FLUSHWRITE);
    pty.type("\003");  // a signal key flushes both, one after the other
    int flushed = 0;
    while (flushed != (TIOCPKT_FLUSHREAD | TIOCPKT_FLUSHWRITE)) {
        const int event = pty.event();
        CHECK_EQ(event & ~(TIOCPKT_FLUSHREAD | TIOCPKT_FLUSHWRITE), 0);
        flushed |= event;
    }
    pty.change(&termios::c_lflag, 0, ECHO, TCSAFLUSH);
    CHECK_EQ(pty.event(), TIOCPKT_FLUSHREAD);
    CHECK(pty.silent());
}

TEST("stopped_output_is_told") {
    PacketPty pty;
    pty.set_packet_mode(1);
    OK(tcflow(pty.slave, TCOOFF));
    CHECK_EQ(pty.event(), TIOCPKT_STOP);
    OK(tcflow(pty.slave, TCOOFF));  // no news
    OK(tcflow(pty.slave, TCOON));
    CHECK_EQ(pty.event(), TIOCPKT_START);
    OK(tcflow(pty.slave, TCOON));
    CHECK(pty.silent());
    OK(tcflow(pty.slave, TCOOFF));
    OK(tcflow(pty.slave, TCOON));  // the last word counts
    CHECK_EQ(pty.event(), TIOCPKT_START);
    pty.type("\023");
    CHECK_EQ(pty.event(), TIOCPKT_STOP);
    OK(tcflow(pty.slave, TCOON));  // ends what TCOOFF began, no other
    CHECK(pty.silent());
    pty.type("\021");
    CHECK_EQ(pty.event(), TIOCPKT_START);
}

TEST("other_flow_keys_are_told") {
    PacketPty pty;
    pty.set_packet_mode(1);
    pty.change(&termios::c_iflag, 0, IXON);
    CHECK_EQ(pty.event(), TIOCPKT_NOSTOP);
    pty.change(&termios::c_iflag, IXON, 0);
    CHECK_EQ(pty.event(), TIOCPKT_DOSTOP);
    pty.change(&termios::c_lflag, 0, ECHO);
    CHECK(pty.silent());
    termios t;
    OK(tcgetattr(pty.slave, &t));
    t.c_cc[VSTOP] = 'x';
    OK(tcsetattr(pty.slave, TCSANOW, &t));
    CHECK_EQ(pty.event(), TIOCPKT_NOSTOP);
}

TEST("events_come_before_data") {
    PacketPty pty;
    pty.set_packet_mode(1);
    pty.say("data");
    pty.change(&termios::c_iflag, 0, IXON);
    CHECK_EQ(pty.event(), TIOCPKT_NOSTOP);
    CHECK(pty.packet() == std::string("\0data", 5));
    pty.change(&termios::c_iflag, IXON, 0);
    pty.set_packet_mode(0);
    pty.set_packet_mode(1);  // a mode that begins knows nothing of before
    CHECK(pty.silent());
}

TEST("an_event_is_there_after_the_slave_is_closed") {
    PacketPty pty;
    pty.set_packet_mode(1);
    pty.change(&termios::c_iflag, 0, IXON);
    OK(close(pty.slave));
    CHECK_EQ(pty.event(), TIOCPKT_NOSTOP);
    char byte;
    CHECK_ERRNO(read(pty.master, &byte, 1), EIO);
}

TEST("a_blocked_reader_gets_the_event") {
    PacketPty pty;
    pty.set_packet_mode(1);
    const pid_t pid = OK(fork());
    if (pid == 0) {
        unsigned char byte = 0;
        _exit(read(pty.master, &byte, 1) == 1 && byte == TIOCPKT_FLUSHREAD ? 0 : 1);
    }
    OK(usleep(20'000));
    OK(tcflush(pty.slave, TCIFLUSH));
    int status;
    OK(waitpid(pid, &status, 0));
    CHECK_EXITED(status, 0);
}

TEST("extproc_leaves_keys_and_lines_to_the_master") {
    PacketPty pty;
    pty.set_packet_mode(1);
    pty.change(&termios::c_lflag, EXTPROC, 0);
    CHECK_EQ(pty.event(), TIOCPKT_IOCTL);
    // No echo, no line editing, no signal, no flow control, no CR to NL, and no wait for the end of the line.
    pty.type("ab\177\003\023\r");
    CHECK(pty.silent());
    char text[16];
    CHECK_EQ(read(pty.slave, text, sizeof text), 6);
    CHECK(std::string(text, 6) == "ab\177\003\023\r");
    pty.change(&termios::c_lflag, 0, 0);  // any change is told while it lasts
    CHECK_EQ(pty.event(), TIOCPKT_IOCTL);
    pty.change(&termios::c_lflag, 0, EXTPROC | ECHO);
    CHECK_EQ(pty.event(), TIOCPKT_IOCTL);
    pty.type("line\n");
    CHECK_EQ(read(pty.slave, text, sizeof text), 5);
}
