#include "vmm/kvm/privilege.hpp"

#include <time.h>

#include <algorithm>
#include <cstring>

#include "vmm/host_cpu.hpp"
#include "vmm/kvm/page_tables.hpp"

namespace kvmsbx::vmm {
namespace {

constexpr uint64_t kCr4Fsgsbase = 1 << 16, kCr4Osxsave = 1 << 18;
constexpr uint64_t kEferSce = 1;
constexpr uint32_t kMsrLstar = 0xc0000082, kMsrTscAux = 0xc0000103;
constexpr uint64_t kTestAux = 0x5a;

// mov %ecx iterations: dec %ecx; jnz .-2; then a write to the device page, which leaves the guest.
constexpr uint8_t kLoop[] = {0xff, 0xc9, 0x75, 0xfc, 0x89, 0x03, 0xf4};
constexpr uint8_t kReadTscAux[] = {0x0f, 0x01, 0xf9, 0x89, 0x03, 0xf4};  // rdtscp; mov %eax,(%rbx)
constexpr uint8_t kReadXcr0[] = {0x31, 0xc9, 0x0f, 0x01,
                                 0xd0, 0x89, 0x03, 0xf4};  // xor %ecx,%ecx; xgetbv; mov %eax,(%rbx)

constexpr uint8_t kSystemCall[] = {0x0f, 0x05, 0x89, 0x03, 0xf4};  // syscall; at LSTAR: mov %eax,(%rbx)
constexpr uint64_t kSystemCallLength = 2;
constexpr uint8_t kReadFsBase[] = {0xf3, 0x48, 0x0f, 0xae, 0xc0, 0x89, 0x03, 0xf4};  // rdfsbase %rax

constexpr double kSurelyNative = 30, kSomewhereBetween = 100, kSurelyInterpreted = 300;  // ns per iteration
constexpr unsigned kFirstIterations = 64, kMaxIterations = 8192, kRounds = 3;

double clock_ns(clockid_t clock) {
    timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec * 1e9 + t.tv_nsec;
}

kvm_segment flat_segment(uint16_t selector, uint8_t type, uint8_t dpl, bool code) {
    kvm_segment s{};
    s.limit = 0xffffffff;
    s.selector = selector;
    s.type = type;
    s.present = s.s = s.g = 1;
    s.dpl = dpl;
    s.l = code;
    s.db = !code;
    return s;
}

// A vCPU with one page of code in a page table of its own.
class Probe {
  public:
    static Result<Probe> create(Vcpu& vcpu, BootMemory& memory) {
        auto tables = TRY(PageTableBuilder::create(memory, true));
        GuestPhys code = TRY(memory.allocate(abi::kPageSize));
        TRY(tables.map(abi::kDirectMap + code.value, code, abi::kPageSize, kLeafUser));
        TRY(tables.map(abi::kDirectMap + abi::kDeviceGpa, {abi::kDeviceGpa}, abi::kPageSize,
                       kLeafUser | kLeafWrite | kLeafUncached));
        Probe probe(vcpu, tables.root(), code, memory.at(code));
        probe.original_ = TRY(vcpu.system_registers());
        return probe;
    }

    // Runs `code` until it writes to the device page; its registers then. EIO when it ended otherwise (a triple fault).
    Result<kvm_regs> run(std::span<const uint8_t> code, unsigned ring, uint64_t optional_cr4, uint64_t rcx,
                         uint64_t without_efer = 0) {
        memcpy(code_, code.data(), code.size());
        kvm_sregs system = long_mode_registers(original_, root_.value, ring);
        system.cr4 |= optional_cr4;
        system.efer &= ~without_efer;
        TRY(vcpu_->set_system_registers(system));
        kvm_regs registers{};
        registers.rip = code_address();
        registers.rflags = 2;
        registers.rcx = rcx;
        registers.rbx = abi::kDirectMap + abi::kDeviceGpa;
        TRY(vcpu_->set_registers(registers));
        for (;;) {
            auto ran = vcpu_->enter();
            if (ran.is_ok()) break;
            if (ran.error() != Errno::kINTR && ran.error() != Errno::kAGAIN) return ran.error();
        }
        if (vcpu_->run_page().exit_reason != KVM_EXIT_MMIO) return Errno::kIO;
        return vcpu_->registers();
    }

