#pragma once
// What the VMM does for the Sentry on the process platform (abi::ProcessHost): stubs and their orders, runners, timers,
// interrupts. One per process.
//
// Locks: zygote_lock_ (one new stub at a time) before table_lock_ (slots come, die and go). Reading a slot needs none.
//
// No wake-up is lost: each vCPU publishes what it waits for and then looks whether it has come already (the stub's
// death, an interrupt); whoever brings it notes it and then looks who waits. Both sides with sequential consistency.
#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "common/abi/cpu_area.hpp"
#include "common/abi/stub.hpp"
#include "vmm/fd.hpp"
#include "vmm/guest_memory.hpp"
#include "vmm/log.hpp"
#include "vmm/process/zygote.hpp"

namespace kvmsbx::vmm {

class ProcessHost {
  public:
    // `gofer_completion_fd`: -1: none; it becomes non-blocking.
    static Result<std::unique_ptr<ProcessHost>> create(const Log& log, unsigned cpus, int gofer_completion_fd);
    ~ProcessHost();
    ProcessHost(const ProcessHost&) = delete;
    ProcessHost& operator=(const ProcessHost&) = delete;

    // Before the first call of what follows. `orders`: the zygote's page, inside `memory`'s mapping.
    Result<> start(const GuestMemory& memory, int ram_fd, const StubCode& code, abi::OrderPage* orders);
    void set_cpu_area(unsigned cpu, abi::CpuArea* area) { cpus_[cpu].area = area; }

    // As abi::ProcessHost has them: on the thread of that vCPU.
    void set_timer(abi::CpuArea* area, uint64_t ns);
    bool interrupt_waits(abi::CpuArea* area);
    void wait(abi::CpuArea* area);
    int64_t run(abi::CpuArea* area, abi::RunnerControl* control, int32_t pid, int32_t tid);
    int64_t order(abi::CpuArea* area, abi::OrderPage* orders, uint32_t count, int32_t pid);
    int64_t create_stub(abi::CpuArea* area, abi::OrderPage* orders);
    void end_stub(abi::CpuArea* area, int32_t pid);
    void kill_stub(abi::CpuArea* area, int32_t pid);

    // Any thread: notes the interrupt and sees to it that the vCPU comes to look.
    void interrupt(unsigned cpu, uint8_t vector);
    void interrupt(abi::CpuArea* target, uint8_t vector) { interrupt(cpu_of(target), vector); }
    // The main thread, after a SIGCHLD. False if the zygote is dead.
    bool notice_deaths();
    // The main thread: takes a completion of the gofer, if there is one that no vCPU took.
    void take_completion();
    // The main thread, at the end: no stub runs any more.
    void end_stubs();

    int32_t zygote() const { return slots_[0].pid.load(); }

  private:
    // What a vCPU's thread is at.
    enum class Mode : uint32_t { kSentry, kIdle, kUser };
    // A vCPU whose application makes one call after another, while another vCPU is idle: the runner moves to that one's processor, and both
    // sides look at the state word instead of sleeping. Left at the first trap that lets itself be waited for.
    struct Spinning {
        uint64_t last = 0;          // runner
        unsigned quick = 0;         // how many traps in a row of that runner came soon
        int processor = -1;         // of the runner; -1: nobody spins
        unsigned served = 0;        // traps since it began
        uint64_t pause = 0;         // TSC ticks; doubles each time that it did not pay
        uint64_t paused_until = 0;  // TSC
    };
    struct Cpu {
        abi::CpuArea* area = nullptr;
        Fd interrupt_fd;  // wakes it from wait()
        Fd wake_fd;       // a helper writes it when orders are done, the main thread when the stub is dead
        std::atomic<Mode> mode{Mode::kSentry};
        std::atomic<uint64_t> runner{0};  // in kUser: PID << 32 | TID
        std::atomic<abi::RunnerControl*> control{nullptr};
        std::atomic<uint32_t> looked_at{0};  // the main thread is about to write to `control`
        std::atomic<int32_t> ordering{0};    // PID of the stub whose answer it waits for
        std::atomic<int> processor{-1};      // of the host, where it was when it last waited
        uint64_t timer = 0;                  // CLOCK_MONOTONIC ns; 0: none. The thread's own
        Spinning spinning;                   // The thread's own
    };
    struct Slot {
        std::atomic<int32_t> pid{0};  // 0: never used, kFreed: free again
        std::atomic<bool> dead{false};
        uint32_t sequence = 0;
    };
    static constexpr int32_t kFreed = -1;
    static constexpr unsigned kAffinities = 4096;

    ProcessHost(const Log& log, unsigned cpus, int gofer_completion_fd)
        : log_(log), gofer_completion_fd_(gofer_completion_fd), cpus_(cpus), slots_(abi::kMaxStubs) {}

    unsigned cpu_of(const abi::CpuArea* area) const { return area->cpu_id % cpus_.size(); }
    Slot* find(int32_t pid);
    Slot* add(int32_t pid);
    bool is_dead(const Slot& slot, int32_t pid) const;
    int64_t order(Cpu& cpu, abi::OrderPage* orders, uint32_t count, Slot& slot);
    void mark_dead(Slot& slot);
    void stop_watching(Cpu& cpu);
    void move_to(int32_t tid, int processor);
    void move_here(int32_t tid);
    int idle_processor(int but) const;
    void choose_spinning(Cpu& cpu, uint64_t runner);
    void stop_spinning(Cpu& cpu);
    bool spin(Cpu& cpu, abi::RunnerControl* control);
    void watch(Cpu& cpu, abi::RunnerControl* control, const Slot& slot, int32_t pid, int32_t tid);
    unsigned runners_of(int32_t pid) const;
    bool has_ended(int32_t pid) const;
    abi::Completion& completion(const Slot& slot) { return completions_[&slot - slots_.data()]; }

    const Log& log_;
    int gofer_completion_fd_;
    std::vector<Cpu> cpus_;
    std::vector<Slot> slots_;  // 0: the zygote
    abi::Completion* completions_ = nullptr;
    Fd completion_fd_;
    const GuestMemory* memory_ = nullptr;
    abi::OrderPage* zygote_orders_ = nullptr;
    std::mutex zygote_lock_, table_lock_;
    std::array<std::atomic<uint64_t>, kAffinities> affinities_{};  // TID << 32 | CPU + 1
};

}  // namespace kvmsbx::vmm
