#pragma once
// Called once at start by init.
#include "guestkernel/arch/arch.hpp"

namespace kvmsbx::arch {

void set_boot_info(const abi::BootInfo& info);
void init_lapic_timer();  // on each vCPU

}  // namespace kvmsbx::arch
