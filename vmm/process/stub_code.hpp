#pragma once
// The code that runs in stubs (common/abi/stub.hpp): generated for one address, kStubCode of a sandbox's stub range.
// Boundary 1: an application runs beside it in the same memory and may jump to any of its instructions with registers
// of its choice. So it keeps nothing in memory that stubs can write but RunnerControl, which is nobody's secret, and
// every system call in it is one that the filter of the thread allows to the application anyway.
#include <cstddef>
#include <cstdint>
#include <vector>

#include "common/base/result.hpp"

namespace kvmsbx::vmm {

struct StubCodeInput {
    uint64_t stub_base;
    bool fsgsbase;
    int32_t parent;  // PID of the sandbox process
};

struct StubCode {
    std::vector<std::byte> bytes;  // kStubCodeSize of them
    uint64_t base;                 // stub_base
    // Addresses in the stub.
    uint64_t zygote_entry;  // where the zygote jumps to when all is prepared: unmaps what is not the stub's, then helps
    uint64_t signal_handler, signal_restorer;
    uint64_t helper_system_call;  // the instruction that carries out orders, for tests
};

// ENOSPC if the code outgrows its pages: a defect.
Result<StubCode> generate_stub_code(const StubCodeInput& input);

}  // namespace kvmsbx::vmm
