// Exceptions of the Sentry's own code, which here are signals of a thread of this process.
#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include <cstdio>

#include "common/host/errno.hpp"
#include "common/host/exit_code.hpp"
#include "vmm/process/vcpu_thread.hpp"

namespace kvmsbx::vmm {
namespace {

constexpr size_t kFaultStackSize = 64 * 1024;

// Of a thread on which the Sentry runs.
struct Watched {
    abi::CpuArea* area = nullptr;
    bool faulted = false;
};
thread_local Watched watched;

bool is_sentry(const greg_t* registers) {
    const ProcessMachine& machine = *process_vcpu_context().machine;
    auto in = [](greg_t address, uint64_t start, uint64_t size) {
        return static_cast<uint64_t>(address) - start < size;
    };
    // A wild jump leaves the image, but not the Sentry's stack.
    return in(registers[REG_RIP], machine.image_start, machine.image_end - machine.image_start) ||
           in(registers[REG_RSP], abi::kProcessDirectMap + abi::kRamGpa, process_vcpu_context().state->memory.size());
}

abi::SentryFault describe(const greg_t* registers) {
    auto value = [&](int index) { return static_cast<uint64_t>(registers[index]); };
    return {value(REG_R15), value(REG_R14), value(REG_R13), value(REG_R12),    value(REG_RBP), value(REG_RBX),
            value(REG_R11), value(REG_R10), value(REG_R9),  value(REG_R8),     value(REG_RAX), value(REG_RCX),
            value(REG_RDX), value(REG_RSI), value(REG_RDI), value(REG_TRAPNO), value(REG_ERR), value(REG_CR2),
            value(REG_RIP), abi::kUserCs,   value(REG_EFL), value(REG_RSP),    abi::kUserSs};
}

void on_fault(int signal, siginfo_t*, void* interrupted) {
    greg_t* registers = static_cast<ucontext_t*>(interrupted)->uc_mcontext.gregs;
    abi::CpuArea* area = watched.area;
    if (area == nullptr || watched.faulted || area->fault_entry == 0 || !is_sentry(registers)) {
        const ProcessVcpuContext& context = process_vcpu_context();
        if (context.state != nullptr)
            context.state->log.error("the sandbox process died: signal %d at %#llx (%s), address %#llx", signal,
                                     static_cast<unsigned long long>(registers[REG_RIP]),
                                     watched.faulted ? "in the Sentry's own handler" : "not in the Sentry",
                                     static_cast<unsigned long long>(registers[REG_CR2]));
        _exit(host::kExitOwnFailure);
    }
    watched.faulted = true;
    uint64_t at = (area->emergency_stack - sizeof(abi::SentryFault)) & ~uint64_t{63};
    *reinterpret_cast<abi::SentryFault*>(at) = describe(registers);
    registers[REG_RSP] = static_cast<greg_t>(at - 8);  // as after a call
    registers[REG_RBP] = 0;
    registers[REG_RIP] = static_cast<greg_t>(area->fault_entry);
    registers[REG_RDI] = static_cast<greg_t>(at);
    registers[REG_RSI] = reinterpret_cast<greg_t>(area);
    registers[REG_EFL] = 2;
}

}  // namespace

void install_fault_handlers() {
    for (int signal : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP}) {
        struct sigaction action {};
        action.sa_sigaction = on_fault;
        action.sa_flags = SA_SIGINFO | SA_ONSTACK;
        sigfillset(&action.sa_mask);
        sigaction(signal, &action, nullptr);
    }
}

Result<> watch_for_faults(unsigned cpu) {
    void* memory = mmap(nullptr, kFaultStackSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return host::last_errno();
    stack_t stack{};
    stack.ss_sp = memory;
    stack.ss_size = kFaultStackSize;
    if (sigaltstack(&stack, nullptr) != 0) return host::last_errno();
    const uint64_t area = abi::kProcessDirectMap + process_vcpu_context().machine->cpu_areas[cpu].value;
    // SAFETY: where the machine's builder put it.
    watched.area = reinterpret_cast<abi::CpuArea*>(area);
    return {};
}

}  // namespace kvmsbx::vmm
