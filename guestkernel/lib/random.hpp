#pragma once
// The Sentry's random numbers: ChaCha20 (RFC 8439) keyed from BootInfo::random_seed, with fast key erasure: each
// request's first block becomes the next key, so earlier output cannot be recovered. Kernel lock held.
#include <cstddef>
#include <cstdint>
#include <span>

namespace kvmsbx::random {

// One ChaCha20 block (RFC 8439, 2.3). key: 8 words, nonce: 3 words.
void chacha20_block(const uint32_t key[8], uint32_t counter, const uint32_t nonce[3], uint8_t out[64]);

// Once at start. Mixes in the TSC.
void seed(std::span<const uint8_t, 64> seed);
// Stirs more entropy in (writes to /dev/random). Never makes output weaker.
void stir(const void* bytes, size_t size);
void fill(void* to, size_t size);
inline uint64_t next64() {
    uint64_t value;
    fill(&value, sizeof value);
    return value;
}

}  // namespace kvmsbx::random
