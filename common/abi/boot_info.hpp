#pragma once
// What the VMM tells the Sentry at start. Boundary 2. sentry_start(const BootInfo*, CpuArea*) is the Sentry's ELF entry
// point: called on every vCPU, on its entry_stack, with IF off, in the Sentry's page table. vCPUs other than 0 are
// started at the same time; the Sentry holds them back itself.
#include <cstddef>
#include <cstdint>

#include "common/abi/layout.hpp"

namespace kvmsbx::abi {

inline constexpr uint64_t kBootInfoMagic = 0x31'78'62'73'6d'76'6bULL;  // "kvmsbx1"
inline constexpr uint32_t kBootInfoVersion = 4;

struct ProcessHost;

enum class PrivilegeMode : uint32_t { kRing0 = 0, kRing3 = 3, kProcess = 8 };

struct BootInfo {
    uint64_t magic;
    uint32_t version;
    uint32_t size;  // sizeof(BootInfo)
    PrivilegeMode privilege;
    uint32_t cpu_count;
    uint64_t ram_gpa, ram_size;  // bytes, multiples of 2 MiB
    uint64_t ram_backed;         // bytes from ram_gpa that can be used at start; more by HypercallNumber::kBackMemory
    uint64_t ram_first_free;  // gpa: below it (from ram_gpa) lie the Sentry's image, page tables, CpuAreas, stacks, the
                              // blobs below
    uint64_t channel_size;    // bytes at kChannelGpa
    uint64_t sentry_pml4;     // gpa: the Sentry's page table
    // gpa: a PML4 whose upper half every application's PML4 copies (8-byte entries 256..511).
    uint64_t user_pml4_template;
    uint64_t cpu_areas[kMaxCpus];          // Sentry-virtual addresses of the CpuAreas
    uint64_t app_spec_gpa, app_spec_size;  // an encoded spec::SandboxSpec
    uint64_t vdso_gpa, vdso_size;  // ELF image of the vDSO, page aligned; the page before it is reserved for VdsoData,
                                   // where its code expects it
    uint64_t vdso_sigreturn;       // offset of __kernel_rt_sigreturn in it
    uint64_t tsc_khz;
    uint64_t lapic_timer_hz;  // counts per second of the LAPIC timer with divide-by-1
    uint64_t fpu_area_size;   // bytes, for CpuArea::fpu_save
    uint64_t xcr0;            // 0: no XSAVE, FXSAVE is used
    uint64_t hwcap, hwcap2;   // AT_HWCAP (CPUID 1 edx), AT_HWCAP2
    // Process platform (stub.hpp); 0 on KVM.
    const ProcessHost* process_host;
    uint64_t stub_base;
    uint64_t stub_mappings;  // most mappings of the host in one stub for its application
    // Bytes: a power of two, at most kRunnerStride; a signal frame fits behind RunnerControl.
    uint64_t runner_area_size;
    uint64_t frame_xstate_size;  // bytes of XSAVE data in a signal frame of the host, without the magic number behind
    uint64_t frame_xfeatures;    // its components
    uint64_t fsgsbase;           // 1: the host lets applications use WRFSBASE and kin (AT_HWCAP2)
    uint8_t random_seed[64];
    char cpu_model[64];  // for /proc/cpuinfo, NUL-terminated
};
static_assert(offsetof(BootInfo, ram_gpa) == 24 && sizeof(BootInfo) % 8 == 0);

// Read by the vDSO's code, written by the Sentry (seqlock: odd while being written). Time = base + ((tsc - tsc_base) *
// mult >> 32) ns.
struct VdsoData {
    uint32_t seq;
    uint32_t pad;
    uint64_t tsc_base;
    uint64_t mult;            // ns per TSC tick, 32.32
    uint64_t monotonic_base;  // ns
    uint64_t realtime_base;   // ns since 1970
    uint64_t boottime_base;   // ns
};
static_assert(sizeof(VdsoData) == 48);

}  // namespace kvmsbx::abi
