#pragma once
// The Sentry's hold of a stub process (common/abi/stub.hpp). No stub is used again once it has had a runner: a hostile application
// could leave a thread in it that waits for the next one.
//
// A stub has one runner per vCPU that has run the application: it carries whichever task of the space runs there. The first runner is made
// before the application starts and belongs to the vCPU that comes first. The others are made when their vCPU first comes. A task's registers
// are in Task::regs while the Sentry runs, its FPU state stays in the runner's signal frame as it would stay in a CPU.
//
// The host may refuse whatever the helper asks for. What follows for the caller is said at each function. has_ended() is the last resort: the
// stub's application ends by SIGKILL, and the frames that it had mapped can be used again.
#include "common/abi/stub.hpp"
#include "common/base/result.hpp"
#include "guestkernel/lib/list.hpp"
#include "guestkernel/platform/cpu.hpp"
#include "guestkernel/platform/host.hpp"

namespace kvmsbx::platform::process {

struct Runner {
    bool lost = false;                      // it has ended, or no frame is where it said: the stub must go
    uint64_t address = 0;                   // of its area in the stub
    abi::RunnerControl* control = nullptr;  // null: there is none yet
    int32_t tid = 0;
    char* context = nullptr;            // the ucontext of its last trap, checked to lie in its area
    char* fpu = nullptr;                // likewise the FPU part of the frame
    uint64_t fs_base = 0, gs_base = 0;  // what its registers hold
};

class Stub {
  public:
    // A new one. ENOMEM; EAGAIN: the host's limit of processes.
    static Result<Stub*> create();
    // Takes all memory from it at once, if it has any; it ends soon.
    enum class Content : bool { kNone, kMapped };
    static void give_back(Stub* stub, Content content);

    // Orders are collected and carried out together; add() carries out what is there when the page is full.
    void map(uint64_t address, Phys phys, uint64_t length, unsigned protection, bool populate);
    void unmap(uint64_t address, uint64_t length);
    void protect(uint64_t address, uint64_t length, unsigned protection);
    // Carries out what was collected since the last call. After an error it is not known which of it was done: the caller calls empty() or
    // end(). ESRCH: the stub has ended.
    Result<> carry_out();
    // Unmaps all of the application's memory, in place of what was collected. An error has ended the stub: nothing is mapped then, either.
    Result<> empty();
    void end();

    // Makes the first runner, if there is none, after what was collected. EAGAIN (the host's limit of threads), ENOMEM, ESRCH; other errors
    // are the host's. An error leaves the state that carry_out() leaves.
    Result<> make_first_runner();
    // The runner of a vCPU, made if need be. An error has ended the stub, unless it has a runner of another vCPU: EAGAIN then.
    Result<Runner*> runner(CpuArea& area);
    // vCPUs that have a runner, or can take the first one. A bit each.
    uint64_t cpus() const;
    bool has_ended() const { return ended_; }
    int32_t pid() const { return pid_; }

  private:
    friend struct Ending;
    Stub() = default;
    ~Stub();
    static bool reap(unsigned most);
    static Result<Stub*> try_to_create();
    Result<int64_t> carry_out_orders();
    void add(uint64_t number, uint64_t a0, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5);
    Result<> create_runner();
    Result<> try_to_create_runner(Runner& runner);
    Result<> create_further_runner();

    int32_t pid_ = 0;
    bool ended_ = false;
    abi::OrderPage* orders_ = nullptr;
    unsigned count_ = 0;  // orders that wait
    Result<> failure_{};  // of orders since the last carry_out()
    Runner runners_[abi::kMaxCpus];
    unsigned runner_count_ = 0;
    Runner* of_cpu_[abi::kMaxCpus] = {};
    bool first_is_free_ = false;  // the first runner is there and belongs to no vCPU yet
    ListHook ending_hook_;
};

// Where a stub's runner number `index` has its area.
inline uint64_t runner_address(unsigned index) {
    return boot_info().stub_base + abi::kStubRunners + index * abi::kRunnerStride;
}

inline constexpr unsigned kProtRead = 1, kProtWrite = 2, kProtExec = 4;  // PROT_* of the host's mmap(2)

// Pages of RAM, a power of two in a row, zeroed; null when memory is out. mm/ defines them.
void* allocate_pages(unsigned count);
void free_pages(void* pages, unsigned count);

}  // namespace kvmsbx::platform::process
