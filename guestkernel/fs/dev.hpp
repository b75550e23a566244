#pragma once
// The memory devices (null zero full random urandom) and the type "devtmpfs": a tmpfs with the nodes and links that runc makes in a container's /dev.
// Nodes of devices that others drive (tty, console, ptmx) are made here and opened through vfs/device.hpp.
#include <cstddef>

#include "common/base/result.hpp"

namespace kvmsbx::fs {

// Registers the devices and the type. Called once at start.
Result<> register_memory_devices();
// Random bytes for /dev/urandom, getrandom(2) and AT_RANDOM: ChaCha20 keyed by the VMM's seed and the time stamp counter, rekeyed after each use.
void random_bytes(void* to, size_t size);

}  // namespace kvmsbx::fs
