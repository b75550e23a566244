#pragma once
// What a task holds of seccomp(2); see seccomp.hpp.
#include "guestkernel/lib/ref.hpp"
#include "guestkernel/lib/vector.hpp"
#include "guestkernel/task/bpf.hpp"

namespace kvmsbx::task {

class SeccompFilter : public RefCounted {
  public:
    SeccompFilter(Vector<bpf::Instruction> program, RefPtr<SeccompFilter> older)
        : program(std::move(program)), older(std::move(older)) {}
    ~SeccompFilter() override;
    const Vector<bpf::Instruction> program;
    RefPtr<SeccompFilter> older;
};

enum class SeccompMode : uint8_t { kDisabled, kStrict, kFilter };

}  // namespace kvmsbx::task
