#include "vmm/process/stub_code.hpp"

#include <asm/prctl.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <climits>
#include <cstring>

#define XBYAK_NO_OP_NAMES 1
#include <xbyak/xbyak.h>

#include "common/abi/stub.hpp"
#include "vmm/process/stub_filter.hpp"

namespace kvmsbx::vmm {
namespace {

using abi::Completion;
using abi::Order;
using abi::OrderPage;
using abi::RunnerControl;
using abi::RunnerState;

// Offsets in the code's pages: instructions from 0 on, behind them what they read.
constexpr size_t kByteValues = 0x1000, kFilterHeader = 0x1200, kFilter = 0x1240;

// Registers of a helper: rbx = OrderPage, r13d = the sequence that it saw last. Of a runner: rbx = RunnerControl.
class StubEmitter : public Xbyak::CodeGenerator {
  public:
    StubEmitter(StubCode& code, const StubCodeInput& input)
        : CodeGenerator(kByteValues, code.bytes.data()), code_(code), input_(input) {}

    void generate() {
        L(die_);
        ud2();  // with all signals blocked this ends the stub
        emit_zygote_entry();
        emit_helper();
        emit_new_stub();
        emit_new_runner();
        emit_handler();
        emit_resume();
        align(16);
        code_.signal_restorer = here();
        call_host(SYS_rt_sigreturn);
        ud2();
    }

  private:
    uint64_t address(size_t offset) const { return input_.stub_base + abi::kStubCode + offset; }
    uint64_t here() const { return address(getSize()); }
    Xbyak::Address orders(size_t offset) { return qword[rbx + static_cast<int>(offset)]; }
    Xbyak::Address control(size_t offset) { return qword[rbx + static_cast<int>(offset)]; }
    Xbyak::Address state() { return dword[rbx + static_cast<int>(offsetof(RunnerControl, state))]; }
    Xbyak::Address field32(size_t offset) { return dword[rbx + static_cast<int>(offset)]; }
    Xbyak::Address vcpu_sleeps() { return field32(offsetof(RunnerControl, vcpu_sleeps)); }
    Xbyak::Address runner_sleeps() { return field32(offsetof(RunnerControl, runner_sleeps)); }
    static constexpr uint32_t number(RunnerState state) { return static_cast<uint32_t>(state); }

    void call_host(uint32_t number) {
        mov(eax, number);
        syscall();
    }

    // rdi = rbx: the futex word is the first field of both pages.
    void call_futex(uint32_t operation) {
        static_assert(offsetof(OrderPage, sequence) == 0 && offsetof(RunnerControl, state) == 0);
        mov(rdi, rbx);
        mov(esi, operation);
        xor_(r10d, r10d);
        xor_(r8d, r8d);
        xor_(r9d, r9d);
        call_host(SYS_futex);
    }

    void unmap(uint64_t from, uint64_t to) {
        mov(rdi, from);
        mov(rsi, to - from);
        call_host(SYS_munmap);
        test(eax, eax);
        jnz(die_, T_NEAR);
    }

    void emit_zygote_entry() {
        align(16);
        code_.zygote_entry = here();
        xor_(esp, esp);
        unmap(0, input_.stub_base);
        unmap(input_.stub_base + abi::kStubOrders + abi::kPageSize, abi::kStubRangeEnd);
        mov(rbx, input_.stub_base + abi::kStubOrders);
        xor_(r13d, r13d);
        jmp(helper_, T_NEAR);
    }

