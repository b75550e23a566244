#include "guestkernel/task/mailbox.hpp"

#include <asm/unistd_64.h>

#include "common/abi/mailbox.hpp"
#include "guestkernel/lib/assert.hpp"
#include "guestkernel/lib/format.hpp"
#include "guestkernel/platform/cpu.hpp"
#include "guestkernel/platform/host.hpp"
#include "guestkernel/platform/user_context.hpp"
#include "guestkernel/sched/cpu.hpp"
#include "guestkernel/sched/kernel_lock.hpp"
#include "guestkernel/task/signal_delivery.hpp"
#include "guestkernel/task/trap.hpp"

namespace kvmsbx::task {
namespace {

using abi::Mailbox;
using abi::MailboxState;
using abi::UserRegs;

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
    // Read by the poller without the lock, believed only with it.
    Task* task = nullptr;        // runs in ring 3 here, or waits there for the answer to its call
    Mailbox* mailbox = nullptr;  // this vCPU's, of the task's address space
    bool lendable = false;       // in ring 3, and another vCPU may take a call

    bool lent = false;      // the task is away
    bool answered = false;  // `result` is the answer to the call that was taken last
    bool unusable = false;  // no memory, or SYSCALL does not stay in ring 3
    uint64_t result = 0;
    UserRegs regs{};  // while lendable: loaded from and saved to here
    sched::WaitQueue handed_over;
    platform::Cpu* area = nullptr;
    unsigned calls = 0;      // by trap, since look_at
    uint64_t looked_at = 0;  // TSC

