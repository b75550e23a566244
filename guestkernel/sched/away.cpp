#include "guestkernel/lib/assert.hpp"
#include "guestkernel/platform/cpu.hpp"
#include "guestkernel/sched/scheduler.hpp"

namespace kvmsbx::sched {

struct AwayFromHome : Switching {
    static inline void (*away_body)(Thread&);  // handed to begin(), with the kernel lock held

    static Result<> create_standby(Cpu& home) {
        Thread& standby = cpus[home.cpu_id].standby;
        if (standby.stack_) return {};
        TRY(standby.create_stack());
        standby.header_->cpu = &home;
        return {};
    }

    static void begin(Transfer from) {
        finish_switch(from);
        const auto body = away_body;
        body(current());
        panic("a thread's body returned");
    }

    static Context empty_stack(const Thread& thread) {
        return make_fcontext(thread.stack_ + platform::kStackSize, platform::kStackSize - sizeof(platform::StackHeader),
                             begin);
    }

    static void run_away_from_home(Thread& thread, void (*body)(Thread&)) {
        CpuState& cpu = this_cpu();
        CpuState& home = cpus[thread.last_cpu->cpu_id];
        Thread& carrier = current();
        VERIFY(home.running == &thread && cpu.running == &carrier);
        home.running = &home.standby;
        home.standby.state_ = Thread::State::kRunning;
        home.standby.started_ = now();
        carrier.cpu_time += home.standby.started_ - carrier.started_;
        if (&carrier != &cpu.idle) cpu.carrier = &carrier;
        cpu.running = &thread;
        thread.last_cpu = thread.header_->cpu = cpu.area;
        away_body = body;
        finish_switch(jump_fcontext(empty_stack(thread), &carrier));
    }

    [[noreturn]] static void return_home(Thread& thread, Cpu& area) {
        CpuState& cpu = this_cpu();
        CpuState& home = cpus[area.cpu_id];
        VERIFY(home.running == &home.standby && cpu.running == &thread);
        home.running = &thread;
        cpu.running = cpu.carrier ? cpu.carrier : &cpu.idle;
        cpu.carrier = nullptr;
        cpu.running->started_ = now();  // may ask the host: while this stack still knows its vCPU
        thread.last_cpu = thread.header_->cpu = &area;
        jump_fcontext(cpu.running->context_, &thread);
        panic("a stack that was left was used");
    }

    [[noreturn]] static void leave_standby() {
        current().state_ = Thread::State::kBlocked;
        switch_away();
        panic("a standby thread was resumed");
    }

    [[noreturn]] static void restart_on_own_stack(Thread& thread, void (*body)(Thread&)) {
        away_body = body;
        jump_fcontext(empty_stack(thread), &this_cpu().standby);
        panic("a stack that was left was used");
    }
};

Result<> create_standby(Cpu& home) { return AwayFromHome::create_standby(home); }
const void* standby_stack_end(const Cpu& home) { return cpus[home.cpu_id].standby.stack() + platform::kStackSize; }
void run_away_from_home(Thread& thread, void (*body)(Thread&)) { AwayFromHome::run_away_from_home(thread, body); }
void return_home(Thread& thread, Cpu& home) { AwayFromHome::return_home(thread, home); }
void leave_standby() { AwayFromHome::leave_standby(); }
void restart_on_own_stack(Thread& thread, void (*body)(Thread&)) { AwayFromHome::restart_on_own_stack(thread, body); }

}  // namespace kvmsbx::sched
