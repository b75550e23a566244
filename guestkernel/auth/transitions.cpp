#include "guestkernel/auth/transitions.hpp"

namespace kvmsbx::auth {
namespace {

constexpr uint64_t bit(unsigned capability) { return 1ULL << capability; }
constexpr uint64_t bit(Capability c) { return bit(static_cast<unsigned>(c)); }
// CAP_FS_SET: what a file-system uid of 0 stands for. 32 is CAP_MAC_OVERRIDE.
constexpr uint64_t kFileCapabilities = bit(Capability::kChown) | bit(Capability::kMknod) |
                                       bit(Capability::kDacOverride) | bit(Capability::kDacReadSearch) |
                                       bit(Capability::kFowner) | bit(Capability::kFsetid) |
                                       bit(Capability::kLinuxImmutable) | bit(32U);

bool may_set_uid(const Credentials& c) { return c.has(Capability::kSetuid); }
bool may_set_gid(const Credentials& c) { return c.has(Capability::kSetgid); }
bool any_root(const Credentials& c) { return c.ruid == 0 || c.euid == 0 || c.suid == 0; }

// cap_emulate_setxuid.
void adjust_capabilities(Credentials& now, const Credentials& old) {
    if (now.securebits & kSecureNoSetuidFixup) return;
    if (any_root(old) && !any_root(now)) {
        if (!(now.securebits & kSecureKeepCaps)) now.permitted.bits = now.effective.bits = 0;
        now.ambient.bits = 0;
    }
    if (old.euid == 0 && now.euid != 0) now.effective.bits = 0;
    if (old.euid != 0 && now.euid == 0) now.effective = now.permitted;
}

bool subset(CapabilitySet a, uint64_t b) { return (a.bits & ~b) == 0; }

}  // namespace

NewCredentials set_uid(const Credentials& old, Uid uid) {
    if (uid == kKeep) return Errno::kINVAL;
    auto now = TRY(old.clone());
    if (may_set_uid(old))
        now->ruid = now->suid = uid;
    else if (uid != old.ruid && uid != old.suid)
        return Errno::kPERM;
    now->fsuid = now->euid = uid;
    adjust_capabilities(*now, old);
    return now;
}

NewCredentials set_gid(const Credentials& old, Gid gid) {
    if (gid == kKeep) return Errno::kINVAL;
    auto now = TRY(old.clone());
    if (may_set_gid(old))
        now->rgid = now->sgid = gid;
    else if (gid != old.rgid && gid != old.sgid)
        return Errno::kPERM;
    now->fsgid = now->egid = gid;
    return now;
}

NewCredentials set_reuid(const Credentials& old, Uid real, Uid effective) {
    auto now = TRY(old.clone());
    const bool any = may_set_uid(old);
    if (real != kKeep) {
        if (real != old.ruid && real != old.euid && !any) return Errno::kPERM;
        now->ruid = real;
    }
    if (effective != kKeep) {
        if (effective != old.ruid && effective != old.euid && effective != old.suid && !any) return Errno::kPERM;
        now->euid = effective;
    }
    if (real != kKeep || (effective != kKeep && effective != old.ruid)) now->suid = now->euid;
    now->fsuid = now->euid;
    adjust_capabilities(*now, old);
    return now;
}

NewCredentials set_regid(const Credentials& old, Gid real, Gid effective) {
    auto now = TRY(old.clone());
    const bool any = may_set_gid(old);
    if (real != kKeep) {
        if (real != old.rgid && real != old.egid && !any) return Errno::kPERM;
        now->rgid = real;
    }
    if (effective != kKeep) {
        if (effective != old.rgid && effective != old.egid && effective != old.sgid && !any) return Errno::kPERM;
        now->egid = effective;
    }
    if (real != kKeep || (effective != kKeep && effective != old.rgid)) now->sgid = now->egid;
    now->fsgid = now->egid;
    return now;
}

NewCredentials set_resuid(const Credentials& old, Uid real, Uid effective, Uid saved) {
    for (Uid uid : {real, effective, saved})
        if (uid != kKeep && uid != old.ruid && uid != old.euid && uid != old.suid && !may_set_uid(old))
            return Errno::kPERM;
    auto now = TRY(old.clone());
    if (real != kKeep) now->ruid = real;
    if (effective != kKeep) now->euid = effective;
    if (saved != kKeep) now->suid = saved;
    now->fsuid = now->euid;
    adjust_capabilities(*now, old);
    return now;
}

NewCredentials set_resgid(const Credentials& old, Gid real, Gid effective, Gid saved) {
    for (Gid gid : {real, effective, saved})
        if (gid != kKeep && gid != old.rgid && gid != old.egid && gid != old.sgid && !may_set_gid(old))
            return Errno::kPERM;
    auto now = TRY(old.clone());
    if (real != kKeep) now->rgid = real;
    if (effective != kKeep) now->egid = effective;
    if (saved != kKeep) now->sgid = saved;
    now->fsgid = now->egid;
    return now;
}

NewCredentials set_fsuid(const Credentials& old, Uid uid) {
    const bool own = uid == old.ruid || uid == old.euid || uid == old.suid || uid == old.fsuid;
    if (uid == kKeep || (!own && !may_set_uid(old))) return Errno::kPERM;
    auto now = TRY(old.clone());
    now->fsuid = uid;
    if (now->securebits & kSecureNoSetuidFixup) return now;
    if (old.fsuid == 0 && uid != 0) now->effective.bits &= ~kFileCapabilities;
    if (old.fsuid != 0 && uid == 0) now->effective.bits |= now->permitted.bits & kFileCapabilities;
    return now;
}

NewCredentials set_fsgid(const Credentials& old, Gid gid) {
    const bool own = gid == old.rgid || gid == old.egid || gid == old.sgid || gid == old.fsgid;
    if (gid == kKeep || (!own && !may_set_gid(old))) return Errno::kPERM;
    auto now = TRY(old.clone());
    now->fsgid = gid;
    return now;
}

NewCredentials set_groups(const Credentials& old, Vector<Gid> groups) {
    if (!may_set_gid(old)) return Errno::kPERM;
    auto now = TRY(old.clone());
    now->groups = std::move(groups);
    return now;
}

NewCredentials set_capabilities(const Credentials& old, CapabilitySet effective, CapabilitySet permitted,
                                CapabilitySet inheritable) {
    if (!old.has(Capability::kSetpcap) && !subset(inheritable, old.inheritable.bits | old.permitted.bits))
        return Errno::kPERM;
    if (!subset(inheritable, old.inheritable.bits | old.bounding.bits)) return Errno::kPERM;
    if (!subset(permitted, old.permitted.bits)) return Errno::kPERM;
    if (!subset(effective, permitted.bits)) return Errno::kPERM;
    auto now = TRY(old.clone());
    now->effective = effective, now->permitted = permitted, now->inheritable = inheritable;
    now->ambient.bits &= permitted.bits & inheritable.bits;
    return now;
}

NewCredentials drop_from_bounding(const Credentials& old, unsigned capability) {
    if (!old.has(Capability::kSetpcap)) return Errno::kPERM;
    if (capability > static_cast<unsigned>(Capability::kLast)) return Errno::kINVAL;
    auto now = TRY(old.clone());
    now->bounding.bits &= ~bit(capability);
    return now;
}

NewCredentials set_securebits(const Credentials& old, uint32_t bits) {
    const uint32_t locked = (old.securebits & kSecureAllLocks) >> 1;
    const bool allowed = (locked & (old.securebits ^ bits)) == 0 && (old.securebits & kSecureAllLocks & ~bits) == 0 &&
                         (bits & ~(kSecureAllBits | kSecureAllLocks)) == 0 && old.has(Capability::kSetpcap);
    if (!allowed) return Errno::kPERM;
    auto now = TRY(old.clone());
    now->securebits = bits;
    return now;
}

NewCredentials set_keep_caps(const Credentials& old, bool on) {
    if (old.securebits & kSecureKeepCaps << 1) return Errno::kPERM;
    auto now = TRY(old.clone());
    now->securebits = on ? now->securebits | kSecureKeepCaps : now->securebits & ~kSecureKeepCaps;
    return now;
}

NewCredentials raise_ambient(const Credentials& old, unsigned capability) {
    const bool held = (old.permitted.bits & old.inheritable.bits & bit(capability)) != 0;
    if (!held || old.securebits & kSecureNoAmbientRaise) return Errno::kPERM;
    auto now = TRY(old.clone());
    now->ambient.bits |= bit(capability);
    return now;
}

NewCredentials lower_ambient(const Credentials& old, unsigned capability) {
    auto now = TRY(old.clone());
    now->ambient.bits &= ~bit(capability);
    return now;
}

NewCredentials clear_ambient(const Credentials& old) {
    auto now = TRY(old.clone());
    now->ambient.bits = 0;
    return now;
}

NewCredentials set_no_new_privileges(const Credentials& old) {
    auto now = TRY(old.clone());
    now->no_new_privileges = true;
    return now;
}

bool changes_trust(const Credentials& old, const Credentials& now) {
    return old.euid != now.euid || old.egid != now.egid || old.fsuid != now.fsuid || old.fsgid != now.fsgid ||
           (now.permitted.bits & ~old.permitted.bits) != 0;
}

}  // namespace kvmsbx::auth
