#include "guestkernel/sched/sched.hpp"

#include <algorithm>

#include "common/abi/layout.hpp"
#include "guestkernel/lib/assert.hpp"
#include "guestkernel/platform/address_space.hpp"
#include "guestkernel/platform/cpu.hpp"
#include "guestkernel/platform/host.hpp"
#include "guestkernel/sched/kernel_lock.hpp"
#include "guestkernel/sched/load.hpp"
#include "guestkernel/sched/quota.hpp"
#include "guestkernel/sched/scheduler.hpp"

namespace kvmsbx::sched {

Hooks hooks;
bool slice_over[abi::kMaxCpus];
bool kernel_lock_word;
uint32_t waiting_threads;
CpuState cpus[abi::kMaxCpus];
Nanoseconds quota_time;

namespace {

// One round of waiting for another vCPU, which may wait for a processor of the host.
void spin(unsigned& spins) {
    constexpr unsigned kPatience = 2000;
    if (++spins % kPatience != 0) return platform::relax();
    platform::yield();
}

// How soon after waking another thread a block counts as "quick" (a synchronous hand-over such as a pipe's round trip).
constexpr Nanoseconds kQuick = 60'000;
constexpr uint8_t kQuickEnough = 2;
// How long a thread that hands over quickly may keep its partner waiting before another vCPU is woken for it.
constexpr Nanoseconds kHandOverSlice = 2'000'000;
// How long an idle vCPU polls for a channel's answer before it halts, in rounds of relax().
constexpr unsigned kChannelPollRounds = 64, kChannelPollRelax = 48;

List<Thread, &Thread::run_hook> real_time_queue;  // by priority; the first free vCPU takes the first that may run there
uint64_t switches, uninterruptible_threads;

struct EarlierDeadline {
    bool operator()(const Timer& a, const Timer& b) const {
        return a.deadline() != b.deadline() ? a.deadline() < b.deadline() : &a < &b;
    }
};
Tree<Timer, &Timer::hook_, boost::intrusive::compare<EarlierDeadline>> timers;

bool may_run_on(const Thread& thread, const CpuState& cpu) {
    const uint64_t both = thread.affinity & thread.usable_cpus;
    return (both ? both : thread.usable_cpus) >> cpu.area->cpu_id & 1;
}

Thread* first_of(List<Thread, &Thread::run_hook>& queue, const CpuState& cpu) {
    for (Thread& thread : queue)
        if (may_run_on(thread, cpu)) return &thread;
    return nullptr;
}

// Who runs next on that vCPU; with nobody in its own queue, somebody from the longest of the others.
Thread* first_for(CpuState& cpu) {
    if (waiting_threads == 0) return nullptr;
    if (Thread* thread = first_of(real_time_queue, cpu)) return thread;
    if (Thread* thread = first_of(cpu.queue, cpu)) return thread;
    Thread* found = nullptr;
    uint32_t longest = 0;
    for (uint32_t id = 0; id < platform::boot_info().cpu_count; ++id) {
        if (cpus[id].queued <= longest) continue;
        if (Thread* thread = first_of(cpus[id].queue, cpu)) found = thread, longest = cpus[id].queued;
    }
    return found;
}

// The vCPU in whose queue a thread shall wait: the one with the least to do. Of equals the one that it knows, or, when
// its slice is over, the next one: so threads that are no multiple of the vCPUs get equal shares.
enum class Origin { kWoken, kSliceOver };
CpuState& place_for(const Thread& thread, Origin origin) {
    const uint32_t count = platform::boot_info().cpu_count,
                   known = thread.last_cpu ? thread.last_cpu->cpu_id : platform::cpu().cpu_id;
    CpuState* best = nullptr;
    uint32_t least = 0;
    for (uint32_t i = 0; i < count; ++i) {
        CpuState& cpu = cpus[(known + i + (origin == Origin::kSliceOver)) % count];
        if (!cpu.area || !may_run_on(thread, cpu)) continue;
        const uint32_t load = cpu.queued + (cpu.running != &cpu.idle && cpu.running != &thread);
        if (!best || load < least) best = &cpu, least = load;
    }
    return best ? *best : this_cpu();
}

template <typename Visit>
void for_each_waiting(Visit visit) {
    for (Thread& thread : real_time_queue) visit(thread);
    for (uint32_t id = 0; id < platform::boot_info().cpu_count; ++id)
        for (Thread& thread : cpus[id].queue) visit(thread);
}

// Linux's weights of nice values, 1024 for 0: each step is a tenth of the time more or less.
constexpr uint32_t kWeights[40] = {88761, 71755, 56483, 46273, 36291, 29154, 23254, 18705, 14949, 11916,
                                   9548,  7620,  6100,  4904,  3906,  3121,  2501,  1991,  1586,  1277,
                                   1024,  820,   655,   526,   423,   335,   272,   215,   172,   137,
                                   110,   87,    70,    56,    45,    36,    29,    23,    18,    15};
}  // namespace

uint32_t nice_weight(int nice) { return kWeights[std::clamp(nice, -20, 19) + 20]; }

namespace {

constexpr Nanoseconds kShortestSlice = 1'000'000, kLongestSlice = 100'000'000;

Nanoseconds slice_of(const Thread& thread) {
    if (thread.nice == 0) return kTimeSlice;
    const Nanoseconds slice = kTimeSlice * nice_weight(thread.nice) / nice_weight(0);
    return slice < kShortestSlice ? kShortestSlice : slice > kLongestSlice ? kLongestSlice : slice;
}

// Whether `next`, which waits, takes the place of `running` at the end of a slice.
bool takes_over(const Thread& next, const Thread& running) {
    if (next.real_time_priority != running.real_time_priority)
        return next.real_time_priority > running.real_time_priority;
    return !running.keeps_cpu;
}

void arm(CpuState& cpu, Nanoseconds deadline, Nanoseconds time) {
    if (cpu.timer <= deadline) return;
    cpu.timer = deadline;
    platform::set_timer(deadline > time ? deadline - time : 1);
}

}  // namespace

void wait_for_kernel_lock() {
    for (unsigned spins = 0; __atomic_load_n(&kernel_lock_word, __ATOMIC_RELAXED);) spin(spins);
}

struct Scheduler : Switching {
    static void thread_entry(Transfer from) {
        finish_switch(from);
        current().switched_in();
        current().run();
        panic("a thread's body returned");
    }

