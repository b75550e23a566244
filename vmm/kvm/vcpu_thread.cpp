#include "vmm/kvm/vcpu_thread.hpp"

#include <signal.h>

#include <cstring>

#include "common/host/exit_code.hpp"
#include "vmm/hypercalls.hpp"

namespace kvmsbx::vmm {
namespace {

void do_nothing(int) {}

unsigned long long hex(uint64_t value) { return value; }

// The line that a user sees when the guest cannot go on, and registers for whoever looks into it.
void report_dead(SandboxState& state, Vcpu& vcpu, const char* what) {
    auto registers = vcpu.registers();
    auto system = vcpu.system_registers();
    if (registers.is_error() || system.is_error()) {
        state.log.error("the guest died on vCPU %u: %s", vcpu.id(), what);
        return;
    }
    const kvm_regs& r = *registers;
    state.log.error("the guest died on vCPU %u: %s; rip %#llx %s cs %#x rsp %#llx rflags %#llx cr2 %#llx cr3 %#llx",
                    vcpu.id(), what, hex(r.rip), symbolise(state.sentry, r.rip).c_str(), system->cs.selector,
                    hex(r.rsp), hex(r.rflags), hex(system->cr2), hex(system->cr3));
    state.log.debug(
        "rax %#llx rbx %#llx rcx %#llx rdx %#llx rsi %#llx rdi %#llx rbp %#llx r8 %#llx r9 %#llx r10 %#llx r11 %#llx "
        "r12 %#llx r13 %#llx r14 %#llx r15 %#llx",
        hex(r.rax), hex(r.rbx), hex(r.rcx), hex(r.rdx), hex(r.rsi), hex(r.rdi), hex(r.rbp), hex(r.r8), hex(r.r9),
        hex(r.r10), hex(r.r11), hex(r.r12), hex(r.r13), hex(r.r14), hex(r.r15));
}

void end_dead(SandboxState& state, Vcpu& vcpu, const char* what) {
    state.ending.set(host::kExitOwnFailure, [&] { report_dead(state, vcpu, what); });
}

void handle_mmio(SandboxState& state, Vcpu& vcpu) {
    const auto& access = vcpu.run_page().mmio;
    if (access.is_write && access.phys_addr == abi::kDeviceGpa + abi::kHypercallOffset && access.len == 4) {
        handle_hypercall(state, vcpu.id());
        return;
    }
    if (access.is_write && access.phys_addr == abi::kDeviceGpa + abi::kGoferDoorbellOffset &&
        state.config.gofer_doorbell_fd < 0)
        return;
    char what[96];
    snprintf(what, sizeof what, "%s of %u bytes at %#llx, where there is nothing", access.is_write ? "write" : "read",
             access.len, hex(access.phys_addr));
    end_dead(state, vcpu, what);
}

void handle_exit(SandboxState& state, Vcpu& vcpu) {
    const kvm_run& run = vcpu.run_page();
    char what[96];
    switch (run.exit_reason) {
        case KVM_EXIT_MMIO: return handle_mmio(state, vcpu);
        case KVM_EXIT_INTR: return;
        case KVM_EXIT_SHUTDOWN: return end_dead(state, vcpu, "triple fault");
        case KVM_EXIT_IO: snprintf(what, sizeof what, "I/O at port %#x", run.io.port); break;
        case KVM_EXIT_INTERNAL_ERROR:
            snprintf(what, sizeof what, "KVM internal error %u (an instruction that KVM cannot emulate?)",
                     run.internal.suberror);
            break;
        case KVM_EXIT_FAIL_ENTRY:
            snprintf(what, sizeof what, "KVM refuses to enter the guest (hardware reason %#llx)",
                     hex(run.fail_entry.hardware_entry_failure_reason));
            break;
        default: snprintf(what, sizeof what, "unexpected KVM exit %u", run.exit_reason); break;
    }
    end_dead(state, vcpu, what);
}

}  // namespace

void install_kick_handler() {
    struct sigaction action {};
    action.sa_handler = do_nothing;
    sigaction(kick_signal(), &action, nullptr);
}

int kick_signal() { return SIGUSR1; }

void run_vcpu(SandboxState& state, Vcpu& vcpu) {
    while (!state.ending.decided()) {
        auto entered = vcpu.enter();
        if (entered.is_ok()) {
            handle_exit(state, vcpu);
        } else if (entered.error() != Errno::kINTR && entered.error() != Errno::kAGAIN) {
            char what[96];
            snprintf(what, sizeof what, "KVM_RUN: %s", strerror(static_cast<int>(entered.error())));
            end_dead(state, vcpu, what);
        }
    }
}

}  // namespace kvmsbx::vmm
