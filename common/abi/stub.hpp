#pragma once
// Process platform: what stub processes, the Sentry and the VMM agree on. Boundary 1 (what a stub can write is hostile) and 2.
//
// A stub is a host process whose address space is an application's: one per AddressSpace of the Sentry. Its threads are
//   helper   one; maps and unmaps for the Sentry; uses registers only, no stack; takes orders from a page that stubs can only read
//   runners  one per vCPU that runs the application, made when first needed; an application's code runs in them
// All stubs are copies of the zygote, which is a stub without an application: its helper makes new stubs.
//
// A stub's address space, from BootInfo::stub_base (random, at each start of a sandbox) on:
//   kStubCode     r-x  the generated code, the runners' filter, constants
//   kStubOrders   r--  OrderPage (a page of RAM), of this stub alone
//   kStubRunners  rw-  runner n at kStubRunners + n * kRunnerStride: RunnerControl, behind it the alternate signal stack (RAM)
// Everything else below the end of user space is the application's, up to kProcessUserEnd. Nothing but RAM and the code is mapped.
//
// Descriptors of a helper: kStubRamFd, kStubCompletionFd, kStubWakeFd + n (an eventfd per vCPU). Runners have none.
#include <cstddef>
#include <cstdint>

#include "common/abi/layout.hpp"

