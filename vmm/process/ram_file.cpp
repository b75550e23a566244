#include "vmm/process/ram_file.hpp"

#include <fcntl.h>
#include <linux/mount.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/host/errno.hpp"

// Not in every libc's headers (linux/mfd.h, since Linux 6.3).
#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif

namespace kvmsbx::vmm {
namespace {

// The mount is attached nowhere, so nothing of it remains when the file is closed. It must not be noexec: stubs map
// RAM executable.
host::Fd make_huge_tmpfs() {
    host::Fd context(static_cast<int>(syscall(SYS_fsopen, "tmpfs", FSOPEN_CLOEXEC)));
    if (!context.is_open()) return host::Fd();
    auto configure = [&](unsigned command, const char* key, const char* value) {
        return syscall(SYS_fsconfig, context.get(), command, key, value, 0) == 0;
    };
    // As much as there is address space for: the file is sparse, and how much of it is touched is decided elsewhere.
    if (!configure(FSCONFIG_SET_STRING, "huge", "always") || !configure(FSCONFIG_SET_STRING, "size", "0") ||
        !configure(FSCONFIG_SET_STRING, "mode", "0700") || !configure(FSCONFIG_CMD_CREATE, nullptr, nullptr))
        return host::Fd();
    return host::Fd(
        static_cast<int>(syscall(SYS_fsmount, context.get(), FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV)));
}

}  // namespace

int open_ram_file() {
    host::Fd mount = make_huge_tmpfs();
    if (!mount.is_open()) return -1;
    return openat(mount.get(), ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
}

Result<host::Fd> make_ram_memfd() {
    int fd = memfd_create("kvmsbx-ram", MFD_CLOEXEC | MFD_EXEC);
    if (fd < 0) fd = memfd_create("kvmsbx-ram", MFD_CLOEXEC);  // before Linux 6.3
    if (fd < 0) return host::last_errno();
    return host::Fd(fd);
}

}  // namespace kvmsbx::vmm