    static void take(Thread& thread) {
        thread.run_hook.unlink();
        --waiting_threads;
        if (thread.waits_for_) --thread.waits_for_->queued;
        thread.waits_for_ = nullptr;
    }

    static Result<> create_stack(Thread& thread) {
        thread.stack_ = allocate_stack();
        if (!thread.stack_) return Errno::kNOMEM;
        platform::prepare_stack(thread.stack_);
        thread.header_ = reinterpret_cast<platform::StackHeader*>(thread.stack_);  // SAFETY: see platform::StackHeader
        *thread.header_ = {&thread, nullptr, platform::kStackCanary};
        thread.context_ = make_fcontext(thread.stack_ + platform::kStackSize,
                                        platform::kStackSize - sizeof(platform::StackHeader), thread_entry);
        return {};
    }

    static void enqueue(Thread& thread, Origin origin = Origin::kWoken) {
        thread.state_ = Thread::State::kRunnable;
        ++waiting_threads;
        if (thread.real_time_priority) [[unlikely]]
            enqueue_real_time(thread);
        else
            put_last(thread, place_for(thread, origin));
        watch_load();
    }

    static void put_last(Thread& thread, CpuState& cpu) {
        thread.waits_for_ = &cpu;
        ++cpu.queued;
        cpu.queue.push_back(thread);
    }

    static void put_first(Thread& thread, CpuState& cpu) {
        thread.state_ = Thread::State::kRunnable;
        thread.waits_for_ = &cpu;
        ++waiting_threads;
        ++cpu.queued;
        cpu.queue.push_front(thread);
    }

