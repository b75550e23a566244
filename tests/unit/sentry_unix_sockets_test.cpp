// AF_UNIX sockets without system calls: control buffers of hostile bytes, and who keeps whom alive.
#include <cstring>

#include "guestkernel/net/control_message.hpp"
#include "guestkernel/net/unix.hpp"
#include "guestkernel/net/unix_rights.hpp"
#include "tests/unit/sentry_files.hpp"
#include "tests/unit/sentry_task.hpp"

namespace kvmsbx::net {
namespace {

std::string control(uint64_t length, int level, int type, std::string_view data) {
    std::string bytes(sizeof(ControlHeader), '\0');
    const ControlHeader header{length, level, type};
    memcpy(bytes.data(), &header, sizeof header);
    bytes += data;
    bytes.resize((bytes.size() + 7) & ~size_t{7});
    return bytes;
}

struct Walk {
    size_t messages = 0, bytes = 0;
    Errno error{};
};

Walk walk(std::string_view text) {
    ControlReader reader(std::as_bytes(std::span(text)));
    ControlMessage message{};
    Walk walked;
    for (;;) {
        const Result<bool> next = reader.next(message);
        if (next.is_error()) walked.error = next.error();
        if (next.is_error() || !next.value()) return walked;
        ++walked.messages, walked.bytes += message.data.size();
    }
}

TEST(ControlMessages, AreTakenOneByOne) {
    const Walk walked =
        walk(control(16 + 4, 1, kScmRights, "abcd") + control(16 + 12, 1, kScmCredentials, "0123456789ab"));
    EXPECT_EQ(walked.error, Errno{});
    EXPECT_EQ(walked.messages, 2u);
    EXPECT_EQ(walked.bytes, 16u);
}

TEST(ControlMessages, LastOneNeedsNoPadding) {
    const std::string text = control(16 + 3, 1, 1, "abc").substr(0, 19);
    EXPECT_EQ(walk(text).bytes, 3u);
}

TEST(ControlMessages, ShortRestIsTheEnd) {
    EXPECT_EQ(walk("").messages, 0u);
    EXPECT_EQ(walk(std::string(15, '\xff')).error, Errno{});
    EXPECT_EQ(walk(control(16, 1, 1, "") + std::string(15, '\xff')).messages, 1u);
}

TEST(ControlMessages, LengthsThatCannotBe) {
    for (const uint64_t length :
         {uint64_t{0}, uint64_t{15}, uint64_t{25}, ~uint64_t{0}, ~uint64_t{7}, uint64_t{1} << 63})
        EXPECT_EQ(walk(control(length, 1, 1, "12345678")).error, Errno::kINVAL) << length;
}

// A file that tells of its end.
class Marker final : public vfs::File {
  public:
    explicit Marker(int& ended) : File(vfs::kORdwr), ended_(ended) {}
    ~Marker() override { ++ended_; }
    Result<String> describe() override { return String::create("marker"); }

