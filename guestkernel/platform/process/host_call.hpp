#pragma once
// Calls of the VMM's functions (abi::ProcessHost). They are the host's code, which wants more stack than a Sentry thread has: each call
// runs on the stack of the vCPU's host thread. Host code never calls the Sentry, so that stack is free whenever the Sentry runs.
#include "common/abi/stub.hpp"
#include "guestkernel/platform/cpu.hpp"
#include "guestkernel/platform/host.hpp"

namespace kvmsbx::platform::process {

extern "C" int64_t call_on_host_stack(uint64_t function, uint64_t stack, uint64_t a0, uint64_t a1, uint64_t a2,
                                      uint64_t a3);

inline const abi::ProcessHost& host() { return *boot_info().process_host; }

// SAFETY of the casts: pointers and integers go through registers as the System V ABI passes them.
inline uint64_t as_word(uint64_t value) { return value; }
template <typename T>
uint64_t as_word(T* pointer) {
    return reinterpret_cast<uint64_t>(pointer);
}

// Calls function(arguments...) on this vCPU. The result is meaningless where the function has none.
template <typename Function, typename... Arguments>
int64_t call_host(CpuArea& area, Function* function, Arguments... arguments) {
    static_assert(sizeof...(Arguments) <= 4);
    const uint64_t words[4] = {as_word(arguments)...};
    return call_on_host_stack(reinterpret_cast<uint64_t>(function), area.scratch[0], words[0], words[1], words[2],
                              words[3]);
}

}  // namespace kvmsbx::platform::process
