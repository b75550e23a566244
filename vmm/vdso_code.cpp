// The vDSO's functions. Calling convention: System V x86-64, leaf functions without a stack frame, errors as a negative
// errno (-EFAULT is a fault of the application itself, as in Linux's). Clock numbers: include/uapi/linux/time.h.
#include "vmm/vdso_code.hpp"

#define XBYAK_NO_OP_NAMES 1
#include <xbyak/xbyak.h>

#include <initializer_list>

#include "common/abi/boot_info.hpp"

namespace kvmsbx::vmm {
namespace {

using abi::VdsoData;

constexpr int kRealtime = 0, kMonotonic = 1, kMonotonicRaw = 4, kRealtimeCoarse = 5, kMonotonicCoarse = 6,
              kBoottime = 7;
constexpr int kSysClockGettime = 228, kSysClockGetres = 229, kSysGetcpu = 309, kSysRtSigreturn = 15;
constexpr uint32_t kNsPerSecond = 1'000'000'000;
constexpr uint32_t kCoarseResolution = 4'000'000;  // ns; CONFIG_HZ=250, as on Debian
// ns / 1e9 = (ns >> 9) * kReciprocal >> 75 for all 64-bit ns (1e9 = 2^9 * 1953125; Granlund and Montgomery).
constexpr uint64_t kReciprocal = 0x44b82fa09b5a53;
constexpr size_t kMaxCode = 4096;

class VdsoEmitter : public Xbyak::CodeGenerator {
  public:
    VdsoEmitter(uint8_t* at, uint32_t code_to_data) : CodeGenerator(kMaxCode, at), code_to_data_(code_to_data) {}

    std::vector<VdsoFunction> functions;

    void emit_all(CpuNumberSource cpu_number) {
        function("__vdso_clock_gettime", [&] { emit_clock_gettime(); });
        function("__vdso_gettimeofday", [&] { emit_gettimeofday(); });
        function("__vdso_time", [&] { emit_time(); });
        function("__vdso_clock_getres", [&] { emit_clock_getres(); });
        function("__vdso_getcpu", [&] { emit_getcpu(cpu_number); });
        function("__kernel_rt_sigreturn", [&] { emit_sigreturn(); });
    }

  private:
    template <typename Body>
    void function(const char* name, Body body) {
        align(32);
        uint32_t start = getSize();
        body();
        functions.push_back({name, start, static_cast<uint32_t>(getSize()) - start});
    }

    Xbyak::Address data(size_t field, const Xbyak::AddressFrame& size) {
        // SAFETY: only the distance is encoded; the data page lies before the image.
        return size[rip + static_cast<const void*>(getCode() - code_to_data_ + field)];
    }

    // rax = base (field) + elapsed ns, read consistently. Uses rcx, rdx, r8, r9.
    void read_clock(size_t base_field) {
        Xbyak::Label again, busy;
        L(busy);
        pause();
        L(again);
        mov(r8d, data(offsetof(VdsoData, seq), dword));
        test(r8d, 1);
        jnz(busy);
        lfence();  // RDTSC must not run ahead
        rdtsc();
        shl(rdx, 32);
        or_(rax, rdx);
        xor_(edx, edx);
        sub(rax, data(offsetof(VdsoData, tsc_base), qword));
        cmovb(rax, rdx);  // another CPU's TSC may lag a little: time does not go back
        mul(data(offsetof(VdsoData, mult), qword));
        shrd(rax, rdx, 32);
        add(rax, data(base_field, qword));
        mov(r9d, data(offsetof(VdsoData, seq), dword));
        cmp(r8d, r9d);
        jne(again);
    }

    // rax ns -> rdx seconds, rax ns of the second. Uses rcx.
    void split_seconds() {
        mov(rcx, rax);
        shr(rax, 9);
        mov(rdx, kReciprocal);
        mul(rdx);
        shr(rdx, 11);
        imul(rax, rdx, kNsPerSecond);
        sub(rcx, rax);
        mov(rax, rcx);
    }

