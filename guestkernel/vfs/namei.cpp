#include "guestkernel/vfs/namei.hpp"

#include "guestkernel/vfs/new_node.hpp"
#include "guestkernel/vfs/watch.hpp"

namespace kvmsbx::vfs {

using auth::Capability;
using Last = Walker::Last;

Result<> may_create(const Caller& caller, const Path& directory) {
    if (directory.mount().readonly()) return Errno::kROFS;
    if (directory.dentry().is_dropped() && directory.dentry().parent()) return Errno::kNOENT;
    return check_permission(caller.credentials, directory.inode(), 2 | 1);
}

Result<NewNode> new_node(const Caller& caller, Inode& directory, uint32_t mode) {
    NewNode node{mode & ~caller.fs.umask, caller.credentials.fsuid, caller.credentials.fsgid};
    const Ownership parent = TRY(directory.ownership());
    if (!(parent.mode & kModeSetgid)) return node;
    node.gid = parent.gid;
    if ((mode & kModeTypeMask) == kModeDirectory)
        node.mode |= kModeSetgid;
    else if ((node.mode & (kModeSetgid | 010)) == (kModeSetgid | 010) && !caller.credentials.in_group(node.gid) &&
             !caller.credentials.has(Capability::kFsetid))
        node.mode &= ~kModeSetgid;
    return node;
}

Result<> name_new_inode(RefPtr<Dentry>& dentry, Dentry& directory, std::string_view name, RefPtr<Inode> inode) {
    if (directory.inode()->fs().cacheable_names) {
        dentry->set_inode(std::move(inode));
        return {};
    }
    dentry = TRY(Dentry::create(directory, name, std::move(inode)));
    return {};
}

namespace {

// Walks to the directory, then calls make(directory inode, name, new node) with its lock held and gives the new name
// its inode.
template <typename Make>
Result<Path> make_name(const Caller& caller, const Path& base, std::string_view path, uint32_t mode, Make make) {
    const bool want_directory = (mode & kModeTypeMask) == kModeDirectory;
    Walker walker(caller, base);
    TRY(walker.start(path));
    TRY(walker.to_parent());
    if (walker.last_kind() != Last::kNormal) return Errno::kEXIST;
    Path& directory = walker.place();
    sched::MutexGuard guard(directory.inode().directory_lock);
    RefPtr<Dentry> dentry = TRY(lookup_child(directory.dentry(), walker.last(), DirectoryLock::kHeld));
    if (!dentry->is_negative()) return Errno::kEXIST;
    if (walker.trailing_slash() && !want_directory) return Errno::kNOENT;
    TRY(may_create(caller, directory));
    NewNode node = TRY(new_node(caller, directory.inode(), mode));
    RefPtr<Inode> inode = TRY(make(directory, walker.last(), node));
    TRY(name_new_inode(dentry, directory.dentry(), walker.last(), std::move(inode)));
    report_name(directory.inode(), walker.last(), kWatchCreate, *dentry->inode());
    return Path(RefPtr<Mount>(directory.mount()), std::move(dentry));
}

// The sticky bit's rule, write permission, and kinds that do not fit (may_delete of Linux).
Result<> may_delete(const Caller& caller, const Path& directory, Dentry& victim, bool want_directory) {
    if (victim.is_negative()) return Errno::kNOENT;
    Inode& parent = directory.inode();
    TRY(check_permission(caller.credentials, parent, 2 | 1));
    const Ownership owner = TRY(parent.ownership());
    if ((owner.mode & kModeSticky) && !caller.credentials.has(Capability::kFowner) &&
        caller.credentials.fsuid != owner.uid && caller.credentials.fsuid != TRY(victim.inode()->ownership()).uid)
        return Errno::kPERM;
    if (want_directory && !victim.inode()->is_directory()) return Errno::kNOTDIR;
    if (!want_directory && victim.inode()->is_directory()) return Errno::kISDIR;
    return {};
}

// How many names the inode has; asked only if somebody watches it.
uint32_t links_if_watched(Inode& inode) {
    if (!inode.watches) return 0;
    const Result<Attributes> attributes = inode.attributes();
    return attributes.is_ok() ? attributes.value().nlink : 1;
}

// The name's object is gone from the directory: later lookups need not ask the file system for it.
void forget_name(Dentry& dentry) {
    RefPtr<Dentry> parent = dentry.parent();
    detach_mounts_on(dentry);
    dentry.drop();
    if (parent->inode()->fs().cacheable_names)
        ignore(Dentry::create(*parent, dentry.name(), nullptr),
               "without memory for it the next lookup asks the file system");
}

}  // namespace

Result<> make_directory(const Caller& caller, const Path& base, std::string_view path, uint32_t mode) {
    TRY(make_name(caller, base, path, kModeDirectory | (mode & 01777),
                  [](const Path& directory, std::string_view name, const NewNode& node) {
                      return directory.inode().make_directory(name, node);
                  }));
    return {};
}

Result<Path> make_node(const Caller& caller, const Path& base, std::string_view path, uint32_t mode, uint64_t device) {
    const uint32_t type = mode & kModeTypeMask ? mode & kModeTypeMask : kModeRegular;
    switch (type) {
        case kModeRegular:
        case kModeFifo:
        case kModeSocket: break;
        case kModeChar:
        case kModeBlock:
            // A whiteout, character device 0, is no device.
            if (!(type == kModeChar && device == 0) && !caller.credentials.has(Capability::kMknod)) return Errno::kPERM;
            break;
        case kModeDirectory: return Errno::kPERM;
        default: return Errno::kINVAL;
    }
    return make_name(caller, base, path, type | (mode & 07777),
                     [type, device](const Path& directory, std::string_view name, NewNode& node) {
                         if (type == kModeRegular) return directory.inode().create(name, node);
                         if (type == kModeChar || type == kModeBlock) node.rdev = device;
                         return directory.inode().make_node(name, node);
                     });
}

Result<> make_symlink(const Caller& caller, const Path& base, std::string_view path, std::string_view target) {
    if (target.empty()) return Errno::kNOENT;
    TRY(make_name(caller, base, path, kModeLink | 0777,
                  [target](const Path& directory, std::string_view name, NewNode& node) {
                      node.mode = kModeLink | 0777;
                      return directory.inode().make_symlink(name, target, node);
                  }));
    return {};
}

Result<> make_link(const Caller& caller, const Path& existing, const Path& base, std::string_view path) {
    TRY(make_name(caller, base, path, kModeRegular,
                  [&existing](const Path& directory, std::string_view name, const NewNode&) -> Result<RefPtr<Inode>> {
                      if (&directory.mount() != &existing.mount()) return Errno::kXDEV;
                      if (existing.inode().is_directory()) return Errno::kPERM;
                      Inode& inode = existing.inode();
                      if (!inode.linkable && TRY(inode.attributes()).nlink == 0) return Errno::kNOENT;
                      TRY(directory.inode().link(name, inode));
                      inode.linkable = false;
                      if (inode.watches) inode.watches->happened(kWatchAttributes, {}, 0, false);
                      return RefPtr<Inode>(existing.inode());
                  }));
    return {};
}

Result<> unlink(const Caller& caller, const Path& base, std::string_view path) {
    Walker walker(caller, base);
    TRY(walker.start(path));
    TRY(walker.to_parent());
    if (walker.last_kind() != Last::kNormal) return Errno::kISDIR;
    Path& directory = walker.place();
    if (directory.mount().readonly()) return Errno::kROFS;
    sched::MutexGuard guard(directory.inode().directory_lock);
    RefPtr<Dentry> victim = TRY(lookup_child(directory.dentry(), walker.last(), DirectoryLock::kHeld));
    if (walker.trailing_slash()) {
        if (victim->is_negative()) return Errno::kNOENT;
        return victim->inode()->is_directory() ? Errno::kISDIR : Errno::kNOTDIR;
    }
    TRY(may_delete(caller, directory, *victim, false));
    if (is_mount_point(*victim)) return Errno::kBUSY;
    const uint32_t links = links_if_watched(*victim->inode());
    TRY(directory.inode().unlink(walker.last(), *victim->inode()));
    forget_name(*victim);
    report_unlinked(*victim->inode(), links, 1);
    report_name(directory.inode(), walker.last(), kWatchDelete, *victim->inode());
    return {};
}

Result<> remove_directory(const Caller& caller, const Path& base, std::string_view path) {
    Walker walker(caller, base);
    TRY(walker.start(path));
    TRY(walker.to_parent());
    if (walker.last_kind() == Last::kDot) return Errno::kINVAL;
    if (walker.last_kind() == Last::kDotDot) return Errno::kNOTEMPTY;
    if (walker.last_kind() == Last::kRoot) return Errno::kBUSY;
    Path& directory = walker.place();
    if (directory.mount().readonly()) return Errno::kROFS;
    sched::MutexGuard guard(directory.inode().directory_lock);
    RefPtr<Dentry> victim = TRY(lookup_child(directory.dentry(), walker.last(), DirectoryLock::kHeld));
    TRY(may_delete(caller, directory, *victim, true));
    if (is_mount_point(*victim)) return Errno::kBUSY;
    TRY(directory.inode().remove_directory(walker.last(), *victim->inode()));
    forget_name(*victim);
    report_unlinked(*victim->inode(), 1, 1);
    report_name(directory.inode(), walker.last(), kWatchDelete, *victim->inode());
    return {};
}

namespace {

constexpr uint32_t kNoReplace = 1, kExchange = 2, kWhiteout = 4;

struct Names {
    Path& old_directory;
    std::string_view old_name;
    Path& new_directory;
    std::string_view new_name;
    uint32_t flags;
};

Result<> check_rename(const Caller& caller, const Names& names, Dentry& source, Dentry& target) {
    if (source.is_negative()) return Errno::kNOENT;
    if ((names.flags & kNoReplace) && !target.is_negative()) return Errno::kEXIST;
    if ((names.flags & kExchange) && target.is_negative()) return Errno::kNOENT;
    if (names.new_directory.dentry().is_below(source)) return Errno::kINVAL;
    if (!target.is_negative() && names.old_directory.dentry().is_below(target))
        return names.flags & kExchange ? Errno::kINVAL : Errno::kNOTEMPTY;
    const bool directory = source.inode()->is_directory();
    TRY(may_delete(caller, names.old_directory, source, directory));
    if (target.is_negative())
        TRY(may_create(caller, names.new_directory));
    else
        TRY(may_delete(caller, names.new_directory, target,
                       names.flags & kExchange ? target.inode()->is_directory() : directory));
    const bool moves_directory =
        directory && names.old_directory.dentry().inode() != names.new_directory.dentry().inode();
    if (moves_directory) TRY(check_permission(caller.credentials, *source.inode(), 2));  // its ".." changes
    if (is_mount_point(source) || is_mount_point(target)) return Errno::kBUSY;
    return {};
}

// RENAME_WHITEOUT left one under the old name: it is the caller's.
Result<> own_whiteout(const Caller& caller, const Names& names) {
    RefPtr<Dentry> whiteout = TRY(lookup_child(names.old_directory.dentry(), names.old_name, DirectoryLock::kHeld));
    if (whiteout->is_negative()) return {};
    AttributeChange owner;
    owner.valid = AttributeChange::kUid | AttributeChange::kGid;
    owner.uid = caller.credentials.fsuid, owner.gid = caller.credentials.fsgid;
    return whiteout->inode()->set_attributes(owner);
}

void report_renamed(const Names& names, Inode& object) {
    report_move(names.old_directory.inode(), names.old_name, names.new_directory.inode(), names.new_name, object);
    if (object.watches)
        object.watches->happened(kWatchMoveSelf | (object.is_directory() ? kWatchIsDirectory : 0), {}, 0, false);
}

// Both directories are locked.
Result<> rename_locked(const Caller& caller, const Names& names, bool old_slash, bool new_slash) {
    RefPtr<Dentry> source = TRY(lookup_child(names.old_directory.dentry(), names.old_name, DirectoryLock::kHeld));
    RefPtr<Dentry> target = TRY(lookup_child(names.new_directory.dentry(), names.new_name, DirectoryLock::kHeld));
    if (source->is_negative()) return Errno::kNOENT;
    if (!source->inode()->is_directory() && (old_slash || (new_slash && !(names.flags & kExchange))))
        return Errno::kNOTDIR;
    TRY(check_rename(caller, names, *source, *target));
    if (source->inode() == target->inode()) return {};  // two names of one inode: nothing to do
    RefPtr<Inode> replaced(target->inode());
    String new_name = TRY(String::create(names.new_name));
    const uint32_t links = replaced ? links_if_watched(*replaced) : 0;
    TRY(names.old_directory.inode().rename(names.old_name, *source->inode(), names.new_directory.inode(),
                                           names.new_name, replaced.get(), names.flags));
    if (names.flags & kExchange) {
        Dentry::exchange(*source, *target);
        report_renamed(names, *source->inode());
        const Names back{names.new_directory, names.new_name, names.old_directory, names.old_name, 0};
        report_renamed(back, *target->inode());
        return {};
    }
    detach_mounts_on(*target);
    target->drop();
    source->move(RefPtr<Dentry>(names.new_directory.dentry()), std::move(new_name));
    report_renamed(names, *source->inode());
    if (replaced) report_unlinked(*replaced, links, 1);
    if (names.flags & kWhiteout) TRY(own_whiteout(caller, names));
    return {};
}

}  // namespace

Result<> rename(const Caller& caller, const Path& base, std::string_view path, const Path& new_base,
                std::string_view new_path, uint32_t flags) {
    static sched::Mutex one_at_a_time;  // no other call locks two directories, so their order does not matter
    Walker from(caller, base), to(caller, new_base);
    TRY(from.start(path));
    TRY(from.to_parent());
    TRY(to.start(new_path));
    TRY(to.to_parent());
    if (&from.place().mount() != &to.place().mount()) return Errno::kXDEV;
    if (from.last_kind() != Last::kNormal) return Errno::kBUSY;
    if (to.last_kind() != Last::kNormal) return flags & kNoReplace ? Errno::kEXIST : Errno::kBUSY;
    if (from.place().mount().readonly()) return Errno::kROFS;
    const Names names{from.place(), from.last(), to.place(), to.last(), flags};
    sched::MutexGuard rename_guard(one_at_a_time);
    sched::MutexGuard first(from.place().inode().directory_lock);
    if (from.place().dentry().inode() == to.place().dentry().inode())
        return rename_locked(caller, names, from.trailing_slash(), to.trailing_slash());
    sched::MutexGuard second(to.place().inode().directory_lock);
    return rename_locked(caller, names, from.trailing_slash(), to.trailing_slash());
}

}  // namespace kvmsbx::vfs
