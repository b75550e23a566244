// The parts of the entry code that both modes share, and the descriptor tables.
#include "vmm/kvm/entry_code.hpp"

#include <cstring>

#include "vmm/kvm/entry_emitter.hpp"

namespace kvmsbx::vmm {

using abi::CpuArea;
using abi::PanicInfo;
using abi::SentryFault;
using abi::UserRegs;

void EntryEmitter::save_all_but_r11() {
    const Xbyak::Reg64 order[] = {r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi};
    for (size_t i = 0; i < std::size(order); i++)
        if (order[i].getIdx() != r11.getIdx()) mov(reg_field(8 * i), order[i]);
}

void EntryEmitter::save_all_registers() {
    save_all_but_r11();
    mov(reg_field(offsetof(UserRegs, r11)), r11);
}

void EntryEmitter::load_registers(Clobbered rcx_and_r11) {
    const Xbyak::Reg64 order[] = {r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi};
    for (size_t i = 0; i < std::size(order); i++) {
        bool clobbered = order[i].getIdx() == rcx.getIdx() || order[i].getIdx() == r11.getIdx();
        if (order[i].getIdx() == rax.getIdx() || (clobbered && rcx_and_r11 == Clobbered::kLeave)) continue;
        mov(order[i], qword[rax + static_cast<int>(8 * i)]);
    }
    mov(rax, qword[rax + static_cast<int>(offsetof(UserRegs, rax))]);
}

void EntryEmitter::copy_frame(const ReturnFrame& frame) {
    mov(rax, mem(frame.rsp));
    mov(reg_field(offsetof(UserRegs, rsp)), rax);
    mov(rax, mem(frame.rflags));
    mov(reg_field(offsetof(UserRegs, rflags)), rax);
    mov(rax, mem(frame.rip));
    mov(reg_field(offsetof(UserRegs, rip)), rax);
    mov(reg_field(offsetof(UserRegs, cs)), abi::kUserCs);
    mov(reg_field(offsetof(UserRegs, ss)), abi::kUserSs);
}

void EntryEmitter::write_frame(Xbyak::Label& bad_rip) {
    const ReturnFrame& frame = image_.application_stacks.resume.frame;
    mov(rcx, qword[rax + static_cast<int>(offsetof(UserRegs, rip))]);
    mov(mem(frame.rip), rcx);
    shr(rcx, 47);
    jnz(bad_rip, T_NEAR);
    mov(rcx, qword[rax + static_cast<int>(offsetof(UserRegs, rsp))]);
    mov(mem(frame.rsp), rcx);
    mov(mem(frame.cs), abi::kUserCs);
    mov(mem(frame.ss), abi::kUserSs);
    mov(ecx, dword[rax + static_cast<int>(offsetof(UserRegs, rflags))]);
    and_(ecx, kUserFlags);
    or_(ecx, kFlagIf | kFlagFixed);
    mov(mem(frame.rflags), rcx);
}

void EntryEmitter::enter_sentry(Flags flags) {
    mov(rdi, rsp);
    mov(rsi, input_.area_address);
    mov(rsp, mem(image_.area.kernel_stack));
    xor_(ebp, ebp);
    if (flags == Flags::kReset) {  // DF for the ABI, AC for SMAP
        push(kFlagFixed);
        popfq();
    }
    push(0);
    jmp(mem(image_.area.trap_entry));
}

void EntryEmitter::emit_bad_rip() {
    mov(qword[rax + static_cast<int>(offsetof(UserRegs, trap))], 13);
    mov(qword[rax + static_cast<int>(offsetof(UserRegs, error_code))], 0);
    mov(rsp, rax);
    enter_sentry(Flags::kAsTheyAre);
}

void EntryEmitter::emit_fault_entry() {
    const FrameStack& stack = image_.stacks.fault;
    Xbyak::Label early, no_entry;
    // The registers go into a PanicInfo above the emergency stack, so that they can be shown even when the Sentry
    // cannot do it itself.
    mov(mem(image_.area.scratch[0]), rax);
    mov(rax, input_.early_panic_address + offsetof(PanicInfo, registers));
    mov(rsp, rax);
    mov(rax, mem(image_.area.scratch[0]));
    save_all_registers();
    const std::pair<size_t, const uint64_t*> fields[] = {{offsetof(SentryFault, vector), &image_.data.fault_vector},
                                                         {offsetof(SentryFault, error_code), &stack.error_code},
                                                         {offsetof(SentryFault, cr2), &image_.data.fault_cr2},
                                                         {offsetof(SentryFault, rip), &stack.frame.rip},
                                                         {offsetof(SentryFault, cs), &stack.frame.cs},
                                                         {offsetof(SentryFault, rflags), &stack.frame.rflags},
                                                         {offsetof(SentryFault, rsp), &stack.frame.rsp},
                                                         {offsetof(SentryFault, ss), &stack.frame.ss}};
    for (auto [offset, source] : fields) {
        mov(rax, mem(*source));
        mov(reg_field(offset), rax);
    }
    mov(rdi, rsp);
    mov(rsi, input_.area_address);
    mov(rsp, mem(image_.area.emergency_stack));
    xor_(ebp, ebp);
    push(kFlagFixed);
    popfq();
    push(0);
    // Only the first fault goes to the Sentry: one in fault_entry itself must not come back to it.
    add(mem(image_.area.scratch[1]), 1);
    cmp(mem(image_.area.scratch[1]), 1);
    jne(early);
    cmp(mem(image_.area.fault_entry), 0);
    je(early);
    jmp(mem(image_.area.fault_entry));
    L(early);
    mov(mem(image_.area.hypercall.number), static_cast<uint32_t>(abi::HypercallNumber::kPanic));
    mov(rax, input_.early_panic_gpa);
    mov(mem(image_.area.hypercall.args[0]), rax);
    mov(rax, abi::kDirectMap + abi::kDeviceGpa + abi::kHypercallOffset);
    L(no_entry);
    mov(dword[rax], eax);
    jmp(no_entry);
}

uint64_t EntryEmitter::emit_wait() {
    align(16);
    nop();
    const uint64_t start = here();
    sti();
    hlt();
    cli();
    return start;
}

void EntryEmitter::emit_fpu(EntryPoints& points) {
    uint32_t low = input_.xcr0, high = input_.xcr0 >> 32;
    bool fxsave = input_.fpu == FpuMethod::kFxsave;
    align(16);
    points.fpu_save = here();
    if (!fxsave) mov(eax, low), mov(edx, high);
    // rex.w 0f ae /0 [rdi] FXSAVE64, /4 XSAVE64, /6 XSAVEOPT64
    db(0x48), db(0x0f), db(0xae), db(fxsave ? 0x07 : input_.fpu == FpuMethod::kXsave ? 0x27 : 0x37);
    ret();
    align(16);
    points.fpu_restore = here();
    if (!fxsave) mov(eax, low), mov(edx, high);
    db(0x48), db(0x0f), db(0xae), db(fxsave ? 0x0f : 0x2f);  // /1 FXRSTOR64, /5 XRSTOR64
    ret();
}

void write_gdt_and_tss(GateImage& image, uint64_t region) {
    uint64_t tss = region + kDataOffset + offsetof(GateData, tss);
    uint64_t limit = sizeof(GateData::tss) - 1;
    uint64_t* gdt = image.data.gdt;
    gdt[abi::kKernelCs / 8] = 0x00af9b000000ffff;
    gdt[abi::kKernelSs / 8] = 0x00cf93000000ffff;
    gdt[abi::kUserSs / 8] = 0x00cff3000000ffff;
    gdt[abi::kUserCs / 8] = 0x00affb000000ffff;
    gdt[abi::kTssSelector / 8] = limit | (tss & 0xffffff) << 16 | 0x8bULL << 40 | (tss >> 24 & 0xff) << 56;
    gdt[abi::kTssSelector / 8 + 1] = tss >> 32;

    auto put = [&](size_t offset, uint64_t value) { memcpy(image.data.tss + offset, &value, sizeof value); };
    uint64_t first_stack = region + kStacksOffset;
    put(4, first_stack + sizeof(FrameStack));  // RSP0: not used, every vector has an IST stack
    for (unsigned index = kStackTrap; index <= kStackFault; index++)
        put(0x24 + 8 * (index - 1), first_stack + index * sizeof(FrameStack));
    uint16_t no_io_bitmap = sizeof(GateData::tss);
    memcpy(image.data.tss + 0x66, &no_io_bitmap, sizeof no_io_bitmap);
}

void write_idt_entry(std::array<uint8_t, abi::kPageSize>& idt, unsigned vector, uint64_t handler, unsigned dpl,
                     unsigned stack) {
    uint64_t low = (handler & 0xffff) | uint64_t{abi::kKernelCs} << 16 | uint64_t{stack} << 32 |
                   (0x8e00ULL | dpl << 13) << 32 | (handler >> 16 & 0xffff) << 48;
    uint64_t high = handler >> 32;
    memcpy(&idt[16 * vector], &low, sizeof low);
    memcpy(&idt[16 * vector + 8], &high, sizeof high);
}

Result<EntryCode> generate_entry_code(const EntryCodeInput& input) {
    EntryCode made{std::make_unique<GateImage>(), {}};
    uint64_t region = gate_region(input.cpu);
    write_gdt_and_tss(*made.image, region);
    made.points.idt = region + kIdtOffset;
    made.points.gdt = region + kDataOffset + offsetof(GateData, gdt);
    made.points.tss = region + kDataOffset + offsetof(GateData, tss);
    try {
        (input.mode == abi::PrivilegeMode::kRing0 ? generate_ring0 : generate_ring3)(*made.image, input, made.points);
    } catch (const Xbyak::Error&) { return Errno::kNOSPC; }
    return made;
}

}  // namespace kvmsbx::vmm