    void emit_helper() {
        Xbyak::Label work, next, advance, failed, done, publish;
        align(16);
        L(helper_);
        mov(edx, dword[rbx]);
        cmp(edx, r13d);
        jne(work);
        call_futex(FUTEX_WAIT);
        jmp(helper_);

        L(work);
        mov(r13d, edx);
        mov(r14d, dword[rbx + static_cast<int>(offsetof(OrderPage, count))]);
        lea(r12, orders(offsetof(OrderPage, orders)));
        xor_(r15d, r15d);  // Completion::result
        L(next);
        test(r14d, r14d);
        jz(done);
        const Xbyak::Reg64 arguments[] = {rdi, rsi, rdx, r10, r8, r9};
        mov(rbp, qword[r12 + static_cast<int>(offsetof(Order, number))]);
        for (size_t i = 0; i < std::size(arguments); i++)
            mov(arguments[i], qword[r12 + static_cast<int>(offsetof(Order, arguments) + 8 * i)]);
        mov(rax, rbp);
        code_.helper_system_call = here();
        syscall();
        cmp(rax, -4095);
        jae(failed);
        cmp(ebp, SYS_clone);
        jne(advance);
        test(eax, eax);
        jz(new_thread_, T_NEAR);
        mov(r15d, eax);
        L(advance);
        add(r12, sizeof(Order));
        dec(r14d);
        jmp(next);
        L(failed);
        mov(r15d, eax);
        L(done);
        test(r15d, r15d);
        jz(publish);
        emit_write_result();
        L(publish);
        emit_publish();
    }

    // r15d -> Completion::result. What is written must come from memory that the application cannot change meanwhile: a
    // register's value has no other way than one byte at a time from a table of all bytes.
    void emit_write_result() {
        Xbyak::Label next;
        mov(r12, orders(offsetof(OrderPage, completion)));
        add(r12, offsetof(Completion, result));
        L(next);
        movzx(eax, r15b);
        mov(rsi, address(kByteValues));
        add(rsi, rax);
        mov(edi, abi::kStubCompletionFd);
        mov(edx, 1);
        mov(r10, r12);
        call_host(SYS_pwrite64);
        cmp(eax, 1);
        jne(die_, T_NEAR);
        inc(r12);
        shr(r15d, 8);
        jnz(next);  // the VMM has made it 0 before
    }

    // The page's sequence is that of the orders just done: the VMM writes another only after it saw this one completed.
    void emit_publish() {
        mov(rsi, rbx);
        mov(edi, abi::kStubCompletionFd);
        mov(edx, sizeof(Completion::sequence));
        mov(r10, orders(offsetof(OrderPage, completion)));
        call_host(SYS_pwrite64);
        cmp(eax, sizeof(Completion::sequence));
        jne(die_, T_NEAR);
        mov(rdi, orders(offsetof(OrderPage, wake_fd)));
        lea(rsi, orders(offsetof(OrderPage, one)));
        mov(edx, sizeof(OrderPage::one));
        call_host(SYS_write);
        jmp(helper_, T_NEAR);
    }

    // The child of a clone, with the registers that its parent gave as arguments.
    void emit_new_stub() {
        L(new_thread_);
        cmp(edi, static_cast<uint32_t>(abi::kCloneRunner));
        je(new_runner_, T_NEAR);
        mov(edi, PR_SET_PDEATHSIG);
        mov(esi, SIGKILL);
        call_host(SYS_prctl);
        // The sandbox process may have ended before: then nobody would ever end this one.
        call_host(SYS_getppid);
        cmp(eax, input_.parent);
        jne(die_, T_NEAR);
        mov(rdi, rbx);
        mov(esi, abi::kPageSize);
        mov(edx, PROT_READ);
        mov(r10d, MAP_SHARED | MAP_FIXED);
        mov(r8d, abi::kStubRamFd);
        call_host(SYS_mmap);
        cmp(rax, rbx);
        jne(die_, T_NEAR);
        xor_(r13d, r13d);
        jmp(helper_, T_NEAR);
    }

    void emit_new_runner() {
        L(new_runner_);
        mov(rbx, r9);
        xor_(edi, edi);
        mov(esi, UINT_MAX);
        xor_(edx, edx);
        call_host(SYS_close_range);
        test(eax, eax);
        jnz(die_, T_NEAR);
        mov(edi, SECCOMP_SET_MODE_FILTER);
        xor_(esi, esi);
        mov(rdx, address(kFilterHeader));
        call_host(SYS_seccomp);
        test(eax, eax);
        jnz(die_, T_NEAR);
        jmp(wait_, T_NEAR);
    }

