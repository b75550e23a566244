#pragma once
// The stack frame of a signal handler, byte for byte that of x86-64 Linux (arch/x86/include/uapi/asm/sigcontext.h,
// asm/sigframe.h), with the FPU state in XSAVE's standard format behind it. rt_sigreturn(2) takes it back and trusts
// nothing in it.
#include <cstddef>

#include "guestkernel/task/task.hpp"

namespace kvmsbx::task {

struct SigAltStack {  // stack_t
    uint64_t base;
    uint32_t flags;
    uint32_t pad;
    uint64_t size;
};
inline constexpr uint32_t kSsOnstack = 1, kSsDisable = 2, kSsAutodisarm = 1U << 31;
inline constexpr uint64_t kMinSignalStack = 2048;

struct SigContext {  // struct sigcontext_64
    uint64_t r8, r9, r10, r11, r12, r13, r14, r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, rflags;
    uint16_t cs, gs, fs, ss;
    uint64_t error, trap, old_mask, cr2;
    uint64_t fpstate;  // user address of the XSAVE area, 0: none
    uint64_t reserved[8];
};

struct UserContext {  // struct ucontext
    uint64_t flags;
    uint64_t link;
    SigAltStack stack;
    SigContext registers;
    uint64_t mask;
};
inline constexpr uint64_t kUcFpXstate = 1, kUcSigcontextSs = 2, kUcStrictRestoreSs = 4;

struct SignalFrame {  // struct rt_sigframe; the handler's return address comes first
    uint64_t restorer;
    UserContext context;
    SigInfo info;
};

// struct _fpx_sw_bytes, at offset 464 of the FXSAVE image: tells that an XSAVE area follows.
struct FpuSoftwareBytes {
    uint32_t magic1;
    uint32_t extended_size;  // with magic 2
    uint64_t features;
    uint32_t xstate_size;
    uint32_t pad[7];
};
inline constexpr uint32_t kFpXstateMagic1 = 0x46505853, kFpXstateMagic2 = 0x46505845;
inline constexpr size_t kFxsaveSize = 512, kFpuSoftwareOffset = 464, kXsaveHeaderOffset = 512, kXsaveMinimum = 576,
                        kMxcsrOffset = 24;

static_assert(sizeof(SigAltStack) == 24 && sizeof(SigContext) == 256 && sizeof(UserContext) == 304 &&
              sizeof(SignalFrame) == 440);
static_assert(offsetof(SigContext, rip) == 128 && offsetof(SigContext, cs) == 144 && offsetof(SigContext, cr2) == 176 &&
              offsetof(SigContext, fpstate) == 184);
static_assert(offsetof(UserContext, registers) == 40 && offsetof(UserContext, mask) == 296);
static_assert(offsetof(SignalFrame, context) == 8 && offsetof(SignalFrame, info) == 312);
static_assert(sizeof(FpuSoftwareBytes) == 48);

// Where the parts of a frame go.
struct FrameLayout {
    uint64_t frame;    // SignalFrame; rsp of the handler. frame + 8 is 16-byte aligned
    uint64_t fpstate;  // 64-byte aligned
};
// rsp: of the interrupted code (its red zone is left alone), or the top of the alternate stack.
FrameLayout lay_out_frame(uint64_t rsp, bool red_zone, uint64_t fpu_size);

// True if `rsp` lies on the task's alternate stack.
bool on_alternate_stack(const Task& task, uint64_t rsp);
// sigaltstack(2) without the copying. EPERM while on it, EINVAL, ENOMEM.
Result<> set_alternate_stack(Task& task, const SigAltStack& stack, uint64_t rsp, uint64_t minimum);
SigAltStack alternate_stack(const Task& task, uint64_t rsp);

// Builds the frame and sets task.regs to the handler. EFAULT: no room for it.
Result<> push_signal_frame(Task& task, const SigInfo& info, const SigAction& action);
// rt_sigreturn(2): registers, mask, FPU and alternate stack from the frame at rsp - 8. EFAULT for a frame that is
// unreadable or no frame.
Result<> pop_signal_frame(Task& task);

// Checks an XSAVE area that came from the application: XRSTOR would take it. `size` >= kXsaveMinimum.
bool xsave_area_is_valid(const void* area, uint64_t xcr0);

}  // namespace kvmsbx::task
