#pragma once
#include "common/spec/sandbox_spec.hpp"

namespace kvmsbx::control {

// What the container may use: at start, and again by control::Update. Fields that are 0 take a limit away. EINVAL: a CPU
// quota or period that Linux would not take; nothing has changed then.
Result<> apply_limits(const spec::Limits& limits);

}  // namespace kvmsbx::control
