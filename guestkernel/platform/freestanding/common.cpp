// What all freestanding platforms have in common.
#include <atomic>
#include <cstring>

#include "guestkernel/platform/cpu.hpp"
#include "guestkernel/platform/host.hpp"
#include "guestkernel/platform/hypercall.hpp"
#include "guestkernel/platform/user_context.hpp"

namespace kvmsbx::platform {

int64_t hypercall(abi::HypercallNumber number, uint64_t a0, uint64_t a1, uint64_t a2) {
    abi::HypercallBlock& block = cpu().hypercall;
    block.number = static_cast<uint64_t>(number);
    block.args[0] = a0, block.args[1] = a1, block.args[2] = a2;
    std::atomic_signal_fence(std::memory_order_seq_cst);
    make_hypercall(cpu());
    std::atomic_signal_fence(std::memory_order_seq_cst);
    return *const_cast<volatile int64_t*>(&block.result);
}

void init_fpu_area(void* area) {
    memset(area, 0, boot_info().fpu_area_size);
    // FXSAVE layout: FCW at 0, MXCSR at 24; XSTATE_BV (at 512) says that x87 and SSE hold these values.
    auto* bytes = static_cast<unsigned char*>(area);
    const uint16_t fcw = 0x37f;
    const uint32_t mxcsr = 0x1f80;
    const uint64_t xstate_bv = 3;
    memcpy(bytes, &fcw, sizeof fcw);
    memcpy(bytes + 24, &mxcsr, sizeof mxcsr);
    if (boot_info().xcr0) memcpy(bytes + 512, &xstate_bv, sizeof xstate_bv);
}

}  // namespace kvmsbx::platform
