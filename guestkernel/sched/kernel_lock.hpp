#pragma once
// The one lock of the Sentry (see sched.hpp).

namespace kvmsbx::sched {

extern bool kernel_lock_word;

[[gnu::noinline]] void wait_for_kernel_lock();
inline void lock_kernel() {
    while (__atomic_test_and_set(&kernel_lock_word, __ATOMIC_ACQUIRE)) [[unlikely]] wait_for_kernel_lock();
}
inline void unlock_kernel() { __atomic_clear(&kernel_lock_word, __ATOMIC_RELEASE); }

}  // namespace kvmsbx::sched
