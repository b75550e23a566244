// Ring 3 mode: the gate (interpreted where KVM has no VMX/SVM: every instruction counts) and the entry code, which runs
// in ring 3.
#include <cstring>

#include "common/abi/mailbox.hpp"
#include "vmm/kvm/entry_emitter.hpp"

namespace kvmsbx::vmm {
namespace {

using abi::UserRegs;

class Ring3Code : public EntryEmitter {
  public:
    using EntryEmitter::EntryEmitter;

    void generate(EntryPoints& points) {
        for (unsigned i = 0; i < kPreparedFrames; i++) emit_entry(i);
        emit_page_fault();
        emit_common();
        emit_syscall();
        align(16);
        fault_ = here();
        emit_fault_entry();
        emit_resume(points);
        emit_fpu(points);
        align(16);
        points.wait_for_interrupt = here();
        int_(4);
        ret();
        points.drop_user_space = here();
        ret();
    }
    uint64_t entry(unsigned frame) const { return entries_[frame]; }
    uint64_t fault() const { return fault_; }

  private:
    // One vector's way in: registers are the application's, but rsp, and r11: in GateData::exchange (vector 4: lost;
    // vector 14: also CR2).
    void emit_entry(unsigned frame) {
        unsigned vector = prepared_vector(frame);
        entries_[frame] = here();
        mov(rsp, mem(image_.area.user_regs));
        if (vector == 4) {
            jmp(int4_, T_NEAR);
            return;
        }
        mov(reg_field(offsetof(UserRegs, trap)), vector);
        jmp(vector == 14 ? page_fault_ : vector < 32 && has_error_code(vector) ? common_error_ : common_, T_NEAR);
    }

    // r11 and the value that IDT-A's handlers find there next time. Uses rax.
    void take_r11_back() {
        mov(rax, input_.sentry_cr3);
        xchg(rax, mem(image_.data.exchange));
        mov(reg_field(offsetof(UserRegs, r11)), rax);
    }

    void emit_page_fault() {
        const FrameStack& stack = image_.application_stacks.page_fault;
        align(16);
        L(page_fault_);
        save_all_but_r11();
        mov(reg_field(offsetof(UserRegs, cr2)), r11);
        mov(rax, mem(stack.error_code));
        mov(reg_field(offsetof(UserRegs, error_code)), rax);
        take_r11_back();
        copy_frame(stack.frame);
        enter_sentry(Flags::kAsTheyAre);
    }

    void emit_common() {
        const FrameStack& stack = image_.application_stacks.trap;
        Xbyak::Label save, out, not_debug;
        align(16);
        L(common_error_);
        save_all_but_r11();
        mov(rax, mem(stack.error_code));
        jmp(save);
        align(16);
        L(common_);
        save_all_but_r11();
        xor_(eax, eax);
        L(save);
        mov(reg_field(offsetof(UserRegs, error_code)), rax);
        take_r11_back();
        copy_frame(stack.frame);
        // A trap before the stub's trap: SYSCALL was executed, nothing else.
        mov(rdx, abi::syscall_stub(input_.cpu));
        sub(rax, rdx);
        cmp(rax, abi::kStubGate);
        ja(out);
        cmp(reg_field(offsetof(UserRegs, trap)), 1);
        jne(not_debug);
        jmp(syscall_with_frame_, T_NEAR);  // TF: the trap comes after the system call
        L(not_debug);                      // an interrupt: the application executes its SYSCALL again
        mov(rcx, reg_field(offsetof(UserRegs, rcx)));
        sub(rcx, 2);
        mov(reg_field(offsetof(UserRegs, rip)), rcx);
        L(out);
        enter_sentry(Flags::kAsTheyAre);
    }

    void emit_syscall() {
        Xbyak::Label not_from_stub;
        align(16);
        L(int4_);
        save_all_but_r11();
        copy_frame(image_.application_stacks.syscall.frame);
        mov(rdx, abi::syscall_stub(input_.cpu) + abi::kStubGate + abi::kStubTrapLength);
        cmp(rax, rdx);
        jne(not_from_stub);
        L(syscall_with_frame_);
        mov(reg_field(offsetof(UserRegs, trap)), static_cast<uint32_t>(abi::kTrapSyscall));
        mov(reg_field(offsetof(UserRegs, error_code)), 0);
        mov(rcx, reg_field(offsetof(UserRegs, rcx)));
        mov(reg_field(offsetof(UserRegs, rip)), rcx);
        mov(rcx, reg_field(offsetof(UserRegs, rflags)));
        mov(reg_field(offsetof(UserRegs, r11)), rcx);
        enter_sentry(Flags::kAsTheyAre);
        L(not_from_stub);
        mov(reg_field(offsetof(UserRegs, trap)), 4);
        mov(reg_field(offsetof(UserRegs, error_code)), 0);
        mov(reg_field(offsetof(UserRegs, r11)), 0);
        enter_sentry(Flags::kAsTheyAre);
    }

