#include "guestkernel/ipc/inode_watches.hpp"

namespace kvmsbx::ipc {

// SAFETY: nobody else implements vfs::Watches.
InodeWatches* InodeWatches::find(vfs::Inode& inode) { return static_cast<InodeWatches*>(inode.watches); }

Result<InodeWatches*> InodeWatches::of(vfs::Inode& inode) {
    if (inode.watches) return find(inode);
    return TRY(make_own<InodeWatches>(inode)).leak();
}

void InodeWatches::happened(uint32_t events, std::string_view name, uint32_t cookie, bool unlinked) {
    const RefPtr<vfs::Inode> keep(inode_);  // the last watch's end may be the inode's
    telling_ = true;
    for (auto it = notices.begin(); it != notices.end();) (it++)->happened(events);
    for (auto it = watches.begin(); it != watches.end();) (it++)->happened(events, name, cookie, unlinked);
    stop_telling();
}

void InodeWatches::check_end(uint32_t held) {
    if (!nameless_ || watches.empty()) return;
    uint32_t own = 0;
    const vfs::Dentry& dentry = watches.front().path.dentry();
    for (const Inotify::Watch& watch : watches) own += &watch.path.dentry() == &dentry;
    if (dentry.reference_count() > own + held) return;
    const RefPtr<vfs::Inode> keep(inode_);
    telling_ = true;
    while (!watches.empty()) watches.front().inode_gone();
    stop_telling();
}

DirectoryNotice* InodeWatches::find_notice(const vfs::FdTable& table, const vfs::File& file) {
    for (DirectoryNotice& notice : notices)
        if (&notice.table == &table && &notice.file == &file) return &notice;
    return nullptr;
}

void InodeWatches::closed(const vfs::FdTable& table, vfs::File& file) {
    if (DirectoryNotice* const notice = find_notice(table, file)) notice->end();
}

}  // namespace kvmsbx::ipc
