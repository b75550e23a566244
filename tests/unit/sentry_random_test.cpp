// ChaCha20 against RFC 8439's vectors, and what the generator promises.
#include "guestkernel/lib/random.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cstring>

namespace kvmsbx::random {
namespace {

TEST(ChaCha20, BlockFunctionVector) {  // RFC 8439, 2.3.2
    uint32_t key[8];
    for (uint32_t i = 0; i < 8; ++i) key[i] = 0x03020100 + 0x04040404 * i;
    const uint32_t nonce[3] = {0x09000000, 0x4a000000, 0};
    const uint8_t expected[64] = {0x10, 0xf1, 0xe7, 0xe4, 0xd1, 0x3b, 0x59, 0x15, 0x50, 0x0f, 0xdd, 0x1f, 0xa3,
                                  0x20, 0x71, 0xc4, 0xc7, 0xd1, 0xf4, 0xc7, 0x33, 0xc0, 0x68, 0x03, 0x04, 0x22,
                                  0xaa, 0x9a, 0xc3, 0xd4, 0x6c, 0x4e, 0xd2, 0x82, 0x64, 0x46, 0x07, 0x9f, 0xaa,
                                  0x09, 0x14, 0xc2, 0xd7, 0x05, 0xd9, 0x8b, 0x02, 0xa2, 0xb5, 0x12, 0x9c, 0xd1,
                                  0xde, 0x16, 0x4e, 0xb9, 0xcb, 0xd0, 0x83, 0xe8, 0xa2, 0x50, 0x3c, 0x4e};
    uint8_t out[64];
    chacha20_block(key, 1, nonce, out);
    EXPECT_EQ(memcmp(out, expected, sizeof out), 0);
}

TEST(ChaCha20, ZeroKeyVector) {  // RFC 8439, A.1, vector 1
    const uint32_t key[8] = {}, nonce[3] = {};
    const uint8_t expected[16] = {0x76, 0xb8, 0xe0, 0xad, 0xa0, 0xf1, 0x3d, 0x90,
                                  0x40, 0x5d, 0x6a, 0xe5, 0x53, 0x86, 0xbd, 0x28};
    uint8_t out[64];
    chacha20_block(key, 0, nonce, out);
    EXPECT_EQ(memcmp(out, expected, sizeof expected), 0);
}

TEST(Random, RequestsDifferAndFillEveryByte) {
    const std::array<uint8_t, 64> entropy{1, 2, 3};
    seed(entropy);
    std::array<uint8_t, 1000> a{}, b{};
    fill(a.data(), a.size());
    fill(b.data(), b.size());
    EXPECT_NE(a, b);
    // The last bytes of a partial block are written too: 40 zeroes in a row do not happen by chance.
    EXPECT_TRUE(std::any_of(a.end() - 40, a.end(), [](uint8_t byte) { return byte != 0; }));
    EXPECT_NE(next64(), next64());
}

TEST(Random, NeverWritesBeyondTheRequest) {
    for (size_t size : {0, 1, 31, 32, 33, 63, 64, 65, 200}) {
        std::array<uint8_t, 256> bytes;
        bytes.fill(0xcc);
        fill(bytes.data(), size);
        EXPECT_TRUE(std::all_of(bytes.begin() + static_cast<long>(size), bytes.end(), [](uint8_t byte) {
            return byte == 0xcc;
        })) << size;
    }
}

}  // namespace
}  // namespace kvmsbx::random