    // Before all of lower priority; a vCPU that runs one of those gives it up.
    static void enqueue_real_time(Thread& thread) {
        auto at = real_time_queue.begin();
        while (at != real_time_queue.end() && at->real_time_priority >= thread.real_time_priority) ++at;
        real_time_queue.insert(at, thread);
        for (uint32_t id = 0; id < platform::boot_info().cpu_count; ++id) {
            CpuState& cpu = cpus[id];
            if (!cpu.area || !may_run_on(thread, cpu)) continue;
            if (cpu.halted || cpu.running->real_time_priority >= thread.real_time_priority) continue;
            slice_over[id] = true;
            if (&cpu != &this_cpu()) platform::kick(*cpu.area);
            return;
        }
    }

    static void wake(Thread& thread) {
        if (thread.state_ == Thread::State::kRunning && thread.last_cpu != &platform::cpu())
            platform::kick(*thread.last_cpu);
        if (thread.state_ != Thread::State::kBlocked) return;
        if (!thread.interruptible_) --uninterruptible_threads;
        enqueue(thread);
        Thread& self = current();
        if (&self != &this_cpu().idle) self.woke_another_ = now();
    }

    static void block(Interruptible interruptible, Nanoseconds deadline) {
        struct WakeTimer final : Timer {
            Thread& thread = current();
            void fire() override { Scheduler::wake(thread); }
        } timer;
        Thread& self = current();
        if (self.woke_another_) {
            const bool quick = now() - self.woke_another_ < kQuick;
            self.quick_blocks_ = quick ? (self.quick_blocks_ < 8 ? self.quick_blocks_ + 1 : 8) : 0;
            self.woke_another_ = 0;
        }
        if (deadline != kNever) timer.arm(deadline);
        self.state_ = Thread::State::kBlocked;
        self.interruptible_ = interruptible == Interruptible::kYes;
        if (!self.interruptible_) ++uninterruptible_threads;
        switch_away();
    }

    static void yield() {
        // Who was to follow may be gone by now: run by another vCPU, or moved by a second change of affinity.
        slice_over[this_cpu().area->cpu_id] = false;
        const bool must_leave = !may_run_on(current(), this_cpu());
        CpuState& cpu = this_cpu();
        Thread* next = first_for(cpu);
        if (!next && !must_leave) {
            cpu.preempted = false;
            return;
        }
        // From another's queue: before the caller in this one.
        if (next && next->waits_for_ && next->waits_for_ != &cpu) {
            take(*next);
            put_first(*next, cpu);
        }
        if (cpu.preempted && !cpu.queue.empty() && !current().real_time_priority) {
            Thread& preempting = cpu.queue.front();
            take(preempting);
            put_first(current(), cpu);
            put_first(preempting, cpu);
        } else {
            enqueue(current(), Origin::kSliceOver);
        }
        cpu.preempted = false;
        if (must_leave) call_allowed_cpus(current());
        switch_away();
    }

    // For a thread that cannot go on here: an idle vCPU takes it, a busy one learns that somebody waits.
    static void call_allowed_cpus(const Thread& thread) {
        for (uint32_t id = 0; id < platform::boot_info().cpu_count; ++id) {
            CpuState& cpu = cpus[id];
            if (&cpu == &this_cpu() || !cpu.area || !may_run_on(thread, cpu)) continue;
            cpu.halted = false;
            platform::kick(*cpu.area);
        }
    }

    static void move_to_allowed_cpu(Thread& thread) {
        if (thread.waits_for_ && !may_run_on(thread, *thread.waits_for_)) {
            take(thread);
            return enqueue(thread);
        }
        if (thread.state_ != Thread::State::kRunning || !thread.last_cpu) return;
        CpuState& cpu = cpus[thread.last_cpu->cpu_id];
        if (may_run_on(thread, cpu)) return;
        if (&thread == &current()) return yield();
        slice_over[cpu.area->cpu_id] = true;
        platform::kick(*cpu.area);
    }

    static void exit_current() {
        current().state_ = Thread::State::kDead;
        switch_away();
        panic("a dead thread ran");
    }

    static void set_deadline(Timer& timer, Nanoseconds deadline) {
        timer.cancel();
        timer.deadline_ = deadline;
        if (deadline == kNever) return;
        timers.insert(timer);
        if (&*timers.begin() == &timer) arm(this_cpu(), deadline, now());
    }

