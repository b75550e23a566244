#pragma once
// Where things lie in guest-physical and in Sentry-virtual memory. Boundary 2 (Sentry -> VMM), version in
// boot_info.hpp.
//
// clang-format off
//   guest-physical
//     0x0000_8000_0000            channel region (memfd)
//     0x0000_d000_0000            device page (MMIO exits)
//     0x0000_fee0_0000            LAPIC (in-kernel irqchip)
//     0x0001_0000_0000            guest RAM, contiguous
//
//   Sentry-virtual (in every Sentry page table, never in an application's in ring 3 mode)
//     kDirectMap + gpa            RAM, channel, device page, LAPIC: data, never executable
//     kGateBase + cpu*kGateStride entry code and CPU tables of one vCPU
//     kSentryBase                 the Sentry's image, linked there
// clang-format on
#include <cstdint>

namespace kvmsbx::abi {

inline constexpr uint64_t kPageSize = 4096;
inline constexpr uint64_t kHugePageSize = 2 * 1024 * 1024;

inline constexpr uint64_t kChannelGpa = 0x8000'0000;
inline constexpr uint64_t kDeviceGpa = 0xd000'0000;
inline constexpr uint64_t kLapicGpa = 0xfee0'0000;
inline constexpr uint64_t kRamGpa = 0x1'0000'0000;

// Offsets in the device page: a 4-byte write there leaves the guest.
inline constexpr uint64_t kHypercallOffset = 0x000;  // exits to the VMM, which reads CpuArea::hypercall of that vCPU
inline constexpr uint64_t kGoferDoorbellOffset = 0x100;  // matched by an ioeventfd: the gofer's doorbell

// Not 0xffff'8000'0000'0000: on PVM ring 3 cannot use the first PML4 slot of the upper half (tried: every other one
// works).
inline constexpr uint64_t kDirectMap = 0xffff'8800'0000'0000;
inline constexpr uint64_t kGateBase = 0xffff'c000'0000'0000;
inline constexpr uint64_t kGateStride = 0x1'0000;
// LSTAR page of vCPU 0 in ring 3 mode, the others' below it: see mailbox.hpp. The only gate pages with U=1 (r-x).
inline constexpr uint64_t kSyscallStub = kGateBase + 0x4000'0000 - 0x1000;
inline constexpr uint64_t kSentryBase = 0xffff'ffff'8000'0000;

// The lower half belongs to applications. As on Linux the last page below 2^47 is never mapped.
inline constexpr uint64_t kUserEnd = 0x7fff'ffff'f000;

inline constexpr unsigned kMaxCpus = 64;

// Segment selectors, the same as Linux's (arch/x86/include/asm/segment.h).
inline constexpr uint16_t kKernelCs = 0x10, kKernelSs = 0x18, kUserSs = 0x2b, kUserCs = 0x33, kTssSelector = 0x40;

// Interrupt vectors.
inline constexpr uint8_t kVectorTimer = 0x40;      // LAPIC timer of the vCPU
inline constexpr uint8_t kVectorIpi = 0x41;        // another vCPU: reschedule or TLB shoot-down
inline constexpr uint8_t kVectorGofer = 0x42;      // irqfd: the gofer completed requests
inline constexpr uint8_t kVectorHostEvent = 0x43;  // the VMM has something for HypercallNumber::kNextHostEvent
inline constexpr uint8_t kVectorFirst = 0x40, kVectorLast = 0x43;
inline constexpr uint8_t kVectorSpurious = 0xff;

}  // namespace kvmsbx::abi
