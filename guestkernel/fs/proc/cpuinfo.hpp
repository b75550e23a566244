#pragma once
#include "guestkernel/lib/format.hpp"

namespace kvmsbx::fs {

// /proc/cpuinfo: from CPUID, which applications see natively as well.
Result<> put_cpuinfo(TextSink& sink);

}  // namespace kvmsbx::fs
