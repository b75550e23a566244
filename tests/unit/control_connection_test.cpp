#include "oci/control/connection.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <random>

namespace kvmsbx::oci {
namespace {

class ConnectionTest : public testing::Test {
  protected:
    void SetUp() override {
        int ends[2];
        ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
        near_ = ControlConnection(host::Fd(ends[0]), ControlConnection::Mode::kNonBlocking);
        far_ = ControlConnection(host::Fd(ends[1]), ControlConnection::Mode::kNonBlocking);
    }
    // What the other side sends that does not keep to the protocol.
    void send_raw(const void* bytes, size_t size) {
        ASSERT_EQ(write(near_.fd(), bytes, size), static_cast<ssize_t>(size));
    }

    ControlConnection near_, far_;
};

TEST_F(ConnectionTest, FramesArriveWithTheirDescriptors) {
    control::Exec<wire::Owned> exec;
    exec.process.args = {"sh", "-c", "echo"};
    exec.process.groups = {1, 2};
    int pipes[2];
    ASSERT_EQ(pipe(pipes), 0);
    ASSERT_TRUE(near_.send(7, exec, pipes).is_ok());
    ASSERT_TRUE(near_.send(8, control::Start{}).is_ok());
    std::optional<Frame> first = far_.receive().release_value();
    ASSERT_TRUE(first.has_value());
    EXPECT_EQ(first->header.id, 7u);
    ASSERT_EQ(first->descriptors.size(), 2u);
    const auto decoded = first->as<control::Exec<wire::Viewed>>();
    ASSERT_TRUE(decoded.is_ok());
    EXPECT_EQ(decoded.value().process.args.size(), 3u);
    struct stat sent {
    }, got{};
    fstat(pipes[1], &sent);
    fstat(first->descriptors[1].get(), &got);
    EXPECT_EQ(sent.st_ino, got.st_ino);
    std::optional<Frame> second = far_.receive().release_value();
    ASSERT_TRUE(second.has_value());
    EXPECT_TRUE(second->is<control::Start>());
    EXPECT_TRUE(second->descriptors.empty());
    EXPECT_FALSE(far_.receive().release_value().has_value());
    close(pipes[0]);
    close(pipes[1]);
}

TEST_F(ConnectionTest, LargeFramesAreQueuedUntilTheyAreRead) {
    control::Report<wire::Owned> report;
    report.text = std::string(1 << 20, 'x');
    ASSERT_TRUE(near_.send(1, report).is_ok());
    EXPECT_TRUE(near_.wants_to_send());
    std::optional<Frame> frame;
    for (int i = 0; i < 1000 && !frame; i++) {
        ASSERT_TRUE(near_.flush().is_ok());
        frame = far_.receive().release_value();
    }
    ASSERT_TRUE(frame.has_value());
    EXPECT_EQ(frame->as<control::Report<wire::Viewed>>().release_value().text.size(), report.text.size());
    EXPECT_FALSE(near_.wants_to_send());
}

TEST_F(ConnectionTest, WhoDoesNotReadIsNotWaitedFor) {
    control::Report<wire::Owned> report;
    report.text = std::string(1 << 20, 'x');
    Result<> sent;
    for (int i = 0; i < 100 && sent.is_ok(); i++) sent = near_.send(1, report);
    EXPECT_EQ(sent.error(), Errno::kNOBUFS);
}

TEST_F(ConnectionTest, OtherProtocolsAreRefused) {
    const char text[] = "GET / HTTP/1.1\r\nHost: nobody\r\n\r\n";
    send_raw(text, sizeof text);
    EXPECT_EQ(far_.receive().error(), Errno::kPROTO);
}

TEST_F(ConnectionTest, MissingDescriptorsAndWrongSizesAreRefused) {
    for (int kind = 0; kind < 3; kind++) {
        SetUp();
        control::FrameHeader header;
        header.type = control::Start::kType;
        header.size = kind == 0 ? control::kHeaderSize : kind == 1 ? control::kMaxFrame + 1 : 3;
        header.descriptors = kind == 0 ? 1 : 0;
        const std::vector<uint8_t> bytes = wire::encode(header);
        send_raw(bytes.data(), bytes.size());
        EXPECT_EQ(far_.receive().error(), Errno::kPROTO) << kind;
    }
}

TEST_F(ConnectionTest, AHangUpIsTold) {
    near_.close();
    EXPECT_EQ(far_.receive().error(), Errno::kPIPE);
}

TEST(WireCodec, DamagedMessagesAreErrorsAndNoCrash) {
    control::Exec<wire::Owned> exec;
    exec.process.args = {"sh", "-c", "exit"};
    exec.process.env = {"A=b"};
    exec.process.seccomp = {{6, 0, 0, 0x7fff0000}};
    const std::vector<uint8_t> good = wire::encode(exec);
    ASSERT_TRUE(wire::decode<control::Exec<wire::Viewed>>(good).is_ok());
    for (size_t size = 0; size < good.size(); size++)
        EXPECT_TRUE(wire::decode<control::Exec<wire::Viewed>>(std::span(good).first(size)).is_error()) << size;
    std::mt19937 random(1);
    for (int round = 0; round < 20'000; round++) {
        std::vector<uint8_t> bad = good;
        for (int change = 0; change < 3; change++) bad[random() % bad.size()] = static_cast<uint8_t>(random());
        const auto decoded = wire::decode<control::Exec<wire::Viewed>>(bad);
        if (decoded.is_error()) continue;
        size_t bytes = 0;
        for (std::string_view word : decoded.value().process.args) bytes += word.size();
        EXPECT_LE(bytes, bad.size());
    }
}

}  // namespace
}  // namespace kvmsbx::oci
