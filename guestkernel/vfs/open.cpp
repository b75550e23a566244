// open(2): from a path to a File.
#include "guestkernel/lib/format.hpp"
#include "guestkernel/vfs/device.hpp"
#include "guestkernel/vfs/handle.hpp"
#include "guestkernel/vfs/inode_file.hpp"
#include "guestkernel/vfs/new_node.hpp"
#include "guestkernel/vfs/walker.hpp"
#include "guestkernel/vfs/watch.hpp"

namespace kvmsbx::vfs {

using auth::Capability;

namespace {

constexpr uint32_t kExecute = 1, kWrite = 2, kRead = 4;
constexpr uint32_t kOpenOnly = kOCreat | kOExcl | kONoctty | kOTrunc | kOCloexec;

uint32_t wanted_access(uint32_t flags) {
    constexpr uint32_t kByMode[4] = {kRead, kWrite, kRead | kWrite, kRead | kWrite};
    return kByMode[flags & kOAccMode] | (flags & kOTrunc ? kWrite : 0);
}

Result<> check_open(const Caller& caller, const Path& path, uint32_t flags) {
    Inode& inode = path.inode();
    const uint32_t access = wanted_access(flags);
    if (inode.is_link()) return Errno::kLOOP;
    if (inode.is_directory() && (access & kWrite)) return Errno::kISDIR;
    const bool special = inode.type() != kModeRegular && !inode.is_directory();
    if ((inode.type() == kModeChar || inode.type() == kModeBlock) && (path.mount().flags & kMsNodev))
        return Errno::kACCES;
    if ((access & kWrite) && !special && path.mount().readonly()) return Errno::kROFS;
    TRY(check_permission(caller.credentials, inode, access));
    if ((flags & kONoatime) && caller.credentials.fsuid != TRY(inode.ownership()).uid &&
        !caller.credentials.has(Capability::kFowner))
        return Errno::kPERM;
    return {};
}

Result<RefPtr<File>> open_inode(const Path& path, uint32_t flags) {
    Inode& inode = path.inode();
    const uint32_t kept = (flags & ~kOpenOnly) | kOLargefile;
    switch (inode.type()) {
        case kModeChar: return open_char_device(TRY(inode.attributes()).rdev, path, flags);
        case kModeFifo: return inode.opens_itself() ? inode.open(path, kept) : open_fifo(path, kept);
        case kModeBlock:
        case kModeSocket: return Errno::kNXIO;
        default: return inode.open(path, kept);
    }
}

Result<RefPtr<File>> open_existing(const Caller& caller, const Path& path, uint32_t flags, bool created) {
    Inode& inode = path.inode();
    if ((flags & kODirectory) && !inode.is_directory()) return Errno::kNOTDIR;
    if (flags & kOPath) return TRY(make_ref<PathFile>(path, flags & (kOPath | kODirectory | kONofollow)));
    if ((flags & kOCreat) && inode.is_directory()) return Errno::kISDIR;
    if (!created) TRY(check_open(caller, path, flags));
    if (inode.executions && ((flags & kOAccMode) != kORdonly || (flags & kOTrunc))) return Errno::kTXTBSY;
    RefPtr<File> file = TRY(open_inode(path, flags));
    report(path, kWatchOpen);
    if (!created && (flags & kOTrunc) && inode.type() == kModeRegular) {
        AttributeChange change;
        change.valid = AttributeChange::kSize | AttributeChange::kMtimeNow;
        TRY(inode.set_attributes(change));
        report(path, kWatchModify);
    }
    return file;
}

// The name does not exist: makes it. Null: another task made it meanwhile.
Result<Path> create_last(const Caller& caller, Walker& walker, uint32_t mode) {
    Path& directory = walker.place();
    sched::MutexGuard guard(directory.inode().directory_lock);
    RefPtr<Dentry> dentry = TRY(lookup_child(directory.dentry(), walker.last(), DirectoryLock::kHeld));
    if (!dentry->is_negative()) return Path();
    TRY(may_create(caller, directory));
    const NewNode node = TRY(new_node(caller, directory.inode(), kModeRegular | (mode & 07777)));
    RefPtr<Inode> inode = TRY(directory.inode().create(walker.last(), node));
    TRY(name_new_inode(dentry, directory.dentry(), walker.last(), std::move(inode)));
    report_name(directory.inode(), walker.last(), kWatchCreate, *dentry->inode());
    return Path(RefPtr<Mount>(directory.mount()), std::move(dentry));
}

// O_TMPFILE: `directory` only says on which file system. The dentry is no child of it that could be found.
Result<RefPtr<File>> open_unnamed(const Caller& caller, const Path& directory, uint32_t flags, uint32_t mode) {
    if (!directory.inode().is_directory()) return Errno::kNOTDIR;
    if ((flags & kOAccMode) == kORdonly) return Errno::kINVAL;
    TRY(may_create(caller, directory));
    const NewNode node = TRY(new_node(caller, directory.inode(), kModeRegular | (mode & 07777)));
    RefPtr<Inode> inode = TRY(directory.inode().create_unnamed(node));
    inode->linkable = !(flags & kOExcl);
    StringText name;
    format_to(name, "#{}", TRY(inode->attributes()).ino);
    const String text = TRY(name.take());
    RefPtr<Dentry> dentry = TRY(Dentry::create_unhashed(directory.dentry(), text, std::move(inode)));
    return open_inode(Path(RefPtr<Mount>(directory.mount()), std::move(dentry)), flags & ~(kOTmpfile & ~kODirectory));
}

Result<RefPtr<File>> open_or_create(const Caller& caller, Walker& walker, uint32_t flags, uint32_t mode) {
    for (;;) {
        if (walker.last_kind() != Walker::Last::kNormal || walker.trailing_slash()) return Errno::kISDIR;
        Path found = TRY(walker.lookup_last());
        if (found.dentry().is_negative()) {
            Path made = TRY(create_last(caller, walker, mode));
            if (made.is_set()) return open_existing(caller, made, flags, true);
            continue;
        }
        if (flags & kOExcl) return Errno::kEXIST;
        if (!found.inode().is_link()) return open_existing(caller, found, flags, false);
        if (flags & kONofollow) return Errno::kLOOP;
        if (TRY(walker.follow(found))) return open_existing(caller, walker.place(), flags, false);
    }
}

}  // namespace

Result<RefPtr<File>> open(const Caller& caller, const Path& base, std::string_view path, uint32_t flags,
                          uint32_t mode) {
    if ((flags & kOTmpfile) == kOTmpfile && !(flags & kOPath)) {
        if (flags & kOCreat) return Errno::kINVAL;
        const Path directory = TRY(walk(caller, base, path, flags & kONofollow ? Follow::kNo : Follow::kYes));
        return open_unnamed(caller, directory, flags, mode);
    }
    if (flags & kOPath) flags &= kOPath | kODirectory | kONofollow | kOCloexec;
    if (!(flags & kOCreat)) {
        const Path found = TRY(walk(caller, base, path, flags & kONofollow ? Follow::kNo : Follow::kYes));
        return open_existing(caller, found, flags, false);
    }
    if (flags & kODirectory) return Errno::kINVAL;
    Walker walker(caller, base);
    TRY(walker.start(path));
    TRY(walker.to_parent());
    return open_or_create(caller, walker, flags, mode);
}

Result<RefPtr<File>> open_found(const Caller& caller, const Path& path, uint32_t flags) {
    if (flags & kOPath) flags &= kOPath | kODirectory | kONofollow | kOCloexec;
    return open_existing(caller, path, flags & ~(kOCreat | kOExcl), false);
}

Result<Path> find_executable(const Caller& caller, const Path& base, std::string_view path, Follow follow_last) {
    Path found = TRY(walk(caller, base, path, follow_last));
    if (found.inode().is_link()) return Errno::kLOOP;
    if (found.inode().type() != kModeRegular || (found.mount().flags & kMsNoexec)) return Errno::kACCES;
    TRY(check_permission(caller.credentials, found.inode(), kExecute));
    if (found.inode().writers) return Errno::kTXTBSY;
    return found;
}

Result<RefPtr<File>> open_executable(const Caller& caller, const Path& base, std::string_view path,
                                     Follow follow_last) {
    const Path found = TRY(find_executable(caller, base, path, follow_last));
    RefPtr<File> file = TRY(found.inode().open(found, kORdonly | kOLargefile));
    report(found, kWatchOpen);
    return file;
}

}  // namespace kvmsbx::vfs
