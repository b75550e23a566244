#pragma once
// System calls without a trap. Where the platform can, an application posts a call in memory and waits in its own code
// for the answer, which another vCPU gives. kvm/mailbox.cpp does that in ring 3 mode; other platforms have no posts.
// Model:
// - Each vCPU where applications can post calls has a CallPost. On the way to ring 3 it is opened or closed. While it
//   is closed, calls come by traps.
// - While it is open, another vCPU may see that a call waits (posted). It refuses the call, which then comes by the
//   trap, or takes the call and answers it: the application goes on.
// - The application's next trap comes in at the entry that open() was given, and closes the post. If its call is taken
//   just then, hand_over() gives the registers to whoever serves the call.
// - What an application forges concerns its own threads alone: a call is copied once, and what was taken and answered
//   is noted in the Sentry's memory.
// All with the kernel lock held, but for posted().
#include <cstdint>

#include "guestkernel/platform/cpu.hpp"
#include "guestkernel/platform/user_context.hpp"

namespace kvmsbx::platform {

// What the registers of a posted call say.
struct PostedCall {
    uint64_t number, arguments[6];
    uint64_t return_address;
};

class CallPost {
  public:
    // How an application's calls come in. Only while the post is open can it be kPost.
    enum class Way : bool { kTrap, kPost };

    // The address of the page that an address space must have before open(): above user_end, zeroed, and writable for
    // the application.
    virtual uint64_t page_address() const = 0;
    // False: it has turned out that no call can be posted here.
    virtual bool usable() const = 0;

    // By this vCPU, which runs the application next. page: that page, in the Sentry's memory. regs: the application's;
    // the post keeps them until the trap. The trap comes in at `entry`, on the stack that ends at `stack_end`.
    virtual void open(void* page, const UserRegs& regs, const void* stack_end, TrapEntry* entry, Way way) = 0;
    virtual void close() = 0;
    // Of an open post; no effect on a closed one.
    virtual void choose(Way way) = 0;

    // By `entry` while no call is taken: the registers at the trap, but the segment bases. They are as if calls were
    // made by traps alone: `trap` is kTrapNone where the trap belonged to a call that had its answer.
    virtual void give_registers(UserRegs& regs) = 0;
    // By `entry` while a call is taken: the registers that the call under way does not have in `regs` already. The call
    // is no longer taken. Gives the trap's cause.
    virtual uint64_t hand_over(UserRegs& regs) = 0;

    // A call waits to be taken. Needs no lock, but is believed only with it.
    bool posted() const {
        const uint32_t* state = __atomic_load_n(&state_, __ATOMIC_RELAXED);
        return state && __atomic_load_n(state, __ATOMIC_ACQUIRE) == kPosted;
    }
    virtual PostedCall call() const = 0;  // that call
    virtual void take() = 0;
    bool taken() const { return taken_; }
    virtual void answer(uint64_t result) = 0;
    // The application comes by the trap with the call that waits, or that is taken.
    virtual void refuse() = 0;

  protected:
    ~CallPost() = default;
    static constexpr uint32_t kPosted = 1;
    // The word that is kPosted once a call waits; null while none can be taken.
    const uint32_t* state_ = nullptr;
    bool taken_ = false;
};

// The vCPU's post; null: calls come by traps alone there. Once per vCPU, at start.
CallPost* call_post(Cpu& cpu);

}  // namespace kvmsbx::platform
