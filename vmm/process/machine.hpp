#pragma once
// The machine of the process platform before its first instruction: what lies where in RAM, and the Sentry's image at
// its link address in this process. RAM from its start: the Sentry's image, per vCPU (CpuArea, stacks), an empty page,
// the zygote's orders, boot info, the app spec, the vDSO.
#include <cstdint>
#include <span>
#include <vector>

#include "common/abi/stub.hpp"
#include "vmm/guest_memory.hpp"
#include "vmm/process/host_facts.hpp"
#include "vmm/sentry_elf.hpp"

namespace kvmsbx::vmm {

struct ProcessMachineInput {
    const SentryElf* sentry;
    const HostFacts* facts;
    const abi::ProcessHost* calls;
    unsigned cpus;
    uint64_t channel_size, stub_base, stub_mappings;
    std::span<const std::byte> app_spec;
};

struct ProcessMachine {
    GuestPhys boot_info;
    GuestPhys zygote_orders;
    uint64_t entry;
    std::vector<GuestPhys> cpu_areas;
    uint64_t image_start, image_end;  // addresses of the Sentry's image
};

// ENOMEM if RAM is too small; with a line in the log.
// `ram_fd`: the file that `memory` is, of which the image is mapped a second time.
Result<ProcessMachine> build_process_machine(const host::Log& log, BootMemory& memory, uint64_t ram_size, int ram_fd,
                                             const ProcessMachineInput& input);

}  // namespace kvmsbx::vmm
