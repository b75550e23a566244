#pragma once
// Changes of credentials as Linux makes them (kernel/sys.c, security/commoncap.c; setuid(2), capabilities(7)). Each
// function takes the present credentials and gives changed ones, or EPERM, EINVAL, ENOMEM. An id of kKeep means "leave
// it" where the call knows that.
#include "guestkernel/auth/credentials.hpp"

namespace kvmsbx::auth {

inline constexpr uint32_t kKeep = ~0U;
inline constexpr uint32_t kSecureNoroot = 1, kSecureNoSetuidFixup = 4, kSecureKeepCaps = 16, kSecureNoAmbientRaise = 64;
inline constexpr uint32_t kSecureAllBits = 0x55, kSecureAllLocks = 0xaa;
inline constexpr size_t kMaxGroups = 65536;

using NewCredentials = Result<RefPtr<Credentials>>;

NewCredentials set_uid(const Credentials& old, Uid uid);
NewCredentials set_gid(const Credentials& old, Gid gid);
NewCredentials set_reuid(const Credentials& old, Uid real, Uid effective);
NewCredentials set_regid(const Credentials& old, Gid real, Gid effective);
NewCredentials set_resuid(const Credentials& old, Uid real, Uid effective, Uid saved);
NewCredentials set_resgid(const Credentials& old, Gid real, Gid effective, Gid saved);
NewCredentials set_fsuid(const Credentials& old,
                         Uid uid);  // EPERM: not allowed; the call then changes nothing and says nothing
NewCredentials set_fsgid(const Credentials& old, Gid gid);
NewCredentials set_groups(const Credentials& old, Vector<Gid> groups);
NewCredentials set_capabilities(const Credentials& old, CapabilitySet effective, CapabilitySet permitted,
                                CapabilitySet inheritable);
NewCredentials drop_from_bounding(const Credentials& old, unsigned capability);
NewCredentials set_securebits(const Credentials& old, uint32_t bits);
NewCredentials set_keep_caps(const Credentials& old, bool on);
NewCredentials raise_ambient(const Credentials& old, unsigned capability);
NewCredentials lower_ambient(const Credentials& old, unsigned capability);
NewCredentials clear_ambient(const Credentials& old);
NewCredentials set_no_new_privileges(const Credentials& old);

// Other effective or file-system ids, or capabilities that were not permitted before.
bool changes_trust(const Credentials& old, const Credentials& now);

// execve(2). setid_bits: the file's mode where its mount allows set-id, else 0.
struct ExecCredentials {
    RefPtr<Credentials> credentials;
    bool secure;  // AT_SECURE
};
// What the file's security.capability says; present: it has one that counts.
struct ExecCapabilities {
    uint64_t permitted = 0, inheritable = 0;
    bool effective = false, present = false;
};
// EPERM: the file wants to have capabilities effective that the bounding set withholds.
Result<ExecCredentials> for_exec(const Credentials& old, uint32_t setid_bits, Uid file_uid, Gid file_gid,
                                 const ExecCapabilities& file = {});

}  // namespace kvmsbx::auth
