#pragma once
// The Sentry's hold of a stub process (common/abi/stub.hpp). No stub is used again once it has had a runner: a hostile application
// could leave a thread in it that waits for the next one.
//
// A stub has one runner per vCPU, made when that vCPU first runs the application: it carries whichever task of the space runs there. A task's
// registers are in Task::regs while the Sentry runs, its FPU state stays in the runner's signal frame as it would stay in a CPU.
#include "common/abi/stub.hpp"
#include "common/base/result.hpp"
#include "guestkernel/lib/list.hpp"
#include "guestkernel/platform/cpu.hpp"
#include "guestkernel/platform/host.hpp"

namespace kvmsbx::platform::process {

struct Runner {
    bool lost = false;                      // it has ended, or no frame is where it said: the stub must go
    abi::RunnerControl* control = nullptr;  // null: there is none yet
    int32_t tid = 0;
    char* context = nullptr;            // the ucontext of its last trap, checked to lie in its area
    char* fpu = nullptr;                // likewise the FPU part of the frame
    uint64_t fs_base = 0, gs_base = 0;  // what its registers hold
};

class Stub {
  public:
    // A new one. ENOMEM, EAGAIN.
    static Result<Stub*> create();
    // Takes all memory from it at once, if it has any; it ends soon.
    enum class Content : bool { kNone, kMapped };
    static void give_back(Stub* stub, Content content);

    // Orders are collected and carried out together; add() carries out what is there when the page is full.
    void map(uint64_t address, Phys phys, uint64_t length, unsigned protection, bool populate);
    void unmap(uint64_t address, uint64_t length);
    void protect(uint64_t address, uint64_t length, unsigned protection);
    // Carries out what was collected. An error ends the stub: then nothing is mapped any more. ESRCH: it has ended.
    Result<> carry_out();

    // The runner of a vCPU, made if need be.
    Result<Runner*> runner(CpuArea& area);
    bool has_ended() const { return ended_; }
    int32_t pid() const { return pid_; }

  private:
    friend struct Ending;
    Stub() = default;
    ~Stub();
    Result<> empty();
    static void reap(unsigned most);
    Result<int64_t> carry_out_orders();
    void add(uint64_t number, uint64_t a0, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5);
    Result<> create_runner(Runner& runner, CpuArea& area);
    void end();

    int32_t pid_ = 0;
    bool ended_ = false;
    abi::OrderPage* orders_ = nullptr;
    unsigned count_ = 0;  // orders that wait
    Runner runners_[abi::kMaxCpus];
    ListHook ending_hook_;
};

// Where a runner's area lies in its stub.
inline uint64_t runner_address(const CpuArea& area) {
    return boot_info().stub_base + abi::kStubRunners + area.cpu_id * abi::kRunnerStride;
}

inline constexpr unsigned kProtRead = 1, kProtWrite = 2, kProtExec = 4;  // PROT_* of the host's mmap(2)

// Pages of RAM, a power of two in a row, zeroed; null when memory is out. mm/ defines them.
void* allocate_pages(unsigned count);
void free_pages(void* pages, unsigned count);

}  // namespace kvmsbx::platform::process
