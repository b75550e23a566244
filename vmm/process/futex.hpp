#pragma once
// futex(2) on words that processes share.
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <climits>
#include <cstdint>

namespace kvmsbx::vmm {

inline void futex_wake_all(uint32_t* word) { syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0); }

// Returns after a wake-up, a signal, `ns` nanoseconds, or at once if *word != value.
inline void futex_wait(uint32_t* word, uint32_t value, uint64_t ns) {
    timespec timeout{static_cast<time_t>(ns / 1'000'000'000), static_cast<long>(ns % 1'000'000'000)};
    syscall(SYS_futex, word, FUTEX_WAIT, value, &timeout, nullptr, 0);
}

inline uint64_t monotonic_ns() {
    timespec t{};
    clock_gettime(CLOCK_MONOTONIC, &t);
    return static_cast<uint64_t>(t.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(t.tv_nsec);
}

}  // namespace kvmsbx::vmm
