#include "guestkernel/task/posted_calls.hpp"

#include <asm/unistd_64.h>

#include "common/abi/layout.hpp"
#include "guestkernel/platform/call_post.hpp"
#include "guestkernel/platform/cpu.hpp"
#include "guestkernel/platform/host.hpp"
#include "guestkernel/platform/user_context.hpp"
#include "guestkernel/sched/cpu.hpp"
#include "guestkernel/sched/kernel_lock.hpp"
#include "guestkernel/task/signal_delivery.hpp"
#include "guestkernel/task/trap.hpp"

namespace kvmsbx::task {
namespace {

using platform::PostedCall;
using platform::UserRegs;
using Way = platform::CallPost::Way;

constexpr uint64_t kMicrosecond = 1000;             // in nanoseconds, as all below
constexpr unsigned kCallsPerLook = 8;               // how often the rate of calls is looked at
constexpr uint64_t kOften = 100 * kMicrosecond;     // between calls: polling pays
constexpr uint64_t kQuiet = 200 * kMicrosecond;     // without a call: polling ends
constexpr uint64_t kStolen = 50 * kMicrosecond;     // between two looks of the poller: the host took its CPU
constexpr uint64_t kAnnounce = 100 * kMicrosecond;  // of a thread's wait for a vCPU that does not know of it
constexpr uint64_t kLostShare = 4, kLostAtOnce = 1000 * kMicrosecond;  // of its time, and besides: then it ends
constexpr uint64_t kFresh = 20 * kMicrosecond;                         // since its last look: the poller is awake
constexpr uint64_t kInterruptLook = 200 * kMicrosecond;                // a polling vCPU takes no interrupts
constexpr uint64_t kTrapCost = 15 * kMicrosecond;                      // what a call without a trap saves
constexpr unsigned kWorthwhile = 16;                                   // calls that a time of polling should serve
constexpr uint64_t kShortestPause = 500 * kMicrosecond, kLongestPause = 8'000 * kMicrosecond;
constexpr uint64_t kPaidPause = 100'000 * kMicrosecond;
constexpr unsigned kLooksPerRound = 32;

}  // namespace

struct Home {
    platform::Cpu* area = nullptr;
    platform::CallPost* post = nullptr;  // null: calls come by traps alone
    Task* task = nullptr;                // runs in ring 3 here, or waits there for the answer to its call
    sched::WaitQueue handed_over;
    unsigned calls = 0;      // by trap, since looked_at
    uint64_t looked_at = 0;  // TSC

