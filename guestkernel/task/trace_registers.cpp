#include "guestkernel/task/trace_registers.hpp"

#include <cstring>

#include "guestkernel/platform/host.hpp"
#include "guestkernel/platform/user_context.hpp"
#include "guestkernel/task/fpu.hpp"
#include "guestkernel/task/signal_delivery.hpp"
#include "guestkernel/task/signal_frame.hpp"

namespace kvmsbx::task {
namespace {

constexpr uint64_t kUserFlags = 0x54dd5;  // FLAG_MASK of arch/x86/kernel/ptrace.c
constexpr uint64_t kFxState = 3;          // XSTATE_BV: x87 and SSE
constexpr uint16_t kInitialControlWord = 0x37f;
constexpr uint32_t kInitialMxcsr = 0x1f80;
constexpr size_t kXmmOffset = 160, kXmmSize = 256, kX87Size = 24, kStOffset = 32, kStSize = 128;

bool has_xsave() { return platform::boot_info().xcr0 != 0; }

// A component in its initial state may be missing from the area.
void complete_legacy(char* area) {
    uint64_t present;
    memcpy(&present, area + kXsaveHeaderOffset, sizeof present);
    if (!(present & 1)) {
        memset(area, 0, kX87Size);
        memset(area + kStOffset, 0, kStSize);
        memcpy(area, &kInitialControlWord, sizeof kInitialControlWord);
    }
    if (!(present & 2)) memset(area + kXmmOffset, 0, kXmmSize);
    if (!(present & ~1ULL)) memcpy(area + kMxcsrOffset, &kInitialMxcsr, sizeof kInitialMxcsr);
}

bool bad_selector(uint64_t value) { return value != 0 && (value & 3) != 3; }

}  // namespace

int64_t syscall_of(const Task& task) {
    const Trace* trace = task.trace.get();
    const int32_t event = trace ? trace->stop_code >> 8 : 0;
    const bool in_event = event != 0 && event != static_cast<int32_t>(TraceEvent::kStop);
    const bool in_call = trace && (trace->call != Trace::Call::kNone || in_event);
    if (task.regs.trap != abi::kTrapSyscall && !in_call) return -1;
    return static_cast<int64_t>(task.in_syscall);
}

UserRegisters get_registers(const Task& tracee) {
    const abi::UserRegs& r = tracee.regs;
    UserRegisters out{};
    static_assert(offsetof(UserRegisters, rdi) == offsetof(abi::UserRegs, rdi));
    memcpy(&out, &r, offsetof(UserRegisters, orig_rax));
    out.orig_rax = static_cast<uint64_t>(syscall_of(tracee));
    out.rip = r.rip, out.cs = abi::kUserCs, out.eflags = r.rflags, out.rsp = r.rsp, out.ss = abi::kUserSs;
    if (r.trap == abi::kTrapSyscall) out.rcx = r.rip, out.r11 = r.rflags;
    out.fs_base = r.fs_base, out.gs_base = r.gs_base;
    return out;
}

Result<> set_registers(Task& tracee, const UserRegisters& in) {
    if (bad_selector(in.cs) || bad_selector(in.ss) || bad_selector(in.ds) || bad_selector(in.es) ||
        bad_selector(in.fs) || bad_selector(in.gs) || !in.cs || !in.ss)
        return Errno::kIO;
    if (in.fs_base >= platform::user_end || in.gs_base >= platform::user_end) return Errno::kIO;
    abi::UserRegs& r = tracee.regs;
    const uint64_t trap = r.trap;
    memcpy(&r, &in, offsetof(UserRegisters, orig_rax));
    r.rip = in.rip, r.rsp = in.rsp;
    r.rflags = (r.rflags & ~kUserFlags) | (in.eflags & kUserFlags);
    r.fs_base = in.fs_base, r.gs_base = in.gs_base;
    r.trap = trap;
    if (tracee.trace->call == Trace::Call::kEntry || tracee.trace->call == Trace::Call::kSeccomp) {
        tracee.in_syscall = in.orig_rax;
        return {};
    }
    // Whether the call is to be made again shows in orig_rax and rax; all else is restored as it stands here.
    const bool restarts = static_cast<int64_t>(in.orig_rax) >= 0 && in.rax + 516 <= 516 - 512;
    if (restarts) tracee.in_syscall = in.orig_rax;
    if (restarts)
        r.trap = abi::kTrapSyscall;
    else if (trap == abi::kTrapSyscall)
        r.trap = abi::kTrapNone;
    return {};
}

size_t floating_size(bool extended) { return extended ? platform::boot_info().fpu_area_size : kFxsaveSize; }

void get_floating(const Task& tracee, bool extended, char* out) {
    const char* area = static_cast<const char*>(tracee.fpu_area);
    if (!has_xsave()) {
        memcpy(out, area, kFxsaveSize);
        return;
    }
    char head[kXsaveMinimum];
    memcpy(head, area, sizeof head);
    complete_legacy(head);
    memcpy(out, head, kFxsaveSize);
    if (!extended) return;
    memcpy(out + kXsaveHeaderOffset, area + kXsaveHeaderOffset, floating_size(true) - kXsaveHeaderOffset);
    const uint64_t features = platform::boot_info().xcr0;
    memcpy(out + kFpuSoftwareOffset, &features, sizeof features);
}

Result<> set_floating(Task& tracee, bool extended, const char* in) {
    char* area = static_cast<char*>(tracee.fpu_area);
    uint32_t mxcsr;
    memcpy(&mxcsr, in + kMxcsrOffset, sizeof mxcsr);
    if (mxcsr & ~0xffffU) return Errno::kINVAL;
    if (extended && has_xsave()) {
        if (!xsave_area_is_valid(in, platform::boot_info().xcr0)) return Errno::kINVAL;
        memcpy(area, in, floating_size(true));
        memset(area + kFpuSoftwareOffset, 0, sizeof(FpuSoftwareBytes));
    } else {
        memcpy(area, in, kFpuSoftwareOffset);
        if (has_xsave()) {
            uint64_t present;
            memcpy(&present, area + kXsaveHeaderOffset, sizeof present);
            present |= kFxState;
            memcpy(area + kXsaveHeaderOffset, &present, sizeof present);
        }
    }
    fpu_area_changed(tracee);
    return {};
}

}  // namespace kvmsbx::task