    uint64_t code_address() const { return abi::kDirectMap + at_.value; }

    // ns per loop iteration: the least of a few rounds, less the least of as many with one iteration; the smaller of
    // wall and CPU time, since noise only adds.
    Result<double> time_loop(unsigned iterations) {
        double wall[2] = {1e18, 1e18}, cpu[2] = {1e18, 1e18};
        for (unsigned round = 0; round < kRounds; round++)
            for (int full = 0; full < 2; full++) {
                double wall_start = clock_ns(CLOCK_MONOTONIC), cpu_start = clock_ns(CLOCK_THREAD_CPUTIME_ID);
                TRY(run(kLoop, 0, 0, full ? iterations : 1));
                cpu[full] = std::min(cpu[full], clock_ns(CLOCK_THREAD_CPUTIME_ID) - cpu_start);
                wall[full] = std::min(wall[full], clock_ns(CLOCK_MONOTONIC) - wall_start);
            }
        return std::max(0.0, std::min(wall[1] - wall[0], cpu[1] - cpu[0])) / iterations;
    }

    // Puts a vCPU that ended in a triple fault right again.
    Result<> settle() { return vcpu_->set_system_registers(original_); }

  private:
    Probe(Vcpu& vcpu, GuestPhys root, GuestPhys at, std::byte* code)
        : vcpu_(&vcpu), root_(root), at_(at), code_(code) {}

