#pragma once
// /proc/net: sockets and the network interface as text; and net/ below /proc/sys.
#include "guestkernel/fs/proc/nodes.hpp"

namespace kvmsbx::fs {

extern const StaticEntry kNetDirectory;
// A name of its own, so that the table of /proc/sys can be made at compile time.
extern const StaticEntry kNetSysctlEntries[];
inline constexpr size_t kNetSysctlCount = 4;
inline constexpr StaticEntry kNetSysctlDirectory = {.name = "net",
                                                    .permissions = 0555,
                                                    .is_directory = true,
                                                    .children = kNetSysctlEntries,
                                                    .child_count = kNetSysctlCount};

}  // namespace kvmsbx::fs
