// The wire codec and control frames: what is written is read again, and hostile bytes are refused.
#include "common/control/messages.hpp"

#include <gtest/gtest.h>

#include <limits>

#include "common/wire/owned.hpp"

namespace kvmsbx::control {
namespace {

template <typename M>
std::vector<uint8_t> frame_of(uint64_t id, const M& message, uint16_t descriptors = 0) {
    std::vector<uint8_t> bytes(encode_frame({}, id, message, descriptors));
    encode_frame(bytes, id, message, descriptors);
    return bytes;
}

spec::ProcessSpec<wire::Owned> some_process() {
    spec::ProcessSpec<wire::Owned> process;
    process.args = {"sh", "-c", "exit 3"};
    process.env = {"A=1"};
    process.cwd = "/tmp";
    process.groups = {1, 2, 3};
    process.rlimits = {{7, 8, 9}};
    process.oom_score_adj = -500;
    process.seccomp = {{0x06, 0, 0, 0x7fff0000}};
    return process;
}

TEST(ControlFrames, HeaderAndBodyComeBack) {
    const auto frame = frame_of(77, Exec<wire::Owned>{some_process()}, 3);
    const FrameHeader header = decode_header(frame).release_value();
    EXPECT_EQ(header.size, frame.size());
    EXPECT_EQ(header.type, Exec<wire::Owned>::kType);
    EXPECT_EQ(header.descriptors, 3u);
    EXPECT_EQ(header.first_stream, 0u);
    EXPECT_EQ(header.id, 77u);
    const auto exec = wire::decode<Exec<wire::Viewed>>(std::span(frame).subspan(kHeaderSize)).release_value();
    EXPECT_EQ(exec.process.args.size(), 3u);
    EXPECT_EQ(exec.process.args.front(), "sh");
    EXPECT_EQ(exec.process.cwd, "/tmp");
    EXPECT_EQ(exec.process.oom_score_adj, -500);
    EXPECT_EQ(exec.process.rlimits.front().hard, 9u);
    EXPECT_EQ(exec.process.seccomp.front().k, 0x7fff0000u);
    uint32_t sum = 0;
    for (uint32_t gid : exec.process.groups) sum = sum * 10 + gid;
    EXPECT_EQ(sum, 123u);
}

TEST(ControlFrames, BorrowedListsAreWrittenLikeOwnedOnes) {
    using Borrowed = ProcessEntry<wire::Borrowed>;
    Borrowed entries[2];
    entries[0].state = 'S', entries[0].terminal = "pts/0", entries[0].command = "sh";
    entries[1].pid = 9;
    Processes<wire::Owned> owned;
    owned.entries.resize(2);
    owned.entries[0].state = 'S', owned.entries[0].terminal = "pts/0", owned.entries[0].command = "sh";
    owned.entries[1].pid = 9;
    EXPECT_EQ(frame_of(5, Processes<wire::Borrowed>{entries}), frame_of(5, owned));
    EXPECT_EQ(frame_of(5, Failed<wire::Borrowed>{127, "no"}), frame_of(5, Failed<wire::Owned>{127, "no"}));
}

TEST(ControlFrames, RefusesHeadersThatCannotBe) {
    const auto good = frame_of(1, Ps{});
    EXPECT_TRUE(decode_header(good).is_ok());
    EXPECT_TRUE(decode_header(std::span(good).first(kHeaderSize - 1)).is_error());
    const auto bad = [&](void (*change)(FrameHeader&)) {
        FrameHeader header = decode_header(good).release_value();
        change(header);
        return decode_header(wire::encode(header)).is_error();
    };
    EXPECT_TRUE(bad([](FrameHeader& h) { h.magic++; }));
    EXPECT_TRUE(bad([](FrameHeader& h) { h.size = kHeaderSize - 1; }));
    EXPECT_TRUE(bad([](FrameHeader& h) { h.size = kMaxFrame + 1; }));
    EXPECT_TRUE(bad([](FrameHeader& h) { h.descriptors = kMaxFrameDescriptors + 1; }));
    EXPECT_FALSE(bad([](FrameHeader& h) { h.type = 999; }));
}

template <typename M>
bool decodes(const std::vector<uint8_t>& body) {
    return wire::decode<M>(body).is_ok();
}

TEST(WireCodec, RefusesBytesThatAreNoMessage) {
    auto body = wire::encode(Exec<wire::Owned>{some_process()});
    using Read = Exec<wire::Viewed>;
    EXPECT_TRUE(decodes<Read>(body));
    for (size_t size = 0; size < body.size(); size++)
        EXPECT_FALSE(decodes<Read>({body.begin(), body.begin() + static_cast<ptrdiff_t>(size)})) << size;
    auto longer = body;
    longer.push_back(0);
    EXPECT_FALSE(decodes<Read>(longer));
    auto counted = body;  // the number of arguments
    counted[0] = counted[1] = counted[2] = counted[3] = 0xff;
    EXPECT_FALSE(decodes<Read>(counted));
    auto nul = body;
    nul[8] = 0;  // inside "sh"
    EXPECT_FALSE(decodes<Read>(nul));
    EXPECT_TRUE(decodes<Ready>({}));
    EXPECT_FALSE(decodes<Ready>({1}));
    auto flags = wire::encode(Signal{});  // the last two bytes are bools
    EXPECT_TRUE(decodes<Signal>(flags));
    flags.back() = 2;
    EXPECT_FALSE(decodes<Signal>(flags));
}

TEST(WireCodec, EveryByteMayBeAnything) {
    const auto body = wire::encode(Exec<wire::Owned>{some_process()});
    for (size_t at = 0; at < body.size(); at++) {
        for (unsigned value : {0u, 1u, 0x7fu, 0x80u, 0xffu}) {
            auto changed = body;
            changed[at] = static_cast<uint8_t>(value);
            const auto read = wire::decode<Exec<wire::Viewed>>(changed);
            if (read.is_error()) continue;
            size_t total = 0;
            for (std::string_view text : read.value().process.args) total += text.size();
            EXPECT_LE(total, body.size());
        }
    }
}

TEST(WireCodec, NumbersKeepTheirSigns) {
    spec::Scheduling scheduling{3, -20, 99, true};
    const auto bytes = wire::encode(scheduling);
    EXPECT_EQ(bytes.size(), 13u);
    EXPECT_EQ(wire::decode<spec::Scheduling>(bytes).value().nice, -20);
    Exited exited{std::numeric_limits<int32_t>::min()};
    EXPECT_EQ(wire::decode<Exited>(wire::encode(exited)).value().status, exited.status);
}

}  // namespace
}  // namespace kvmsbx::control