    // edi = clock, rsi = timespec*
    void emit_clock_gettime() {
        Xbyak::Label realtime, monotonic, boottime, store, by_system_call;
        for (int clock : {kRealtime, kRealtimeCoarse}) cmp(edi, clock), je(realtime, T_NEAR);
        for (int clock : {kMonotonic, kMonotonicCoarse, kMonotonicRaw}) cmp(edi, clock), je(monotonic, T_NEAR);
        cmp(edi, kBoottime);
        je(boottime, T_NEAR);
        L(by_system_call);
        mov(eax, kSysClockGettime);
        syscall();
        ret();
        L(realtime);
        read_clock(offsetof(VdsoData, realtime_base));
        jmp(store, T_NEAR);
        L(boottime);
        read_clock(offsetof(VdsoData, boottime_base));
        jmp(store, T_NEAR);
        L(monotonic);
        read_clock(offsetof(VdsoData, monotonic_base));
        L(store);
        split_seconds();
        mov(qword[rsi], rdx);
        mov(qword[rsi + 8], rax);
        xor_(eax, eax);
        ret();
    }

    // rdi = timeval* or 0, rsi = timezone* or 0
    void emit_gettimeofday() {
        Xbyak::Label no_time, done;
        test(rdi, rdi);
        jz(no_time, T_NEAR);
        read_clock(offsetof(VdsoData, realtime_base));
        split_seconds();
        mov(qword[rdi], rdx);
        // ns / 1000 for ns < 2^30
        imul(rax, rax, 274877907);
        shr(rax, 38);
        mov(qword[rdi + 8], rax);
        L(no_time);
        test(rsi, rsi);
        jz(done);
        mov(qword[rsi], 0);
        L(done);
        xor_(eax, eax);
        ret();
    }

    // rdi = time_t* or 0
    void emit_time() {
        Xbyak::Label done;
        read_clock(offsetof(VdsoData, realtime_base));
        split_seconds();
        mov(rax, rdx);
        test(rdi, rdi);
        jz(done);
        mov(qword[rdi], rax);
        L(done);
        ret();
    }

    // edi = clock, rsi = timespec* or 0
    void emit_clock_getres() {
        Xbyak::Label fine, coarse, store, done;
        for (int clock : {kRealtime, kMonotonic, kMonotonicRaw, kBoottime}) cmp(edi, clock), je(fine);
        for (int clock : {kRealtimeCoarse, kMonotonicCoarse}) cmp(edi, clock), je(coarse);
        mov(eax, kSysClockGetres);
        syscall();
        ret();
        L(coarse);
        mov(eax, kCoarseResolution);
        jmp(store);
        L(fine);
        mov(eax, 1);
        L(store);
        test(rsi, rsi);
        jz(done);
        mov(qword[rsi], 0);
        mov(qword[rsi + 8], rax);
        L(done);
        xor_(eax, eax);
        ret();
    }

    // These very bytes are how libgcc's unwinder knows a signal frame (libgcc/config/i386/linux-unwind.h).
    void emit_sigreturn() {
        db(0x48), db(0xc7), db(0xc0), dd(kSysRtSigreturn);
        syscall();
    }

    // rdi = unsigned* cpu or 0, rsi = unsigned* node or 0
    void emit_getcpu(CpuNumberSource source) {
        if (source == CpuNumberSource::kSystemCall) {
            mov(eax, kSysGetcpu);
            syscall();
            ret();
            return;
        }
        Xbyak::Label no_cpu, no_node;
        rdtscp();
        test(rdi, rdi);
        jz(no_cpu);
        mov(dword[rdi], ecx);
        L(no_cpu);
        test(rsi, rsi);
        jz(no_node);
        mov(dword[rsi], 0);
        L(no_node);
        xor_(eax, eax);
        ret();
    }

    uint32_t code_to_data_;
};

}  // namespace

VdsoCode generate_vdso_code(CpuNumberSource cpu_number, uint32_t code_to_data) {
    VdsoCode made{std::vector<std::byte>(kMaxCode), {}};
    // SAFETY: bytes as the code generator wants them.
    VdsoEmitter emitter(reinterpret_cast<uint8_t*>(made.bytes.data()), code_to_data);
    emitter.emit_all(cpu_number);
    made.bytes.resize(emitter.getSize());
    made.functions = std::move(emitter.functions);
    return made;
}

}  // namespace kvmsbx::vmm
