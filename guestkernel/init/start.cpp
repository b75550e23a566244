// The Sentry's start: sentry_start on every vCPU; vCPU 0 sets everything up and makes the first task, whose bootstrap
// (first_task.cpp) goes on from there.
#include "guestkernel/platform/start.hpp"
#include "guestkernel/fs/ninep/channel.hpp"
#include "guestkernel/init/first_task.hpp"
#include "guestkernel/lib/assert.hpp"
#include "guestkernel/lib/format.hpp"
#include "guestkernel/lib/random.hpp"
#include "guestkernel/mm/frame.hpp"
#include "guestkernel/platform/cpu.hpp"
#include "guestkernel/platform/host.hpp"
#include "guestkernel/sched/clock.hpp"
#include "guestkernel/sched/cpu.hpp"
#include "guestkernel/sched/kernel_lock.hpp"
#include "guestkernel/syscalls/dispatch.hpp"
#include "guestkernel/task/life.hpp"
#include "guestkernel/task/trap.hpp"

namespace kvmsbx::init {
namespace {

bool started;

void prepare_cpu(platform::Cpu& area) {
    sched::prepare_idle(area, platform::entry_stack_header(area));
    platform::init_cpu(area);
    task::install_traps(area);
}

void run_constructors() {
    using Constructor = void (*)();
    // SAFETY: the linker script defines both symbols, around the constructors' addresses.
    extern Constructor init_array_start[] asm("init_array_start"), init_array_end[] asm("init_array_end");
    for (Constructor* at = init_array_start; at < init_array_end; ++at) (*at)();
}

void set_up_sentry(const abi::BootInfo& info) {
    if (info.magic != abi::kBootInfoMagic || info.version != abi::kBootInfoVersion || info.size != sizeof info)
        panic("boot info is of another version");
    mm::init_frames(info.ram_gpa, info.ram_size, info.ram_first_free, info.ram_backed);
    random::seed(info.random_seed);
    sched::init_clock();
    take_start_settings();
    if (info.vdso_size) sched::update_vdso_data(platform::phys_to_virt(info.vdso_gpa - platform::kPageSize));
    syscalls::init_strace();
    task::dispatch_system_call = syscalls::dispatch;
    task::sandbox_exit = exit_sandbox;
    sched::hooks.channel_collect = fs::ninep::handle_completion_interrupt;
    sched::hooks.channel_pending = fs::ninep::requests_pending;
    sched::hooks.channel_arm = fs::ninep::arm_completion_interrupt;
    sched::hooks.host_event_interrupt = handle_host_events;
}

extern "C" [[noreturn]] void sentry_start(const abi::BootInfo* info, platform::Cpu* area) {
    if (area->cpu_id == 0) {
        run_constructors();
        platform::set_boot_info(*info);
        prepare_cpu(*area);
        sched::lock_kernel();
        set_up_sentry(*info);
        auto first = task::create_process(run_first_task, nullptr);
        if (first.is_error()) cannot_start(first.error());
        sched::start(*first.value());
        __atomic_store_n(&started, true, __ATOMIC_RELEASE);
    } else {
        while (!__atomic_load_n(&started, __ATOMIC_ACQUIRE)) platform::relax();
        prepare_cpu(*area);
        sched::lock_kernel();
    }
    sched::run_idle(*area);
}

}  // namespace
}  // namespace kvmsbx::init

namespace kvmsbx {

bool debug_enabled() {
    static const bool enabled = platform::debug_lines_wanted();
    return enabled;
}

void log_line(std::string_view line) {
    FixedText<1024> copy;  // on a kernel stack, so in the direct map
    copy.put(line);
    if (!line.ends_with('\n')) copy.put("\n");
    platform::write_log(copy.view());
}

}  // namespace kvmsbx