  private:
    int& ended_;
};

struct Pair {
    RefPtr<Socket> end[2];
    explicit Pair(task::TestTask& test, int type = kSockStream) {
        EXPECT_TRUE(create_unix_pair(*test.task, type, 0, vfs::kONonblock, end).is_ok());
    }
};

Errno send(task::TestTask& test, Socket& socket, std::string_view text, std::initializer_list<vfs::File*> files = {}) {
    mm::IoBuffer data = mm::IoBuffer::kernel_readonly(std::as_bytes(std::span(text)));
    Ancillary ancillary;
    for (vfs::File* file : files) EXPECT_TRUE(ancillary.files.push_back(RefPtr<vfs::File>(*file)).is_ok());
    SendRequest request{data, nullptr, &ancillary, kMsgDontwait};
    const Result<size_t> sent = socket.send(*test.task, request);
    return sent.is_error() ? sent.error() : Errno{};
}

std::string receive(task::TestTask& test, Socket& socket, Ancillary* ancillary = nullptr, uint32_t flags = 0) {
    std::string text(100, '\0');
    mm::IoBuffer data = mm::IoBuffer::kernel(std::as_writable_bytes(std::span(text)));
    ReceiveRequest request{data, nullptr, ancillary, kMsgDontwait | flags};
    const Result<size_t> size = socket.receive(*test.task, request);
    if (size.is_error()) return "errno " + std::to_string(static_cast<int>(size.error()));
    text.resize(size.value());
    return text;
}

SENTRY_TEST(UnixSockets, CarryBytesAndEnds) {
    task::TestTask test(10);
    Pair pair(test);
    EXPECT_EQ(send(test, *pair.end[0], "hello "), Errno{});
    EXPECT_EQ(send(test, *pair.end[0], "world"), Errno{});
    EXPECT_EQ(receive(test, *pair.end[1]), "hello world");
    EXPECT_EQ(receive(test, *pair.end[1]), "errno 11");
    pair.end[0] = nullptr;
    EXPECT_EQ(receive(test, *pair.end[1]), "");
    EXPECT_EQ(send(test, *pair.end[1], "x"), Errno::kPIPE);
}

SENTRY_TEST(UnixSockets, UnreadPacketsGoWithTheSocket) {
    task::TestTask test(10);
    int ended = 0;
    Pair pair(test, kSockDgram);
    {
        const auto marker = make_ref<Marker>(ended).release_value();
        EXPECT_EQ(send(test, *pair.end[0], "file", {marker.get()}), Errno{});
    }
    EXPECT_EQ(ended, 0);
    pair.end[1] = nullptr;
    EXPECT_EQ(ended, 1);
}

SENTRY_TEST(UnixSockets, PeekGivesFilesAgain) {
    task::TestTask test(10);
    int ended = 0;
    Pair pair(test);
    {
        const auto marker = make_ref<Marker>(ended).release_value();
        EXPECT_EQ(send(test, *pair.end[0], "x", {marker.get()}), Errno{});
    }
    {
        Ancillary first, second;
        EXPECT_EQ(receive(test, *pair.end[1], &first, kMsgPeek), "x");
        EXPECT_EQ(receive(test, *pair.end[1], &second), "x");
        EXPECT_EQ(first.files.size(), 1u);
        EXPECT_EQ(second.files.size(), 1u);
        EXPECT_EQ(ended, 0);
    }
    EXPECT_EQ(ended, 1);
}

SENTRY_TEST(UnixSockets, CyclesInFlightEnd) {
    task::TestTask test(10);
    int ended = 0;
    {
        const auto marker = make_ref<Marker>(ended).release_value();
        Pair one(test), two(test);
        EXPECT_EQ(send(test, *one.end[1], "x", {two.end[0].get(), marker.get()}), Errno{});
        EXPECT_EQ(send(test, *two.end[1], "x", {one.end[0].get(), one.end[1].get()}), Errno{});
    }
    collect_garbage();
    EXPECT_EQ(ended, 1);
}

SENTRY_TEST(UnixSockets, WhatALivingSocketLeadsToStays) {
    task::TestTask test(10);
    int ended = 0;
    Pair outer(test);
    {
        const auto marker = make_ref<Marker>(ended).release_value();
        Pair inner(test);
        EXPECT_EQ(send(test, *inner.end[1], "x", {marker.get(), inner.end[0].get()}), Errno{});
        EXPECT_EQ(send(test, *outer.end[0], "x", {inner.end[0].get()}), Errno{});
    }
    collect_garbage();
    EXPECT_EQ(ended, 0);
    {
        Ancillary got;
        EXPECT_EQ(receive(test, *outer.end[1], &got), "x");
        EXPECT_EQ(got.files.size(), 1u);
    }
    collect_garbage();
    EXPECT_EQ(ended, 1);
}

SENTRY_TEST(UnixSockets, DeepChainsEndWithoutRecursion) {
    task::TestTask test(10);
    int ended = 0;
    RefPtr<vfs::File> carried = make_ref<Marker>(ended).release_value();
    for (int i = 0; i < 5000; ++i) {
        Pair pair(test);
        ASSERT_EQ(send(test, *pair.end[0], "x", {carried.get()}), Errno{});
        carried = pair.end[1];
    }
    EXPECT_EQ(ended, 0);
    carried = nullptr;
    EXPECT_EQ(ended, 1);
}

}  // namespace
}  // namespace kvmsbx::net
