#pragma once
// Called once at start by init.
#include "common/abi/boot_info.hpp"
#include "guestkernel/platform/cpu.hpp"

namespace kvmsbx::platform {

void set_boot_info(const abi::BootInfo& info);
// SAFETY: the VMM made this stack as StackHeader wants it.
inline StackHeader& entry_stack_header(const Cpu& cpu) {
    return *reinterpret_cast<StackHeader*>(cpu.entry_stack - kStackSize);
}
void init_cpu(Cpu& cpu);  // on each vCPU

}  // namespace kvmsbx::platform
