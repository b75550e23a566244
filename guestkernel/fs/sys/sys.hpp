#pragma once
#include "common/base/result.hpp"

namespace kvmsbx::fs {

// File system type "sysfs": the CPUs, and no more than is true here.
Result<> register_sys();

}  // namespace kvmsbx::fs