    static void run_expired_timers() {
        const Nanoseconds time = now();
        while (!timers.empty() && timers.begin()->deadline() <= time) {
            Timer& timer = *timers.begin();
            timer.hook_.unlink();
            timer.fire();
        }
        if (!timers.empty()) arm(this_cpu(), timers.begin()->deadline(), time);
    }

    static bool wake_idle_cpu_for(const Thread& thread) {
        for (uint32_t id = 0; id < platform::boot_info().cpu_count; ++id) {
            CpuState& cpu = cpus[id];
            if (!cpu.halted || !may_run_on(thread, cpu)) continue;
            cpu.halted = false;
            platform::kick(*cpu.area);
            return true;
        }
        return false;
    }

    // Every waiting thread has a vCPU that knows of it: an idle one, this one, or a busy one, which is told unless the
    // end of its slice is armed already.
    static void wake_idle_cpus() {
        for_each_waiting([](const Thread& thread) {
            if (wake_idle_cpu_for(thread) || may_run_on(thread, this_cpu())) return;
            for (uint32_t id = 0; id < platform::boot_info().cpu_count; ++id) {
                CpuState& cpu = cpus[id];
                if (!cpu.area || !may_run_on(thread, cpu) || cpu.timer <= now() + kTimeSlice) continue;
                platform::kick(*cpu.area);
            }
        });
    }

    static void before_resume() {
        if (hooks.channel_pending()) (void)hooks.channel_arm();
        if (waiting_threads == 0) return;
        CpuState& cpu = this_cpu();
        const bool hands_over = current().quick_blocks_ >= kQuickEnough;
        if (!hands_over) wake_idle_cpus();
        // Another timer's interrupt may be due later than the end of the slice; and who has run alone for long does not
        // make way at once, lest every wake-up cost a switch.
        const Nanoseconds time = now();
        if (cpu.slice_end == kNever || (cpu.slice_end <= time && cpu.timer > cpu.slice_end))
            cpu.slice_end = std::max(hands_over ? 0 : current().started_ + slice_of(current()), time + kHandOverSlice);
        arm(cpu, cpu.slice_end, time);
    }

    static void timer_interrupt() {
        CpuState& cpu = this_cpu();
        cpu.timer = kNever;
        current().quick_blocks_ = 0;
        run_expired_timers();
        const Thread& running = current();
        const Thread* next = first_for(cpu);
        if (next && takes_over(*next, running) && now() >= cpu.slice_end) slice_over[cpu.area->cpu_id] = true;
    }

    static void poll_channel(CpuState& cpu) {
        if (hooks.channel_pending()) platform::drop_user_space();
        for (unsigned i = 0; i < kChannelPollRounds && hooks.channel_pending(); ++i) {
            unlock_kernel();
            for (unsigned j = 0; j < kChannelPollRelax; ++j) platform::relax();
            lock_kernel();
            hooks.channel_collect();
            if (first_for(cpu)) return;
        }
    }

    static void halt(CpuState& cpu) {
        if (hooks.channel_arm && !hooks.channel_arm()) return;
        cpu.halted = true;
        platform::drop_user_space();
        unlock_kernel();
        const uint64_t came = platform::wait_for_interrupts();
        lock_kernel();
        cpu.halted = false;
        for (unsigned event = 0; event < static_cast<unsigned>(platform::Event::kCount); ++event)
            if (came >> event & 1) dispatch(static_cast<platform::Event>(event));
    }

    static void dispatch(platform::Event event) {
        ++this_cpu().interrupts[static_cast<size_t>(event)];
        switch (event) {
            case platform::Event::kTimer: return timer_interrupt();
            case platform::Event::kChannel: return hooks.channel_collect ? hooks.channel_collect() : void();
            case platform::Event::kHostEvent: return hooks.host_event_interrupt ? hooks.host_event_interrupt() : void();
            default: return;  // kOtherCpu: its entry was the point
        }
    }

    static void prepare_idle(Cpu& area, platform::StackHeader& header) {
        CpuState& cpu = cpus[area.cpu_id];
        cpu.area = &area;
        cpu.idle.header_ = &header;
        cpu.idle.state_ = Thread::State::kRunning;
        header = {&cpu.idle, &area, platform::kStackCanary};
    }