    // Written through the direct map; applications only read it.
    void set_call_entry(unsigned offset) {
        __atomic_store_n(reinterpret_cast<uint64_t*>(area->syscall_target),  // SAFETY: the VMM put the address there
                         abi::syscall_stub(area->cpu_id) + offset, __ATOMIC_RELEASE);
    }
    void set_state(MailboxState state) { __atomic_store_n(&mailbox->state, state, __ATOMIC_RELEASE); }
    bool posted() const {
        const Mailbox* box = __atomic_load_n(&mailbox, __ATOMIC_RELAXED);
        return __atomic_load_n(&lendable, __ATOMIC_RELAXED) && !__atomic_load_n(&lent, __ATOMIC_RELAXED) && box &&
               __atomic_load_n(&box->state, __ATOMIC_ACQUIRE) == MailboxState::kPosted;
    }
};

namespace {

Home homes[abi::kMailboxes];
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

bool may_be_taken(uint64_t number, uint64_t second_argument) {
    if (number >= kMostNumbers || at_home.has(number)) return false;
    return number != __NR_futex || (second_argument & ~uint64_t{kFutexPrivate}) == kFutexWake;
}

// Where in this vCPU's stub an address lies; kStubEnd: nowhere.
uint64_t stub_offset(const Home& home, uint64_t rip) {
    const uint64_t offset = rip - abi::syscall_stub(home.area->cpu_id);
    return offset < abi::kStubEnd ? offset : abi::kStubEnd;
}

bool in_mailbox_page(uint64_t address) { return address - abi::kMailboxPage < abi::kPageSize; }

// The registers as if the call in the mailbox returned `result`.
void finish_call(UserRegs& regs, const Mailbox& box, uint64_t result) {
    if (in_mailbox_page(regs.rsp)) regs.rsp = box.rsp;
    regs.rip = regs.rcx = box.rcx;
    regs.rflags = regs.r11 = box.r11;
    regs.rax = result;
}

enum class Settled { kHandle, kAnswered };

// A trap of a task that is at home may have come inside the stub, of which an application must see nothing: makes of it
// the system call, or undoes it, so that it is made again. kAnswered: the trap itself was the stub's, and nothing of it
// is left.
Settled settle(Task& task, Home& home) {
    UserRegs& regs = task.regs;
    const uint64_t offset = stub_offset(home, regs.rip);
    const bool answered = home.answered;
    home.answered = false;
    if (offset < abi::kStubPost || offset >= abi::kStubEnd) return Settled::kHandle;
    const bool interrupt = regs.trap >= abi::kVectorFirst;
    // Where KVM interprets the stub, its `int $4` is #UD: see becomes_system_call().
    const bool gave_up = (regs.trap == 4 && offset == abi::kStubGaveUp + abi::kStubTrapLength) ||
                         (regs.trap == 6 && offset == abi::kStubGaveUp);
    if (!interrupt && !gave_up) return Settled::kHandle;  // whoever jumps into the stub gets what he asks for
    const Mailbox box = *home.mailbox;
    if (offset <= abi::kStubWait) {
        if (offset != abi::kStubPost) regs.rax = box.rax;
        regs.rip = regs.rcx - 2;  // SYSCALL again
        regs.rflags = regs.r11;
        return Settled::kHandle;
    }
    if (offset >= abi::kStubDone || (answered && box.state == MailboxState::kDone)) {
        finish_call(regs, box, offset >= abi::kStubDone ? box.result : home.result);
        if (interrupt) return Settled::kHandle;
        regs.trap = abi::kTrapNone;
        return Settled::kAnswered;
    }
    if (box.state == MailboxState::kWrongRing) home.unusable = true;
    finish_call(regs, box, box.rax);
    if (interrupt)
        regs.rip -= 2;
    else
        regs.trap = abi::kTrapSyscall;
    return Settled::kHandle;
}

// A trap at home while the task is away: its registers go to the task, who will need them.
[[noreturn]] void hand_over(Home& home) {
    Task& task = *home.task;
    UserRegs& regs = home.regs;
    const uint64_t trap = regs.trap, offset = stub_offset(home, regs.rip);
    if (offset > abi::kStubWait && offset < abi::kStubEnd) finish_call(regs, *home.mailbox, 0);
    // The call under way has its number, its arguments and its result in the others.
    UserRegs& to = task.regs;
    to.r15 = regs.r15, to.r14 = regs.r14, to.r13 = regs.r13, to.r12 = regs.r12, to.rbp = regs.rbp, to.rbx = regs.rbx;
    to.rcx = to.rip = regs.rip, to.r11 = to.rflags = regs.rflags, to.rsp = regs.rsp;
    to.cs = regs.cs, to.ss = regs.ss;
    home.lent = false;
    task.away_from = nullptr;
    task.switched_out();
    home.handed_over.wake_all();
    if (platform::is_event(trap)) sched::serve_interrupt(platform::event_of(trap));
    sched::leave_standby();
}

void go_on_at_home(sched::Thread& thread) {
    Task& task = static_cast<Task&>(thread);
    Home& home = homes[platform::cpu().cpu_id];
    if (settle(task, home) == Settled::kHandle) handle_trap(task);
    return_to_user(task);
}

// Where a lendable task's traps come in, on the standby stack.
[[noreturn]] void standby_trap_entry(UserRegs*, platform::Cpu* area) {
    platform::count_crossing(*area);
    sched::lock_kernel();
    Home& home = homes[area->cpu_id];
    home.lendable = false;
    if (home.lent) hand_over(home);
    Task& task = *home.task;
    const uint64_t fs_base = task.regs.fs_base, gs_base = task.regs.gs_base;
    task.regs = home.regs;
    task.regs.fs_base = fs_base, task.regs.gs_base = gs_base;
    task.user_ticks += platform::read_tsc() - task.resumed_at;
    sched::restart_on_own_stack(task, go_on_at_home);
}

// Ends a call that was made away from home.
[[noreturn]] void answer(Task& task) {
    Home* home = task.away_from;
    if (home && !has_signal_work(task) && !task.call_watchers && (task.affinity >> home->area->cpu_id & 1)) {
        home->result = task.regs.rax;
        home->answered = true;
        home->lent = false;
        home->mailbox->result = task.regs.rax;
        task.away_from = nullptr;
        task.resumed_at = platform::read_tsc();
        home->set_state(MailboxState::kDone);
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
    const Mailbox box = *home.mailbox;
    if (!may_be_taken(box.rax, box.rsi) || task.call_watchers || has_signal_work(task)) {
        home.set_state(MailboxState::kRefused);
        return false;
    }
    UserRegs& regs = task.regs;
    regs.rax = box.rax, regs.rdi = box.rdi, regs.rsi = box.rsi, regs.rdx = box.rdx;
    regs.r10 = box.r10, regs.r8 = box.r8, regs.r9 = box.r9;
    regs.rip = box.rcx;
    regs.trap = abi::kTrapSyscall;
    task.user_ticks += platform::read_tsc() - task.resumed_at;
    home.lent = true;
    home.answered = false;
    task.away_from = &home;
    sched::run_away_from_home(task, make_call);
    if (!poller) poller = &platform::cpu();  // see left_poller()
    // It has blocked: home waits for it a little, unless others want to run there.
    if (home.lent && sched::waiting_threads) home.set_state(MailboxState::kRefused);
    return true;
}

Home* find_posted(const platform::Cpu& self) {
    const unsigned count =
        platform::boot_info().cpu_count < abi::kMailboxes ? platform::boot_info().cpu_count : abi::kMailboxes;
    for (unsigned cpu = 0; cpu < count; ++cpu)
        if (cpu != self.cpu_id && homes[cpu].posted()) return &homes[cpu];
    return nullptr;
}

void set_call_entries(unsigned offset) {
    for (Home& home : homes)
        if (home.lendable) home.set_call_entry(offset);
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
    set_call_entries(abi::kStubPost);
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
    set_call_entries(abi::kStubGate);
    for (Home& home : homes)
        if (home.posted()) home.set_state(MailboxState::kRefused);
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
        payer_->cpu_time += took;
        if (homes[home.cpu_id].task == payer_.get()) sched::end_slice(home);
        if (served * kTrapCost < took) paused_until_ = platform::read_tsc() + ticks(kPaidPause);
        payer_ = {};
    }

    RefPtr<Task> payer_;
    uint64_t paused_until_ = 0;  // TSC
};

PaidPoller paid_poller;

void want_poller(Task& task, uint64_t time) {
    if (poller || task.space().make_mailbox_page().is_error()) return;
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
    if (time - home.looked_at < kCallsPerLook * ticks(kOften)) want_poller(task, time);
    home.calls = 0;
    home.looked_at = time;
}

bool poller_is_awake() {
    return poller && platform::read_tsc() - __atomic_load_n(&poller_looked, __ATOMIC_RELAXED) < ticks(kFresh);
}

}  // namespace

void install_mailbox(platform::Cpu& area) {
    if (!area.syscall_target || platform::boot_info().cpu_count < 2 || area.cpu_id >= abi::kMailboxes) return;
    homes[area.cpu_id].area = &area;
    sched::hooks.serve_calls = serve_calls;
}

void prepare_entry(Task& task, platform::Cpu& area) {
    if (area.cpu_id >= abi::kMailboxes) return;
    Home& home = homes[area.cpu_id];
    if (!home.area) return;
    if (task.regs.trap == abi::kTrapSyscall) note_call(task, home);
    home.task = &task;
    if (task.call_watchers || !task.space().mailbox_page() || home.unusable || sched::create_standby(area).is_error()) {
        enter_on_own_stack(task, area);
        home.set_call_entry(abi::kStubGate);
        return;
    }
    home.mailbox = static_cast<Mailbox*>(task.space().mailbox_page()) + area.cpu_id;
    home.regs = task.regs;
    home.answered = false;
    platform::set_user_context(area, home.regs, sched::standby_stack_end(area));
    platform::set_trap_entry(area, standby_trap_entry);
    home.set_state(MailboxState::kIdle);
    home.set_call_entry(poller_is_awake() ? abi::kStubPost : abi::kStubGate);
    __atomic_store_n(&home.lendable, true, __ATOMIC_RELEASE);
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

void left_poller() {
    if (poller == &platform::cpu()) poller = nullptr;
}

void fetch_registers(Task& task) {
    while (Home* home = task.away_from) {
        home->set_state(MailboxState::kRefused);
        platform::kick(*home->area);
        (void)home->handed_over.wait([&] { return !task.away_from; }, sched::Interruptible::kNo).is_ok();
    }
}

}  // namespace kvmsbx::task
