#pragma once
// Directory notification: fcntl(2), F_NOTIFY.
//
// Model. A DirectoryNotice is what one descriptor table wants to know by one open directory. It hangs at the
// directory's inode, beside inotify's watches (inode_watches.hpp), and sends a signal to the open file's owner
// (file_owner.hpp) for what happens to the directory and the names in it. It has no reference to the file: it ends when
// the table closes any descriptor of the file, which is before the table lets go of it; or after one event, without
// DN_MULTISHOT.
#include "guestkernel/task/task.hpp"
#include "guestkernel/vfs/watch.hpp"

namespace kvmsbx::ipc {

class InodeWatches;

extern int32_t directory_notification;  // /proc/sys/fs/dir-notify-enable; 0: F_NOTIFY is EINVAL

struct DirectoryNotice {
    void happened(uint32_t what);  // may end the notice
    void end();

    InodeWatches& inode_watches;
    vfs::File& file;
    const vfs::FdTable& table;
    int32_t fd;  // si_fd: the descriptor of the last call
    uint32_t events;
    bool repeats;  // DN_MULTISHOT
    ListHook inode_hook;
};

// fcntl(fd, F_NOTIFY, mask) of a descriptor that the caller has open. The events are added to those of earlier calls;
// none: ends the registration. ENOTDIR, EINVAL (switched off), ENOMEM.
Result<> set_directory_notice(task::Task& caller, vfs::File& file, int32_t fd, uint32_t mask);

}  // namespace kvmsbx::ipc
