// Stubs: made, given orders, ended.
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "common/host/errno.hpp"
#include "vmm/process/futex.hpp"
#include "vmm/process/host.hpp"

namespace kvmsbx::vmm {
namespace {

constexpr size_t kCompletionsSize = abi::kMaxStubs * sizeof(abi::Completion);

void signal_eventfd(int fd) {
    uint64_t one = 1;
    ssize_t ignored = write(fd, &one, sizeof one);
    static_cast<void>(ignored);
}

}  // namespace

Result<std::unique_ptr<ProcessHost>> ProcessHost::create(const host::Log& log, unsigned cpus, int gofer_completion_fd) {
    std::unique_ptr<ProcessHost> host(new ProcessHost(log, cpus, gofer_completion_fd));
    for (Cpu& cpu : host->cpus_) {
        cpu.interrupt_fd = host::Fd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
        cpu.wake_fd = host::Fd(eventfd(0, EFD_CLOEXEC));
        if (!cpu.interrupt_fd.is_open() || !cpu.wake_fd.is_open()) return log.fail(host::last_errno(), "eventfd: %m");
    }
    host->completion_fd_ = host::Fd(memfd_create("kvmsbx-completions", MFD_CLOEXEC));
    if (!host->completion_fd_.is_open() || ftruncate(host->completion_fd_.get(), kCompletionsSize) != 0)
        return log.fail(host::last_errno(), "memfd: %m");
    void* at = mmap(nullptr, kCompletionsSize, PROT_READ | PROT_WRITE, MAP_SHARED, host->completion_fd_.get(), 0);
    if (at == MAP_FAILED) return log.fail(host::last_errno(), "mmap: %m");
    host->completions_ = static_cast<abi::Completion*>(at);
    // Several threads poll it and one of them takes what came: the others must not wait for the next.
    if (gofer_completion_fd >= 0 &&
        fcntl(gofer_completion_fd, F_SETFL, fcntl(gofer_completion_fd, F_GETFL) | O_NONBLOCK) != 0)
        return log.fail(host::last_errno(), "cannot make the gofer's eventfd non-blocking: %m");
    return host;
}

ProcessHost::~ProcessHost() {
    if (completions_ != nullptr) munmap(completions_, kCompletionsSize);
}

Result<> ProcessHost::start(const GuestMemory& memory, int ram_fd, const StubCode& code, abi::OrderPage* orders) {
    memory_ = &memory;
    zygote_orders_ = orders;
    std::vector<int> wake_fds;
    for (Cpu& cpu : cpus_) wake_fds.push_back(cpu.wake_fd.get());
    // SAFETY: distance inside RAM's mapping.
    uint64_t offset = reinterpret_cast<std::byte*>(orders) - static_cast<std::byte*>(memory.host_base());
    slots_[0].pid = TRY(start_zygote(log_, {&code, ram_fd, completion_fd_.get(), wake_fds, offset}));
    return {};
}

// Slot 0 is not for the Sentry.
ProcessHost::Slot* ProcessHost::find(int32_t pid) {
    if (pid <= 0) return nullptr;
    constexpr unsigned kSlots = abi::kMaxStubs - 1;
    for (unsigned i = 0; i < kSlots; i++) {
        Slot& slot = slots_[1 + (static_cast<unsigned>(pid) + i) % kSlots];
        int32_t there = slot.pid.load();
        if (there == pid) return &slot;
        if (there == 0) break;
    }
    return nullptr;
}

// Under table_lock_.
ProcessHost::Slot* ProcessHost::add(int32_t pid) {
    constexpr unsigned kSlots = abi::kMaxStubs - 1;
    for (unsigned i = 0; i < kSlots; i++) {
        Slot& slot = slots_[1 + (static_cast<unsigned>(pid) + i) % kSlots];
        if (slot.pid.load() > 0) continue;
        slot.dead = false;
        slot.sequence = 0;
        completion(slot) = {};
        slot.pid = pid;
        return &slot;
    }
    return nullptr;
}

bool ProcessHost::is_dead(const Slot& slot, int32_t pid) const { return slot.dead || slot.pid.load() != pid; }

int64_t ProcessHost::order(abi::CpuArea* area, abi::OrderPage* orders, uint32_t count, int32_t pid) {
    Slot* slot = find(pid);
    if (slot == nullptr) return -ESRCH;
    if (count > abi::kMaxOrders) return -EINVAL;
    return order(cpus_[cpu_of(area)], orders, count, *slot);
}

int64_t ProcessHost::order(Cpu& cpu, abi::OrderPage* orders, uint32_t count, Slot& slot) {
    int32_t pid = slot.pid.load();
    abi::Completion& done = completion(slot);
    uint32_t sequence = ++slot.sequence;
    __atomic_store_n(&done.result, 0, __ATOMIC_RELAXED);
    orders->count = count;
    orders->completion = static_cast<uint64_t>(&slot - slots_.data()) * sizeof(abi::Completion);
    orders->wake_fd = static_cast<uint64_t>(abi::kStubWakeFd + (&cpu - cpus_.data()));
    orders->one = 1;
    move_here(pid);
    cpu.ordering = pid;
    __atomic_store_n(&orders->sequence, sequence, __ATOMIC_SEQ_CST);
    futex_wake_all(&orders->sequence);
    int64_t result = -ESRCH;
    while (true) {
        if (__atomic_load_n(&done.sequence, __ATOMIC_ACQUIRE) == sequence) {
            result = __atomic_load_n(&done.result, __ATOMIC_RELAXED);
            break;
        }
        if (is_dead(slot, pid)) break;
        uint64_t count_of_wakes;  // those of an order before may still be there
        ssize_t ignored = read(cpu.wake_fd.get(), &count_of_wakes, sizeof count_of_wakes);
        static_cast<void>(ignored);
    }
    cpu.ordering = 0;
    // A new thread or stub runs where its maker does.
    if (result > 0) {
        uint64_t makers = affinities_[static_cast<uint32_t>(pid) % kAffinities];
        affinities_[static_cast<uint64_t>(result) % kAffinities] =
            makers >> 32 == static_cast<uint32_t>(pid)
                ? static_cast<uint64_t>(result) << 32 | static_cast<uint32_t>(makers)
                : 0;
    }
    return result;
}

int64_t ProcessHost::create_stub(abi::CpuArea* area, abi::OrderPage* orders) {
    // SAFETY: distance inside RAM's mapping.
    uint64_t offset = reinterpret_cast<std::byte*>(orders) - static_cast<std::byte*>(memory_->host_base());
    memset(orders, 0, offsetof(abi::OrderPage, orders));
    std::lock_guard guard(zygote_lock_);
    zygote_orders_->orders[0] = {SYS_clone, {abi::kCloneStub, 0, 0, 0, 0, offset}, 0};
    int64_t pid = order(cpus_[cpu_of(area)], zygote_orders_, 1, slots_[0]);
    if (pid <= 0) return pid == -ENOMEM ? -ENOMEM : -EAGAIN;
    std::lock_guard table(table_lock_);
    Slot* slot = add(static_cast<int32_t>(pid));
    if (slot == nullptr) {
        kill(static_cast<pid_t>(pid), SIGKILL);
        waitid(P_PID, static_cast<id_t>(pid), nullptr, WEXITED);
        return -EAGAIN;
    }
    if (has_ended(static_cast<int32_t>(pid))) mark_dead(*slot);  // before it could be found in the table
    return pid;
}

bool ProcessHost::has_ended(int32_t pid) const {
    siginfo_t info{};
    int got = waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG | WNOWAIT);
    return got != 0 || info.si_pid != 0;
}