    bool posted() const { return post && post->posted(); }
};

namespace {

Home homes[abi::kMaxCpus];
bool wanted;                     // applications call often
platform::Cpu* poller;           // the vCPU that polls
uint64_t poller_looked;          // TSC of its last look
uint64_t backoff, paused_until;  // ns and TSC: after polling that did not pay

uint64_t ticks(uint64_t ns) { return ns * platform::boot_info().tsc_khz / 1'000'000; }

// Calls that need more of the registers than their arguments, that end the thread, or that are quicker at home: they
// have its TLB flushed, or are made to block.
// clang-format off
constexpr uint16_t kAtHome[] = {
    __NR_mprotect, __NR_munmap, __NR_brk, __NR_mremap, __NR_madvise, __NR_pkey_mprotect,
    __NR_clone, __NR_clone3, __NR_fork, __NR_vfork, __NR_execve, __NR_execveat, __NR_exit, __NR_exit_group,
    __NR_rt_sigreturn, __NR_sigaltstack, __NR_arch_prctl, __NR_rseq, __NR_ptrace,
    __NR_getcpu, __NR_membarrier, __NR_sched_yield, __NR_sched_setaffinity,
    __NR_pause, __NR_nanosleep, __NR_clock_nanosleep, __NR_wait4, __NR_waitid, __NR_rt_sigtimedwait, __NR_rt_sigsuspend,
    __NR_kill, __NR_tkill, __NR_tgkill, __NR_rt_sigqueueinfo, __NR_rt_tgsigqueueinfo,
};
// clang-format on
constexpr unsigned kMostNumbers = 512, kFutexWake = 1, kFutexPrivate = 128;

struct NumberSet {
    uint64_t words[kMostNumbers / 64] = {};
    constexpr NumberSet() {
        for (uint16_t number : kAtHome) words[number / 64] |= 1ULL << (number % 64);
    }
    bool has(uint64_t number) const { return words[number / 64] >> (number % 64) & 1; }
};
constexpr NumberSet at_home;

bool may_be_taken(const PostedCall& call) {
    if (call.number >= kMostNumbers || at_home.has(call.number)) return false;
    return call.number != __NR_futex || (call.arguments[1] & ~uint64_t{kFutexPrivate}) == kFutexWake;
}

// A trap at home while the task is away: its registers go to the task, who will need them.
[[noreturn]] void hand_over(Home& home) {
    Task& task = *home.task;
    const uint64_t trap = home.post->hand_over(task.regs);
    task.away_from = nullptr;
    task.switched_out();
    home.handed_over.wake_all();
    if (platform::is_event(trap)) sched::serve_interrupt(platform::event_of(trap));
    sched::leave_standby();
}

void go_on_at_home(sched::Thread& thread) {
    Task& task = static_cast<Task&>(thread);
    if (task.regs.trap != abi::kTrapNone) handle_trap(task);
    return_to_user(task);
}

// Where traps come in while the post is open, on the standby stack.
[[noreturn]] void standby_trap_entry(UserRegs*, platform::Cpu* area) {
    platform::count_crossing(*area);
    sched::lock_kernel();
    Home& home = homes[area->cpu_id];
    if (home.post->taken()) hand_over(home);
    Task& task = *home.task;
    home.post->give_registers(task.regs);
    task.user_ticks += platform::read_tsc() - task.resumed_at;
    sched::restart_on_own_stack(task, go_on_at_home);
}

// The task's registers are on this vCPU or in task.regs afterwards. May block.
void fetch_registers(Task& task) {
    while (Home* home = task.away_from) {
        home->post->refuse();
        platform::kick(*home->area);
        (void)home->handed_over.wait([&] { return !task.away_from; }, sched::Interruptible::kNo).is_ok();
    }
}

// Ends a call that was made away from home.
[[noreturn]] void answer(Task& task) {
    Home* home = task.away_from;
    if (home && !has_signal_work(task) && !task.call_watchers && (task.affinity >> home->area->cpu_id & 1)) {
        task.away_from = nullptr;
        task.resumed_at = platform::read_tsc();
        home->post->answer(task.regs.rax);
        sched::return_home(task, *home->area);
    }
    fetch_registers(task);
    return_to_user(task);
}

void make_call(sched::Thread& thread) {
    Task& task = static_cast<Task&>(thread);
    dispatch_system_call(task);
    answer(task);
}

// Takes the call that waits at `home`, unless it is gone meanwhile or must come by the trap. True if it was taken.
bool serve(Home& home) {
    if (!home.posted()) return false;
    Task& task = *home.task;
    const PostedCall call = home.post->call();
    if (!may_be_taken(call) || task.call_watchers || has_signal_work(task)) {
        home.post->refuse();
        return false;
    }
    UserRegs& regs = task.regs;
    regs.rax = call.number;
    regs.rdi = call.arguments[0], regs.rsi = call.arguments[1], regs.rdx = call.arguments[2];
    regs.r10 = call.arguments[3], regs.r8 = call.arguments[4], regs.r9 = call.arguments[5];
    regs.rip = call.return_address;
    regs.trap = abi::kTrapSyscall;
    task.user_ticks += platform::read_tsc() - task.resumed_at;
    home.post->take();
    task.away_from = &home;
    sched::run_away_from_home(task, make_call);
    if (!poller) poller = &platform::cpu();  // see left_poller()
    // It has blocked: home waits for it a little, unless others want to run there.
    if (home.post->taken() && sched::waiting_threads) home.post->refuse();
    return true;
}

Home* find_posted(const platform::Cpu& self) {
    const unsigned count = platform::boot_info().cpu_count;
    for (unsigned cpu = 0; cpu < count; ++cpu)
        if (cpu != self.cpu_id && homes[cpu].posted()) return &homes[cpu];
    return nullptr;
}

void choose_everywhere(Way way) {
    for (Home& home : homes)
        if (home.post) home.post->choose(way);
}

enum class Ended { kQuiet, kNeeded, kStolen };

// Polls until `over()`, or another reason to end. Gives up and takes the kernel lock.
template <typename Over>
Ended poll(platform::Cpu& self, unsigned& served, Over over) {
    const uint64_t quiet = ticks(kQuiet), stolen = ticks(kStolen), interrupt_look = ticks(kInterruptLook),
                   announce = ticks(kAnnounce);
    const uint64_t begin = platform::read_tsc();
    uint64_t last_call = begin, looked_for_interrupts = begin, waits_since = 0, lost = 0;
    poller = &self;
    poller_looked = begin;
    choose_everywhere(Way::kPost);
    auto poll_on = [&] {
        sched::unlock_kernel();
        const uint64_t time = platform::read_tsc();
        __atomic_store_n(&poller_looked, time, __ATOMIC_RELAXED);
        Home* home = find_posted(self);
        for (unsigned i = 0; i < kLooksPerRound && !home; ++i) {
            platform::relax();
            home = find_posted(self);
        }
        const uint64_t gap = platform::read_tsc() - time;
        const bool look_for_interrupts = time - looked_for_interrupts > interrupt_look;
        const bool interrupted = look_for_interrupts && platform::interrupt_waits();
        if (look_for_interrupts) looked_for_interrupts = time;
        sched::lock_kernel();
        if (gap > stolen) lost += gap;
        if (home && serve(*home)) {
            ++served;
            last_call = platform::read_tsc();
        }
        // Others' vCPUs learn of a thread that waits only when they trap; most block soon by themselves.
        if (!sched::waiting_threads)
            waits_since = 0;
        else if (waits_since == 0)
            waits_since = time;
        else if (time - waits_since > announce) {
            sched::announce_waiting();
            waits_since = 0;
        }
        if (sched::hooks.channel_pending()) sched::hooks.channel_collect();
        return interrupted;
    };
    Ended ended = Ended::kNeeded;
    while (!poll_on() && poller == &self && !sched::timer_is_due(self) && !over()) {
        const uint64_t time = platform::read_tsc();
        if (lost * kLostShare > time - begin + ticks(kLostAtOnce)) {
            ended = Ended::kStolen;
            break;
        }
        if (time - last_call > quiet) {
            ended = Ended::kQuiet;
            break;
        }
    }
    if (poller != &self) return Ended::kNeeded;
    poller = nullptr;
    choose_everywhere(Way::kTrap);
    for (Home& home : homes)
        if (home.posted()) home.post->refuse();
    return ended;
}

// Polls where no vCPU is idle, on the time of the task whose calls it serves: the two share one time slice.
class PaidPoller final : public sched::Thread {
  public:
    // No effect while it serves another, nobody waits for this vCPU, or it did not pay lately.
    void serve_for(Task& task) {
        const uint64_t time = platform::read_tsc();
        if (payer_ || time < paused_until_ || !sched::thread_waits()) return;
        if (!stack() && create_stack().is_error()) return;
        if (sched::run_beside(*this)) payer_ = RefPtr<Task>(task);
    }

