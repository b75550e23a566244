// The end of the Sentry: message, registers and return addresses go to the VMM, which symbolises them.
#include <cstring>

#include "guestkernel/lib/assert.hpp"
#include "guestkernel/lib/format.hpp"
#include "guestkernel/platform/cpu.hpp"
#include "guestkernel/platform/host.hpp"
#include "guestkernel/platform/hypercall.hpp"

namespace kvmsbx {
namespace {

bool panicking;

// SAFETY: follows frame pointers while they stay on the stack that starts at `frame`'s 32 KiB block.
size_t walk_stack(const uint64_t* frame, std::span<uint64_t> out) {
    const uint64_t base = reinterpret_cast<uint64_t>(frame) & ~(platform::kStackSize - 1);
    for (size_t i = 0; i < out.size(); ++i) {
        const uint64_t at = reinterpret_cast<uint64_t>(frame);
        if (at < base || at + 16 > base + platform::kStackSize || at % 8) return i;
        if (frame[1] == 0) return i;
        out[i] = frame[1];
        if (frame[0] <= at) return i + 1;
        frame = reinterpret_cast<const uint64_t*>(frame[0]);
    }
    return out.size();
}

[[noreturn]] void send(abi::PanicInfo& info) {
    for (;;) platform::hypercall(abi::HypercallNumber::kPanic, platform::virt_to_phys(&info));
}

abi::PanicInfo& fresh_info(const char* message) {
    // SAFETY: the lower end of the emergency stack lies in the direct map, and nothing else uses it from here on.
    auto* place = reinterpret_cast<abi::PanicInfo*>(platform::cpu().emergency_stack - 16 * 1024 + 64);
    memset(static_cast<void*>(place), 0, sizeof *place);
    const size_t length = strlen(message);
    memcpy(place->message, message, length < sizeof place->message ? length : sizeof place->message - 1);
    return *place;
}

}  // namespace

void panic(const char* message) {
    if (__atomic_exchange_n(&panicking, true, __ATOMIC_SEQ_CST))
        for (;;) platform::relax();
    abi::PanicInfo& info = fresh_info(message);
    walk_stack(static_cast<const uint64_t*>(__builtin_frame_address(0)), info.backtrace);
    send(info);
}

namespace platform {

size_t return_addresses(const void* context, std::span<uint64_t> out) {
    constexpr size_t kFrame = 5, kNext = 6;  // words of a context: rbp, and where it goes on (context.cpp)
    if (out.empty()) return 0;
    const auto* words = static_cast<const uint64_t*>(context);
    out[0] = words[kNext];
    // SAFETY: what rbp holds is looked at where it is on the same stack.
    const auto* frame = reinterpret_cast<const uint64_t*>(words[kFrame]);
    const uint64_t mask = ~(kStackSize - 1);
    if ((words[kFrame] & mask) != (reinterpret_cast<uint64_t>(words) & mask)) return 1;
    return 1 + walk_stack(frame, out.subspan(1));
}

void panic_with_fault(const abi::SentryFault& fault, CpuArea& area) {
    if (__atomic_exchange_n(&panicking, true, __ATOMIC_SEQ_CST))
        for (;;) relax();
    FixedText<256> text;
    format_to(text, "exception {} (error code {x}, address {x}) in the Sentry at {x}", fault.vector, fault.error_code,
              fault.cr2, fault.rip);
    // SAFETY: the lower end of the emergency stack, on which only this function runs; stack_header() does not work
    // here.
    auto& info = *reinterpret_cast<abi::PanicInfo*>(area.emergency_stack - 16 * 1024 + 64);
    memset(static_cast<void*>(&info), 0, sizeof info);
    memcpy(info.message, text.c_str(), text.view().size());
    memcpy(info.registers, &fault, sizeof fault);
    info.backtrace[0] = fault.rip;
    walk_stack(reinterpret_cast<const uint64_t*>(fault.rbp), info.backtrace);
    for (unsigned i = 31; i > 0; --i) info.backtrace[i] = info.backtrace[i - 1];
    info.backtrace[0] = fault.rip;
    // Nothing here reads the block again: the compiler must not drop these stores.
    volatile abi::HypercallBlock& block = area.hypercall;
    block.number = static_cast<uint64_t>(abi::HypercallNumber::kPanic);
    block.args[0] = virt_to_phys(&info);
    for (;;) make_hypercall(area);
}

}  // namespace platform
}  // namespace kvmsbx
