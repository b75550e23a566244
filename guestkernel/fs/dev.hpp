#pragma once
// The memory devices (null zero full random urandom) and the type "devtmpfs": a tmpfs with the nodes and links that
// runc makes in a container's /dev. Nodes of devices that others drive (tty, console, ptmx) are made here and opened
// through vfs/device.hpp.
#include "common/base/result.hpp"

namespace kvmsbx::fs {

// Registers the devices and the type. Called once at start.
Result<> register_memory_devices();
}  // namespace kvmsbx::fs
