#pragma once
// Called once at start by init.
#include "common/abi/boot_info.hpp"
#include "guestkernel/platform/cpu.hpp"

namespace kvmsbx::platform {

void set_boot_info(const abi::BootInfo& info);
void init_cpu(Cpu& cpu);  // on each vCPU

}  // namespace kvmsbx::platform
