#pragma once
#include "guestkernel/fs/proc/nodes.hpp"

namespace kvmsbx::fs {

// /proc/sys: what holds here (proc(5)).
extern const StaticEntry kSysctlDirectory;

// What root's write of `value` to /proc/sys/NAME does. name: with dots or slashes (sysctl(8)). ENOENT: there is none of
// this name; EACCES: its value is fixed, and another one; EINVAL, ENOMEM.
Result<> set_sysctl(std::string_view name, std::string_view value);

}  // namespace kvmsbx::fs
