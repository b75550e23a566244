#pragma once
// Classic BPF as seccomp(2) uses it: a checked program over a 64-byte record of a system call. A program that check()
// has accepted ends after at most its length of instructions and touches only the record and its 16 scratch words.
#include <cstdint>
#include <span>

#include "common/base/result.hpp"

namespace kvmsbx::task::bpf {

struct Instruction {  // struct sock_filter
    uint16_t code;
    uint8_t if_true, if_false;
    uint32_t k;
};
static_assert(sizeof(Instruction) == 8);

struct CallRecord {  // struct seccomp_data
    int32_t number;
    uint32_t architecture;
    uint64_t instruction_pointer;
    uint64_t arguments[6];
};
static_assert(sizeof(CallRecord) == 64);

inline constexpr size_t kMostInstructions = 4096;  // BPF_MAXINSNS

// EINVAL as Linux's bpf_check_classic and seccomp_check_filter; ENOMEM.
Result<> check(std::span<const Instruction> program);
// The program's answer. It must have passed check().
uint32_t run(std::span<const Instruction> program, const CallRecord& record);

}  // namespace kvmsbx::task::bpf