    // void(int signal, siginfo_t*, ucontext_t*), on the alternate stack in the runner's area.
    void emit_handler() {
        Xbyak::Label spin;
        align(16);
        code_.signal_handler = here();
        cld();
        mov(rbx, rsp);
        and_(rbx, -static_cast<int>(abi::kRunnerStride));
        mov(dword[rbx + static_cast<int>(offsetof(RunnerControl, signal))], edi);
        mov(control(offsetof(RunnerControl, context)), rdx);
        mov(control(offsetof(RunnerControl, info)), rsi);
        if (input_.fsgsbase) {
            db(0xf3), db(0x48), db(0x0f), db(0xae), db(0xc0);  // rdfsbase rax
            mov(control(offsetof(RunnerControl, fs_base)), rax);
            db(0xf3), db(0x48), db(0x0f), db(0xae), db(0xc8);  // rdgsbase rax
            mov(control(offsetof(RunnerControl, gs_base)), rax);
        }
        mov(eax, number(RunnerState::kTrapped));
        xchg(state(), eax);
        Xbyak::Label awake;
        cmp(vcpu_sleeps(), 0);
        je(awake);
        // All waiters: one that the application put there must not take the vCPU's place.
        mov(edx, INT_MAX);
        call_futex(FUTEX_WAKE);
        L(awake);
        mov(ecx, dword[rbx + static_cast<int>(offsetof(RunnerControl, spin))]);
        L(spin);
        cmp(state(), number(RunnerState::kTrapped));
        jne(resume_, T_NEAR);
        pause();
        sub(ecx, 1);
        jnc(spin);
        // The VMM looks at runner_sleeps after it has changed `state`.
        L(wait_);
        mov(eax, 1);
        xchg(runner_sleeps(), eax);
        cmp(state(), number(RunnerState::kTrapped));
        jne(resume_, T_NEAR);
        mov(edx, number(RunnerState::kTrapped));
        call_futex(FUTEX_WAIT);
        jmp(wait_);
    }

    void set_base(unsigned bit, size_t field, uint32_t command, uint8_t modrm) {
        Xbyak::Label leave;
        test(byte[rbx + static_cast<int>(offsetof(RunnerControl, set_bases))], 1 << bit);
        jz(leave);
        if (input_.fsgsbase) {
            mov(rax, control(field));
            db(0xf3), db(0x48), db(0x0f), db(0xae), db(modrm);
        } else {
            mov(edi, command);
            mov(rsi, control(field));
            call_host(SYS_arch_prctl);
        }
        L(leave);
    }

    void emit_resume() {
        L(resume_);
        mov(runner_sleeps(), 0);
        set_base(0, offsetof(RunnerControl, new_fs_base), ARCH_SET_FS, 0xd0);  // wrfsbase rax
        set_base(1, offsetof(RunnerControl, new_gs_base), ARCH_SET_GS, 0xd8);  // wrgsbase rax
        mov(rsp, control(offsetof(RunnerControl, resume_context)));
        call_host(SYS_rt_sigreturn);
        ud2();
    }

    StubCode& code_;
    const StubCodeInput& input_;
    Xbyak::Label die_, helper_, new_thread_, new_runner_, wait_, resume_;
};

void write_data(StubCode& code) {
    for (unsigned value = 0; value < 256; value++) code.bytes[kByteValues + value] = std::byte(value);
    const std::vector<sock_filter> filter =
        runner_filter(code.base + abi::kStubCode, static_cast<uint32_t>(abi::kStubCodeSize));
    struct {
        uint64_t length, program;
    } header{filter.size(), code.base + abi::kStubCode + kFilter};  // sock_fprog with its padding
    static_assert(sizeof header == sizeof(sock_fprog));
    memcpy(&code.bytes[kFilterHeader], &header, sizeof header);
    memcpy(&code.bytes[kFilter], filter.data(), filter.size() * sizeof(sock_filter));
}

}  // namespace

Result<StubCode> generate_stub_code(const StubCodeInput& input) {
    StubCode code{std::vector<std::byte>(abi::kStubCodeSize), input.stub_base, 0, 0, 0, 0};
    try {
        StubEmitter(code, input).generate();
    } catch (const Xbyak::Error&) { return Errno::kNOSPC; }
    write_data(code);
    return code;
}

}  // namespace kvmsbx::vmm
