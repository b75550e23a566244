#pragma once
// What both modes' entry code is made of. Private to vmm/entry_code*.cpp.
#define XBYAK_NO_OP_NAMES 1
#include <xbyak/xbyak.h>

#include "vmm/kvm/entry_code.hpp"

namespace kvmsbx::vmm {

// Flags that an application may have set: CF PF AF ZF SF TF DF OF NT RF AC ID (Intel SDM vol. 1, 3.4.3).
inline constexpr uint32_t kUserFlags = 0x254dd5;
inline constexpr uint32_t kFlagIf = 1 << 9, kFlagFixed = 1 << 1;
// Cleared by SYSCALL in ring 0 mode, as Linux does (entry_64.S, syscall_init()).
inline constexpr uint32_t kSyscallFlagMask = 0x257fd5;

// Which exceptions push an error code (Intel SDM vol. 3, table 6-1).
constexpr bool has_error_code(unsigned vector) {
    return vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21 || vector == 29 ||
           vector == 30;
}

class EntryEmitter : public Xbyak::CodeGenerator {
  public:
    EntryEmitter(GateImage& image, const EntryCodeInput& input, uint8_t* at, size_t size)
        : CodeGenerator(size, at), image_(image), input_(input) {}

    uint64_t here() const { return guest_address(getCurr()); }
    uint64_t guest_address(const void* in_image) const {
        // SAFETY: both point into the image; only their distance is used.
        return gate_region(input_.cpu) +
               (static_cast<const uint8_t*>(in_image) - reinterpret_cast<const uint8_t*>(&image_));
    }

  protected:
    // A field of the image, addressed relative to RIP.
    template <typename T>
    Xbyak::Address mem(const T& field) {
        return qword[rip + static_cast<const void*>(&field)];
    }
    Xbyak::Address reg_field(size_t offset) { return qword[rsp + static_cast<int>(offset)]; }

    void iretq() { db(0x48), db(0xcf); }
    void sysretq() { db(0x48), db(0x0f), db(0x07); }
    void mov_cr3_r11() { db(0x41), db(0x0f), db(0x22), db(0xdb); }
    void mov_cr3_rax() { db(0x0f), db(0x22), db(0xd8); }
    void mov_rax_cr2() { db(0x0f), db(0x20), db(0xd0); }
    void mov_r11_cr2() { db(0x41), db(0x0f), db(0x20), db(0xd3); }

    // rsp = UserRegs or SentryFault (their first 15 fields are the same).
    void save_all_registers();
    void save_all_but_r11();
    // From rax = UserRegs, rax last; rcx and r11 only when asked.
    enum class Clobbered { kRestore, kLeave };
    void load_registers(Clobbered rcx_and_r11);
    // Frame -> UserRegs at rsp: rip (also in rax), rflags, rsp; cs and ss as an application has them. Uses rax.
    void copy_frame(const ReturnFrame& frame);
    // UserRegs at rax -> `resume` of the application's stacks. Jumps to bad_rip when rip lies outside the lower half.
    // Uses rcx. Leaves rflags in rcx.
    void write_frame(Xbyak::Label& bad_rip);
    // rsp = UserRegs, complete: on to CpuArea::trap_entry.
    enum class Flags { kAsTheyAre, kReset };
    void enter_sentry(Flags flags);
    // resume_user's way out for a rip that no application may have: rax = UserRegs.
    void emit_bad_rip();
    // A defect of the Sentry: `fault` of the stacks and fault_vector are filled, rsp is free. `error_code` is cleared
    // for vectors without one.
    void emit_fault_entry();
    void emit_fpu(EntryPoints& points);
    // sti, hlt, cli: the only place in the Sentry where interrupts come. Its address.
    uint64_t emit_wait();
    // In an interrupt's handler, rsp at the interrupted rip. It goes on behind the hlt even where the interrupt came
    // before it: not every KVM (QEMU 7.2's emulated SVM) keeps the shadow of sti over an exit, and the hlt would last.
    void emit_wait_is_over() { or_(byte[rsp], 1); }  // emit_wait puts the hlt at an even address

    GateImage& image_;
    const EntryCodeInput& input_;
};

void write_gdt_and_tss(GateImage& image, uint64_t region);
void write_idt_entry(std::array<uint8_t, abi::kPageSize>& idt, unsigned vector, uint64_t handler, unsigned dpl,
                     unsigned stack);

void generate_ring0(GateImage& image, const EntryCodeInput& input, EntryPoints& points);
void generate_ring3(GateImage& image, const EntryCodeInput& input, EntryPoints& points);

}  // namespace kvmsbx::vmm
