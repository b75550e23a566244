// Ring 0 mode: the entry code of an ordinary kernel. `getppid` must stay under 200 instructions in all, so the SYSCALL
// path has no detour.
#include <cstring>

#include "vmm/kvm/entry_emitter.hpp"

namespace kvmsbx::vmm {
namespace {

using abi::UserRegs;

class Ring0Code : public EntryEmitter {
  public:
    using EntryEmitter::EntryEmitter;

    void generate(EntryPoints& points) {
        emit_syscall(points);
        for (unsigned i = 0; i < kPreparedFrames; i++) emit_vector(prepared_vector(i));
        emit_common();
        align(16);
        L(fault_);
        emit_fault_entry();
        emit_resume(points);
        emit_fpu(points);
        points.wait_for_interrupt = emit_wait();
        ret();
        align(16);
        points.drop_user_space = here();
        mov(rax, input_.sentry_cr3);
        mov(mem(image_.area.loaded_cr3), rax);
        mov_cr3_rax();
        ret();
    }

  private:
    void emit_syscall(EntryPoints& points) {
        align(16);
        points.lstar = here();
        mov(mem(image_.area.scratch[2]), rsp);
        mov(rsp, mem(image_.area.user_regs));
        save_all_registers();
        mov(reg_field(offsetof(UserRegs, rip)), rcx);
        mov(reg_field(offsetof(UserRegs, rflags)), r11);
        mov(rax, mem(image_.area.scratch[2]));
        mov(reg_field(offsetof(UserRegs, rsp)), rax);
        mov(reg_field(offsetof(UserRegs, trap)), static_cast<uint32_t>(abi::kTrapSyscall));
        mov(reg_field(offsetof(UserRegs, error_code)), 0);
        mov(reg_field(offsetof(UserRegs, cs)), abi::kUserCs);
        mov(reg_field(offsetof(UserRegs, ss)), abi::kUserSs);
        enter_sentry(Flags::kAsTheyAre);
    }

    // All vectors come on an IST stack, so the frame lies in one place whatever was interrupted; its CPL tells
    // application from Sentry.
    void emit_vector(unsigned vector) {
        bool own_stack =
            vector == 2 || vector == 8 || vector == 18;  // NMI, #DF, #MC come at any point, and are not survived
        bool programs_may = vector == 3 || vector == 4;
        write_idt_entry(image_.idt_sentry, vector, here(), programs_may ? 3 : 0, own_stack ? kStackFault : kStackTrap);
        Xbyak::Label from_sentry;
        if (own_stack) {
            if (!has_error_code(vector)) mov(mem(image_.stacks.fault.error_code), 0);
            mov(mem(image_.data.fault_vector), vector);
            jmp(fault_, T_NEAR);
            return;
        }
        test(byte[rip + static_cast<const void*>(&image_.stacks.trap.frame.cs)], 3);
        jz(from_sentry);
        mov(rsp, mem(image_.area.user_regs));
        mov(reg_field(offsetof(UserRegs, trap)), vector);
        jmp(vector == 14 ? page_fault_ : vector < 32 && has_error_code(vector) ? common_error_ : common_, T_NEAR);
        L(from_sentry);
        emit_vector_from_sentry(vector);
    }

    void emit_vector_from_sentry(unsigned vector) {
        if (vector >= 32) {  // only in wait_for_interrupt
            if (vector != abi::kVectorSpurious)
                or_(mem(image_.area.pending_interrupts), 1 << (vector - abi::kVectorFirst));
            emit_wait_is_over();
            iretq();
            return;
        }
        mov(mem(image_.data.fault_vector), vector);
        jmp(has_error_code(vector) ? sentry_fault_error_ : sentry_fault_, T_NEAR);
    }

    void emit_common() {
        Xbyak::Label save, copy;
        align(16);
        L(page_fault_);
        mov(mem(image_.area.scratch[2]), rax);
        mov_rax_cr2();
        mov(reg_field(offsetof(UserRegs, cr2)), rax);
        mov(rax, mem(image_.area.scratch[2]));
        L(common_error_);
        save_all_registers();
        mov(rax, mem(image_.stacks.trap.error_code));
        jmp(save);
        align(16);
        L(common_);
        save_all_registers();
        xor_(eax, eax);
        L(save);
        mov(reg_field(offsetof(UserRegs, error_code)), rax);
        copy_frame(image_.stacks.trap.frame);
        enter_sentry(Flags::kReset);

        // The Sentry's own fault: move the frame to where emit_fault_entry() expects it.
        L(sentry_fault_);
        mov(mem(image_.stacks.trap.error_code), 0);
        L(sentry_fault_error_);
        mov(mem(image_.area.scratch[2]), rax);
        mov_rax_cr2();
        mov(mem(image_.data.fault_cr2), rax);
        const uint64_t* from = &image_.stacks.trap.error_code;
        const uint64_t* to = &image_.stacks.fault.error_code;
        for (int i = 0; i < 6; i++) {
            mov(rax, mem(from[i]));
            mov(mem(to[i]), rax);
        }
        mov(rax, mem(image_.area.scratch[2]));
        jmp(fault_, T_NEAR);
    }

    void emit_resume(EntryPoints& points) {
        Xbyak::Label bad_rip, general, load_cr3, cr3_loaded;
        align(16);
        points.resume_user = here();
        mov(rdx, mem(image_.area.user_cr3));
        mov(rax, mem(image_.area.user_regs));
        cmp(rdx, mem(image_.area.loaded_cr3));
        jne(load_cr3, T_NEAR);
        L(cr3_loaded);
        cmp(dword[rax + static_cast<int>(offsetof(UserRegs, trap))], static_cast<uint32_t>(abi::kTrapSyscall));
        jne(general, T_NEAR);
        mov(rcx, qword[rax + static_cast<int>(offsetof(UserRegs, rip))]);
        mov(rdx, rcx);
        shr(rdx, 47);
        jnz(bad_rip, T_NEAR);
        mov(r11d, dword[rax + static_cast<int>(offsetof(UserRegs, rflags))]);
        and_(r11d, kUserFlags);
        or_(r11d, kFlagIf | kFlagFixed);
        mov(rsp, qword[rax + static_cast<int>(offsetof(UserRegs, rsp))]);
        load_registers(Clobbered::kLeave);
        sysretq();
        L(general);
        write_frame(bad_rip);
        load_registers(Clobbered::kRestore);
        lea(rsp, mem(image_.application_stacks.resume.frame));
        iretq();
        L(load_cr3);
        mov(mem(image_.area.loaded_cr3), rdx);
        db(0x0f), db(0x22), db(0xda);  // mov cr3, rdx
        jmp(cr3_loaded, T_NEAR);
        L(bad_rip);
        emit_bad_rip();
    }

    Xbyak::Label common_, common_error_, page_fault_, fault_, sentry_fault_, sentry_fault_error_;
};

}  // namespace

void generate_ring0(GateImage& image, const EntryCodeInput& input, EntryPoints& points) {
    Ring0Code code(image, input, image.code.data(), image.code.size());
    code.generate(points);
    points.flag_mask = kSyscallFlagMask;
}

}  // namespace kvmsbx::vmm
