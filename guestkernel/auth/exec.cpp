// Credentials of a program that is started (bprm_fill_uid, cap_bprm_creds_from_file).
#include "guestkernel/auth/transitions.hpp"

namespace kvmsbx::auth {
namespace {

constexpr uint32_t kSetuidBit = 04000, kSetgidBit = 02000, kGroupExecute = 010;

bool gained(const CapabilitySet& now, const CapabilitySet& old) { return (now.bits & ~old.bits) != 0; }

}  // namespace

Result<ExecCredentials> for_exec(const Credentials& old, uint32_t setid_bits, Uid file_uid, Gid file_gid,
                                 const ExecCapabilities& file) {
    auto now = TRY(old.clone());
    if (!old.no_new_privileges) {
        if (setid_bits & kSetuidBit) now->euid = file_uid;
        // Set-gid without group execute meant mandatory locking.
        if ((setid_bits & (kSetgidBit | kGroupExecute)) == (kSetgidBit | kGroupExecute)) now->egid = file_gid;
    }
    const bool set_id = now->euid != old.ruid || now->egid != old.rgid;

    now->permitted.bits = (old.bounding.bits & file.permitted) | (old.inheritable.bits & file.inheritable);
    bool effective = file.effective;
    if (effective && (file.permitted & ~now->permitted.bits)) return Errno::kPERM;
    const bool set_id_and_capabilities = file.present && now->euid == 0 && now->ruid != 0;
    if (!(old.securebits & kSecureNoroot) && !set_id_and_capabilities) {
        if (now->euid == 0 || now->ruid == 0) now->permitted.bits = old.bounding.bits | old.inheritable.bits;
        effective = effective || now->euid == 0;
    }
    if (old.no_new_privileges && (set_id || gained(now->permitted, old.permitted))) {
        now->euid = now->ruid;
        now->egid = now->rgid;
        now->permitted.bits &= old.permitted.bits;
    }
    now->suid = now->fsuid = now->euid;
    now->sgid = now->fsgid = now->egid;
    if (set_id || file.present) now->ambient.bits = 0;
    now->permitted.bits |= now->ambient.bits;
    now->effective = effective ? now->permitted : now->ambient;
    now->securebits &= ~kSecureKeepCaps;
    const bool secure = set_id || (now->ruid != 0 && (effective || gained(now->permitted, now->ambient)));
    return ExecCredentials{std::move(now), secure};
}

}  // namespace kvmsbx::auth
