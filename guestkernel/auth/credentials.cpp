#include "guestkernel/auth/credentials.hpp"

namespace kvmsbx::auth {

Result<RefPtr<Credentials>> Credentials::clone() const {
    auto copy = TRY(make_ref<Credentials>());
    copy->ruid = ruid, copy->euid = euid, copy->suid = suid, copy->fsuid = fsuid;
    copy->rgid = rgid, copy->egid = egid, copy->sgid = sgid, copy->fsgid = fsgid;
    for (Gid gid : groups) TRY(copy->groups.push_back(gid));
    copy->permitted = permitted, copy->effective = effective, copy->inheritable = inheritable;
    copy->bounding = bounding, copy->ambient = ambient;
    copy->securebits = securebits;
    copy->no_new_privileges = no_new_privileges;
    return copy;
}

Result<RefPtr<Credentials>> kernel_credentials() {
    auto root = TRY(make_ref<Credentials>());
    root->effective.bits = CapabilitySet::kAll;
    return root;
}

}  // namespace kvmsbx::auth
