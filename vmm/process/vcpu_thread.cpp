#include "vmm/process/vcpu_thread.hpp"

#include <sched.h>
#include <unistd.h>

#include "vmm/hypercalls.hpp"

namespace kvmsbx::vmm {
namespace {

ProcessVcpuContext context;

void hypercall(abi::CpuArea* area) {
    handle_hypercall(*context.state, area->cpu_id % context.machine->cpu_areas.size());
    if (context.state->ending.decided()) park_thread();
}

void ring_gofer() {
    uint64_t one = 1;
    ssize_t ignored = write(context.state->config.gofer_doorbell_fd, &one, sizeof one);
    static_cast<void>(ignored);
}

void set_timer(abi::CpuArea* area, uint64_t ns) { context.host->set_timer(area, ns); }
void send_ipi(abi::CpuArea* target) { context.host->interrupt(target, abi::kVectorIpi); }
int64_t interrupt_waits(abi::CpuArea* area) { return context.host->interrupt_waits(area) ? 1 : 0; }
void wait(abi::CpuArea* area) { context.host->wait(area); }
int64_t run(abi::CpuArea* area, abi::RunnerControl* control, int32_t pid, int32_t tid) {
    return context.host->run(area, control, pid, tid);
}
int64_t order(abi::CpuArea* area, abi::OrderPage* orders, uint32_t count, int32_t pid) {
    return context.host->order(area, orders, count, pid);
}
int64_t create_stub(abi::CpuArea* area, abi::OrderPage* orders) { return context.host->create_stub(area, orders); }
void yield() { sched_yield(); }
void end_stub(abi::CpuArea* area, int32_t pid) { context.host->end_stub(area, pid); }
void kill_stub(abi::CpuArea* area, int32_t pid) { context.host->kill_stub(area, pid); }

}  // namespace

const abi::ProcessHost kProcessCalls = {hypercall, ring_gofer, set_timer,   send_ipi, interrupt_waits, wait,
                                        run,       order,      create_stub, yield,    end_stub,        kill_stub};

void set_process_vcpu_context(const ProcessVcpuContext& made) { context = made; }
const ProcessVcpuContext& process_vcpu_context() { return context; }

void park_thread() {
    while (true) pause();
}

void run_process_vcpu(unsigned cpu) {
    uint64_t area = abi::kProcessDirectMap + context.machine->cpu_areas[cpu].value;
    uint64_t info = abi::kProcessDirectMap + context.machine->boot_info.value;
    // SAFETY: the machine's builder put it there; no other code has its address yet.
    abi::CpuArea& shared = *reinterpret_cast<abi::CpuArea*>(area);
    // The Sentry calls back on this stack, below what is in use: the red zone and this frame.
    asm volatile(
        "lea -512(%%rsp), %%rax\n"
        "and $-64, %%rax\n"
        "mov %%rax, (%[host_stack])\n"
        "mov %[stack], %%rsp\n"
        "xor %%ebp, %%ebp\n"
        "push $0\n"
        "jmp *%[entry]\n"
        :
        : [host_stack] "r"(&shared.scratch[0]), [stack] "r"(shared.entry_stack), [entry] "r"(context.machine->entry),
          "D"(info), "S"(area)
        : "rax", "memory");
    __builtin_unreachable();
}

}  // namespace kvmsbx::vmm
