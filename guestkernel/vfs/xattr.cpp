#include "guestkernel/vfs/xattr.hpp"

#include <cstring>

#include "guestkernel/vfs/mount.hpp"

namespace kvmsbx::vfs {

using auth::Capability;

namespace {

constexpr std::string_view kUser = "user.", kTrusted = "trusted.", kSecurity = "security.", kSystem = "system.";

enum class Intent : bool { kRead, kWrite };

// xattr_permission() of Linux, and cap_inode_setxattr() for writers.
Result<> check_access(const auth::Credentials& who, Inode& inode, std::string_view name, Intent intent) {
    const bool writes = intent == Intent::kWrite;
    if (name.starts_with(kSecurity)) {
        if (!writes) return {};
        const auto needed = name == kXattrCapability ? Capability::kSetfcap : Capability::kSysAdmin;
        return who.has(needed) ? Result<>() : Result<>(Errno::kPERM);
    }
    if (name.starts_with(kSystem)) return {};
    if (name.starts_with(kTrusted)) {
        if (who.has(Capability::kSysAdmin)) return {};
        return writes ? Errno::kPERM : Errno::kNODATA;
    }
    if (name.starts_with(kUser)) {
        if (inode.type() != kModeRegular && !inode.is_directory()) return writes ? Errno::kPERM : Errno::kNODATA;
        const Ownership owner = TRY(inode.ownership());
        if (inode.is_directory() && (owner.mode & kModeSticky) && writes && who.fsuid != owner.uid &&
            !who.has(Capability::kFowner))
            return Errno::kPERM;
    }
    return check_permission(who, inode, writes ? 2 : 4);
}

// Known name spaces have something behind the dot.
Result<> check_name(std::string_view name) {
    for (std::string_view prefix : {kUser, kTrusted, kSecurity})
        if (name.starts_with(prefix)) return name.size() == prefix.size() ? Result<>(Errno::kINVAL) : Result<>();
    return Errno::kOPNOTSUPP;  // no ACLs (system.posix_acl_*): permission checks do not know them
}

uint32_t word(std::span<const uint8_t> bytes, size_t index) {
    uint32_t value;
    memcpy(&value, bytes.data() + index * 4, 4);
    return value;
}

}  // namespace

bool decode_capabilities(std::span<const uint8_t> value, FileCapabilities& out) {
    constexpr uint32_t kRevisionMask = 0xff000000, kRevision2 = 0x02000000, kRevision3 = 0x03000000, kEffective = 1;
    constexpr size_t kSize2 = 20, kSize3 = 24;
    if (value.size() != kSize2 && value.size() != kSize3) return false;
    const uint32_t magic = word(value, 0);
    if ((magic & kRevisionMask) != (value.size() == kSize2 ? kRevision2 : kRevision3)) return false;
    if (value.size() == kSize3 && word(value, 5) != 0) return false;  // of another user namespace's root
    out.effective = magic & kEffective;
    out.permitted = word(value, 1) | static_cast<uint64_t>(word(value, 3)) << 32;
    out.inheritable = word(value, 2) | static_cast<uint64_t>(word(value, 4)) << 32;
    out.permitted &= auth::CapabilitySet::kAll, out.inheritable &= auth::CapabilitySet::kAll;
    return true;
}

Result<Vector<uint8_t>> get_xattr(const auth::Credentials& who, Inode& inode, std::string_view name) {
    TRY(check_access(who, inode, name, Intent::kRead));
    TRY(check_name(name));
    return inode.get_xattr(name);
}

Result<> set_xattr(const auth::Credentials& who, const Path& path, std::string_view name,
                   std::span<const uint8_t> value, uint32_t flags) {
    if (path.mount().readonly()) return Errno::kROFS;
    FileCapabilities ignored;
    if (name == kXattrCapability && !value.empty() && !decode_capabilities(value, ignored)) return Errno::kINVAL;
    TRY(check_access(who, path.inode(), name, Intent::kWrite));
    TRY(check_name(name));
    return path.inode().set_xattr(name, value, flags);
}

Result<> remove_xattr(const auth::Credentials& who, const Path& path, std::string_view name) {
    if (path.mount().readonly()) return Errno::kROFS;
    TRY(check_access(who, path.inode(), name, Intent::kWrite));
    TRY(check_name(name));
    return path.inode().remove_xattr(name);
}

Result<Vector<uint8_t>> list_xattrs(const auth::Credentials& who, Inode& inode) {
    const Vector<uint8_t> all = TRY(inode.list_xattrs());
    Vector<uint8_t> shown;
    TRY(shown.reserve(all.size()));
    for (size_t at = 0; at < all.size();) {
        size_t end = at;
        while (end < all.size() && all[end] != 0) ++end;
        char name[kMaxXattrName];
        const size_t length = end - at < sizeof name ? end - at : sizeof name;
        if (length > 0) memcpy(name, &all[at], length);
        const std::string_view text(name, length);
        const bool hidden =
            text.starts_with(kSystem) || (text.starts_with(kTrusted) && !who.has(Capability::kSysAdmin));
        for (size_t i = at; !hidden && i < end; ++i) TRY(shown.push_back(all[i]));
        if (!hidden) TRY(shown.push_back(0));
        at = end + 1;
    }
    return shown;
}

}  // namespace kvmsbx::vfs