    static CpuTimes cpu_times(const CpuState& cpu) {
        const Nanoseconds up = cpu.up_since ? now() - cpu.up_since : 0;
        const Nanoseconds idle = cpu.idle.cpu_time + (cpu.running == &cpu.idle ? now() - cpu.idle.started_ : 0);
        return {up > idle ? up - idle : 0, std::min(up, idle)};
    }

    static bool run_beside(Thread& thread) {
        if (thread.state_ != Thread::State::kNew && thread.state_ != Thread::State::kBlocked) return false;
        for (uint32_t id = 0; id < platform::boot_info().cpu_count; ++id) {
            CpuState& cpu = cpus[id];
            if (!cpu.area || &cpu == &this_cpu() || cpu.running == &cpu.idle || cpu.running == &cpu.standby) continue;
            if (cpu.running->real_time_priority) continue;
            thread.affinity = 1ULL << id;
            if (thread.state_ == Thread::State::kNew) thread.ref();
            put_first(thread, cpu);
            cpu.preempted = slice_over[id] = true;
            platform::kick(*cpu.area);
            return true;
        }
        return false;
    }

    // What it has run before is no part of the quota.
    static void share_quota(Thread& thread) {
        const Nanoseconds time = now();
        thread.cpu_time += time - thread.started_;
        thread.started_ = time;
        thread.shares_quota = true;
        if (quota_is_set) watch_quota();
    }

    static void end_slice(const Cpu& area) {
        slice_over[area.cpu_id] = true;
        platform::kick(area);
    }

    static bool wake_idle_cpu() {
        for (uint32_t id = 0; id < platform::boot_info().cpu_count; ++id) {
            CpuState& cpu = cpus[id];
            if (!cpu.halted) continue;
            cpu.halted = false;
            platform::kick(*cpu.area);
            return true;
        }
        return false;
    }

