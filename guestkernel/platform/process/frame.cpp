#include "guestkernel/platform/process/frame.hpp"

#include <cstring>

#include "guestkernel/platform/host.hpp"

namespace kvmsbx::platform::process {
namespace {

// struct sigcontext and struct ucontext of the x86-64 ABI (arch/x86/include/uapi/asm/{sigcontext,ucontext}.h).
struct SigContext {
    uint64_t r8, r9, r10, r11, r12, r13, r14, r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, rflags;
    uint16_t cs, gs, fs, ss;
    uint64_t error, trap, old_mask, cr2;
    uint64_t fpstate;  // address in the stub
    uint64_t reserved[8];
};
static_assert(sizeof(SigContext) == 256);
struct Context {
    uint64_t flags, link;
    uint64_t stack_base;
    uint32_t stack_flags, pad;
    uint64_t stack_size;
    SigContext registers;
    uint64_t mask;
};
static_assert(sizeof(Context) == 304);

constexpr uint64_t kFpXstate = 1, kSigcontextSs = 2, kStrictRestoreSs = 4;  // UC_*
// Offsets in the FPU part: FXSAVE's reserved bytes, which tell the kernel what follows; the XSAVE header; MXCSR.
constexpr size_t kSoftwareOffset = 464, kHeaderOffset = 512, kExtendedOffset = 576, kMxcsrOffset = 24;
constexpr uint32_t kMagic1 = 0x46505853, kMagic2 = 0x46505845, kMxcsrMask = 0xffff;
struct Software {
    uint32_t magic1, extended_size;
    uint64_t features;
    uint32_t xstate_size, pad[7];
};
static_assert(sizeof(Software) == 48);

constexpr int kSigSys = 31, kSigBus = 7;
constexpr uint64_t kGeneralProtection = 13, kPageFault = 14;
constexpr int kSigSegv = 11;
constexpr uint32_t kArchI386 = 0x4000'0003;  // AUDIT_ARCH_I386, of int 0x80
// struct siginfo, which lies right behind the ucontext (struct rt_sigframe): what is read of it.
struct Info {
    int32_t signal, error, code, pad;
    uint64_t call_address;  // of SIGSYS: where the call was made
    int32_t call;
    uint32_t arch;
};
static_assert(sizeof(Info) == 32);
constexpr int kFromKernel = 0x80;  // SI_KERNEL
constexpr uint64_t kVsyscallPage = 0xffff'ffff'ff60'0000;
constexpr uint64_t kUserFetch = 0x14;  // page fault's error code
constexpr uint64_t kUserFlags = 0x50dd5, kInterruptFlag = 0x200, kReserved = 2;

uint64_t frame_fpu_size() { return boot_info().frame_xstate_size + sizeof kMagic2; }

char* bytes_of(abi::RunnerControl& control) { return reinterpret_cast<char*>(&control); }

// The bytes at an address that the stub gave, if [address, address + size) lies behind the control block in the runner's area.
char* in_area(const Runner& runner, uint64_t address, uint64_t size, uint64_t alignment) {
    const uint64_t offset = address - runner.address, end = boot_info().runner_area_size;
    if (offset < sizeof(abi::RunnerControl) || offset > end || size > end - offset || offset % alignment)
        return nullptr;
    return bytes_of(*runner.control) + offset;
}

void write_software(char* fpu) {
    const auto size = static_cast<uint32_t>(boot_info().frame_xstate_size);
    const Software software{
        kMagic1, static_cast<uint32_t>(size + sizeof kMagic2), boot_info().frame_xfeatures, size, {}};
    memcpy(fpu + kSoftwareOffset, &software, sizeof software);
    memcpy(fpu + size, &kMagic2, sizeof kMagic2);
}

// Exceptions that are SIGSEGV with SI_KERNEL. Others are numbers of an earlier trap, which the kernel leaves in the frame of a signal that
// it forces by itself.
bool raises_segv_by_kernel(uint64_t trap) { return trap == 4 || trap == 5 || trap == 10 || trap == kGeneralProtection; }

void read_system_call(const Info& info, UserRegs& regs) {
    regs.trap = abi::kTrapSyscall;
    if (info.arch == kArchI386) {
        // int $0x80: as a CPU reports it where there is no such gate.
        regs.rip -= 2;
        regs.trap = kGeneralProtection;
        regs.error_code = 0x80 * 8 + 2;
    } else if (info.call_address - kVsyscallPage < kPageSize) {
        // The host's kernel made the call of its vsyscall page and returned from there; we have no such page.
        regs.rip = regs.cr2 = info.call_address;
        regs.rsp -= 8;
        regs.trap = kPageFault;
        regs.error_code = kUserFetch;
    }
}

}  // namespace

uint64_t make_first_frame(abi::RunnerControl& control, uint64_t address) {
    const uint64_t context_at = sizeof(abi::RunnerControl);
    const uint64_t fpu_at = (context_at + sizeof(Context) + 63) & ~63ULL;
    Context context{};
    context.flags = kFpXstate | kSigcontextSs | kStrictRestoreSs;
    context.stack_base = address + sizeof(abi::RunnerControl);
    context.stack_size = boot_info().runner_area_size - sizeof(abi::RunnerControl);
    context.registers.cs = abi::kUserCs, context.registers.ss = abi::kUserSs;
    context.registers.rflags = kInterruptFlag | kReserved;
    context.registers.fpstate = address + fpu_at;
    memcpy(bytes_of(control) + context_at, &context, sizeof context);
    init_fpu_area(bytes_of(control) + fpu_at);
    write_software(bytes_of(control) + fpu_at);
    return context_at;
}

Result<> locate_frame(Runner& runner) {
    const uint64_t context = __atomic_load_n(&runner.control->context, __ATOMIC_RELAXED);
    char* const found = in_area(runner, context, sizeof(Context), 8);
    if (!found) return Errno::kFAULT;
    uint64_t fpstate;
    memcpy(&fpstate, found + offsetof(Context, registers) + offsetof(SigContext, fpstate), sizeof fpstate);
    char* const fpu = in_area(runner, fpstate, frame_fpu_size(), 64);
    if (!fpu) return Errno::kFAULT;
    runner.context = found, runner.fpu = fpu;
    return {};
}

int read_frame(const Runner& runner, UserRegs& regs) {
    Context copy;
    memcpy(&copy, runner.context, sizeof copy);
    const SigContext& c = copy.registers;
    regs.r15 = c.r15, regs.r14 = c.r14, regs.r13 = c.r13, regs.r12 = c.r12, regs.rbp = c.rbp, regs.rbx = c.rbx;
    regs.r11 = c.r11, regs.r10 = c.r10, regs.r9 = c.r9, regs.r8 = c.r8, regs.rax = c.rax, regs.rcx = c.rcx;
    regs.rdx = c.rdx, regs.rsi = c.rsi, regs.rdi = c.rdi;
    regs.rip = c.rip, regs.rsp = c.rsp, regs.rflags = c.rflags;
    regs.cs = abi::kUserCs, regs.ss = abi::kUserSs;
    regs.error_code = 0, regs.cr2 = 0;
    const auto signal = static_cast<int>(__atomic_load_n(&runner.control->signal, __ATOMIC_RELAXED));
    Info info{};
    if (runner.context + sizeof copy + sizeof info <= bytes_of(*runner.control) + boot_info().runner_area_size)
        memcpy(&info, runner.context + sizeof copy, sizeof info);
    if (signal == abi::kPreemptSignal) {
        regs.trap = abi::kVectorSpurious;
    } else if (signal == kSigSys) {
        read_system_call(info, regs);
    } else {
        regs.trap = c.trap < 32 ? c.trap : kGeneralProtection;
        if (signal == kSigSegv && info.code == kFromKernel && !raises_segv_by_kernel(regs.trap))
            regs.trap = kGeneralProtection;
        regs.error_code = c.error;
        if (regs.trap == kPageFault) regs.cr2 = c.cr2;
        // The host has no memory for a page of RAM's file.
        if (signal == kSigBus && regs.trap == kPageFault) regs.trap = abi::kTrapGone;
    }
    return signal;
}

void write_frame(const Runner& runner, const UserRegs& regs) {
    Context copy;
    memcpy(&copy, runner.context, sizeof copy);
    copy.flags = kFpXstate | kSigcontextSs | kStrictRestoreSs;
    copy.stack_base = runner.address + sizeof(abi::RunnerControl);
    copy.stack_flags = 0;
    copy.stack_size = boot_info().runner_area_size - sizeof(abi::RunnerControl);
    copy.mask = 0;
    SigContext& c = copy.registers;
    c.r15 = regs.r15, c.r14 = regs.r14, c.r13 = regs.r13, c.r12 = regs.r12, c.rbp = regs.rbp, c.rbx = regs.rbx;
    c.r11 = regs.r11, c.r10 = regs.r10, c.r9 = regs.r9, c.r8 = regs.r8, c.rax = regs.rax, c.rcx = regs.rcx;
    c.rdx = regs.rdx, c.rsi = regs.rsi, c.rdi = regs.rdi;
    c.rip = regs.rip, c.rsp = regs.rsp;
    c.rflags = (regs.rflags & kUserFlags) | kInterruptFlag | kReserved;
    c.cs = abi::kUserCs, c.ss = abi::kUserSs, c.fs = c.gs = 0;
    c.fpstate = runner.address + static_cast<uint64_t>(runner.fpu - bytes_of(*runner.control));
    memcpy(runner.context, &copy, sizeof copy);
}

namespace {

// Only components that there are, in the standard format.
void read_header(char* area) {
    uint64_t header[8] = {};
    memcpy(&header[0], area + kHeaderOffset, sizeof header[0]);
    header[0] &= boot_info().xcr0;
    memcpy(area + kHeaderOffset, header, sizeof header);
}

}  // namespace

void read_fpu(const Runner& runner, void* area) {
    auto* to = static_cast<char*>(area);
    const uint64_t size = boot_info().fpu_area_size;
    memcpy(to, runner.fpu, size);
    memset(to + kSoftwareOffset, 0, sizeof(Software));
    if (boot_info().xcr0) read_header(to);
    uint32_t mxcsr;
    memcpy(&mxcsr, to + kMxcsrOffset, sizeof mxcsr);
    mxcsr &= kMxcsrMask;
    memcpy(to + kMxcsrOffset, &mxcsr, sizeof mxcsr);
}

void write_fpu(const Runner& runner, const void* area) {
    memcpy(runner.fpu, area, boot_info().fpu_area_size);
    write_software(runner.fpu);
}

}  // namespace kvmsbx::platform::process
