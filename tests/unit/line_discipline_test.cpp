// The line discipline: bytes in, bytes out. The last tests put the same keys through this machine's own terminal driver
// and compare.
#include "guestkernel/fs/tty/line_discipline.hpp"

#include <gtest/gtest.h>

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstring>
#include <random>
#include <string>
#include <vector>

namespace kvmsbx::fs {
namespace {

std::span<const uint8_t> bytes_of(const std::string& text) {
    return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

class Recorder final : public LineHost {
  public:
    size_t output_room() override { return stopped ? 0 : room; }
    void output(std::span<const uint8_t> bytes) override {
        out.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    }
    void signal_key(int signal) override { signals.push_back(signal); }
    void input_flushed() override { ++flushes; }
    void discard_output() override { ++discards; }
    void set_output_stopped(bool on) override { stopped = on; }
    std::string taken() { return std::exchange(out, {}); }

    std::string out;
    std::vector<int> signals;
    size_t room = 1 << 20;
    int discards = 0, flushes = 0;
    bool stopped = false;
};

class LineDisciplineTest : public testing::Test {
  protected:
    void type(const std::string& keys) { EXPECT_EQ(line.receive(bytes_of(keys)), keys.size()); }
    std::string read(size_t size = 4096) {
        std::vector<uint8_t> buffer(size);
        const auto result = line.read(buffer);
        return {reinterpret_cast<const char*>(buffer.data()), result.bytes};
    }
    void change(uint32_t Termios::*field, uint32_t set, uint32_t clear = 0) {
        Termios termios = line.termios();
        termios.*field = (termios.*field & ~clear) | set;
        line.set_termios(termios);
    }
    void raw(uint8_t minimum = 1) {
        Termios termios = line.termios();
        termios.lflag &= ~(kICanon | kEcho | kISig);
        termios.cc[kVMin] = minimum;
        line.set_termios(termios);
    }
    Recorder host;
    LineDiscipline line{host};
};

TEST_F(LineDisciplineTest, GivesALineWhenItIsFinished) {
    type("ab");
    EXPECT_FALSE(line.has_input());
    EXPECT_EQ(line.readable_bytes(), 0u);
    type("c\r");
    EXPECT_TRUE(line.has_input());
    EXPECT_EQ(line.readable_bytes(), 4u);
    EXPECT_EQ(read(), "abc\n");
    EXPECT_FALSE(line.has_input());
    EXPECT_EQ(host.out, "abc\r\n");
}

TEST_F(LineDisciplineTest, ReadGivesOneLineAtMostAndLongLinesInPieces) {
    type("one\ntwo\n");
    EXPECT_EQ(read(2), "on");
    EXPECT_EQ(read(), "e\n");
    EXPECT_EQ(read(), "two\n");
}

TEST_F(LineDisciplineTest, EndOfFileKeyEndsALineOrGivesNothing) {
    type("abc\x04");
    EXPECT_EQ(line.readable_bytes(), 3u);
    EXPECT_EQ(read(), "abc");
    type("\x04");
    ASSERT_TRUE(line.has_input());
    uint8_t byte;
    const auto result = line.read({&byte, 1});
    EXPECT_EQ(result.bytes, 0u);
    EXPECT_TRUE(result.end_of_line);
    EXPECT_FALSE(line.has_input());
}

TEST_F(LineDisciplineTest, AReadThatEndsAtTheEndOfFileKeyTakesIt) {
    type("abc\x04");
    EXPECT_EQ(read(3), "abc");
    EXPECT_FALSE(line.has_input());
}

TEST_F(LineDisciplineTest, EraseRubsOut) {
    type("ab\x7f");
    EXPECT_EQ(host.taken(), "ab\b \b");
    type("\x7f\x7f\x7f");
    EXPECT_EQ(host.taken(), "\b \b");
    type("x\x01\x7f");
    EXPECT_EQ(host.taken(), "x^A\b \b\b \b");
    type("\n");
    EXPECT_EQ(read(), "x\n");
}

TEST_F(LineDisciplineTest, EraseTakesWholeUtf8Characters) {
    change(&Termios::iflag, kIutf8);
    type("a\xc3\xa4\x7f");
    EXPECT_EQ(host.taken(), "a\xc3\xa4\b \b");
    type("\n");
    EXPECT_EQ(read(), "a\n");
}

TEST_F(LineDisciplineTest, EraseOfATabGoesBackToTheColumnBefore) {
    line.write(bytes_of("> "));
    host.taken();
    type("abc\t\x7f");
    EXPECT_EQ(host.taken(), "abc\t\b\b\b");
}

TEST_F(LineDisciplineTest, WordErase) {
    type("one two \x17");
    EXPECT_EQ(host.taken(), "one two \b \b\b \b\b \b\b \b");
    type("\n");
    EXPECT_EQ(read(), "one \n");
}

TEST_F(LineDisciplineTest, KillWithAndWithoutEchoke) {
    type("ab\x15");
    EXPECT_EQ(host.taken(), "ab\b \b\b \b");
    change(&Termios::lflag, 0, kEchoKe);
    type("ab\x15");
    EXPECT_EQ(host.taken(), "ab^U\r\n");
    type("\n");
    EXPECT_EQ(read(), "\n");
}

TEST_F(LineDisciplineTest, ReprintAndLiteralNext) {
    type("ab\x12");
    EXPECT_EQ(host.taken(), "ab^R\r\nab");
    type("\x16\x03");
    EXPECT_EQ(host.taken(), "^\b^C");
    EXPECT_TRUE(host.signals.empty());
    type("\n");
    EXPECT_EQ(read(), "ab\x03\n");
}

TEST_F(LineDisciplineTest, SignalKeysFlush) {
    type("abc\n\x03");
    EXPECT_EQ(host.signals, (std::vector<int>{2}));
    EXPECT_FALSE(line.has_input());
    EXPECT_EQ(host.discards, 1);
    EXPECT_EQ(host.flushes, 1);
    EXPECT_EQ(host.taken(), "abc\r\n^C");
    type("\x1c\x1a");
    EXPECT_EQ(host.signals, (std::vector<int>{2, 3, 20}));
    change(&Termios::lflag, kNoFlsh);
    type("abc\n\x03");
    EXPECT_EQ(read(), "abc\n");
    change(&Termios::lflag, 0, kISig);
    type("\x03\n");
    EXPECT_EQ(read(), "\x03\n");
}

TEST_F(LineDisciplineTest, StopAndStart) {
    type("\x13");
    EXPECT_TRUE(host.stopped);
    EXPECT_EQ(line.write(bytes_of("held")), 0u);
    type("\x11");
    EXPECT_FALSE(host.stopped);
    EXPECT_EQ(line.write(bytes_of("held")), 4u);
    change(&Termios::iflag, kIxAny);
    type("\x13x");
    EXPECT_FALSE(host.stopped);
    type("\x13\x03");
    EXPECT_FALSE(host.stopped) << "a signal key lets output go on";
    line.set_stopped_by_call(true);
    type("\x11");
    EXPECT_TRUE(host.stopped) << "TCOOFF holds until TCOON";
}

TEST_F(LineDisciplineTest, InputFlags) {
    change(&Termios::iflag, kInlCr, kIcrNl);
    type("a\nb\r");
    EXPECT_FALSE(line.has_input());
    change(&Termios::iflag, kIgnCr, kInlCr);
    type("\rc\n");
    EXPECT_EQ(read(), "a\rb\rc\n");
    change(&Termios::iflag, kIStrip);
    type("\xe1\n");
    EXPECT_EQ(read(), "a\n");
}

TEST_F(LineDisciplineTest, RawModeGivesBytesAsTheyCome) {
    raw();
    type("a\r\x03\x7f");
    EXPECT_TRUE(line.has_input(4));
    EXPECT_FALSE(line.has_input(5));
    EXPECT_EQ(read(), "a\n\x03\x7f");
    EXPECT_EQ(host.out, "");
}

TEST_F(LineDisciplineTest, ModeSwitchKeepsWhatIsQueued) {
    type("abc");
    raw();
    EXPECT_TRUE(line.has_input(3));
    change(&Termios::lflag, kICanon);
    ASSERT_TRUE(line.has_input());
    EXPECT_EQ(read(), "abc");
    type("x\n");
    EXPECT_EQ(read(), "x\n");
}

TEST_F(LineDisciplineTest, FullQueueStopsRawInput) {
    raw();
    const std::string much(5000, 'x');
    EXPECT_EQ(line.receive(bytes_of(much)), LineDiscipline::kQueueSize - 1);
    EXPECT_EQ(line.receive_room(), 0u);
    EXPECT_EQ(read(10).size(), 10u);
    EXPECT_EQ(line.receive(bytes_of(much)), 10u);
}

TEST_F(LineDisciplineTest, OverlongLineIsCutButCanBeEnded) {
    change(&Termios::lflag, 0, kEcho);
    type(std::string(5000, 'x') + "\n");
    const std::string text = read(8192);
    EXPECT_EQ(text.size(), LineDiscipline::kQueueSize);
    EXPECT_EQ(text.back(), '\n');
}

TEST_F(LineDisciplineTest, OutputFlags) {
    EXPECT_EQ(line.write(bytes_of("a\nb")), 3u);
    EXPECT_EQ(host.taken(), "a\r\nb");
    change(&Termios::oflag, kXTabs);
    line.write(bytes_of("\tc\t"));
    EXPECT_EQ(host.taken(), "       c       ");
    change(&Termios::oflag, kOcrNl | kOlCuc, kOnlCr);
    line.write(bytes_of("x\ry\n"));
    EXPECT_EQ(host.taken(), "X\nY\n");
    change(&Termios::oflag, 0, kOPost);
    line.write(bytes_of("a\n"));
    EXPECT_EQ(host.taken(), "a\n");
}

TEST_F(LineDisciplineTest, WriteStopsWhereThereIsNoRoom) {
    host.room = 1;
    EXPECT_EQ(line.write(bytes_of("\n")), 0u) << "CR LF needs two";
    host.room = 0;
    EXPECT_EQ(line.write(bytes_of("a")), 0u);
}

// --- against the host's n_tty

class HostPty {
  public:
    HostPty() {
        master_ = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK);
        int unlock = 0;
        if (master_ < 0 || ioctl(master_, TIOCSPTLCK, &unlock)) return;
        slave_ = ioctl(master_, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_NONBLOCK);
    }
    ~HostPty() {
        close(slave_);
        close(master_);
    }
    bool is_ready() const { return slave_ >= 0; }
    void set(const Termios& termios) { ASSERT_EQ(ioctl(slave_, kTcSetS, &termios), 0); }
    void type(const std::string& keys) {
        ASSERT_EQ(write(master_, keys.data(), keys.size()), static_cast<ssize_t>(keys.size()));
    }
    // What was echoed, until nothing comes any more.
    std::string echoed(size_t expected) {
        std::string all;
        for (int quiet = 0; quiet < (all.size() < expected ? 20 : 2);) {
            pollfd p{master_, POLLIN, 0};
            if (poll(&p, 1, 2) <= 0) {
                ++quiet;
                continue;
            }
            char buffer[4096];
            const ssize_t got = ::read(master_, buffer, sizeof buffer);
            if (got <= 0) break;
            all.append(buffer, static_cast<size_t>(got));
        }
        return all;
    }
    // All that can be read; "|" between reads.
    std::string read_all() {
        std::string all;
        for (int i = 0; i < 64; ++i) {
            char buffer[4096];
            const ssize_t got = ::read(slave_, buffer, sizeof buffer);
            if (got < 0) break;
            all.append(buffer, static_cast<size_t>(got));
            all += '|';
        }
        return all;
    }

  private:
    int master_ = -1, slave_ = -1;
};

std::string read_all(LineDiscipline& line) {
    std::string all;
    while (line.has_input()) {
        uint8_t buffer[4096];
        const auto result = line.read(buffer);
        all.append(reinterpret_cast<const char*>(buffer), result.bytes);
        all += '|';
    }
    return all;
}

void compare(const Termios& termios, const std::string& keys) {
    HostPty linux_tty;
    if (!linux_tty.is_ready()) GTEST_SKIP() << "no /dev/ptmx here";
    linux_tty.set(termios);
    linux_tty.type(keys);
    Recorder host;
    LineDiscipline line(host, termios);
    line.receive(bytes_of(keys));
    std::string shown;
    for (char c : keys)
        shown += "\\x" + std::string(1, "0123456789abcdef"[static_cast<uint8_t>(c) >> 4]) + "0123456789abcdef"[c & 15];
    EXPECT_EQ(linux_tty.echoed(host.out.size()), host.out) << "keys " << shown << " iflag " << std::oct << termios.iflag
                                                           << " lflag " << termios.lflag << " oflag " << termios.oflag;
    EXPECT_EQ(linux_tty.read_all(), read_all(line))
        << "keys " << shown << " iflag " << std::oct << termios.iflag << " lflag " << termios.lflag;
}

TEST(LineDisciplineLikeLinux, EditingKeys) {
    for (const char* keys : {"abc\x7f\x7fx\n", "one two\x17three\n", "a\tb\x7f\x7f\x7f\n",
                             "ab\x15"
                             "cd\n",
                             "ab\x12"
                             "cd\r",
                             "a\x16\x7f\x7f"
                             "b\n",
                             "\x04",
                             "ab\x04"
                             "cd\n",
                             "\x01\x02\x7f\n"})
        compare(kStandardTermios, keys);
}

TEST(LineDisciplineLikeLinux, RandomKeysAndFlags) {
    std::mt19937 random(4711);
    const std::string alphabet = "ab _.\t\x7f\x17\x15\x12\x16\x04\n\r\x01\x1b\xc3\xa4";
    constexpr uint32_t kInputFlags[] = {kIcrNl, kInlCr, kIgnCr, kIStrip, kIutf8, kIucLc};
    constexpr uint32_t kLocalFlags[] = {kEcho, kEchoE, kEchoK, kEchoKe, kEchoCtl, kEchoNl, kEchoPrt, kIExten};
    constexpr uint32_t kOutputFlags[] = {kOPost, kOnlCr, kOcrNl, kOnoCr, kOnlRet, kXTabs};
    for (int round = 0; round < 150; ++round) {
        Termios termios = kStandardTermios;
        termios.lflag &= ~static_cast<uint32_t>(kISig);
        termios.iflag &= ~static_cast<uint32_t>(kIxOn);
        const auto shake = [&](uint32_t& field, std::span<const uint32_t> flags) {
            for (uint32_t flag : flags)
                if (random() % 4 == 0) field ^= flag;
        };
        shake(termios.iflag, kInputFlags);
        shake(termios.lflag, kLocalFlags);
        shake(termios.oflag, kOutputFlags);
        std::string keys;
        for (unsigned i = 0, size = random() % 24; i < size; ++i) keys += alphabet[random() % alphabet.size()];
        keys += '\n';
        compare(termios, keys);
        if (testing::Test::HasFailure()) break;
    }
}

}  // namespace
}  // namespace kvmsbx::fs
