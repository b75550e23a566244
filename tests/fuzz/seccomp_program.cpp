// The checker and interpreter of seccomp(2)'s programs: whatever the checker accepts runs to its end and touches
// nothing but the record. Input: a struct seccomp_data, then struct sock_filters.
#include <cstring>
#include <vector>

#include "guestkernel/task/bpf.hpp"

using namespace kvmsbx::task;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    bpf::CallRecord record{};
    if (size < sizeof record) return 0;
    memcpy(&record, data, sizeof record);
    std::vector<bpf::Instruction> program((size - sizeof record) / sizeof(bpf::Instruction));
    if (!program.empty()) memcpy(program.data(), data + sizeof record, program.size() * sizeof(bpf::Instruction));
    if (bpf::check(program).is_ok()) (void)bpf::run(program, record);
    return 0;
}
