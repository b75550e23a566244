#pragma once
#include "guestkernel/fs/proc/nodes.hpp"

namespace kvmsbx::fs {

// /proc/sys: what holds here (proc(5)).
extern const StaticEntry kSysctlDirectory;

}  // namespace kvmsbx::fs
