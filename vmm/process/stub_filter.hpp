#pragma once
// What stubs may ask of the host: seccomp programs made from rules with reasons. All else is SIGSYS: a trap to the
// Sentry for a runner, and the end of the stub where signals are blocked (a helper, a runner with a forged frame).
#include <linux/filter.h>

#include <cstdint>
#include <span>
#include <vector>

namespace kvmsbx::vmm {

// The lower half of an argument must lie in [low, high]; the kernel looks at no more of those that rules name.
struct StubArgument {
    uint8_t index;
    uint32_t low, high;
};

struct StubRule {
    uint32_t number;
    std::vector<StubArgument> arguments;
    const char* reason;
};

// Of every thread of a stub, from the zygote on.
std::vector<StubRule> base_rules(unsigned cpus);
// Of runners, in addition.
std::vector<StubRule> runner_rules();

std::vector<sock_filter> base_filter(unsigned cpus);
// Allows its rules to instructions in [code, code + size) alone; the range must not cross a multiple of 4 GiB.
std::vector<sock_filter> runner_filter(uint64_t code, uint32_t size);

}  // namespace kvmsbx::vmm