    void emit_resume(EntryPoints& points) {
        Xbyak::Label bad_rip, general;
        align(16);
        points.resume_user = here();
        mov(rax, mem(image_.area.user_regs));
        write_frame(bad_rip);
        cmp(qword[rax + static_cast<int>(offsetof(UserRegs, trap))], static_cast<uint32_t>(abi::kTrapSyscall));
        jne(general);
        mov(mem(image_.data.resume_r11), rcx);  // rflags, as SYSRET leaves it
        mov(rcx, qword[rax + static_cast<int>(offsetof(UserRegs, rip))]);
        load_registers(Clobbered::kLeave);
        mov(r11, mem(image_.area.user_cr3));
        int3();
        L(general);
        mov(rcx, qword[rax + static_cast<int>(offsetof(UserRegs, r11))]);
        mov(mem(image_.data.resume_r11), rcx);
        load_registers(Clobbered::kRestore);
        mov(r11, mem(image_.area.user_cr3));
        int3();
        L(bad_rip);
        emit_bad_rip();
    }

    std::array<uint64_t, kPreparedFrames> entries_{};
    uint64_t fault_ = 0;
    Xbyak::Label page_fault_, common_, common_error_, int4_, syscall_with_frame_;
};

class Gate : public EntryEmitter {
  public:
    using EntryEmitter::EntryEmitter;

    void generate(const Ring3Code& code) {
        for (unsigned i = 0; i < kPreparedFrames; i++) emit_application_vector(i, code.entry(i));
        image_.data.fault_return = prepared_frame(code.fault());
        for (unsigned vector = 0; vector < 32; vector++)
            if (vector != 3 && vector != 4) emit_sentry_fault(vector);
        emit_sentry_services();
    }

  private:
    static ReturnFrame prepared_frame(uint64_t rip) { return {rip, abi::kUserCs, kFlagFixed, 0, abi::kUserSs}; }

    void emit_application_vector(unsigned frame, uint64_t entry) {
        unsigned vector = prepared_vector(frame);
        ReturnFrame into_sentry = prepared_frame(entry);
        unsigned stack = vector == 4 ? kStackSyscall : vector == 14 ? kStackPageFault : kStackTrap;
        // As on Linux, applications may execute int3 and `int $4`.
        write_idt_entry(image_.idt_application, vector, here(), vector == 3 || vector == 4 ? 3 : 0, stack);
        if (vector == 4)
            mov(r11, input_.sentry_cr3);  // SYSCALL has destroyed r11
        else
            xchg(mem(image_.data.exchange), r11);
        mov_cr3_r11();
        // Where the stack pointer stands now, there lies the prepared frame; but most vectors share a stack.
        if (vector == 4) {
            image_.stacks.syscall.frame = into_sentry;
        } else if (vector == 14) {
            mov_r11_cr2();
            memcpy(&image_.stacks.page_fault.error_code, &into_sentry,
                   sizeof into_sentry);  // the error code was pushed, too
        } else {
            image_.data.prepared[frame] = into_sentry;
            lea(rsp, mem(image_.data.prepared[frame]));
        }
        iretq();
    }

    void emit_sentry_fault(unsigned vector) {
        write_idt_entry(image_.idt_sentry, vector, here(), 0, kStackFault);
        if (!has_error_code(vector)) mov(mem(image_.stacks.fault.error_code), 0);
        if (vector == 14) {
            push(rax);
            mov_rax_cr2();
            mov(mem(image_.data.fault_cr2), rax);
            pop(rax);
        }
        mov(mem(image_.data.fault_vector), vector);
        lea(rsp, mem(image_.data.fault_return));
        iretq();
    }

    void emit_sentry_services() {
        // Resume: r11 is the application's page table, in which the stack pointer means the frame that resume_user
        // wrote.
        write_idt_entry(image_.idt_sentry, 3, here(), 3, kStackResume);
        mov_cr3_r11();
        mov(r11, mem(image_.data.resume_r11));
        iretq();
        write_idt_entry(image_.idt_sentry, 4, emit_wait(), 3, kStackWait);
        iretq();
        for (unsigned vector = abi::kVectorFirst; vector <= abi::kVectorLast; vector++) {
            write_idt_entry(image_.idt_sentry, vector, here(), 0, kStackInterrupt);
            or_(mem(image_.area.pending_interrupts), 1 << (vector - abi::kVectorFirst));
            emit_wait_is_over();
            iretq();
        }
        write_idt_entry(image_.idt_sentry, abi::kVectorSpurious, here(), 0, kStackInterrupt);
        emit_wait_is_over();
        iretq();
    }
};

// The page of common/abi/mailbox.hpp.
class Stub : public Xbyak::CodeGenerator {
  public:
    Stub(uint8_t* at, unsigned cpu) : CodeGenerator(abi::kStubTarget, at), cpu_(cpu) {}

