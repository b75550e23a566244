#include "guestkernel/vfs/inode_file.hpp"

#include "guestkernel/vfs/dentry.hpp"
#include "guestkernel/vfs/locks.hpp"
#include "guestkernel/vfs/mount.hpp"
#include "guestkernel/vfs/watch.hpp"

namespace kvmsbx::vfs {

namespace {

// Whether an open description that may write keeps its mount from becoming read-only.
bool writes_to_mount(const Inode& inode) { return inode.type() == kModeRegular || inode.is_directory(); }

}  // namespace

InodeFile::InodeFile(const Path& path, uint32_t flags) : File(flags), path_(path), inode_(path.inode()) {
    path_.mount().expiry_mark = false;
    if (!writable()) return;
    ++inode_->writers;
    if (writes_to_mount(*inode_)) ++path_.mount().writers;
}

void InodeFile::deny_writers() {
    if (!denies_writers_) ++inode_->executions;
    denies_writers_ = true;
}

InodeFile::~InodeFile() {
    if (writable()) {
        --inode_->writers;
        if (writes_to_mount(*inode_)) --path_.mount().writers;
    }
    if (denies_writers_) --inode_->executions;
    if (inode_->locks) release_file_locks(*inode_, this);
    report(*this, writable() ? kWatchCloseWrite : kWatchCloseNoWrite);
    if (inode_->watches) inode_->watches->check_end(1);  // path_
}

Result<size_t> InodeFile::read(mm::IoBuffer& to) {
    sched::MutexGuard guard(position_lock);
    const size_t count = TRY(read_at(to, position));
    position += count;
    return count;
}

Result<size_t> InodeFile::write(mm::IoBuffer& from) {
    sched::MutexGuard guard(position_lock);
    if (flags & kOAppend) return append(from, position);
    const size_t count = TRY(write_at(from, position));
    position += count;
    return count;
}

Result<size_t> InodeFile::append(mm::IoBuffer& from, uint64_t& end) {
    const uint64_t size = TRY(inode_->attributes()).size;
    const size_t count = TRY(write_at(from, size));
    end = size + count;
    return count;
}

Result<uint64_t> InodeFile::seek(int64_t offset, int whence) {
    enum { kSet, kCurrent, kEnd, kData, kHole };
    sched::MutexGuard guard(position_lock);
    uint64_t base = 0;
    if (whence == kCurrent) base = position;
    if (whence >= kEnd && whence <= kHole) {
        const uint64_t size = TRY(inode_->attributes()).size;
        if (whence != kEnd && (offset < 0 || static_cast<uint64_t>(offset) >= size)) return Errno::kNXIO;
        if (whence == kData) return position = static_cast<uint64_t>(offset);
        if (whence == kHole) return position = size;
        base = size;
    }
    if (whence < kSet || whence > kHole) return Errno::kINVAL;
    int64_t target;
    if (__builtin_add_overflow(static_cast<int64_t>(base), offset, &target)) return Errno::kOVERFLOW;
    if (target < 0) return Errno::kINVAL;
    return position = static_cast<uint64_t>(target);
}

Result<String> InodeFile::describe() { return path_string(path_, root_path()); }

Result<RefPtr<File>> open_directory(const Path& path, uint32_t flags) {
    return TRY(make_ref<DirectoryFile>(path, flags));
}

Result<uint64_t> DirectoryFile::seek(int64_t offset, int whence) {
    if (whence > 1) return Errno::kINVAL;
    return InodeFile::seek(offset, whence);
}

namespace {

// Keeps the position behind what was taken, and hides what lies above the mount's root in "..".
class PositionKeeper final : public DirectoryVisitor {
  public:
    PositionKeeper(DirectoryVisitor& next, uint64_t& position, uint64_t own, uint64_t parent)
        : next_(next), position_(position), own_(own), parent_(parent) {}
    bool visit(const DirectoryEntry& entry) override {
        DirectoryEntry shown = entry;
        if (entry.name == ".") shown.ino = own_;
        if (entry.name == "..") shown.ino = parent_;
        if (!next_.visit(shown)) return false;
        position_ = entry.cookie;
        return true;
    }

  private:
    DirectoryVisitor& next_;
    uint64_t& position_;
    const uint64_t own_, parent_;
};

Result<uint64_t> parent_number(const Path& path, uint64_t own) {
    Path place = path;
    while (place.dentry().parent().get() == nullptr || place.mount().root() == &place.dentry()) {
        if (!place.mount().place.is_set()) return own;
        place = Path(place.mount().place);
    }
    return TRY(place.dentry().parent()->inode()->attributes()).ino;
}

}  // namespace

Result<> DirectoryFile::read_directory(DirectoryVisitor& visitor) {
    sched::MutexGuard guard(position_lock);
    if (path_.dentry().is_dropped() && path_.dentry().parent()) return Errno::kNOENT;
    const uint64_t own = TRY(inode_->attributes()).ino;
    PositionKeeper keeper(visitor, position, own, TRY(parent_number(path_, own)));
    TRY(inode_->read_directory(position, keeper));
    report(path_, kWatchAccess);
    return {};
}

}  // namespace kvmsbx::vfs
