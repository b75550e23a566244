#include "guestkernel/task/trap.hpp"

#include "guestkernel/lib/assert.hpp"
#include "guestkernel/lib/format.hpp"
#include "guestkernel/mm/shortage.hpp"
#include "guestkernel/platform/address_space.hpp"
#include "guestkernel/platform/cpu.hpp"
#include "guestkernel/platform/host.hpp"
#include "guestkernel/platform/user_context.hpp"
#include "guestkernel/sched/cpu.hpp"
#include "guestkernel/sched/kernel_lock.hpp"
#include "guestkernel/task/exit.hpp"
#include "guestkernel/task/fpu.hpp"
#include "guestkernel/task/posted_calls.hpp"
#include "guestkernel/task/registry.hpp"
#include "guestkernel/task/rseq.hpp"
#include "guestkernel/task/signal_delivery.hpp"

namespace kvmsbx::task {

void (*dispatch_system_call)(Task& task);

namespace {

constexpr uint64_t kInvalidOpcode = 6, kPageFault = 14;
constexpr uint64_t kErrorWrite = 2, kErrorFetch = 16;

void page_fault(Task& task) {
    const uint64_t address = task.regs.cr2;
    const mm::Access access = task.regs.error_code & kErrorFetch   ? mm::Access::kExecute
                              : task.regs.error_code & kErrorWrite ? mm::Access::kWrite
                                                                   : mm::Access::kRead;
    const uint64_t blocked = task.voluntary_switches;
    auto handled = task.space().fault(address, access, mm::AddressSpace::Flush::kLater);
    ++(task.voluntary_switches != blocked ? task.major_faults : task.minor_faults);
    if (handled.is_ok()) return task.space().tell_platform(address);
    switch (handled.error()) {
        case Errno::kFAULT: return send_fault_signal(task, kSigSegv, kSegvMaperr, address);
        case Errno::kACCES: return send_fault_signal(task, kSigSegv, kSegvAccerr, address);
        case Errno::kNOMEM: return;  // it is being killed for memory
        default: return send_fault_signal(task, kSigBus, kBusAdrerr, address);
    }
}

// Ring 3 mode: a SYSCALL that KVM has interpreted is #UD, whether it refused SYSCALL itself or the `int $4` behind it
// (platform.md, section 3, 15). True: the registers are as SYSCALL leaves them.
bool becomes_system_call(Task& task) {
    constexpr uint16_t kSyscall = 0x050f;
    abi::UserRegs& regs = task.regs;
    if (platform::boot_info().privilege != abi::PrivilegeMode::kRing3) return false;
    const auto instruction = mm::UserIn<uint16_t>{regs.rip}.load(task.space());
    if (instruction.is_error() || instruction.value() != kSyscall) return false;
    regs.rip += sizeof kSyscall;
    regs.rcx = regs.rip, regs.r11 = regs.rflags;
    regs.trap = abi::kTrapSyscall;
    return true;
}

[[gnu::noinline]] void work_before_return(Task& task) {
    if (task.rseq_pending) rseq_resume(task);
    if (has_signal_work(task)) deliver_signals(task);
    if (sched::should_yield()) sched::make_way();
}

// The host has ended what the application ran in, or has no memory for it: the task's process ends, as by the host's OOM killer.
[[noreturn]] void end_for_the_host(Task& task) {
    debug("process {}: the host does not let its application run any more", task.process().pid);
    // Whoever was killed there: the next would be the sandbox process.
    mm::note_shortage_of_the_host();
    force_signal(task, kernel_signal(kSigKill));
    for (;;) work_before_return(task);
}

// Inline: on the way of every system call.
[[gnu::always_inline]] inline void handle(Task& task) {
    const uint64_t trap = task.regs.trap;
    if (trap == abi::kTrapSyscall) return dispatch_system_call(task);
    if (trap == kPageFault) return page_fault(task);
    if (platform::is_event(trap)) {
        // Another vCPU may have changed this application's page table (sched::interrupt_users_of).
        if (platform::event_of(trap) == platform::Event::kOtherCpu) platform::forget_space(platform::cpu());
        return sched::serve_interrupt(platform::event_of(trap));
    }
    if (platform::is_spurious(trap)) return;
    if (trap == abi::kTrapGone) return end_for_the_host(task);
    if (trap == kInvalidOpcode && becomes_system_call(task)) return dispatch_system_call(task);
    deliver_exception(task);
}

// Other vCPUs of its address space have threads of the host. It tries again here after a while.
[[noreturn]] void go_on_elsewhere(Task& task) {
    constexpr sched::Nanoseconds kPause = 100'000'000;
    task.usable_cpus = task.space().user_space().usable_cpus();
    task.all_cpus_usable_at = sched::now() + kPause;
    sched::move_to_allowed_cpu(task);
    return_to_user(task);
}

// The vCPU is not where it was: another address space comes, or the platform wants to be asked each time.
[[gnu::noinline]] void prepare_to_load(Task& task, platform::Cpu& area) {
    if (task.usable_cpus != ~0ULL && sched::now() >= task.all_cpus_usable_at) task.usable_cpus = ~0ULL;
    if (auto loaded = task.space().user_space().load(area); loaded.is_error()) {
        if (loaded.error() == Errno::kAGAIN) go_on_elsewhere(task);
        end_for_the_host(task);
    }
    if (calls_can_be_posted) prepare_entry(task, area);
}

// Part of the way of every system call: a detour of a few instructions counts.
[[noreturn, gnu::always_inline]] inline void leave_sentry(Task& task) {
    while (has_signal_work(task) || sched::should_yield()) [[unlikely]] work_before_return(task);
    sched::before_resume();
    platform::Cpu& area = platform::cpu();
    const platform::UserSpace& space = task.space().user_space();
    space.select(area);
    if (!space.is_loaded(area)) prepare_to_load(task, area);
    if (task.fpu_in_area_only) load_fpu(task);
    task.resumed_at = platform::read_tsc();
    platform::count_crossing(area);
    sched::unlock_kernel();
    platform::resume_user();
}

[[noreturn]] void trap_entry(abi::UserRegs*, platform::Cpu* area) {
    platform::count_crossing(*area);
    sched::lock_kernel();
    Task& task = static_cast<Task&>(sched::current());
    task.user_ticks += platform::read_tsc() - task.resumed_at;
    handle(task);
    leave_sentry(task);
}

[[noreturn]] void fault_entry(abi::SentryFault* fault, platform::Cpu* area) {
    platform::panic_with_fault(*fault, *area);
}

}  // namespace

void handle_trap(Task& task) { handle(task); }

void return_to_user(Task& task) { leave_sentry(task); }

void enter_on_own_stack(Task& task, platform::Cpu& area) {
    platform::set_user_context(area, task.regs, task.stack() + platform::kStackSize);
    platform::set_trap_entry(area, trap_entry);
}

void install_traps(platform::Cpu& area) {
    platform::set_trap_entry(area, trap_entry);
    platform::set_fault_entry(area, fault_entry);
    platform::count_crossing(area);
    install_posted_calls(area);
}

void Task::run() {
    if (bootstrap) bootstrap(*this);
    return_to_user(*this);
}

bool Task::interrupted() const { return has_pending_signal(*this); }

uint64_t Task::limit(unsigned resource) const { return process().limits[resource].soft; }

void Task::switched_out() {
    if (away_from) return left_poller();
    if (!fpu_in_area_only) platform::save_fpu(fpu_area);
    fpu_in_area_only = true;
    regs.fs_base = platform::read_fs_base();
    regs.gs_base = platform::read_gs_base();
}

void Task::switched_in() {
    if (away_from) return;
    platform::set_user_context(platform::cpu(), regs, stack() + platform::kStackSize);
    platform::write_fs_base(regs.fs_base);
    platform::write_gs_base(regs.gs_base);
    if (rseq_address) rseq_note_switch(*this);
}

}  // namespace kvmsbx::task
