#include "guestkernel/vfs/attributes.hpp"

#include "guestkernel/vfs/mount.hpp"
#include "guestkernel/vfs/watch.hpp"
#include "guestkernel/vfs/xattr.hpp"

namespace kvmsbx::vfs {

using auth::Capability;
using Change = AttributeChange;

namespace {

Result<> set_and_report(const Path& path, const Change& change) {
    TRY(path.inode().set_attributes(change));
    report_change(path, change);
    return {};
}

}  // namespace

Result<> change_mode(const Caller& caller, const Path& path, uint32_t mode) {
    if (path.mount().readonly()) return Errno::kROFS;
    Inode& inode = path.inode();
    const Ownership owner = TRY(inode.ownership());
    const auth::Credentials& who = caller.credentials;
    if (who.fsuid != owner.uid && !who.has(Capability::kFowner)) return Errno::kPERM;
    if (inode.is_link()) return Errno::kOPNOTSUPP;
    Change change;
    change.valid = Change::kMode;
    change.mode = mode & 07777;
    if (!who.in_group(owner.gid) && !who.has(Capability::kFsetid)) change.mode &= ~kModeSetgid;
    return set_and_report(path, change);
}

Result<> change_owner(const Caller& caller, const Path& path, uint32_t uid, uint32_t gid) {
    if (path.mount().readonly()) return Errno::kROFS;
    Inode& inode = path.inode();
    const Ownership owner = TRY(inode.ownership());
    const auth::Credentials& who = caller.credentials;
    const bool chown_capable = who.has(Capability::kChown);
    Change change;
    if (uid != ~0U) {
        if (!chown_capable && (who.fsuid != owner.uid || uid != owner.uid)) return Errno::kPERM;
        change.valid |= Change::kUid, change.uid = uid;
    }
    if (gid != ~0U) {
        if (!chown_capable && (who.fsuid != owner.uid || (gid != owner.gid && !who.in_group(gid)))) return Errno::kPERM;
        change.valid |= Change::kGid, change.gid = gid;
    }
    uint32_t mode = owner.mode & 07777;
    if (!inode.is_directory()) {
        mode &= ~kModeSetuid;
        if (mode & 010) mode &= ~kModeSetgid;
    }
    if (mode != (owner.mode & 07777) && !inode.is_link()) change.valid |= Change::kMode, change.mode = mode;
    if (inode.has_capabilities) TRY(inode.remove_xattr(kXattrCapability));
    if (change.valid == 0) return {};
    return set_and_report(path, change);
}

Result<> change_times(const Caller& caller, const Path& path, const Change& change, bool explicit_times) {
    if (path.mount().readonly()) return Errno::kROFS;
    Inode& inode = path.inode();
    const auth::Credentials& who = caller.credentials;
    const bool owner = who.fsuid == TRY(inode.ownership()).uid || who.has(Capability::kFowner);
    if (!owner && explicit_times) return Errno::kPERM;
    if (!owner) TRY(check_permission(who, inode, 2));
    if (change.valid == 0) return {};
    return set_and_report(path, change);
}

Result<> truncate(const Caller& caller, const Path& path, uint64_t size) {
    Inode& inode = path.inode();
    if (inode.is_directory()) return Errno::kISDIR;
    if (inode.type() != kModeRegular) return Errno::kINVAL;
    if (path.mount().readonly()) return Errno::kROFS;
    TRY(check_permission(caller.credentials, inode, 2));
    if (inode.executions) return Errno::kTXTBSY;
    Change change;
    change.valid = Change::kSize | Change::kMtimeNow;
    change.size = size;
    TRY(set_and_report(path, change));
    return drop_set_id(caller.credentials, inode);
}

Result<> drop_set_id(const auth::Credentials& credentials, Inode& inode) {
    if (inode.has_capabilities) TRY(inode.remove_xattr(kXattrCapability));
    if (inode.type() != kModeRegular || credentials.has(Capability::kFsetid)) return {};
    const uint32_t mode = TRY(inode.ownership()).mode & 07777;
    uint32_t kept = mode & ~kModeSetuid;
    if (kept & 010) kept &= ~kModeSetgid;
    if (kept == mode) return {};
    Change change;
    change.valid = Change::kMode, change.mode = kept;
    return inode.set_attributes(change);
}

}  // namespace kvmsbx::vfs
