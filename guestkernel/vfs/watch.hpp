#pragma once
// What happens to files, for those who watch them (inotify(7), and F_NOTIFY of fcntl(2); ipc/ implements both).
//
// An inode that is watched has a Watches object; all others have none, and cost nothing but the look at one or two
// pointers. Things that happen to an object by a path are told to what watches its directory (with the name) and to
// what watches the object itself, in this order. Reports never block.
#include "guestkernel/vfs/dentry.hpp"
#include "guestkernel/vfs/path.hpp"

namespace kvmsbx::vfs {

// Event bits, values of inotify(7).
inline constexpr uint32_t kWatchAccess = 1, kWatchModify = 2, kWatchAttributes = 4, kWatchCloseWrite = 8,
                          kWatchCloseNoWrite = 0x10, kWatchOpen = 0x20, kWatchMovedFrom = 0x40, kWatchMovedTo = 0x80,
                          kWatchCreate = 0x100, kWatchDelete = 0x200, kWatchDeleteSelf = 0x400, kWatchMoveSelf = 0x800,
                          kWatchUnmount = 0x2000, kWatchIsDirectory = 0x40000000;
// A name changed within one directory, told besides the two moves; inotify does not know it (FS_RENAME of Linux).
inline constexpr uint32_t kWatchRename = 0x10000000;

class FdTable;

class Watches {
  public:
    // name: of the object in this directory, or empty: the inode itself. unlinked: the name is gone already.
    virtual void happened(uint32_t events, std::string_view name, uint32_t cookie, bool unlinked) = 0;
    // The inode has no name any more: its end is told when `held` references to its dentry are the only ones besides
    // those of the watches (held: of the caller).
    virtual void lost_last_name() = 0;
    virtual void check_end(uint32_t held) = 0;
    // The table closed a descriptor of a file that has this inode.
    virtual void closed(const FdTable& table, File& file) = 0;

  protected:
    ~Watches() = default;
};

inline bool is_watched(const Path& path) {
    const Dentry& dentry = path.dentry();
    return dentry.inode()->watches || (dentry.parent() && dentry.parent()->inode()->watches);
}
void report_path(const Path& path, uint32_t events);
// The object that the path names was opened, read, changed...
inline void report(const Path& path, uint32_t events) {
    if (is_watched(path)) report_path(path, events);
}
inline void report(File& file, uint32_t events) {
    const Path* path = file.path();
    if (path && path->is_set() && !(file.flags & kOPath)) report(*path, events);
}
// What set_attributes() changed.
void report_change(const Path& path, const AttributeChange& change);
// A name in a directory appeared or went.
inline void report_name(Inode& directory, std::string_view name, uint32_t events, const Inode& object) {
    if (directory.watches)
        directory.watches->happened(events | (object.is_directory() ? kWatchIsDirectory : 0), name, 0, false);
}
void report_move(Inode& old_directory, std::string_view old_name, Inode& new_directory, std::string_view new_name,
                 const Inode& object);
// The object had `links` names before one of them went. held: references to its dentry that the caller has.
void report_unlinked(Inode& object, uint32_t links, uint32_t held);

// A mount was taken away; ipc/ sets it.
extern void (*mount_removed)(Mount& mount);

}  // namespace kvmsbx::vfs
