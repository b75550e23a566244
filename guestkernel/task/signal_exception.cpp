// Exceptions of applications as signals (arch/x86/kernel/traps.c).
#include <cstring>

#include "guestkernel/platform/user_context.hpp"
#include "guestkernel/task/fpu.hpp"
#include "guestkernel/task/registry.hpp"
#include "guestkernel/task/signal_delivery.hpp"
#include "guestkernel/task/signal_frame.hpp"

namespace kvmsbx::task {
namespace {

enum Vector : uint64_t {
    kDivide = 0,
    kDebug = 1,
    kBreakpoint = 3,
    kOverflow = 4,
    kBounds = 5,
    kInvalidOpcode = 6,
    kSegmentNotPresent = 11,
    kStackSegment = 12,
    kX87 = 16,
    kAlignment = 17,
    kSimd = 19,
};
constexpr int kFpeFltdiv = 3, kFpeFltovf = 4, kFpeFltund = 5, kFpeFltres = 6;
constexpr uint64_t kFlagTrap = 0x100;

// Which unmasked floating-point exception there was (fpu__exception_code).
int floating_point_code(Task& task, bool simd) {
    fpu_to_area(task);
    const char* area = static_cast<const char*>(task.fpu_area);
    uint32_t raised;
    if (simd) {
        uint32_t mxcsr;
        memcpy(&mxcsr, area + kMxcsrOffset, sizeof mxcsr);
        raised = mxcsr & ~(mxcsr >> 7);
    } else {
        uint16_t control, status;
        memcpy(&control, area, sizeof control);
        memcpy(&status, area + 2, sizeof status);
        raised = status & ~control & 0x3fU;
    }
    if (raised & 0x01) return kFpeFltinv;
    if (raised & 0x04) return kFpeFltdiv;
    if (raised & 0x08) return kFpeFltovf;
    if (raised & 0x12) return kFpeFltund;
    if (raised & 0x20) return kFpeFltres;
    return 0;
}

// `int n` that the application may not execute is #GP on a CPU; KVM without VMX or SVM reports #UD.
bool is_software_interrupt(Task& task) {
    constexpr uint8_t kIntImmediate = 0xcd;
    const auto opcode = mm::UserIn<uint8_t>{task.regs.rip}.load(task.space());
    return opcode.is_ok() && opcode.value() == kIntImmediate;
}

}  // namespace

void send_fault_signal(Task& task, int signal, int code, uint64_t address) {
    SigInfo info;
    info.signo = signal;
    info.code = code;
    info.fault.address = address;
    force_signal(task, info);
}

void deliver_exception(Task& task) {
    const abi::UserRegs& regs = task.regs;
    switch (regs.trap) {
        case kDivide: return send_fault_signal(task, kSigFpe, kFpeIntdiv, regs.rip);
        case kDebug:
            return send_fault_signal(task, kSigTrap, regs.rflags & kFlagTrap ? kTrapTrace : kTrapBrkpt, regs.rip);
        case kBreakpoint: return force_signal(task, kernel_signal(kSigTrap));
        case kInvalidOpcode:
            if (is_software_interrupt(task)) return force_signal(task, kernel_signal(kSigSegv));
            return send_fault_signal(task, kSigIll, kIllIllopn, regs.rip);
        case kSegmentNotPresent:
        case kStackSegment: return force_signal(task, kernel_signal(kSigBus));
        case kX87:
        case kSimd:
            if (const int code = floating_point_code(task, regs.trap == kSimd))
                send_fault_signal(task, kSigFpe, code, regs.rip);
            return;
        case kAlignment: return send_fault_signal(task, kSigBus, kBusAdraln, 0);
        default: return force_signal(task, kernel_signal(kSigSegv));  // #OF #BR #TS #GP and what cannot happen
    }
}

}  // namespace kvmsbx::task
