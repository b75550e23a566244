#pragma once
// Where an application of the process platform finds the stub's pages in its own address space (common/abi/stub.hpp). On other platforms,
// and natively, there is none: what lies there then (a stack, a vDSO) does not look like one.
#include <atomic>
#include <cstddef>

#include "common/abi/stub.hpp"
#include "tests/guest/guest_test.hpp"

namespace guest {

namespace abi = kvmsbx::abi;

struct FoundStub {
    uint64_t base = 0;     // 0: there is none
    uint64_t handler = 0;  // the signal handler's first instruction
    uint64_t call =
        0;  // a system call behind which the code goes on as a runner that is to wait or go on: rbx is its RunnerControl
    uint64_t code_size = 0;  // of the instructions
    uint64_t area_size = 0;  // of a runner's area
    unsigned runners = 0;    // how many vCPUs there are
};

// Looks once for all cases of a run.
const FoundStub& find_stub();
// Whether a byte there can be read. Leaves its own handler for SIGSEGV and SIGBUS.
bool can_read(uint64_t address);

inline abi::RunnerControl* runner_at(const FoundStub& stub, unsigned n) {
    return reinterpret_cast<abi::RunnerControl*>(stub.base + abi::kStubRunners + n * abi::kRunnerStride);
}

// xorshift; the seed is what a failure tells.
class Random {
  public:
    explicit Random(uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15 | 1) {}
    uint64_t next() {
        state_ ^= state_ << 13, state_ ^= state_ >> 7, state_ ^= state_ << 17;
        return state_;
    }
    uint64_t below(uint64_t end) { return (next() >> 11) % end; }

  private:
    uint64_t state_;
};

}  // namespace guest
