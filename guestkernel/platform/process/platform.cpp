// The machine as threads of the sandbox process: what the VMM gives as functions stands for devices, and applications run in stubs.
#include "guestkernel/platform/address_space.hpp"
#include "guestkernel/platform/call_post.hpp"
#include "guestkernel/platform/cpu.hpp"
#include "guestkernel/platform/host.hpp"
#include "guestkernel/platform/hypercall.hpp"
#include "guestkernel/platform/process/frame.hpp"
#include "guestkernel/platform/process/host_call.hpp"
#include "guestkernel/platform/process/mirror.hpp"
#include "guestkernel/platform/start.hpp"
#include "guestkernel/platform/user_context.hpp"

namespace kvmsbx::platform {
namespace {

using process::call_host;
using process::host;

const abi::BootInfo* boot;

// What a CPU has in its registers on other platforms, by vCPU.
struct CpuLocal {
    process::Runner* runner = nullptr;  // carries the task that runs here
    int32_t pid = 0;                    // of its stub
    uint64_t fs_base = 0, gs_base = 0;  // of that task
};
CpuLocal locals[abi::kMaxCpus];

CpuLocal& local() { return locals[cpu().cpu_id]; }

// SAFETY: as the entry code of other platforms does, the thread's stack begins anew, and trap_entry does not return.
[[noreturn]] void enter_trap(CpuArea& area, UserRegs& regs) {
    asm volatile(
        "mov %0, %%rsp\n\t"
        "xor %%ebp, %%ebp\n\t"
        "push %%rbp\n\t"
        "jmp *%1"
        :
        : "r"(area.kernel_stack), "r"(area.trap_entry), "D"(&regs), "S"(&area)
        : "memory");
    __builtin_unreachable();
}

// An interrupt that came while the Sentry ran, or before the application could.
[[noreturn]] void take_interrupt(CpuArea& area, UserRegs& regs) {
    const uint64_t pending = __atomic_load_n(&area.pending_interrupts, __ATOMIC_ACQUIRE);
    if (pending == 0) {
        regs.trap = abi::kVectorSpurious;
    } else {
        const auto bit = static_cast<unsigned>(__builtin_ctzll(pending));
        __atomic_fetch_and(&area.pending_interrupts, ~(1ULL << bit), __ATOMIC_ACQ_REL);
        regs.trap = abi::kVectorFirst + bit;
    }
    enter_trap(area, regs);
}

void give_bases(process::Runner& runner, const CpuLocal& here) {
    uint32_t set = 0;
    if (runner.fs_base != here.fs_base) set |= 1;
    if (runner.gs_base != here.gs_base) set |= 2;
    runner.control->set_bases = set;
    runner.control->new_fs_base = runner.fs_base = here.fs_base;
    runner.control->new_gs_base = runner.gs_base = here.gs_base;
}

void take_bases(process::Runner& runner, CpuLocal& here) {
    if (!boot->fsgsbase) return;
    here.fs_base = runner.fs_base = __atomic_load_n(&runner.control->fs_base, __ATOMIC_RELAXED);
    here.gs_base = runner.gs_base = __atomic_load_n(&runner.control->gs_base, __ATOMIC_RELAXED);
}

// CpuArea::resume_user.
[[noreturn]] void run_application() {
    CpuArea& area = cpu();
    UserRegs& regs = *reinterpret_cast<UserRegs*>(area.user_regs);  // SAFETY: switched_in() put it there
    CpuLocal& here = local();
    process::Runner& runner = *here.runner;
    if (call_host(area, host().interrupt_waits, &area) != 0) take_interrupt(area, regs);
    write_frame(runner, regs);
    give_bases(runner, here);
    runner.control->resume_context =
        runner.address + static_cast<uint64_t>(runner.context - reinterpret_cast<char*>(runner.control));
    const int64_t ended = call_host(area, host().run, &area, runner.control, static_cast<uint64_t>(here.pid),
                                    static_cast<uint64_t>(runner.tid));
    if (ended != 0 || locate_frame(runner).is_error()) {
        runner.lost = true;
        regs.trap = abi::kTrapGone;
        enter_trap(area, regs);
    }
    const int signal = read_frame(runner, regs);
    take_bases(runner, here);
    if (signal == abi::kPreemptSignal) take_interrupt(area, regs);
    enter_trap(area, regs);
}

}  // namespace

namespace process {

// SAFETY: changes to the host's stack and back; the callee keeps what the ABI wants kept.
asm(R"(
    .pushsection .text
    .balign 16
    .globl call_on_host_stack
    .type call_on_host_stack, @function
call_on_host_stack:  # rdi: function, rsi: stack, rdx, rcx, r8, r9: arguments
    push %rbp
    mov %rsp, %rbp
    mov %rsi, %rsp
    mov %rdi, %rax
    mov %rdx, %rdi
    mov %rcx, %rsi
    mov %r8, %rdx
    mov %r9, %rcx
    and $-16, %rsp
    call *%rax
    mov %rbp, %rsp
    pop %rbp
    ret
    .size call_on_host_stack, . - call_on_host_stack
    .popsection
)");

}  // namespace process

const uint64_t user_end = abi::kProcessUserEnd;

void set_boot_info(const abi::BootInfo& info) { boot = &info; }
const abi::BootInfo& boot_info() { return *boot; }

// SAFETY: a function's address as CpuArea wants it.
void init_cpu(CpuArea& area) { area.resume_user = reinterpret_cast<uint64_t>(run_application); }

void prepare_stack(void*) {}

// SAFETY: the VMM maps RAM and the channel there.
void* phys_to_virt(Phys phys) { return reinterpret_cast<void*>(abi::kProcessDirectMap + phys); }
Phys virt_to_phys(const void* address) { return reinterpret_cast<uint64_t>(address) - abi::kProcessDirectMap; }

void make_hypercall(CpuArea& area) { call_host(area, host().hypercall, &area); }

void set_timer(uint64_t ns) { call_host(cpu(), host().set_timer, &cpu(), ns); }
void kick(const CpuArea& target) { call_host(cpu(), host().send_ipi, const_cast<CpuArea*>(&target)); }
void end_of_interrupt() {}
CallPost* call_post(Cpu&) { return nullptr; }
bool interrupt_waits() { return call_host(cpu(), host().interrupt_waits, &cpu()) != 0; }

uint64_t wait_for_interrupts() {
    CpuArea& area = cpu();
    if (__atomic_load_n(&area.pending_interrupts, __ATOMIC_ACQUIRE) == 0) call_host(area, host().wait, &area);
    return __atomic_exchange_n(&area.pending_interrupts, 0, __ATOMIC_ACQ_REL);
}

void yield() { call_host(cpu(), host().yield); }
void drop_user_space() {}
void ring_gofer() { call_host(cpu(), host().ring_gofer); }

Result<> UserSpace::load(CpuArea& area) {
    if (!mirror_) return Errno::kSRCH;
    CpuLocal& here = locals[area.cpu_id];
    here.runner = TRY(mirror_->runner(area));
    here.pid = mirror_->pid();
    return {};
}

void save_fpu(void* area) {
    if (local().runner && local().runner->fpu) read_fpu(*local().runner, area);
}
void restore_fpu(const void* area) {
    if (local().runner && local().runner->fpu) write_fpu(*local().runner, area);
}

uint64_t read_fs_base() { return local().fs_base; }
uint64_t read_gs_base() { return local().gs_base; }
void write_fs_base(uint64_t base) { local().fs_base = base; }
void write_gs_base(uint64_t base) { local().gs_base = base; }

}  // namespace kvmsbx::platform
