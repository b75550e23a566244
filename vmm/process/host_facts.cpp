#include "vmm/process/host_facts.hpp"

#include <cpuid.h>
#include <elf.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/auxv.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "common/abi/stub.hpp"
#include "common/host/errno.hpp"
#include "common/host/fd.hpp"
#include "vmm/host_cpu.hpp"

namespace kvmsbx::vmm {
namespace {

constexpr uint64_t kFrameSlack = 1024;             // red zone, alignment, and what a later kernel may add
constexpr unsigned long kMinimumSignalStack = 51;  // AT_MINSIGSTKSZ, not in every libc's headers
constexpr uint64_t kHwcapFsgsbase = 1 << 1;        // HWCAP2_FSGSBASE
constexpr uint32_t kXstateMagic = 0x46505853;      // FP_XSTATE_MAGIC1 of asm/sigcontext.h, which libc's headers exclude
constexpr uint32_t kHypervisorTimingLeaf = 0x40000010;

struct FrameFormat {
    uint64_t xstate_size = 512, xfeatures = 0;
} frame_format;

// struct _fpx_sw_bytes in the FXSAVE area's software bytes (asm/sigcontext.h).
void read_frame(int, siginfo_t*, void* context) {
    const void* fpu = static_cast<ucontext_t*>(context)->uc_mcontext.fpregs;
    if (fpu == nullptr) return;
    _fpx_sw_bytes software;
    memcpy(&software, static_cast<const char*>(fpu) + 464, sizeof software);
    if (software.magic1 != kXstateMagic) return;
    frame_format = {software.xstate_size, software.xstate_bv};
}

Result<FrameFormat> find_frame_format(uint64_t stack_size) {
    std::vector<std::byte> memory(stack_size);
    stack_t stack{}, old_stack{};
    stack.ss_sp = memory.data();
    stack.ss_size = memory.size();
    struct sigaction action {
    }, old_action{};
    action.sa_sigaction = read_frame;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    if (sigaltstack(&stack, &old_stack) != 0 || sigaction(abi::kPreemptSignal, &action, &old_action) != 0)
        return host::last_errno();
    raise(abi::kPreemptSignal);
    sigaction(abi::kPreemptSignal, &old_action, nullptr);
    sigaltstack(&old_stack, nullptr);
    return frame_format;
}

uint64_t now_ns() {
    timespec t{};
    clock_gettime(CLOCK_MONOTONIC_RAW, &t);
    return static_cast<uint64_t>(t.tv_sec) * 1'000'000'000 + t.tv_nsec;
}

// A pair of readings close together: of several, the one that took least.
struct Reading {
    uint64_t ns, tsc;
};
Reading read_clocks() {
    Reading best{};
    uint64_t shortest = ~uint64_t{0};
    for (int i = 0; i < 5; i++) {
        uint64_t before = __builtin_ia32_rdtsc(), ns = now_ns(), after = __builtin_ia32_rdtsc();
        if (after - before >= shortest) continue;
        shortest = after - before;
        best = {ns, before + shortest / 2};
    }
    return best;
}

uint64_t find_tsc_khz() {
    uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
    // Intel SDM vol. 2A, leaf 15H: crystal (Hz), ratio.
    if (__get_cpuid(0x15, &eax, &ebx, &ecx, &edx) && eax != 0 && ebx != 0 && ecx != 0)
        return uint64_t{ecx} * ebx / eax / 1000;
    __get_cpuid(1, &eax, &ebx, &ecx, &edx);
    if (ecx >> 31) {  // a hypervisor
        __cpuid(0x40000000, eax, ebx, ecx, edx);
        if (eax >= kHypervisorTimingLeaf) {
            __cpuid(kHypervisorTimingLeaf, eax, ebx, ecx, edx);
            if (eax != 0) return eax;
        }
    }
    constexpr uint64_t kNs = 8'000'000;
    Reading first = read_clocks();
    timespec pause{0, kNs};
    nanosleep(&pause, nullptr);
    Reading last = read_clocks();
    return (last.tsc - first.tsc) * 1'000'000 / (last.ns - first.ns);
}

}  // namespace

uint64_t stub_mappings_within(const char* text) {
    constexpr uint64_t kDefault = 65'530, kMargin = 5'000, kFewest = 1'000, kMost = 60'000;
    char* end = nullptr;
    uint64_t limit = strtoull(text, &end, 10);
    if (end == text) limit = kDefault;
    return std::clamp(limit > kMargin ? limit - kMargin : 0, kFewest, kMost);
}

uint64_t find_stub_mappings() {
    char text[32] = {};
    host::Fd fd(open("/proc/sys/vm/max_map_count", O_RDONLY | O_CLOEXEC));
    if (fd.get() < 0 || read(fd.get(), text, sizeof text - 1) < 0) text[0] = '\0';
    return stub_mappings_within(text);
}

Result<HostFacts> find_host_facts(const host::Log& log) {
    uint64_t frame = std::max<uint64_t>(getauxval(kMinimumSignalStack), 2048);
    HostFacts facts{};
    facts.runner_area_size = std::max(std::bit_ceil(sizeof(abi::RunnerControl) + frame + kFrameSlack), abi::kPageSize);
    if (facts.runner_area_size > abi::kRunnerStride)
        return log.fail(Errno::kNOSPC,
                        "this CPU's signal frames (%llu bytes) are too large for the process platform; use KVM",
                        static_cast<unsigned long long>(frame));
    auto format = find_frame_format(frame + 64 * 1024);
    if (format.is_error()) return log.fail(format.error(), "cannot look at a signal frame: %m");
    facts.frame_xstate_size = format->xstate_size;
    facts.frame_xfeatures = format->xfeatures;
    facts.tsc_khz = find_tsc_khz();
    facts.hwcap = getauxval(AT_HWCAP);
    facts.hwcap2 = getauxval(AT_HWCAP2) & kHwcapFsgsbase;
    facts.fsgsbase = facts.hwcap2 != 0;
    return facts;
}

}  // namespace kvmsbx::vmm
