#pragma once
// Places an application must not reach: where the Sentry, its gate and its devices really are, from the memory layout.
#include "common/abi/layout.hpp"
#include "tests/guest/guest_test.hpp"

namespace guest {

namespace abi = kvmsbx::abi;

inline constexpr uint64_t kForbidden[] = {
    0xffff800000000000,
    abi::kDirectMap + abi::kRamGpa,
    abi::kDirectMap + abi::kRamGpa + 0x200000,
    abi::kDirectMap + abi::kChannelGpa,
    abi::kDirectMap + abi::kDeviceGpa + abi::kHypercallOffset,
    abi::kDirectMap + abi::kDeviceGpa + abi::kGoferDoorbellOffset,
    abi::kDirectMap + abi::kLapicGpa,
    abi::kGateBase,
    abi::kGateBase + 0x1000,
    abi::kGateBase + 0x2000,
    abi::kGateBase + abi::kGateStride,
    abi::kSentryBase,
    abi::kSentryBase + 0x1000,
    abi::kSentryBase + 0x200000,
    0xffffffffff600000 - 0x1000,
    0xfffffffffffff000,
};

}  // namespace guest
