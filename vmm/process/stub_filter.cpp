#include "vmm/process/stub_filter.hpp"

#include <asm/prctl.h>
#include <linux/audit.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <cstddef>

#include "common/abi/stub.hpp"

namespace kvmsbx::vmm {
namespace {

constexpr StubArgument exactly(uint8_t index, uint64_t value) {
    return {index, static_cast<uint32_t>(value), static_cast<uint32_t>(value)};
}

class FilterBuilder {
  public:
    FilterBuilder() {
        load(offsetof(seccomp_data, arch));
        unless(BPF_JEQ, AUDIT_ARCH_X86_64);
    }

    // A system call's address is that of the instruction behind it.
    void only_from(uint64_t code, uint32_t size) {
        uint32_t low = static_cast<uint32_t>(code);
        load(offsetof(seccomp_data, instruction_pointer) + 4);
        unless(BPF_JEQ, static_cast<uint32_t>(code >> 32));
        load(offsetof(seccomp_data, instruction_pointer));
        unless(BPF_JGE, low);
        add(BPF_JMP | BPF_JGT | BPF_K, low + size, 0, 1);
        trap();
    }

    void allow(const StubRule& rule) {
        // Behind each comparison: how many instructions there are to the rule's end.
        auto left = static_cast<uint8_t>(3 * rule.arguments.size() + 1);
        load(offsetof(seccomp_data, nr));
        add(BPF_JMP | BPF_JEQ | BPF_K, rule.number, 0, left);
        for (const StubArgument& argument : rule.arguments) {
            load(static_cast<uint32_t>(offsetof(seccomp_data, args) + 8 * argument.index));
            left -= 2;
            add(BPF_JMP | BPF_JGE | BPF_K, argument.low, 0, left);
            left -= 1;
            add(BPF_JMP | BPF_JGT | BPF_K, argument.high, left, 0);
        }
        add(BPF_RET | BPF_K, SECCOMP_RET_ALLOW, 0, 0);
    }

    std::vector<sock_filter> finish(const std::vector<StubRule>& rules) {
        for (const StubRule& rule : rules) allow(rule);
        trap();
        return std::move(program_);
    }

  private:
    void add(uint32_t code, uint32_t value, uint8_t if_true, uint8_t if_false) {
        program_.push_back({static_cast<uint16_t>(code), if_true, if_false, value});
    }
    void load(uint32_t offset) { add(BPF_LD | BPF_W | BPF_ABS, offset, 0, 0); }
    void trap() { add(BPF_RET | BPF_K, SECCOMP_RET_TRAP, 0, 0); }
    void unless(uint32_t comparison, uint32_t value) {
        add(BPF_JMP | comparison | BPF_K, value, 1, 0);
        trap();
    }

    std::vector<sock_filter> program_;
};

}  // namespace

std::vector<StubRule> base_rules(unsigned cpus) {
    constexpr uint32_t kMapFlags = MAP_SHARED | MAP_FIXED;
    return {
        {SYS_futex, {{1, FUTEX_WAIT, FUTEX_WAKE}}, "helper: waits for orders; runner: tells of a trap, waits to go on"},
        {SYS_rt_sigreturn, {}, "runner: goes on"},
        {SYS_pwrite64, {exactly(0, abi::kStubCompletionFd)}, "helper: Completion"},
        {SYS_write, {{0, abi::kStubWakeFd, abi::kStubWakeFd + cpus - 1}}, "helper: wakes the vCPU that gave orders"},
        {SYS_mmap, {exactly(4, abi::kStubRamFd), exactly(3, kMapFlags)}, "order; a new stub's own OrderPage"},
        {SYS_mmap, {exactly(4, abi::kStubRamFd), exactly(3, kMapFlags | MAP_POPULATE)}, "order"},
        {SYS_munmap, {}, "order; the zygote, of what it has from boot"},
        {SYS_mprotect, {}, "order"},
        {SYS_clone, {exactly(0, abi::kCloneRunner)}, "order"},
        {SYS_clone, {exactly(0, abi::kCloneStub)}, "order to the zygote"},
        {SYS_prctl, {exactly(0, PR_SET_PDEATHSIG)}, "a new stub ends when the sandbox does"},
        {SYS_getppid, {}, "a new stub: whether the sandbox has ended before that"},
        {SYS_close_range, {}, "a new runner gives up all descriptors"},
        {SYS_seccomp, {exactly(0, SECCOMP_SET_MODE_FILTER)}, "a new runner confines itself further"},
        {SYS_arch_prctl, {{0, ARCH_SET_GS, ARCH_SET_FS}}, "runner: segment bases where the host has no FSGSBASE"},
    };
}

std::vector<StubRule> runner_rules() {
    return {
        {SYS_futex, {{1, FUTEX_WAIT, FUTEX_WAKE}}, "tells of a trap, waits to go on"},
        {SYS_rt_sigreturn, {}, "goes on"},
        {SYS_arch_prctl, {{0, ARCH_SET_GS, ARCH_SET_FS}}, "segment bases where the host has no FSGSBASE"},
    };
}

std::vector<sock_filter> base_filter(unsigned cpus) { return FilterBuilder().finish(base_rules(cpus)); }

std::vector<sock_filter> runner_filter(uint64_t code, uint32_t size) {
    FilterBuilder builder;
    builder.only_from(code, size);
    return builder.finish(runner_rules());
}

}  // namespace kvmsbx::vmm