    void run() override {
        for (;;) {
            serve();
            sched::block(sched::Interruptible::kYes);
        }
    }

  private:
    void serve() {
        if (!payer_) return;
        platform::Cpu& home = *payer_->last_cpu;
        const sched::Nanoseconds begin = sched::now(), end = begin + sched::time_slice(*payer_) / 2;
        unsigned served = 0;
        if (!poller)
            (void)poll(platform::cpu(), served,
                       [&] { return sched::now() >= end || homes[home.cpu_id].task != payer_.get(); });
        const sched::Nanoseconds took = sched::now() - begin;
        sched::charge(*payer_, took);
        if (homes[home.cpu_id].task == payer_.get()) sched::end_slice(home);
        if (served * kTrapCost < took) paused_until_ = platform::read_tsc() + ticks(kPaidPause);
        payer_ = {};
    }

    RefPtr<Task> payer_;
    uint64_t paused_until_ = 0;  // TSC
};

PaidPoller paid_poller;

void want_poller(Task& task, const Home& home, uint64_t time) {
    if (poller || task.space().make_platform_page(home.post->page_address()).is_error()) return;
    if (time >= paused_until) {
        wanted = true;
        if (sched::wake_idle_cpu()) return;
    }
    paid_poller.serve_for(task);
}

// Counts the calls that came by the trap.
void note_call(Task& task, Home& home) {
    if (++home.calls < kCallsPerLook) return;
    const uint64_t time = platform::read_tsc();
    if (time - home.looked_at < kCallsPerLook * ticks(kOften)) want_poller(task, home, time);
    home.calls = 0;
    home.looked_at = time;
}

bool poller_is_awake() {
    return poller && platform::read_tsc() - __atomic_load_n(&poller_looked, __ATOMIC_RELAXED) < ticks(kFresh);
}

void serve_calls() {
    if (!wanted || poller) return;
    unsigned served = 0;
    const Ended ended = poll(platform::cpu(), served, sched::thread_waits);
    if (ended == Ended::kNeeded) return;
    wanted = false;
    if (ended == Ended::kQuiet && served >= kWorthwhile) {
        backoff = 0;
        return;
    }
    backoff = backoff == 0 ? kShortestPause : backoff * 2 > kLongestPause ? kLongestPause : backoff * 2;
    paused_until = platform::read_tsc() + ticks(backoff);
}

}  // namespace

bool calls_can_be_posted;

void install_posted_calls(platform::Cpu& area) {
    Home& home = homes[area.cpu_id];
    home.area = &area;
    home.post = platform::call_post(area);
    if (!home.post) return;
    calls_can_be_posted = true;
    sched::hooks.serve_calls = serve_calls;
}

void prepare_entry(Task& task, platform::Cpu& area) {
    Home& home = homes[area.cpu_id];
    if (!home.post) return;
    if (task.regs.trap == abi::kTrapSyscall) note_call(task, home);
    home.task = &task;
    void* const page = task.space().platform_page();
    if (task.call_watchers || !page || !home.post->usable() || sched::create_standby(area).is_error()) {
        enter_on_own_stack(task, area);
        return home.post->close();
    }
    home.post->open(page, task.regs, sched::standby_stack_end(area), standby_trap_entry,
                    poller_is_awake() ? Way::kPost : Way::kTrap);
}

void left_poller() {
    if (poller == &platform::cpu()) poller = nullptr;
}

}  // namespace kvmsbx::task
