#include "guestkernel/ipc/dnotify.hpp"

#include "guestkernel/ipc/file_owner.hpp"
#include "guestkernel/ipc/inode_watches.hpp"

namespace kvmsbx::ipc {

int32_t directory_notification = 1;

namespace {

constexpr uint32_t kMultishot = 0x80000000;  // DN_MULTISHOT

struct Kind {
    uint32_t bit, events;
};
constexpr Kind kKinds[] = {
    {0x01, vfs::kWatchAccess},                         // DN_ACCESS
    {0x02, vfs::kWatchModify},                         // DN_MODIFY
    {0x04, vfs::kWatchCreate | vfs::kWatchMovedTo},    // DN_CREATE
    {0x08, vfs::kWatchDelete | vfs::kWatchMovedFrom},  // DN_DELETE
    {0x10, vfs::kWatchRename},                         // DN_RENAME
    {0x20, vfs::kWatchAttributes},                     // DN_ATTRIB
};

uint32_t events_of(uint32_t mask) {
    uint32_t events = 0;
    for (const Kind& kind : kKinds)
        if (mask & kind.bit) events |= kind.events;
    return events;
}

Result<DirectoryNotice*> make_notice(const vfs::FdTable& table, vfs::File& file) {
    InodeWatches& inode_watches = *TRY(InodeWatches::of(*file.inode()));
    if (DirectoryNotice* const existing = inode_watches.find_notice(table, file)) return existing;
    auto* notice = new (std::nothrow) DirectoryNotice{inode_watches, file, table, -1, 0, false, {}};
    if (!notice) {
        inode_watches.end_if_unused();
        return Errno::kNOMEM;
    }
    inode_watches.notices.push_front(*notice);
    return notice;
}

}  // namespace

void DirectoryNotice::happened(uint32_t what) {
    if (!(events & what)) return;
    FileOwner::find(file)->send(PollCode::kMessage, fd);
    if (!repeats) end();
}

void DirectoryNotice::end() {
    const OwnPtr<DirectoryNotice> owned(this);
    inode_hook.unlink();
    inode_watches.end_if_unused();
}

// Nothing here blocks, so that no other thread can close the descriptor meanwhile.
Result<> set_directory_notice(task::Task& caller, vfs::File& file, int32_t fd, uint32_t mask) {
    if (!directory_notification) return Errno::kINVAL;
    vfs::Inode* const inode = file.inode();
    if (!(mask & ~kMultishot)) {
        if (inode && inode->watches) inode->watches->closed(caller.files(), file);
        return {};
    }
    if (!inode || !inode->is_directory()) return Errno::kNOTDIR;
    FileOwner* const owner = TRY(FileOwner::of(file));
    DirectoryNotice* const notice = TRY(make_notice(caller.files(), file));
    owner->set_if_none(caller);
    notice->fd = fd;
    notice->events |= events_of(mask);
    notice->repeats |= (mask & kMultishot) != 0;
    return {};
}

}  // namespace kvmsbx::ipc
