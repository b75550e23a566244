#pragma once
// The entry code of one vCPU: the only guest code that knows the privilege mode. Generated with Xbyak at start;
// contract: common/abi/cpu_area.hpp.
//
// One vCPU's gate region (kGateBase + cpu * kGateStride), the same virtual addresses in both modes:
//
// clang-format off
//   page  content                            Sentry's table          application's table
//                                            ring 3 | ring 0 mode    ring 3 mode | ring 0 mode (= the Sentry's)
//   0     IDT (two, in ring 3 mode)          IDT-S  | IDT            IDT-A       | IDT   never U=1
//   1     gate: ring-0 code                  r-x    | -              r-x         |       never U=1
//   2     GateData: GDT, TSS                 rw- U  | rw-            rw-         |       U=1: Sentry's, ring 3 mode
//   3,4   entry code                         r-x U  | r-x            -           |       ring 3 mode: runs in ring 3
//   5     CpuArea (also in the direct map)   rw- U  | rw-            -           |
//   6     FrameStacks (two, in ring 3 mode)  S: rw- U | rw-          A: rw-      |
//   7     FrameStacks A                      rw- U  | rw- (page 6)   -           |
// clang-format on
//
// Ring 3 mode (platform.md, section 2): ring 0 is interpreted where KVM has no VMX/SVM, 0.6 us per instruction, so all
// that ring 0 does is to switch CR3 and IRETQ. Applications can reach every vector with DPL 3, so what a vector may do
// depends on who raises it. That is decided by the page table that is loaded, not by the vector: the IDT page differs.
// Invariants:
//   - IDT-A is in force while an application's page table is loaded: each of its handlers loads the Sentry's CR3 (an
//     immediate, or the value that trusted code left in GateData::exchange) and goes to an address from a prepared
//     frame. No register of the application decides anything.
//   - IDT-S is in force while the Sentry's is loaded: int3 = resume the application (r11 = its CR3), int 4 = wait for
//     an interrupt, interrupts are noted in pending_interrupts, every other vector is a defect of the Sentry and goes
//     to fault_entry.
//   - Each use has a stack of its own (IST), so that the frames always land in the same place and no nesting overwrites
//     one that is needed.
//   - The stacks' page differs, too. The CPU pushes an application's frame at page 6 of its table, that is
//     FrameStacks A; once CR3 is the Sentry's, the same stack pointer means FrameStacks S, where a prepared frame lies
//     in the very same place: IRETQ needs no other stack pointer. The way back is the same: int3 pushes at `resume` of
//     FrameStacks S, and with the application's CR3 IRETQ pops what the Sentry's native code wrote to `resume` of A.
//   - cs, ss and privileged flags of frames are never believed: hardware KVM enters the stub page (LSTAR) at CPL 0.
//
// Ring 0 mode: the same stacks and frames, checked for the CPL they came from; SYSCALL enters at LSTAR, SYSRETQ leaves.
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "common/abi/boot_info.hpp"
#include "common/abi/cpu_area.hpp"
#include "common/abi/hypercall.hpp"
#include "common/abi/layout.hpp"
#include "common/base/result.hpp"