    void generate() {
        constexpr unsigned kJumpLength = 6;
        db(0xff), db(0x25), dd(abi::kStubTarget - abi::kStubEntry - kJumpLength);  // jmp qword [rip + ...]
        go_to(abi::kStubGate);
        db(0xcd), db(4);  // int $4
        if (cpu_ >= abi::kMailboxes) return;
        emit_post();
        emit_wait();
        emit_done();
    }

  private:
    // All between is int3, as the page is filled.
    void go_to(unsigned offset) {
        if (getSize() > offset) throw Xbyak::Error(Xbyak::ERR_CODE_IS_TOO_BIG);
        setSize(offset);
    }
    Xbyak::Address field(size_t offset) { return qword[rax + static_cast<int>(offset)]; }
    Xbyak::Address state() { return dword[rax + static_cast<int>(offsetof(abi::Mailbox, state))]; }
    uint64_t address() const { return abi::mailbox_address(cpu_); }

    void emit_post() {
        using abi::Mailbox;
        Xbyak::Label wrong_ring;
        go_to(abi::kStubPost);
        db(0x48), db(0xa3), dq(address() + offsetof(Mailbox, rax));  // mov [address], rax: the one store that needs no
                                                                     // other register
        mov(eax, cs);
        test(al, 3);
        mov(rax, address());
        mov(field(offsetof(Mailbox, rcx)), rcx);
        mov(field(offsetof(Mailbox, r11)), r11);
        jz(wrong_ring);
        mov(field(offsetof(Mailbox, rdi)), rdi);
        mov(field(offsetof(Mailbox, rsi)), rsi);
        mov(field(offsetof(Mailbox, rdx)), rdx);
        mov(field(offsetof(Mailbox, r10)), r10);
        mov(field(offsetof(Mailbox, r8)), r8);
        mov(field(offsetof(Mailbox, r9)), r9);
        jmp(wait_, T_NEAR);
        L(wrong_ring);
        mov(state(), static_cast<uint32_t>(abi::MailboxState::kWrongRing));
        jmp(gave_up_, T_NEAR);
    }

    void emit_wait() {
        Xbyak::Label again, answered;
        go_to(abi::kStubWait);
        L(wait_);
        mov(state(), static_cast<uint32_t>(abi::MailboxState::kPosted));
        mov(ecx, kRounds);
        L(again);
        cmp(state(), static_cast<uint32_t>(abi::MailboxState::kPosted));
        jne(answered);
        pause();
        dec(ecx);
        jnz(again);
        jmp(gave_up_);
        L(answered);
        cmp(state(), static_cast<uint32_t>(abi::MailboxState::kDone));
        je(done_, T_NEAR);
        jmp(gave_up_);
        go_to(abi::kStubGaveUp);
        L(gave_up_);
        db(0xcd), db(4);
    }

    void emit_done() {
        using abi::Mailbox;
        go_to(abi::kStubDone);
        L(done_);
        mov(rcx, field(offsetof(Mailbox, rcx)));
        mov(field(offsetof(Mailbox, rsp)), rsp);
        lea(rsp, field(offsetof(Mailbox, stack) + sizeof(uint64_t)));
        push(r11);
        popfq();
        mov(rsp, field(offsetof(Mailbox, rsp)));
        mov(rax, field(offsetof(Mailbox, result)));
        jmp(rcx);
        if (getSize() > abi::kStubEnd) throw Xbyak::Error(Xbyak::ERR_CODE_IS_TOO_BIG);
    }

    static constexpr uint32_t kRounds = 2048;  // of `pause`: some tens of microseconds
    const unsigned cpu_;
    Xbyak::Label wait_, gave_up_, done_;
};

}  // namespace

void generate_ring3(GateImage& image, const EntryCodeInput& input, EntryPoints& points) {
    Ring3Code code(image, input, image.code.data(), image.code.size());
    code.generate(points);
    Gate gate(image, input, image.gate.data(), image.gate.size());
    gate.generate(code);
    image.data.exchange = input.sentry_cr3;
    points.lstar = abi::syscall_stub(input.cpu);
    points.flag_mask = 0;  // the frame of `int $4` must hold the application's flags
}

std::array<uint8_t, abi::kPageSize> syscall_stub_page(unsigned cpu) {
    std::array<uint8_t, abi::kPageSize> page;
    page.fill(0xcc);
    Stub(page.data(), cpu).generate();
    const uint64_t target = abi::syscall_stub(cpu) + abi::kStubGate;
    memcpy(&page[abi::kStubTarget], &target, sizeof target);
    return page;
}

}  // namespace kvmsbx::vmm
