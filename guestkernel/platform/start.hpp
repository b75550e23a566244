#pragma once
// Called once at start by init.
#include "guestkernel/platform/platform.hpp"

namespace kvmsbx::platform {

void set_boot_info(const abi::BootInfo& info);
void init_cpu(CpuArea& area);  // on each vCPU

}  // namespace kvmsbx::platform
