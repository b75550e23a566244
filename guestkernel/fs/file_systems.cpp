#include "guestkernel/fs/file_systems.hpp"

#include <algorithm>

#include "guestkernel/fs/dev.hpp"
#include "guestkernel/fs/ninep/ninep.hpp"
#include "guestkernel/fs/pipe.hpp"
#include "guestkernel/fs/proc/proc.hpp"
#include "guestkernel/fs/sys/sys.hpp"
#include "guestkernel/fs/tmpfs.hpp"
#include "guestkernel/fs/tty/pty.hpp"
#include "guestkernel/ipc/inotify.hpp"
#include "guestkernel/ipc/mqueue.hpp"
#include "guestkernel/lib/format.hpp"
#include "guestkernel/platform/host.hpp"
#include "guestkernel/vfs/dentry.hpp"

namespace kvmsbx::fs {

namespace {

void report(std::string_view what, const Result<>& result) {
    if (result.is_error()) debug("{} failed: errno {}", what, static_cast<int32_t>(result.error()));
}

Result<> connect_gofer() {
    uint8_t* channel = static_cast<uint8_t*>(platform::phys_to_virt(abi::kChannelGpa));
    TRY(ninep::initialize({channel, platform::boot_info().channel_size}, platform::ring_gofer));
    return {};
}

// A name costs about 400 bytes here, and with its fid as much and a descriptor in the gofer.
void limit_names() {
    constexpr uint64_t kBytesForOne = 64 * 1024, kFewest = 6000, kMost = 50'000;
    vfs::Dentry::limit_unused(std::clamp(mm::memory_statistics().total / kBytesForOne, kFewest, kMost));
}

}  // namespace

void register_file_systems() {
    limit_names();
    report("registering tmpfs", vfs::register_file_system("tmpfs", make_tmpfs, kTmpfsOptions));
    report("registering memory devices", register_memory_devices());
    register_fifos();
    ipc::initialize_inotify();
    report("registering mqueue", ipc::register_mqueue());
    report("registering terminals", register_terminals());
    report("registering proc", register_proc());
    report("registering sysfs", register_sys());
    ninep::start_blocking();
    report("connecting to the gofer", connect_gofer());
}

void write_back_everything() { report("writing data back at the end", ninep::write_back_all()); }

}  // namespace kvmsbx::fs
