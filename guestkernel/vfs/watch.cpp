#include "guestkernel/vfs/watch.hpp"

namespace kvmsbx::vfs {

void (*mount_removed)(Mount& mount);

void report_path(const Path& path, uint32_t events) {
    Dentry& dentry = path.dentry();
    Inode& inode = *dentry.inode();
    if (inode.is_directory()) events |= kWatchIsDirectory;
    const RefPtr<Dentry> parent = dentry.parent();
    if (parent && parent->inode()->watches)
        parent->inode()->watches->happened(events, dentry.name(), 0, dentry.is_dropped());
    if (inode.watches) inode.watches->happened(events, {}, 0, false);
}

void report_change(const Path& path, const AttributeChange& change) {
    using Change = AttributeChange;
    if (!is_watched(path)) return;
    uint32_t events = 0;
    const bool atime = change.valid & (Change::kAtime | Change::kAtimeNow);
    const bool mtime = change.valid & (Change::kMtime | Change::kMtimeNow);
    if (change.valid & (Change::kUid | Change::kGid | Change::kMode)) events |= kWatchAttributes;
    if (change.valid & Change::kSize) events |= kWatchModify;
    if (atime && mtime)
        events |= kWatchAttributes;
    else if (atime)
        events |= kWatchAccess;
    else if (mtime)
        events |= kWatchModify;
    if (events) report_path(path, events);
}

void report_move(Inode& old_directory, std::string_view old_name, Inode& new_directory, std::string_view new_name,
                 const Inode& object) {
    static uint32_t last_cookie;
    const uint32_t cookie = ++last_cookie;
    const uint32_t kind = object.is_directory() ? kWatchIsDirectory : 0;
    if (&old_directory == &new_directory && old_directory.watches)
        old_directory.watches->happened(kWatchRename | kind, old_name, 0, false);
    if (old_directory.watches) old_directory.watches->happened(kWatchMovedFrom | kind, old_name, cookie, false);
    if (new_directory.watches) new_directory.watches->happened(kWatchMovedTo | kind, new_name, cookie, false);
}

void report_unlinked(Inode& object, uint32_t links, uint32_t held) {
    if (!object.watches) return;
    const bool directory = object.is_directory();
    if (!directory) object.watches->happened(kWatchAttributes, {}, 0, false);
    if (!directory && links > 1) return;
    object.watches->lost_last_name();
    object.watches->check_end(held);
}

}  // namespace kvmsbx::vfs
