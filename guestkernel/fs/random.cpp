// The random generator: ChaCha20 (RFC 8439) with fast key erasure.
#include <cstring>

#include "guestkernel/arch/arch.hpp"
#include "guestkernel/fs/dev.hpp"

namespace kvmsbx::fs {

namespace {

struct Generator {
    uint32_t key[8];
    uint64_t nonce = 0;
    bool seeded = false;
};
Generator generator;

uint32_t rotate(uint32_t value, unsigned by) { return value << by | value >> (32 - by); }

void quarter_round(uint32_t* s, unsigned a, unsigned b, unsigned c, unsigned d) {
    s[a] += s[b], s[d] = rotate(s[d] ^ s[a], 16);
    s[c] += s[d], s[b] = rotate(s[b] ^ s[c], 12);
    s[a] += s[b], s[d] = rotate(s[d] ^ s[a], 8);
    s[c] += s[d], s[b] = rotate(s[b] ^ s[c], 7);
}

void block(uint32_t counter, uint32_t (&out)[16]) {
    uint32_t state[16] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574};
    memcpy(&state[4], generator.key, sizeof generator.key);
    state[12] = counter, state[13] = 0;
    memcpy(&state[14], &generator.nonce, sizeof generator.nonce);
    memcpy(out, state, sizeof state);
    for (unsigned round = 0; round < 10; ++round) {
        quarter_round(out, 0, 4, 8, 12), quarter_round(out, 1, 5, 9, 13), quarter_round(out, 2, 6, 10, 14), quarter_round(out, 3, 7, 11, 15);
        quarter_round(out, 0, 5, 10, 15), quarter_round(out, 1, 6, 11, 12), quarter_round(out, 2, 7, 8, 13), quarter_round(out, 3, 4, 9, 14);
    }
    for (unsigned i = 0; i < 16; ++i) out[i] += state[i];
}

void seed() {
    const uint8_t* from = arch::boot_info().random_seed;
    memcpy(generator.key, from, sizeof generator.key);
    for (unsigned i = 0; i < sizeof generator.key; ++i) generator.key[i / 4] ^= static_cast<uint32_t>(from[32 + i]) << i % 4 * 8;
    generator.seeded = true;
}

}  // namespace

void random_bytes(void* to, size_t size) {
    if (!generator.seeded) seed();
    generator.nonce = arch::read_tsc();
    uint32_t first[16], out[16];
    block(0, first);
    char* at = static_cast<char*>(to);
    for (uint32_t counter = 1; size > 0; ++counter) {
        block(counter, out);
        const size_t count = size < sizeof out ? size : sizeof out;
        memcpy(at, out, count);
        at += count, size -= count;
    }
    memcpy(generator.key, first, sizeof generator.key);  // what was given out cannot be computed again
}

}  // namespace kvmsbx::fs