void ProcessHost::end_stub(abi::CpuArea*, int32_t pid) {
    if (find(pid) != nullptr) kill(pid, SIGKILL);
}

void ProcessHost::kill_stub(abi::CpuArea*, int32_t pid) {
    Slot* slot = find(pid);
    if (slot == nullptr) return;
    kill(pid, SIGKILL);
    // A zombie, so that the number stays taken until the slot is free: then no other stub is mistaken for this one.
    siginfo_t info;
    while (waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT) != 0 && errno == EINTR) {}
    std::lock_guard guard(table_lock_);
    mark_dead(*slot);
    slot->pid = kFreed;
    waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG);
}

// Under table_lock_, so that the pages that vCPUs gave for runners are not yet free.
void ProcessHost::mark_dead(Slot& slot) {
    if (slot.dead.exchange(true)) return;
    int32_t pid = slot.pid.load();
    for (Cpu& cpu : cpus_) {
        if (cpu.ordering.load() == pid) signal_eventfd(cpu.wake_fd.get());
        // The page of a runner that ended in the meantime may be another's: see stop_watching().
        cpu.looked_at = 1;
        if (cpu.mode.load() == Mode::kUser && cpu.runner.load() >> 32 == static_cast<uint32_t>(pid)) {
            uint32_t* state = &cpu.control.load()->state;
            __atomic_store_n(state, static_cast<uint32_t>(abi::RunnerState::kGone), __ATOMIC_SEQ_CST);
            futex_wake_all(state);
        }
        cpu.looked_at = 0;
    }
}

bool ProcessHost::notice_deaths() {
    std::lock_guard guard(table_lock_);
    for (Slot& slot : slots_)
        if (slot.pid.load() > 0 && !slot.dead && has_ended(slot.pid.load())) mark_dead(slot);
    return !slots_[0].dead;
}

void ProcessHost::end_stubs() {
    for (Slot& slot : slots_) {  // the zygote first, so that no others come
        int32_t pid = slot.pid.load();
        if (pid <= 0) continue;
        kill(pid, SIGKILL);
        siginfo_t info;
        while (waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED) != 0 && errno == EINTR) {}
    }
}

}  // namespace kvmsbx::vmm
