// The control channel between a monitor and the Sentry, as the VMM passes it on.
#include "vmm/control_channel.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <cstring>

#include "common/wire/owned.hpp"

namespace kvmsbx::vmm {
namespace {

using control::FrameHeader;
using control::kHeaderSize;
using Received = ControlChannel::Received;

std::vector<uint8_t> frame(uint64_t id, size_t body, uint16_t descriptors = 0) {
    FrameHeader header;
    header.size = static_cast<uint32_t>(kHeaderSize + body);
    header.type = control::Ps::kType;
    header.descriptors = descriptors;
    header.first_stream = 0x55555555;  // the VMM writes it
    header.id = id;
    std::vector<uint8_t> bytes = wire::encode(header);
    bytes.resize(header.size, static_cast<uint8_t>(id));
    return bytes;
}

class ControlTest : public testing::Test {
  public:
    ControlTest() {
        int ends[2];
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) abort();
        monitor_ = host::Fd(ends[0]);
        ours_ = host::Fd(ends[1]);
        wake_ = host::Fd(eventfd(0, EFD_NONBLOCK));
        console_ = std::make_unique<Console>(std::array{-1, -1, -1}, wake_.get());
        channel_ = std::make_unique<ControlChannel>(ours_.get(), *console_, wake_.get());
    }
    // With `count` descriptors.
    void send(std::span<const uint8_t> bytes, unsigned count = 0) {
        alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * 100)] = {};
        iovec part{const_cast<uint8_t*>(bytes.data()), bytes.size()};
        msghdr message{};
        message.msg_iov = &part, message.msg_iovlen = 1;
        if (count != 0) {
            message.msg_control = control;
            message.msg_controllen = CMSG_SPACE(sizeof(int) * count);
            cmsghdr* header = CMSG_FIRSTHDR(&message);
            header->cmsg_level = SOL_SOCKET, header->cmsg_type = SCM_RIGHTS;
            header->cmsg_len = CMSG_LEN(sizeof(int) * count);
            for (unsigned i = 0; i < count; i++) {
                const int fd = wake_.get();
                memcpy(CMSG_DATA(header) + i * sizeof fd, &fd, sizeof fd);
            }
        }
        ASSERT_EQ(sendmsg(monitor_.get(), &message, MSG_DONTWAIT), static_cast<ssize_t>(bytes.size()));
    }
    Received receive() {
        channel_->wanted();
        return channel_->receive();
    }
    // All that the Sentry can read now.
    std::vector<uint8_t> read_all(size_t at_once = 1000) {
        std::vector<uint8_t> all;
        const auto take = [&](std::span<const std::byte> bytes) -> Result<> {
            const auto* begin = reinterpret_cast<const uint8_t*>(bytes.data());
            all.insert(all.end(), begin, begin + bytes.size());
            return {};
        };
        while (channel_->read(at_once, take).is_ok()) continue;
        channel_->wanted();
        return all;
    }
    static FrameHeader header_at(const std::vector<uint8_t>& bytes, size_t at) {
        return control::decode_header(std::span(bytes).subspan(at)).release_value();
    }

    host::Fd monitor_, ours_, wake_;
    std::unique_ptr<Console> console_;
    std::unique_ptr<ControlChannel> channel_;
};

TEST_F(ControlTest, GivesWholeFramesOnly) {
    EXPECT_EQ(receive(), Received::kNothing);
    const auto one = frame(1, 10), two = frame(2, 0);
    send(std::span(one).first(5));
    EXPECT_EQ(receive(), Received::kNothing);
    send(std::span(one).subspan(5, 25));
    EXPECT_EQ(receive(), Received::kNothing);
    EXPECT_TRUE(read_all().empty());
    send(std::span(one).subspan(30));
    EXPECT_EQ(receive(), Received::kFrames);
    send(two);
    send(std::span(one).first(30));
    EXPECT_EQ(receive(), Received::kFrames);
    const auto all = read_all(7);
    ASSERT_EQ(all.size(), one.size() + two.size());
    EXPECT_EQ(header_at(all, 0).id, 1u);
    EXPECT_EQ(header_at(all, 0).first_stream, 0u);
    EXPECT_EQ(header_at(all, one.size()).id, 2u);
    send(std::span(one).subspan(30));
    EXPECT_EQ(receive(), Received::kFrames);
    EXPECT_EQ(read_all().size(), one.size());
}

TEST_F(ControlTest, NumbersStreams) {
    send(frame(1, 0));
    send(frame(2, 4, 3), 3);
    send(frame(3, 0, 1), 1);
    EXPECT_EQ(receive(), Received::kFrames);
    const auto all = read_all();
    EXPECT_EQ(header_at(all, 24).first_stream, 3u);
    EXPECT_EQ(header_at(all, 52).first_stream, 6u);
    EXPECT_TRUE(console_->close(6).is_ok());
    EXPECT_EQ(console_->close(7).error(), Errno::kBADF);
}

