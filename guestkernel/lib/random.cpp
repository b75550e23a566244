#include "guestkernel/lib/random.hpp"

#include <bit>
#include <cstring>

namespace kvmsbx::random {
namespace {

constexpr size_t kBlock = 64, kKey = 32;
uint32_t key[8];

void quarter_round(uint32_t& a, uint32_t& b, uint32_t& c, uint32_t& d) {
    a += b, d = std::rotl(d ^ a, 16);
    c += d, b = std::rotl(b ^ c, 12);
    a += b, d = std::rotl(d ^ a, 8);
    c += d, b = std::rotl(b ^ c, 7);
}

// The first block under the present key: 32 bytes of new key, 32 bytes of output.
void renew_key(uint8_t output[kKey]) {
    static constexpr uint32_t kNonce[3] = {};
    uint8_t block[kBlock];
    chacha20_block(key, 0, kNonce, block);
    memcpy(key, block, kKey);
    memcpy(output, block + kKey, kKey);
    memset(block, 0, sizeof block);
}

}  // namespace

void chacha20_block(const uint32_t k[8], uint32_t counter, const uint32_t nonce[3], uint8_t out[64]) {
    const uint32_t start[16] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574, k[0],    k[1],     k[2],     k[3],
                                k[4],       k[5],       k[6],       k[7],       counter, nonce[0], nonce[1], nonce[2]};
    uint32_t x[16];
    memcpy(x, start, sizeof x);
    for (int round = 0; round < 10; ++round) {
        for (int i = 0; i < 4; ++i) quarter_round(x[i], x[4 + i], x[8 + i], x[12 + i]);
        for (int i = 0; i < 4; ++i) quarter_round(x[i], x[4 + (i + 1) % 4], x[8 + (i + 2) % 4], x[12 + (i + 3) % 4]);
    }
    for (int i = 0; i < 16; ++i) {
        const uint32_t word = x[i] + start[i];
        memcpy(out + 4 * i, &word, sizeof word);
    }
}

void stir(const void* bytes, size_t size) {
    const auto* from = static_cast<const uint8_t*>(bytes);
    uint8_t unused[kKey];
    while (size > 0) {
        uint8_t part[kKey] = {};
        const size_t count = size < kKey ? size : kKey;
        memcpy(part, from, count);
        uint32_t words[8];
        memcpy(words, part, sizeof words);
        for (int i = 0; i < 8; ++i) key[i] ^= words[i];
        renew_key(unused);
        from += count, size -= count;
    }
}

void seed(std::span<const uint8_t, 64> bytes) {
    stir(bytes.data(), bytes.size());
    const uint64_t tsc = __builtin_ia32_rdtsc();
    stir(&tsc, sizeof tsc);
}

void fill(void* to, size_t size) {
    auto* out = static_cast<uint8_t*>(to);
    // Long requests run on a key of their own, taken from the generator.
    uint8_t once[kKey];
    renew_key(once);
    if (size <= kKey) {
        memcpy(out, once, size);
        memset(once, 0, sizeof once);
        return;
    }
    uint32_t stream_key[8];
    memcpy(stream_key, once, sizeof stream_key);
    uint32_t nonce[3] = {};
    uint8_t block[kBlock];
    for (uint64_t counter = 0; size > 0; ++counter) {
        nonce[0] = static_cast<uint32_t>(counter >> 32);
        chacha20_block(stream_key, static_cast<uint32_t>(counter), nonce, block);
        const size_t count = size < kBlock ? size : kBlock;
        memcpy(out, block, count);
        out += count, size -= count;
    }
    memset(block, 0, sizeof block);
    memset(stream_key, 0, sizeof stream_key);
    memset(once, 0, sizeof once);
}

}  // namespace kvmsbx::random
