#pragma once
// Ring 3 mode: the stub behind LSTAR, and the mailbox through which a system call reaches the Sentry without a trap.
//
// Where SYSCALL stays in ring 3 (platform: KVM without VMX/SVM) the stub runs in the application's page table and can
// write the call into a page that this address space shares with the Sentry, and wait there for the answer of a vCPU
// that has nothing else to do. Everything in a Mailbox is what the application pleases: the Sentry copies it once,
// keeps its own account of what it took and answered, and what an application forges reaches its own threads alone.
//
// One stub page per vCPU, r-x for applications:
//   kStubEntry   jmp [kStubTarget]: to kStubGate or kStubPost, as the Sentry has set it
//   kStubGate    int $4: into the Sentry, all registers but r11 as SYSCALL left them
//   kStubPost    puts the call into the mailbox; at CPL 0 (hardware KVM) only state kWrongRing
//   kStubWait    sets state kPosted, with one instruction, and waits until it is another or a while is over
//   kStubGaveUp  int $4: into the Sentry; rcx, r11, rax and the flags are in the mailbox
//   kStubDone    loads the answer, rcx, r11 and the flags, and goes back to rcx
#include <cstddef>
#include <cstdint>

#include "common/abi/layout.hpp"

namespace kvmsbx::abi {

inline constexpr unsigned kStubEntry = 0, kStubGate = 0x08, kStubPost = 0x40, kStubWait = 0x100, kStubGaveUp = 0x140,
                          kStubDone = 0x180, kStubEnd = 0x1c0, kStubTarget = 0x800;
inline constexpr unsigned kStubTrapLength = 2;  // of int $4

constexpr uint64_t syscall_stub(unsigned cpu) { return kSyscallStub - cpu * kPageSize; }

enum class MailboxState : uint32_t {
    kIdle,
    kPosted,     // by the stub: a call waits, or is being served
    kDone,       // by the Sentry: `result` is there
    kRefused,    // by the Sentry: come by the trap
    kWrongRing,  // by the stub: SYSCALL does not stay in ring 3 here
};

struct alignas(128) Mailbox {
    MailboxState state;
    uint32_t pad;
    uint64_t rax, rdi, rsi, rdx, r10, r8, r9, rcx, r11;  // as SYSCALL left them
    uint64_t result;
    uint64_t rsp;       // the application's, while the stub restores the flags
    uint64_t stack[2];  // for that
};
static_assert(sizeof(Mailbox) == 128 && offsetof(Mailbox, stack) == 96);

// Above all that applications can map, in their own page table: one Mailbox per vCPU. A process has it once it makes
// many calls.
inline constexpr uint64_t kMailboxPage = kUserEnd;
inline constexpr unsigned kMailboxes = kPageSize / sizeof(Mailbox);  // vCPUs from this number on have none

constexpr uint64_t mailbox_address(unsigned cpu) { return kMailboxPage + cpu * sizeof(Mailbox); }

}  // namespace kvmsbx::abi