TEST_F(ControlTest, DescriptorsMayComeWithPartOfTheHeader) {
    const auto bytes = frame(1, 0, 2);
    send(std::span(bytes).first(1), 2);
    EXPECT_EQ(receive(), Received::kNothing);
    send(std::span(bytes).subspan(1));
    EXPECT_EQ(receive(), Received::kFrames);
    EXPECT_EQ(header_at(read_all(), 0).first_stream, 3u);
}

TEST_F(ControlTest, FramesWithoutRoomForTheirStreamsSaySo) {
    const auto bytes = frame(1, 0, 64);
    for (unsigned i = 0; i < 2000; i++) {
        send(bytes, 64);
        ASSERT_EQ(receive(), Received::kFrames);
        if (header_at(read_all(), 0).first_stream == control::kNoStream) return;
    }
    FAIL() << "streams without end";
}

TEST_F(ControlTest, RefusesWhatIsNoFrame) {
    send(std::vector<uint8_t>(24, 'x'));
    EXPECT_EQ(receive(), Received::kBadFrame);
}

TEST_F(ControlTest, RefusesDescriptorsThatNoHeaderNames) {
    send(frame(1, 0), 1);
    EXPECT_EQ(receive(), Received::kBadFrame);
}

TEST_F(ControlTest, RefusesHeadersThatNameMissingDescriptors) {
    send(frame(1, 0, 2), 1);
    EXPECT_EQ(receive(), Received::kBadFrame);
}

TEST_F(ControlTest, RefusesMoreDescriptorsThanAFrameMayBring) {
    send(frame(1, 0, 64), 65);
    EXPECT_EQ(receive(), Received::kBadFrame);
}

TEST_F(ControlTest, SeesTheMonitorsEnd) {
    send(frame(1, 0));
    monitor_.reset();
    EXPECT_EQ(receive(), Received::kHangUp);
}

TEST_F(ControlTest, TakesNoMoreThanItsBound) {
    const auto bytes = frame(1, 60'000);
    size_t sent = 0;
    for (; channel_->wanted().events & POLLIN; sent += bytes.size()) {
        send(bytes);
        ASSERT_EQ(channel_->receive(), Received::kFrames);
        ASSERT_LT(sent, 4u << 20);
    }
    uint64_t count;
    while (read(wake_.get(), &count, sizeof count) > 0) continue;
    EXPECT_EQ(read_all().size(), sent);
    EXPECT_EQ(read(wake_.get(), &count, sizeof count), 8);  // the main loop is to poll again
    EXPECT_TRUE(channel_->wanted().events & POLLIN);
}

TEST_F(ControlTest, WritesGoOutInOrderAndTellWhenThereIsRoom) {
    std::vector<std::byte> bytes(16 * 1024);
    size_t written = 0;
    for (;; written += bytes.size()) {
        for (size_t i = 0; i < bytes.size(); i++) bytes[i] = static_cast<std::byte>((written + i) >> 4);
        const auto took = channel_->write(bytes);
        if (took.is_error()) {
            EXPECT_EQ(took.error(), Errno::kAGAIN);
            break;
        }
        if (took.value() < bytes.size()) {
            written += took.value();
            EXPECT_EQ(channel_->write(bytes).error(), Errno::kAGAIN);
            break;
        }
    }
    EXPECT_GT(written, 1u << 20);
    EXPECT_TRUE(channel_->wanted().events & POLLOUT);
    size_t got = 0;
    bool told = false;
    std::array<uint8_t, 8192> buffer;
    while (got < written) {
        const ssize_t size = recv(monitor_.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
        if (size <= 0) {
            told |= channel_->flush();
            continue;
        }
        for (ssize_t i = 0; i < size; i++) ASSERT_EQ(buffer[i], static_cast<uint8_t>((got + i) >> 4)) << got + i;
        got += static_cast<size_t>(size);
    }
    EXPECT_TRUE(told);
    EXPECT_FALSE(channel_->wanted().events & POLLOUT);
}

TEST_F(ControlTest, WithoutAMonitorNothingCanBeWritten) {
    std::byte byte{};
    EXPECT_TRUE(channel_->write({&byte, 0}).is_ok());
    ControlChannel none(-1, *console_, wake_.get());
    EXPECT_EQ(none.write({&byte, 1}).error(), Errno::kPIPE);
    EXPECT_EQ(none.write({&byte, 0}).error(), Errno::kPIPE);
    EXPECT_EQ(none.wanted().fd, -1);
    monitor_.reset();
    EXPECT_EQ(channel_->write({&byte, 1}).error(), Errno::kPIPE);
}

}  // namespace
}  // namespace kvmsbx::vmm