namespace kvmsbx::vmm {

inline constexpr unsigned kPreparedFrames = 37;  // vectors 0..31, kVectorFirst..kVectorLast, kVectorSpurious
inline constexpr unsigned kSpuriousFrame = 36;
// The frame (and entry point) that a vector uses; the inverse of prepared_vector().
constexpr unsigned prepared_vector(unsigned frame) {
    if (frame == kSpuriousFrame) return abi::kVectorSpurious;
    return frame < 32 ? frame : abi::kVectorFirst + (frame - 32);
}

// What IRETQ pops.
struct ReturnFrame {
    uint64_t rip, cs, rflags, rsp, ss;
};

// An interrupt stack for one frame: the CPU aligns it to 16 bytes, so the frame ends where the stack ends; below it the
// error code and a little room.
struct alignas(16) FrameStack {
    uint64_t room[2];
    uint64_t error_code;
    ReturnFrame frame;
};
static_assert(sizeof(FrameStack) == 64);

// One per IST index, from 1.
struct FrameStacks {
    FrameStack trap;        // IDT-A, all but the next two; ring 0 mode: all vectors
    FrameStack syscall;     // IDT-A, vector 4
    FrameStack page_fault;  // IDT-A, vector 14
    FrameStack resume;      // IDT-S, int3
    FrameStack wait;        // IDT-S, int 4
    FrameStack interrupt;   // IDT-S, interrupts while waiting
    FrameStack fault;       // IDT-S, the Sentry's own exceptions
};
enum InterruptStack : unsigned {
    kStackTrap = 1,
    kStackSyscall,
    kStackPageFault,
    kStackResume,
    kStackWait,
    kStackInterrupt,
    kStackFault
};

struct GateData {
    uint64_t gdt[10];
    uint8_t tss[104];
    uint64_t exchange;    // IDT-A: the Sentry's CR3, swapped with the application's r11
    uint64_t resume_r11;  // IDT-S int3: the application's r11
    uint64_t fault_vector, fault_cr2;
    ReturnFrame prepared[kPreparedFrames];  // IDT-A: into the entry code of that vector
    ReturnFrame fault_return;               // IDT-S: into the fault code
};
static_assert(sizeof(GateData) <= abi::kPageSize && sizeof(FrameStacks) <= abi::kPageSize);

// Page-sized pieces, contiguous in the order of the gate region so that RIP-relative addresses made here hold there
// too.
struct alignas(abi::kPageSize) GateImage {
    std::array<uint8_t, abi::kPageSize> idt_sentry;
    std::array<uint8_t, abi::kPageSize> gate;
    union {
        GateData data;
        std::array<uint8_t, abi::kPageSize> data_page;
    };
    std::array<uint8_t, 2 * abi::kPageSize> code;
    union {
        abi::CpuArea area;  // only its address is used here
        std::array<uint8_t, abi::kPageSize> area_page;
    };
    union {
        FrameStacks stacks;
        std::array<uint8_t, abi::kPageSize> stacks_page;
    };
    union {
        FrameStacks application_stacks;
        std::array<uint8_t, abi::kPageSize> application_stacks_page;
    };
    std::array<uint8_t, abi::kPageSize> idt_application;  // not at its virtual address
};
inline constexpr uint64_t kIdtOffset = offsetof(GateImage, idt_sentry), kGateOffset = offsetof(GateImage, gate);
inline constexpr uint64_t kDataOffset = offsetof(GateImage, data), kCodeOffset = offsetof(GateImage, code),
                          kAreaOffset = offsetof(GateImage, area);
inline constexpr uint64_t kStacksOffset = offsetof(GateImage, stacks),
                          kApplicationStacksOffset = offsetof(GateImage, application_stacks);

// How the CPU's extended state is saved.
enum class FpuMethod : uint8_t { kFxsave, kXsave, kXsaveopt };

struct EntryCodeInput {
    unsigned cpu;
    abi::PrivilegeMode mode;
    uint64_t sentry_cr3;           // guest-physical
    uint64_t area_address;         // the CpuArea in the direct map
    uint64_t early_panic_address;  // Sentry-virtual address of an abi::PanicInfo whose registers the fault code fills
    uint64_t early_panic_gpa;
    FpuMethod fpu;
    uint64_t xcr0;
};

// Guest-virtual addresses for CpuArea, MSRs and descriptor tables.
struct EntryPoints {
    uint64_t resume_user, wait_for_interrupt, fpu_save, fpu_restore, drop_user_space;
    uint64_t lstar;
    uint64_t flag_mask;  // SFMASK
    uint64_t idt, gdt, tss;
};

struct EntryCode {
    std::unique_ptr<GateImage> image;
    EntryPoints points;
};

// ENOSPC if generated code outgrows its page: a defect.
Result<EntryCode> generate_entry_code(const EntryCodeInput& input);

// The bytes of a vCPU's page at abi::syscall_stub(cpu), LSTAR of ring 3 mode: common/abi/mailbox.hpp.
std::array<uint8_t, abi::kPageSize> syscall_stub_page(unsigned cpu);

constexpr uint64_t gate_region(unsigned cpu) { return abi::kGateBase + cpu * abi::kGateStride; }

}  // namespace kvmsbx::vmm
