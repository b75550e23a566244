#pragma once
#include "common/base/result.hpp"

namespace kvmsbx::fs {

// File system type "proc" (proc(5)); nodes.hpp has its model.
Result<> register_proc();

}  // namespace kvmsbx::fs
