#pragma once
// The memory devices (null zero full random urandom) and the type "devtmpfs": a tmpfs with the nodes and links that
// runc makes in a container's /dev. Nodes of devices that others drive (tty, console, ptmx) are made here and opened
// through vfs/device.hpp.
#include "common/spec/sandbox_spec.hpp"
#include "guestkernel/vfs/path.hpp"

namespace kvmsbx::fs {

// Registers the devices and the type. Called once at start.
Result<> register_memory_devices();

// Makes the node of linux.devices, with its folders. A node of the Sentry's own (tmpfs) in its place goes; whatever else
// is there stays, as with runc. ENXIO: the Sentry does not have that device, nothing was made; errors of making.
Result<> make_device(vfs::FsContext& context, const spec::Device<wire::Viewed>& device);

}  // namespace kvmsbx::fs