    [[noreturn]] static void run_idle(Cpu& area) {
        CpuState& cpu = cpus[area.cpu_id];
        cpu.up_since = cpu.idle.started_ = now();
        for (;;) {
            run_expired_timers();
            if (hooks.serve_calls && !first_for(cpu)) hooks.serve_calls();
            if (!first_for(cpu)) poll_channel(cpu);
            if (first_for(cpu)) {
                switch_away();
                continue;
            }
            wake_idle_cpus();  // for threads that may not run here
            halt(cpu);
        }
    }
};

void Switching::switch_away() {
    CpuState& cpu = this_cpu();
    Thread& previous = current();
    Thread* next = cpu.carrier ? cpu.carrier : first_for(cpu);
    if (cpu.carrier)
        cpu.carrier = nullptr;
    else if (next)
        Scheduler::take(*next);
    else
        next = &cpu.idle;
    const Nanoseconds time = now();
    charge(previous, time - previous.started_);
    next->started_ = time;
    next->state_ = Thread::State::kRunning;
    next->last_cpu = cpu.area;
    slice_over[cpu.area->cpu_id] = quota_used_up;
    cpu.slice_end = kNever;
    if (next == &previous) return;
    cpu.running = next;
    if (quota_is_set && next->shares_quota) [[unlikely]]
        watch_quota();
    ++switches;
    ++(previous.state_ == Thread::State::kRunnable ? previous.involuntary_switches : previous.voluntary_switches);
    VERIFY(platform::stack_header().canary == platform::kStackCanary);
    previous.switched_out();
    next->header_->cpu = cpu.area;
    finish_switch(jump_fcontext(next->context_, &previous));
    current().switched_in();
}

Result<> Thread::create_stack() { return Scheduler::create_stack(*this); }
Thread::~Thread() {
    if (stack_) free_stack(stack_);
}

void start(Thread& thread) {
    thread.ref();
    Scheduler::enqueue(thread);
}
void wake(Thread& thread) { Scheduler::wake(thread); }
void block(Interruptible interruptible, Nanoseconds deadline) { Scheduler::block(interruptible, deadline); }
void yield() { Scheduler::yield(); }
void make_way() { quota_used_up&& current().shares_quota ? wait_for_quota() : yield(); }
void share_quota(Thread& thread) { Scheduler::share_quota(thread); }
void charge(Thread& thread, Nanoseconds time) {
    thread.cpu_time += time;
    if (thread.shares_quota) quota_time += time;
}
void move_to_allowed_cpu(Thread& thread) { Scheduler::move_to_allowed_cpu(thread); }
void exit_thread() {
    Scheduler::exit_current();
    __builtin_unreachable();
}

void WaitQueue::wake_all(uint32_t events) {
    // A waiter may unlink itself in notify(); a woken thread is unlinked here so that it is not woken twice.
    for (auto it = waiters_.begin(); it != waiters_.end();) {
        Waiter& waiter = *it++;
        waiter.notify(events);
    }
}

void WaitQueue::wake_one(uint32_t events) {
    for (auto it = waiters_.begin(); it != waiters_.end();) {
        Waiter& waiter = *it++;
        const bool exclusive = waiter.exclusive;
        if (exclusive) waiter.wait_hook.unlink();
        waiter.notify(events);
        if (exclusive) return;
    }
}

void Timer::arm(Nanoseconds deadline) { Scheduler::set_deadline(*this, deadline); }
void Timer::cancel() {
    if (hook_.is_linked()) hook_.unlink();
}

CpuTimes cpu_times(unsigned cpu) { return cpus[cpu].area ? Scheduler::cpu_times(cpus[cpu]) : CpuTimes(); }
uint64_t context_switches() { return switches; }
uint64_t interrupts(unsigned cpu, platform::Event event) { return cpus[cpu].interrupts[static_cast<size_t>(event)]; }
uint64_t active_threads() {
    uint64_t active = waiting_threads + uninterruptible_threads;
    for (uint32_t id = 0; id < platform::boot_info().cpu_count; ++id) active += cpus[id].running != &cpus[id].idle;
    return active;
}

void prepare_idle(Cpu& area, platform::StackHeader& header) { Scheduler::prepare_idle(area, header); }
void run_idle(Cpu& area) { Scheduler::run_idle(area); }
void serve_interrupt(platform::Event event) {
    platform::end_of_interrupt();
    Scheduler::dispatch(event);
}
bool timer_is_due(const Cpu& area) {
    const Nanoseconds timer = cpus[area.cpu_id].timer;
    return timer != kNever && now() >= timer;
}
bool wake_idle_cpu() { return Scheduler::wake_idle_cpu(); }
bool run_beside(Thread& thread) { return Scheduler::run_beside(thread); }
void end_slice(const Cpu& area) { Scheduler::end_slice(area); }
void announce_waiting() {
    if (waiting_threads) Scheduler::wake_idle_cpus();
}
bool thread_waits() { return first_for(this_cpu()) != nullptr; }
Nanoseconds time_slice(const Thread& thread) { return slice_of(thread); }
void share_work_before_resume() { Scheduler::before_resume(); }

namespace {

// Until each of the vCPUs that run an application has entered the Sentry once. `concerns`: bool(Cpu&);
// is_in_sentry(Cpu&): for those that are there already, and wait for the kernel lock.
template <typename Concerns, typename IsInSentry>
void interrupt_users(Concerns concerns, IsInSentry is_in_sentry) {
    const uint32_t self = platform::cpu().cpu_id;
    for (uint32_t id = 0; id < platform::boot_info().cpu_count; ++id) {
        Cpu* area = cpus[id].area;
        if (id == self || !area || !concerns(*area)) continue;
        const uint64_t count = platform::crossings(*area);
        if (platform::is_in_sentry(count)) {
            is_in_sentry(*area);
            continue;
        }
        platform::kick(*area);
        for (unsigned spins = 0; platform::crossings(*area) == count;) spin(spins);
    }
}

}  // namespace

void interrupt_users_of(const platform::UserSpace& space) {
    interrupt_users([&space](const Cpu& area) { return space.runs_on(area); },
                    [](Cpu& area) { platform::forget_space(area); });
}

void interrupt_applications() {
    interrupt_users([](const Cpu&) { return true; }, [](Cpu&) {});
}

}  // namespace kvmsbx::sched