    Vcpu* vcpu_;
    GuestPhys root_, at_;
    std::byte* code_;
    kvm_sregs original_{};
};

Result<double> measure_loop(Probe& probe) {
    for (unsigned iterations = kFirstIterations;; iterations *= 4) {
        double ns = TRY(probe.time_loop(iterations));
        if (ns < kSurelyNative || ns > kSurelyInterpreted || iterations >= kMaxIterations) return ns;
    }
}

// What ring 3 can do does not always follow from CPUID and CR4: where it runs natively under the host's own CR4, XSAVE
// and RDFSBASE work although KVM offers neither. So it is tried.
void find_ring3_abilities(Probe& probe, Vcpu& vcpu, const CpuFeatures& features, PrivilegeDecision& made) {
    if (features.xsave && vcpu.set_xcr0(features.xcr0_supported).is_ok() &&
        probe.run(kReadXcr0, 3, kCr4Osxsave, 0).is_ok()) {
        made.osxsave_accepted = true;
        made.xsaveopt = features.xsaveopt;
        made.xcr0 = features.xcr0_supported;
    } else if (auto registers = probe.run(kReadXcr0, 3, 0, 0); registers.is_ok()) {
        made.xcr0 = (registers->rax & 0xffffffff) | registers->rdx << 32;
        made.xsaveopt = host_has_xsaveopt();
    }
    made.fsgsbase_accepted = probe.run(kReadFsBase, 3, kCr4Fsgsbase, 0).is_ok();
    made.fsgsbase_works = made.fsgsbase_accepted || probe.run(kReadFsBase, 3, 0, 0).is_ok();
    if (features.rdtscp && vcpu.set_msr(kMsrTscAux, kTestAux).is_ok())
        if (auto registers = probe.run(kReadTscAux, 3, 0, 0); registers.is_ok())
            made.tsc_aux_works = registers->rcx == kTestAux;
}

// Not on a KVM that runs ring 0 natively: there SYSCALL is #UD, and after the shutdown that follows the vCPU's clock
// differs from the others' (seen with SVM in Linux 6.1, where a shutdown resets the vCPU).
bool works_without_sce(Probe& probe, Vcpu& vcpu) {
    const uint64_t after = probe.code_address() + kSystemCallLength;
    if (vcpu.set_msr(kMsrLstar, after).is_error()) return false;
    auto registers = probe.run(kSystemCall, 3, 0, 0, kEferSce);
    return registers.is_ok() && registers->rcx == after;
}

}  // namespace

kvm_sregs long_mode_registers(kvm_sregs from, uint64_t cr3, unsigned ring) {
    kvm_sregs s = from;
    s.cr3 = cr3;
    s.cr0 = 0x80050033;                 // PG AM WP NE ET MP PE
    s.cr4 = 1 << 5 | 1 << 9 | 1 << 10;  // PAE OSFXSR OSXMMEXCPT
    s.efer = 0xd01;                     // NXE LMA LME SCE
    s.cs = flat_segment(ring == 0 ? abi::kKernelCs : abi::kUserCs, 11, ring, true);
    s.ss = flat_segment(ring == 0 ? abi::kKernelSs : abi::kUserSs, 3, ring, false);
    kvm_segment unused = flat_segment(0, 3, ring, false);
    s.ds = s.es = s.fs = s.gs = unused;
    s.ldt = kvm_segment{};
    s.ldt.type = 2;
    s.ldt.unusable = 1;
    s.tr = kvm_segment{};
    s.tr.limit = 0x67;
    s.tr.selector = abi::kTssSelector;
    s.tr.type = 11;
    s.tr.present = 1;
    s.idt.limit = 0;
    return s;
}

Result<PrivilegeDecision> decide_privilege(const host::Log& log, Vcpu& vcpu, BootMemory& memory,
                                           const CpuFeatures& features, PrivilegeChoice choice) {
    double start = clock_ns(CLOCK_MONOTONIC);
    auto probe = Probe::create(vcpu, memory);
    if (probe.is_error())
        return log.fail(probe.error(), "cannot prepare a vCPU for its measurement (errno %d)",
                        static_cast<int>(probe.error()));
    PrivilegeDecision made{};
    if (choice != PrivilegeChoice::kRing0) {
        auto ns = measure_loop(*probe);
        if (ns.is_error())
            return log.fail(ns.error(), "a test loop does not run on this KVM (exit reason %u); see `kvmsbx doctor`",
                            vcpu.run_page().exit_reason);
        made.ns_per_loop = *ns;
    }
    const bool interpreted = made.ns_per_loop > kSomewhereBetween;
    const bool ring3 = choice == PrivilegeChoice::kAuto ? interpreted : choice == PrivilegeChoice::kRing3;
    made.mode = ring3 ? abi::PrivilegeMode::kRing3 : abi::PrivilegeMode::kRing0;
    find_ring3_abilities(*probe, vcpu, features, made);
    made.syscall_needs_sce = !(interpreted && works_without_sce(*probe, vcpu));
    TRY(probe->settle());
    if (!made.fsgsbase_works)
        return log.fail(
            Errno::kNODEV,
            "this CPU or KVM has no FSGSBASE (RDFSBASE in ring 3); kvmsbx needs an x86-64 CPU of 2013 or later");
    const char* reason = choice != PrivilegeChoice::kAuto          ? "asked for"
                         : made.mode == abi::PrivilegeMode::kRing0 ? "ring 0 runs natively here"
                                                                   : "ring 0 is interpreted here";
    log.debug(
        "privilege mode ring%u: %s (%.1f ns per ring-0 loop iteration; XCR0 %#llx, %s; TSC_AUX %s; found in %.2f ms)",
        made.mode == abi::PrivilegeMode::kRing0 ? 0u : 3u, reason, made.ns_per_loop,
        static_cast<unsigned long long>(made.xcr0), made.osxsave_accepted ? "set by KVM" : "the host's",
        made.tsc_aux_works ? "works" : "does not reach ring 3", (clock_ns(CLOCK_MONOTONIC) - start) / 1e6);
    return made;
}

}  // namespace kvmsbx::vmm
