#pragma once
// A vCPU's thread: the Sentry runs on it, on stacks of its own, and calls the VMM back on the thread's (ProcessHost).
#include <cstdint>

#include "vmm/process/host.hpp"
#include "vmm/process/machine.hpp"
#include "vmm/sandbox_state.hpp"

namespace kvmsbx::vmm {

struct ProcessVcpuContext {
    SandboxState* state;
    ProcessHost* host;
    const ProcessMachine* machine;
};

// The functions of BootInfo::process_host. They find the sandbox through set_process_vcpu_context(): there is one per
// process.
extern const abi::ProcessHost kProcessCalls;
void set_process_vcpu_context(const ProcessVcpuContext& context);
const ProcessVcpuContext& process_vcpu_context();

// Exceptions in the Sentry go to its CpuArea::fault_entry from now on; any other ends the process with a line in the
// log. To be called once.
void install_fault_handlers();
// The calling thread is that of vCPU `cpu`. Before it is confined: makes an alternate stack.
Result<> watch_for_faults(unsigned cpu);

// sentry_start() on the calling thread, which never comes back from there.
[[noreturn]] void run_process_vcpu(unsigned cpu);

// Waits for the process's end, which is decided.
[[noreturn]] void park_thread();

}  // namespace kvmsbx::vmm
