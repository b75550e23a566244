// CallPost in ring 3 mode: the stub behind LSTAR and the mailbox that it writes calls into (common/abi/mailbox.hpp).
#include "common/abi/mailbox.hpp"
#include "guestkernel/platform/call_post.hpp"
#include "guestkernel/platform/cpu.hpp"
#include "guestkernel/platform/host.hpp"
#include "guestkernel/platform/user_context.hpp"

namespace kvmsbx::platform {
namespace {

using abi::Mailbox;
using abi::MailboxState;

bool in_mailbox_page(uint64_t address) { return address - abi::kMailboxPage < abi::kPageSize; }

// The registers as if the call in the mailbox returned `result`.
void finish_call(UserRegs& regs, const Mailbox& box, uint64_t result) {
    if (in_mailbox_page(regs.rsp)) regs.rsp = box.rsp;
    regs.rip = regs.rcx = box.rcx;
    regs.rflags = regs.r11 = box.r11;
    regs.rax = result;
}

class Post final : public CallPost {
  public:
    void place(Cpu& cpu) { cpu_ = &cpu; }

    uint64_t page_address() const override { return abi::kMailboxPage; }
    bool usable() const override { return usable_; }

    void open(void* page, const UserRegs& regs, const void* stack_end, TrapEntry* entry, Way way) override {
        box_ = static_cast<Mailbox*>(page) + cpu_->cpu_id;
        regs_ = regs;
        answered_ = false;
        set_user_context(*cpu_, regs_, stack_end);
        set_trap_entry(*cpu_, entry);
        set_state(MailboxState::kIdle);
        open_ = true;
        choose(way);
        watch();
    }

    void close() override { set_call_entry(abi::kStubGate); }

    void choose(Way way) override {
        if (open_) set_call_entry(way == Way::kPost ? abi::kStubPost : abi::kStubGate);
    }

    void give_registers(UserRegs& regs) override {
        open_ = false;
        watch();
        const uint64_t fs_base = regs.fs_base, gs_base = regs.gs_base;
        regs = regs_;
        regs.fs_base = fs_base, regs.gs_base = gs_base;
        settle(regs);
    }

    uint64_t hand_over(UserRegs& to) override {
        open_ = taken_ = false;
        const uint64_t trap = regs_.trap, offset = stub_offset(regs_.rip);
        if (offset > abi::kStubWait && offset < abi::kStubEnd) finish_call(regs_, *box_, 0);
        // The call under way has its number, its arguments and its result in the others.
        to.r15 = regs_.r15, to.r14 = regs_.r14, to.r13 = regs_.r13, to.r12 = regs_.r12;
        to.rbp = regs_.rbp, to.rbx = regs_.rbx;
        to.rcx = to.rip = regs_.rip, to.r11 = to.rflags = regs_.rflags, to.rsp = regs_.rsp;
        to.cs = regs_.cs, to.ss = regs_.ss;
        return trap;
    }

    PostedCall call() const override {
        const Mailbox box = *box_;
        return {box.rax, {box.rdi, box.rsi, box.rdx, box.r10, box.r8, box.r9}, box.rcx};
    }

    void take() override {
        taken_ = true;
        answered_ = false;
        watch();
    }

    void answer(uint64_t result) override {
        result_ = box_->result = result;
        answered_ = true;
        taken_ = false;
        set_state(MailboxState::kDone);
        watch();
    }

    void refuse() override { set_state(MailboxState::kRefused); }

  private:
    // Written through the direct map; applications only read it.
    void set_call_entry(unsigned offset) {
        // SAFETY: the VMM put the address there.
        __atomic_store_n(reinterpret_cast<uint64_t*>(cpu_->syscall_target), abi::syscall_stub(cpu_->cpu_id) + offset,
                         __ATOMIC_RELEASE);
    }
    void set_state(MailboxState state) { __atomic_store_n(&box_->state, state, __ATOMIC_RELEASE); }
    void watch() {
        static_assert(static_cast<uint32_t>(MailboxState::kPosted) == kPosted);
        // SAFETY: the memory of such an enum is that of its underlying type.
        const auto* state = open_ && !taken_ ? reinterpret_cast<const uint32_t*>(&box_->state) : nullptr;
        __atomic_store_n(&state_, state, __ATOMIC_RELEASE);
    }
    // Where in this vCPU's stub an address lies; kStubEnd: nowhere.
    uint64_t stub_offset(uint64_t rip) const {
        const uint64_t offset = rip - abi::syscall_stub(cpu_->cpu_id);
        return offset < abi::kStubEnd ? offset : abi::kStubEnd;
    }
    void settle(UserRegs& regs);

    Cpu* cpu_ = nullptr;
    Mailbox* box_ = nullptr;  // this vCPU's, of the address space that runs here
    bool open_ = false;       // the application runs, with its registers from and to regs_
    bool answered_ = false;   // `result_` is the answer to the call that was taken last
    bool usable_ = true;
    uint64_t result_ = 0;
    UserRegs regs_{};
};

// A trap may have come inside the stub, of which an application must see nothing: makes of it the system call, or
// undoes it, so that it is made again. kTrapNone: the trap itself was the stub's, and nothing of it is left.
void Post::settle(UserRegs& regs) {
    const uint64_t offset = stub_offset(regs.rip);
    const bool answered = answered_;
    answered_ = false;
    if (offset < abi::kStubPost || offset >= abi::kStubEnd) return;
    const bool interrupt = regs.trap >= abi::kVectorFirst;
    // Where KVM interprets the stub, its `int $4` is #UD: see becomes_system_call() in task/trap.cpp.
    const bool gave_up = (regs.trap == 4 && offset == abi::kStubGaveUp + abi::kStubTrapLength) ||
                         (regs.trap == 6 && offset == abi::kStubGaveUp);
    if (!interrupt && !gave_up) return;  // whoever jumps into the stub gets what he asks for
    const Mailbox box = *box_;
    if (offset <= abi::kStubWait) {
        if (offset != abi::kStubPost) regs.rax = box.rax;
        regs.rip = regs.rcx - 2;  // SYSCALL again
        regs.rflags = regs.r11;
        return;
    }
    if (offset >= abi::kStubDone || (answered && box.state == MailboxState::kDone)) {
        finish_call(regs, box, offset >= abi::kStubDone ? box.result : result_);
        if (!interrupt) regs.trap = abi::kTrapNone;
        return;
    }
    if (box.state == MailboxState::kWrongRing) usable_ = false;
    finish_call(regs, box, box.rax);
    if (interrupt)
        regs.rip -= 2;
    else
        regs.trap = abi::kTrapSyscall;
}

constinit Post posts[abi::kMailboxes];

}  // namespace

CallPost* call_post(Cpu& cpu) {
    if (!cpu.syscall_target || boot_info().cpu_count < 2 || cpu.cpu_id >= abi::kMailboxes) return nullptr;
    posts[cpu.cpu_id].place(cpu);
    return &posts[cpu.cpu_id];
}

}  // namespace kvmsbx::platform
