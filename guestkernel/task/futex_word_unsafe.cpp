// Futex words as atomic variables in the direct map.
#include "guestkernel/platform/host.hpp"
#include "guestkernel/task/futex.hpp"

namespace kvmsbx::task {
namespace {

Result<uint32_t*> word_at(mm::AddressSpace& space, UserAddress address, mm::Access access) {
    if (address % sizeof(uint32_t) != 0) return Errno::kINVAL;
    if (address >= platform::user_end) return Errno::kFAULT;
    for (;;) {
        // SAFETY: translate gives the direct-map address of a present page with that right; the word is aligned, so it
        // lies in one page, and the page stays as long as the kernel lock is held without a block.
        if (char* at = space.translate(address, access)) return reinterpret_cast<uint32_t*>(at);
        if (space.fault(address, access).is_error()) return Errno::kFAULT;
    }
}

}  // namespace

Result<uint32_t> load_user_word(mm::AddressSpace& space, UserAddress address) {
    return __atomic_load_n(TRY(word_at(space, address, mm::Access::kRead)), __ATOMIC_SEQ_CST);
}

Result<bool> exchange_user_word(mm::AddressSpace& space, UserAddress address, uint32_t& expected, uint32_t desired) {
    uint32_t* word = TRY(word_at(space, address, mm::Access::kWrite));
    return __atomic_compare_exchange_n(word, &expected, desired, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

}  // namespace kvmsbx::task
