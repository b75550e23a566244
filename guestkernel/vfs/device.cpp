#include "guestkernel/vfs/device.hpp"

#include "guestkernel/lib/vector.hpp"

namespace kvmsbx::vfs {

namespace {

struct Driver {
    uint32_t major, first, count;
    DeviceOpen open;
    bool covers(uint32_t of_major, uint32_t minor) const {
        return major == of_major && minor >= first && minor - first < count;
    }
};
Vector<Driver> drivers;
FifoOpen fifo_open;

}  // namespace

Result<> register_char_device(uint32_t major, uint32_t first, uint32_t count, DeviceOpen open) {
    for (const Driver& driver : drivers)
        if (driver.covers(major, first) ||
            (driver.major == major && driver.first >= first && driver.first - first < count))
            return Errno::kBUSY;
    return drivers.push_back({major, first, count, open});
}

Result<RefPtr<File>> open_char_device(uint64_t device, const Path& path, uint32_t flags) {
    for (const Driver& driver : drivers)
        if (driver.covers(major_of(device), minor_of(device))) return driver.open(path, minor_of(device), flags);
    return Errno::kNXIO;
}

void set_fifo_open(FifoOpen open) { fifo_open = open; }
Result<RefPtr<File>> open_fifo(const Path& path, uint32_t flags) {
    if (!fifo_open) return Errno::kNXIO;
    return fifo_open(path, flags);
}

}  // namespace kvmsbx::vfs
