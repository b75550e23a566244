#include "guestkernel/task/signal_frame.hpp"

#include <cstring>

#include "guestkernel/platform/host.hpp"
#include "guestkernel/platform/user_context.hpp"
#include "guestkernel/task/fpu.hpp"
#include "guestkernel/task/signal_delivery.hpp"

namespace kvmsbx::task {
namespace {

constexpr uint64_t kRedZone = 128;
constexpr uint64_t kFlagTrap = 0x100, kFlagDirection = 0x400, kFlagResume = 0x10000;
// What an application may set: AC OF DF TF SF ZF AF PF CF RF (FIX_EFLAGS).
constexpr uint64_t kUserFlags = 0x50dd5;
constexpr uint32_t kMxcsrMask = 0xffff;
constexpr uint64_t kFpSse = 3;  // XSTATE_BV: x87 and SSE

bool has_xsave() { return platform::boot_info().xcr0 != 0; }

// Bytes of the FPU part of a frame.
uint64_t frame_fpu_size() { return has_xsave() ? platform::boot_info().fpu_area_size + sizeof(uint32_t) : kFxsaveSize; }

char* area_bytes(Task& task) { return static_cast<char*>(task.fpu_area); }

Result<> push_fpu(Task& task, uint64_t at) {
    fpu_to_area(task);
    const uint64_t size = platform::boot_info().fpu_area_size;
    if (!has_xsave()) return mm::copy_to_user(task.space(), at, task.fpu_area, kFxsaveSize);
    TRY(mm::copy_to_user(task.space(), at, task.fpu_area, size));
    FpuSoftwareBytes software{};
    software.magic1 = kFpXstateMagic1;
    software.extended_size = static_cast<uint32_t>(size + sizeof(uint32_t));
    software.features = platform::boot_info().xcr0;
    software.xstate_size = static_cast<uint32_t>(size);
    TRY(mm::copy_to_user(task.space(), at + kFpuSoftwareOffset, &software, sizeof software));
    const uint32_t magic2 = kFpXstateMagic2;
    TRY(mm::copy_to_user(task.space(), at + size, &magic2, sizeof magic2));
    // As Linux: x87 and SSE are always marked as there, for handlers that change them.
    uint64_t features;
    memcpy(&features, area_bytes(task) + kXsaveHeaderOffset, sizeof features);
    features |= kFpSse;
    return mm::copy_to_user(task.space(), at + kXsaveHeaderOffset, &features, sizeof features);
}

SigContext save_registers(const Task& task, uint64_t fpstate) {
    const abi::UserRegs& r = task.regs;
    SigContext c{};
    c.r8 = r.r8, c.r9 = r.r9, c.r10 = r.r10, c.r11 = r.r11, c.r12 = r.r12, c.r13 = r.r13, c.r14 = r.r14, c.r15 = r.r15;
    c.rdi = r.rdi, c.rsi = r.rsi, c.rbp = r.rbp, c.rbx = r.rbx, c.rdx = r.rdx, c.rax = r.rax, c.rcx = r.rcx;
    c.rsp = r.rsp, c.rip = r.rip, c.rflags = r.rflags;
    c.cs = abi::kUserCs, c.ss = abi::kUserSs;
    if (r.trap < 32) {
        c.trap = r.trap;
        c.error = r.error_code;
        c.cr2 = r.cr2;
    }
    c.old_mask = task.restore_blocked ? task.saved_blocked.bits : task.blocked.bits;
    c.fpstate = fpstate;
    return c;
}

void restore_registers(Task& task, const SigContext& c) {
    abi::UserRegs& r = task.regs;
    r.r8 = c.r8, r.r9 = c.r9, r.r10 = c.r10, r.r11 = c.r11, r.r12 = c.r12, r.r13 = c.r13, r.r14 = c.r14, r.r15 = c.r15;
    r.rdi = c.rdi, r.rsi = c.rsi, r.rbp = c.rbp, r.rbx = c.rbx, r.rdx = c.rdx, r.rax = c.rax, r.rcx = c.rcx;
    r.rsp = c.rsp, r.rip = c.rip;
    r.rflags = (r.rflags & ~kUserFlags) | (c.rflags & kUserFlags);
    r.cs = abi::kUserCs, r.ss = abi::kUserSs;
    r.trap = abi::kTrapNone;
}

void start_handler(Task& task, const SigInfo& info, const SigAction& action, uint64_t frame) {
    abi::UserRegs& r = task.regs;
    r.rdi = static_cast<uint64_t>(info.signo);
    r.rsi = frame + offsetof(SignalFrame, info);
    r.rdx = frame + offsetof(SignalFrame, context);
    r.rax = 0;
    r.rip = action.handler;
    r.rsp = frame;
    r.cs = abi::kUserCs, r.ss = abi::kUserSs;
    r.rflags &= ~(kFlagTrap | kFlagDirection | kFlagResume);
    r.trap = abi::kTrapNone;
}

void reset_alternate_stack(Task& task) {
    task.altstack_base = 0, task.altstack_size = 0, task.altstack_flags = kSsDisable;
}

// The FXSAVE part only: what an application without XSAVE in its frame gave.
Result<> pop_legacy_fpu(Task& task, uint64_t from) {
    char legacy[kFxsaveSize];
    TRY(mm::copy_from_user(task.space(), legacy, from, sizeof legacy));
    uint32_t mxcsr;
    memcpy(&mxcsr, legacy + kMxcsrOffset, sizeof mxcsr);
    if (mxcsr & ~kMxcsrMask) return Errno::kFAULT;
    platform::init_fpu_area(task.fpu_area);
    memcpy(task.fpu_area, legacy, kFpuSoftwareOffset);
    fpu_area_changed(task);
    return {};
}

// True if the software bytes say that a whole XSAVE area of our size is there.
Result<bool> has_extended_state(Task& task, uint64_t from, FpuSoftwareBytes& software) {
    TRY(mm::copy_from_user(task.space(), &software, from + kFpuSoftwareOffset, sizeof software));
    const uint64_t size = platform::boot_info().fpu_area_size;
    if (software.magic1 != kFpXstateMagic1 || software.xstate_size < kXsaveMinimum || software.xstate_size > size ||
        software.xstate_size > software.extended_size)
        return false;
    uint32_t magic2;
    TRY(mm::copy_from_user(task.space(), &magic2, from + software.xstate_size, sizeof magic2));
    return magic2 == kFpXstateMagic2;
}

Result<> pop_fpu(Task& task, uint64_t from) {
    if (from == 0) {
        platform::init_fpu_area(task.fpu_area);
        fpu_area_changed(task);
        return {};
    }
    FpuSoftwareBytes software;
    if (!has_xsave() || !TRY(has_extended_state(task, from, software))) return pop_legacy_fpu(task, from);
    // Checked in a copy: the task's own area must stay loadable whatever happens.
    Vector<char> copy;
    TRY(copy.resize(software.xstate_size));
    TRY(mm::copy_from_user(task.space(), copy.data(), from, copy.size()));
    uint64_t features;
    memcpy(&features, copy.data() + kXsaveHeaderOffset, sizeof features);
    features &= software.features;
    memcpy(copy.data() + kXsaveHeaderOffset, &features, sizeof features);
    if (!xsave_area_is_valid(copy.data(), platform::boot_info().xcr0)) return Errno::kFAULT;
    memset(task.fpu_area, 0, platform::boot_info().fpu_area_size);
    memcpy(task.fpu_area, copy.data(), copy.size());
    memset(area_bytes(task) + kFpuSoftwareOffset, 0, sizeof software);
    fpu_area_changed(task);
    return {};
}

}  // namespace

bool xsave_area_is_valid(const void* area, uint64_t xcr0) {
    const char* bytes = static_cast<const char*>(area);
    uint64_t header[8];
    memcpy(header, bytes + kXsaveHeaderOffset, sizeof header);
    if (header[0] & ~xcr0) return false;
    for (int i = 1; i < 8; ++i)
        if (header[i] != 0) return false;
    uint32_t mxcsr;
    memcpy(&mxcsr, bytes + kMxcsrOffset, sizeof mxcsr);
    return (mxcsr & ~kMxcsrMask) == 0;
}

FrameLayout lay_out_frame(uint64_t rsp, bool red_zone, uint64_t fpu_size) {
    if (red_zone) rsp -= kRedZone;
    const uint64_t fpstate = (rsp - fpu_size) & ~63ULL;
    return {((fpstate - sizeof(SignalFrame)) & ~15ULL) - 8, fpstate};
}

bool on_alternate_stack(const Task& task, uint64_t rsp) {
    if (task.altstack_flags & kSsAutodisarm) return false;
    return rsp > task.altstack_base && rsp - task.altstack_base <= task.altstack_size;
}

SigAltStack alternate_stack(const Task& task, uint64_t rsp) {
    uint32_t flags = task.altstack_flags & kSsAutodisarm;
    if (task.altstack_size == 0)
        flags |= kSsDisable;
    else if (on_alternate_stack(task, rsp))
        flags |= kSsOnstack;
    return {task.altstack_base, flags, 0, task.altstack_size};
}

Result<> set_alternate_stack(Task& task, const SigAltStack& stack, uint64_t rsp, uint64_t minimum) {
    if (on_alternate_stack(task, rsp)) return Errno::kPERM;
    const uint32_t mode = stack.flags & ~kSsAutodisarm;
    if (mode != 0 && mode != kSsOnstack && mode != kSsDisable) return Errno::kINVAL;
    if (mode != kSsDisable && stack.size < minimum) return Errno::kNOMEM;
    task.altstack_base = mode == kSsDisable ? 0 : stack.base;
    task.altstack_size = mode == kSsDisable ? 0 : stack.size;
    task.altstack_flags = stack.flags;
    return {};
}

Result<> push_signal_frame(Task& task, const SigInfo& info, const SigAction& action) {
    if (!(action.flags & kSaRestorer)) return Errno::kFAULT;
    const bool nested = on_alternate_stack(task, task.regs.rsp);
    const bool entering = action.flags & kSaOnstack && !nested && task.altstack_size != 0;
    const uint64_t top = entering ? task.altstack_base + task.altstack_size : task.regs.rsp;
    const FrameLayout layout = lay_out_frame(top, !entering, frame_fpu_size());
    const bool overflows = layout.frame <= task.altstack_base || layout.frame - task.altstack_base > task.altstack_size;
    if ((nested || entering) && overflows) return Errno::kFAULT;
    if (layout.frame >= platform::user_end || layout.fpstate >= platform::user_end) return Errno::kFAULT;

    TRY(push_fpu(task, layout.fpstate));
    SignalFrame frame{};
    frame.restorer = action.restorer;
    frame.context.flags = kUcSigcontextSs | kUcStrictRestoreSs | (has_xsave() ? kUcFpXstate : 0);
    frame.context.stack = {task.altstack_base, task.altstack_flags, 0, task.altstack_size};
    frame.context.registers = save_registers(task, layout.fpstate);
    frame.context.mask = frame.context.registers.old_mask;
    frame.info = info;
    frame.info.internal = 0;
    const size_t size = action.flags & kSaSiginfo ? sizeof frame : offsetof(SignalFrame, info);
    TRY(mm::copy_to_user(task.space(), layout.frame, &frame, size));
    if (task.altstack_flags & kSsAutodisarm) reset_alternate_stack(task);
    start_handler(task, info, action, layout.frame);
    return {};
}

Result<> pop_signal_frame(Task& task) {
    const uint64_t at = task.regs.rsp - 8;
    UserContext context;
    TRY(mm::copy_from_user(task.space(), &context, at + offsetof(SignalFrame, context), sizeof context));
    set_blocked(task, SignalSet{context.mask});
    restore_registers(task, context.registers);
    TRY(pop_fpu(task, context.registers.fpstate));
    ignore(set_alternate_stack(task, context.stack, task.regs.rsp, kMinSignalStack),
           "as on Linux, a stack that cannot be set stays as it is");
    return {};
}

}  // namespace kvmsbx::task
