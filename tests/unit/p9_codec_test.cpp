#include "common/p9/codec.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <set>
#include <vector>

#include "common/p9/describe.hpp"
#include "tests/unit/p9_filler.hpp"

namespace kvmsbx::p9 {
namespace {

template <typename M>
std::vector<uint8_t> encoded(const M& message, uint16_t tag = 7) {
    std::vector<uint8_t> out(256 * 1024);
    out.resize(encode(out, tag, message).value());
    return out;
}

std::string described(std::span<const uint8_t> message) {
    char text[8192];
    return std::string(text, describe(message, text));
}

TEST(P9Codec, EveryMessageSurvivesARoundTrip) {
    AllMessages::for_each([]<typename M>() {
        for (uint64_t seed = 0; seed < 50; seed++) {
            M message;
            Filler filler(seed);
            message.visit(filler);
            std::vector<uint8_t> bytes = encoded(message, 0x1234);
            Header header = decode_header(bytes).value();
            EXPECT_EQ(header.size, bytes.size());
            EXPECT_EQ(header.type, M::kType);
            EXPECT_EQ(header.tag, 0x1234);
            M copy;
            ASSERT_TRUE(decode(bytes, copy).is_ok()) << M::kName;
            EXPECT_EQ(encoded(copy, 0x1234), bytes) << M::kName;
            EXPECT_TRUE(described(bytes).starts_with(std::string(M::kName) + " tag=4660")) << described(bytes);
        }
    });
}

TEST(P9Codec, EveryTruncationIsRefused) {
    AllMessages::for_each([]<typename M>() {
        M message;
        Filler filler(3);
        message.visit(filler);
        std::vector<uint8_t> bytes = encoded(message);
        for (size_t length = 0; length < bytes.size(); length++) {
            // An exact allocation, so that ASan sees a byte read too far.
            std::vector<uint8_t> cut(bytes.begin(), bytes.begin() + static_cast<long>(length));
            M copy;
            EXPECT_EQ(decode(cut, copy).error(), Errno::kPROTO);
            if (length < kHeaderSize) continue;
            uint32_t size = static_cast<uint32_t>(length);
            memcpy(cut.data(), &size, sizeof size);
            bool optional = std::is_same_v<M, Tfsync> && length == kHeaderSize + 4;
            EXPECT_EQ(decode(cut, copy).is_ok(), optional) << M::kName << " cut to " << length;
        }
    });
}

TEST(P9Codec, BytesLeftOverAreRefused) {
    AllMessages::for_each([]<typename M>() {
        std::vector<uint8_t> bytes = encoded(M{});
        bytes.push_back(0);
        uint32_t size = static_cast<uint32_t>(bytes.size());
        M copy;
        EXPECT_EQ(decode(bytes, copy).error(), Errno::kPROTO);
        memcpy(bytes.data(), &size, sizeof size);
        EXPECT_EQ(decode(bytes, copy).error(), Errno::kPROTO) << M::kName;
    });
}

TEST(P9Codec, ABufferTooSmallIsAnErrorOnEncoding) {
    AllMessages::for_each([]<typename M>() {
        M message;
        Filler filler(5);
        message.visit(filler);
        size_t size = encoded(message).size();
        for (size_t length = 0; length < size; length++) {
            std::vector<uint8_t> out(length);
            EXPECT_EQ(encode(out, 1, message).error(), Errno::kMSGSIZE) << M::kName;
        }
    });
}

TEST(P9Codec, CountsOverTheLimitAreRefused) {
    std::vector<uint8_t> bytes = encoded(Twalk{});
    bytes[15] = kMaxWalk + 1;
    bytes.resize(bytes.size() + 2 * (kMaxWalk + 1));
    uint32_t size = static_cast<uint32_t>(bytes.size());
    memcpy(bytes.data(), &size, sizeof size);
    Twalk copy;
    EXPECT_EQ(decode(bytes, copy).error(), Errno::kPROTO);
}

TEST(P9Codec, NumbersAreUniqueAndRepliesFollowRequests) {
    std::set<uint8_t> numbers;
    AllMessages::for_each([&]<typename M>() {
        EXPECT_TRUE(numbers.insert(M::kType).second) << M::kName;
        EXPECT_EQ(M::kType % 2 == 0, M::kName[0] == 'T') << M::kName;
    });
}

// Bytes as other implementations write them (diod's protocol.md).
TEST(P9Codec, WireFormatIsTheOneOf9P2000L) {
    Twalk walk{.fid = 1, .newfid = 2, .names = {}};
    walk.names.push("usr");
    EXPECT_EQ(encoded(walk, 5),
              (std::vector<uint8_t>{22, 0, 0, 0, 110, 5, 0, 1, 0, 0, 0, 2, 0, 0, 0, 1, 0, 3, 0, 'u', 's', 'r'}));
    EXPECT_EQ(
        encoded(Tversion{8192, kVersionBase}, kNoTag),
        (std::vector<uint8_t>{21, 0, 0, 0, 100, 255, 255, 0, 32, 0, 0, 8, 0, '9', 'P', '2', '0', '0', '0', '.', 'L'}));
    EXPECT_EQ(encoded(Rgetattr{}).size(), 160u);
    EXPECT_EQ(encoded(Rstatfs{}).size(), 67u);
    EXPECT_EQ(encoded(Rlopen{}).size(), 24u);
}

TEST(P9Codec, DescribesFieldsByName) {
    Twalk walk{.fid = 1, .newfid = 2, .names = {}};
    walk.names.push("usr");
    walk.names.push(std::string_view("a\"\n", 3));
    EXPECT_EQ(described(encoded(walk)), "Twalk tag=7 fid=1 newfid=2 names=[\"usr\", \"a\\x22\\x0a\"]");
    EXPECT_EQ(described(encoded(Rattach{{0x80, 1, 2}})), "Rattach tag=7 qid={ type=128 version=1 path=2 }");
    EXPECT_EQ(described(std::vector<uint8_t>{7, 0, 0, 0, 3, 0, 0}), "message of an unknown type");
    EXPECT_EQ(described({}), "malformed header");
}

TEST(P9Codec, SharedMemoryIsDecodedWithThePayloadInPlace) {
    const uint8_t payload[] = {9, 8, 7};
    std::vector<uint8_t> bytes = encoded(Twrite{.fid = 4, .offset = 5, .data = {payload}});
    Twrite message;
    ASSERT_TRUE(decode_shared(bytes, message).is_ok());
    EXPECT_EQ(message.data.bytes.data(), bytes.data() + data_offset<Twrite>());
    EXPECT_EQ(message.data.bytes.size(), 3u);
    for (size_t length = 0; length < bytes.size(); length++)
        EXPECT_EQ(decode_shared(std::span(bytes).first(length), message).error(), Errno::kPROTO);
    bytes.push_back(1);
    bytes[0]++;
    EXPECT_EQ(decode_shared(bytes, message).error(), Errno::kPROTO);
}

TEST(P9Codec, RepliesAreErrorsOrTheMessage) {
    Rread read;
    EXPECT_EQ(decode_shared_reply(encoded(Rlerror{2}), read).error(), Errno::kNOENT);
    EXPECT_TRUE(decode_shared_reply(encoded(Rread{}), read).is_ok());
    EXPECT_EQ(decode_shared_reply(encoded(Rclunk{}), read).error(), Errno::kPROTO);
    EXPECT_EQ(decode_reply(encoded(Rlerror{0}), read).error(), Errno::kIO);
    EXPECT_EQ(decode_reply(encoded(Rlerror{512}), read).error(), Errno::kIO);
    EXPECT_EQ(decode_reply(encoded(Rlerror{13}), read).error(), Errno::kACCES);
}

TEST(P9Codec, DataReadInPlaceIsNotCopied) {
    std::vector<uint8_t> out(64);
    constexpr uint32_t kOffset = data_offset<Rread>();
    static_assert(kOffset == 11);
    memset(out.data() + kOffset, 'q', 10);
    EXPECT_EQ(encode(out, 1, Rread{{{out.data() + kOffset, 10}}}).value(), kOffset + 10);
    EXPECT_EQ(out[kOffset + 9], 'q');
}

TEST(P9Codec, EntriesOfADirectoryAreTakenOneByOne) {
    uint8_t buffer[256];
    Encoder encoder(buffer);
    encoder.put(DirEntry{{kQidFile, 1, 2}, 10, 8, "a"});
    encoder.put(DirEntry{{kQidDirectory, 1, 3}, 11, 4, "bc"});
    std::span<const uint8_t> data(buffer, encoder.position());
    DirEntry entry;
    EXPECT_TRUE(next_entry(data, entry).value());
    EXPECT_EQ(entry.name, "a");
    EXPECT_TRUE(next_entry(data, entry).value());
    EXPECT_EQ(entry.name, "bc");
    EXPECT_FALSE(next_entry(data, entry).value());
    std::span<const uint8_t> cut(buffer, encoder.position() - 1);
    EXPECT_TRUE(next_entry(cut, entry).value());
    EXPECT_EQ(next_entry(cut, entry).error(), Errno::kPROTO);
}

}  // namespace
}  // namespace kvmsbx::p9