namespace kvmsbx::abi {

// Where the Sentry's image and its view of RAM lie in the sandbox process (kvmsbx boot).
inline constexpr uint64_t kProcessSentryBase = 0x7000'0000;
inline constexpr uint64_t kProcessDirectMap = 0x1000'0000'0000;  // + guest-physical address: RAM, channel

inline constexpr uint64_t kProcessUserEnd = 0x7fff'c000'0000;  // the applications' end of memory
inline constexpr uint64_t kStubRangeEnd = 0x7fff'ffff'f000;
inline constexpr uint64_t kStubAlignment = 0x1'0000;  // of BootInfo::stub_base
inline constexpr uint64_t kStubCode = 0, kStubCodeSize = 0x4000, kStubOrders = 0x4000, kStubRunners = 0x1'0000;
// Bytes; a runner's area is BootInfo::runner_area_size of it, from its start.
inline constexpr uint64_t kRunnerStride = 0x8000;
inline constexpr uint64_t kStubSize = kStubRunners + kMaxCpus * kRunnerStride;

inline constexpr int kStubRamFd = 0, kStubCompletionFd = 1, kStubWakeFd = 2;
inline constexpr int kPreemptSignal = 10;  // SIGUSR1: makes a runner trap

// A host system call that the helper makes. Allowed: mmap (MAP_SHARED | MAP_FIXED of kStubRamFd), munmap, mprotect, and clone with exactly
// kCloneRunner or kCloneStub. The last argument of clone, which the kernel ignores, tells the child where it begins:
//   kCloneRunner: arguments[5] = address of the runner's area, arguments[3] = that of its RunnerControl::state (the child's TID word)
//   kCloneStub: arguments[5] = offset in the RAM file of the new stub's OrderPage. The zygote alone is given this order.
struct Order {
    uint64_t number;
    uint64_t arguments[6];
    uint64_t pad;
};
// VM, FS, SIGHAND, THREAD, SYSVSEM, CHILD_CLEARTID.
inline constexpr uint64_t kCloneRunner = 0x00100 | 0x00200 | 0x00800 | 0x10000 | 0x40000 | 0x200000;
inline constexpr uint64_t kCloneStub = 0x08000;  // PARENT

// Written by the Sentry and the VMM, read by the helper.
inline constexpr unsigned kMaxOrders = 62;
struct OrderPage {
    uint32_t sequence;    // futex word: another value than the last means that orders wait
    uint32_t count;       // of orders, at most kMaxOrders
    uint64_t completion;  // offset in the completions file of this stub's Completion
    uint64_t wake_fd;     // kStubWakeFd + n: written to when all is done
    uint64_t one;         // 1: what is written there
    uint64_t pad[4];
    Order orders[kMaxOrders];
};
static_assert(sizeof(OrderPage) == 64 + kMaxOrders * 64 && sizeof(OrderPage) <= kPageSize);

// In the completions file, which the sandbox process maps and no stub does: nobody but a helper can write it. `result` is written first,
// and only by clone (the TID) and on an error: then the orders behind are not carried out.
struct Completion {
    uint32_t sequence;  // OrderPage::sequence of the orders that are done
    int32_t result;     // 0; a TID; -errno
};
inline constexpr unsigned kMaxStubs = 8192;  // slots in the completions file; slot 0 is the zygote's

enum class RunnerState : uint32_t {
    kGone = 0,     // the thread has ended (the kernel's word at its end, and the VMM's when its stub is dead)
    kRunning = 1,  // IN: go on with resume_context
    kTrapped = 2,  // OUT: a signal frame is there
};

// At the start of a runner's area. The stub's threads can write all of it at any time: copy, then check.
struct RunnerControl {
    uint32_t state;  // RunnerState, a futex word
    uint32_t signal;
    uint64_t context;                   // OUT: address in the stub of the ucontext that the kernel pushed
    uint64_t info;                      // OUT: of the siginfo
    uint64_t fs_base, gs_base;          // OUT, where BootInfo::fsgsbase
    uint32_t set_bases;                 // IN: bit 0: FS, bit 1: GS
    uint32_t spin;                      // IN: how often to look at `state` before it waits in the kernel
    uint64_t new_fs_base, new_gs_base;  // IN
    uint64_t resume_context;            // IN: address in the stub of the ucontext to go on with (rt_sigreturn)
    uint32_t vcpu_sleeps;               // IN: not 0: the vCPU waits in the kernel for `state` to change
    uint32_t runner_sleeps;             // OUT: likewise the runner
    uint64_t pad[22];
};
static_assert(sizeof(RunnerControl) == 256 && offsetof(RunnerControl, resume_context) == 64);

struct CpuArea;

// What the VMM does for the Sentry here in place of devices and hypercall exits: function calls. The Sentry calls them on the host's stack
// of the vCPU's thread (CpuArea::scratch[0]), see platform/process. All but send_ipi, hypercall and ring_gofer may block the thread.
struct ProcessHost {
    // CpuArea::hypercall of that vCPU, as the device page's write is for a guest.
    void (*hypercall)(CpuArea*);
    void (*ring_gofer)();
    // One-shot timer: kVectorTimer into pending_interrupts in `ns` nanoseconds; 0: never.
    void (*set_timer)(CpuArea*, uint64_t ns);
    // Sets the bit of kVectorIpi in the target's pending_interrupts; a vCPU that waits wakes, a runner that runs traps.
    void (*send_ipi)(CpuArea* target);
    // 1 if pending_interrupts is not empty, or the timer is due (then its bit is set).
    int64_t (*interrupt_waits)(CpuArea*);
    // Until interrupt_waits().
    void (*wait)(CpuArea*);
    // Sets `control`'s state to kRunning, wakes the runner `tid` of stub `pid`, on this thread's processor, and waits until it traps or has
    // ended. An interrupt that comes makes it trap. 0: kTrapped; -ESRCH: the runner or its stub is gone.
    int64_t (*run)(CpuArea*, RunnerControl* control, int32_t pid, int32_t tid);
    // Has the helper of stub `pid` carry out `count` orders, which are in the page, and waits for that. The result (see Completion): >= 0 or
    // -errno; -ESRCH: the stub is gone.
    int64_t (*order)(CpuArea*, OrderPage* orders, uint32_t count, int32_t pid);
    // A new stub with that page of orders (its fields need no value). Its PID; -EAGAIN, -ENOMEM.
    int64_t (*create_stub)(CpuArea*, OrderPage* orders);
    // Lets other threads of the host have the processor: for a vCPU that waits for another.
    void (*yield)();
    // Has a stub end some time soon. kill_stub() is still due.
    void (*end_stub)(CpuArea*, int32_t pid);
    // Ends a stub, and returns when none of its threads runs any more.
    void (*kill_stub)(CpuArea*, int32_t pid);
};

}  // namespace kvmsbx::abi
