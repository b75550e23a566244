#pragma once
// Character devices by number. Their drivers (fs/dev, fs/tty) register an open function; the VFS calls it after its
// permission checks.
#include "guestkernel/vfs/path.hpp"

namespace kvmsbx::vfs {

constexpr uint64_t make_device(uint32_t major, uint32_t minor) {  // Linux's 64-bit dev_t, as glibc's makedev
    return (minor & 0xffULL) | (major & 0xfffULL) << 8 | (minor & ~0xffULL) << 12 | (major & ~0xfffULL) << 32;
}
constexpr uint32_t major_of(uint64_t device) {
    return static_cast<uint32_t>((device >> 8 & 0xfff) | (device >> 32 & ~0xfffULL));
}
constexpr uint32_t minor_of(uint64_t device) {
    return static_cast<uint32_t>((device & 0xff) | (device >> 12 & ~0xffULL));
}

// Opens the device; path is the node's, to be kept by the File. The current task is task::current(). flags: open(2)'s,
// O_NOCTTY and O_NONBLOCK included.
using DeviceOpen = Result<RefPtr<File>> (*)(const Path& path, uint32_t minor, uint32_t flags);

// Minors [first, first + count). EBUSY, ENOMEM.
Result<> register_char_device(uint32_t major, uint32_t first, uint32_t count, DeviceOpen open);
// ENXIO: no such device.
Result<RefPtr<File>> open_char_device(uint64_t device, const Path& path, uint32_t flags);

// FIFOs: fs/pipe opens them (may block until the other end is opened).
using FifoOpen = Result<RefPtr<File>> (*)(const Path& path, uint32_t flags);
void set_fifo_open(FifoOpen open);
Result<RefPtr<File>> open_fifo(const Path& path, uint32_t flags);

}  // namespace kvmsbx::vfs
