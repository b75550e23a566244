#include "guestkernel/ipc/sysv.hpp"

#include "guestkernel/task/task.hpp"

namespace kvmsbx::ipc::sysv {

using auth::Capability;

constinit Limits limits;

int64_t seconds_now() { return static_cast<int64_t>(sched::realtime_now() / 1'000'000'000); }
int32_t current_process_id() { return task::current().process().pid; }

Identity::Identity(const auth::Credentials& creator, int32_t object_key, uint32_t flags)
    : key(object_key),
      uid(creator.euid),
      creator_uid(creator.euid),
      gid(creator.egid),
      creator_gid(creator.egid),
      mode(flags & 0777),
      changed(seconds_now()) {}

Result<> Identity::check_access(const auth::Credentials& who, uint32_t access) const {
    const uint32_t wanted = (access >> 6 | access >> 3 | access) & 7;
    uint32_t granted = mode;
    if (who.euid == creator_uid || who.euid == uid)
        granted >>= 6;
    else if (who.in_group(creator_gid) || who.in_group(gid))
        granted >>= 3;
    if ((wanted & ~granted) && !who.has(Capability::kIpcOwner)) return Errno::kACCES;
    return {};
}

Result<> Identity::check_owner(const auth::Credentials& who) const {
    if (who.euid == creator_uid || who.euid == uid || who.has(Capability::kSysAdmin)) return {};
    return Errno::kPERM;
}

UserPermissions Identity::shown() const {
    UserPermissions out{};
    out.key = key;
    out.uid = uid, out.gid = gid, out.creator_uid = creator_uid, out.creator_gid = creator_gid;
    out.mode = mode;
    out.sequence = static_cast<uint16_t>(id >> Table<Identity>::kIndexBits);
    return out;
}

Result<> Identity::set(const UserPermissions& wanted) {
    if (wanted.uid == ~0U || wanted.gid == ~0U) return Errno::kINVAL;
    uid = wanted.uid, gid = wanted.gid;
    mode = (mode & ~0777U) | (wanted.mode & 0777);
    changed = seconds_now();
    return {};
}

}  // namespace kvmsbx::ipc::sysv
