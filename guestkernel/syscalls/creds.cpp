#include "guestkernel/auth/transitions.hpp"
#include "guestkernel/syscalls/handlers_creds.hpp"
#include "guestkernel/task/registry.hpp"

namespace kvmsbx::syscalls {

using auth::Credentials;

namespace {

constexpr uint32_t kCapVersion1 = 0x19980330, kCapVersion2 = 0x20071026, kCapVersion3 = 0x20080522;

Result<int64_t> adopt(Task& task, auth::NewCredentials changed) {
    task.adopt(TRY(std::move(changed)));
    return 0;
}

Result<int64_t> store_three(Task& task, UserOut<uint32_t> a, UserOut<uint32_t> b, UserOut<uint32_t> c, uint32_t x,
                            uint32_t y, uint32_t z) {
    TRY(a.store(task.space(), x));
    TRY(b.store(task.space(), y));
    TRY(c.store(task.space(), z));
    return 0;
}

// Number of CapData for the header's version. An unknown version is answered with the one we speak, and EINVAL.
Result<unsigned> capability_words(Task& task, UserInOut<CapHeader> header, const CapHeader& loaded) {
    switch (loaded.version) {
        case kCapVersion1: return 1U;
        case kCapVersion2:
        case kCapVersion3: return 2U;
        default: {
            CapHeader answer = loaded;
            answer.version = kCapVersion3;
            TRY(header.store(task.space(), answer));
            return Errno::kINVAL;
        }
    }
}

Result<const Credentials*> credentials_of(Task& task, int32_t pid) {
    if (pid < 0) return Errno::kINVAL;
    if (pid == 0) return &task.credentials();
    task::Task* target = task::find_task(pid);
    if (!target) return Errno::kSRCH;
    return &target->credentials();
}

auth::CapabilitySet join(uint32_t low, uint32_t high) {
    return {(static_cast<uint64_t>(high) << 32 | low) & auth::CapabilitySet::kAll};
}

}  // namespace

Result<int64_t> sys_getuid(Task& task) { return task.credentials().ruid; }
Result<int64_t> sys_getgid(Task& task) { return task.credentials().rgid; }
Result<int64_t> sys_geteuid(Task& task) { return task.credentials().euid; }
Result<int64_t> sys_getegid(Task& task) { return task.credentials().egid; }
Result<int64_t> sys_setuid(Task& task, uint32_t uid) { return adopt(task, auth::set_uid(task.credentials(), uid)); }
Result<int64_t> sys_setgid(Task& task, uint32_t gid) { return adopt(task, auth::set_gid(task.credentials(), gid)); }
Result<int64_t> sys_setreuid(Task& task, uint32_t r, uint32_t e) {
    return adopt(task, auth::set_reuid(task.credentials(), r, e));
}
Result<int64_t> sys_setregid(Task& task, uint32_t r, uint32_t e) {
    return adopt(task, auth::set_regid(task.credentials(), r, e));
}
Result<int64_t> sys_setresuid(Task& task, uint32_t r, uint32_t e, uint32_t s) {
    return adopt(task, auth::set_resuid(task.credentials(), r, e, s));
}
Result<int64_t> sys_setresgid(Task& task, uint32_t r, uint32_t e, uint32_t s) {
    return adopt(task, auth::set_resgid(task.credentials(), r, e, s));
}

Result<int64_t> sys_getresuid(Task& task, UserOut<uint32_t> real, UserOut<uint32_t> effective,
                              UserOut<uint32_t> saved) {
    const Credentials& c = task.credentials();
    return store_three(task, real, effective, saved, c.ruid, c.euid, c.suid);
}

Result<int64_t> sys_getresgid(Task& task, UserOut<uint32_t> real, UserOut<uint32_t> effective,
                              UserOut<uint32_t> saved) {
    const Credentials& c = task.credentials();
    return store_three(task, real, effective, saved, c.rgid, c.egid, c.sgid);
}

Result<int64_t> sys_setfsuid(Task& task, uint32_t uid) {
    const uint32_t before = task.credentials().fsuid;
    auto changed = auth::set_fsuid(task.credentials(), uid);
    if (changed.is_ok()) task.adopt(changed.release_value());
    return before;
}

Result<int64_t> sys_setfsgid(Task& task, uint32_t gid) {
    const uint32_t before = task.credentials().fsgid;
    auto changed = auth::set_fsgid(task.credentials(), gid);
    if (changed.is_ok()) task.adopt(changed.release_value());
    return before;
}

Result<int64_t> sys_getgroups(Task& task, int32_t size, UserOut<uint32_t> list) {
    if (size < 0) return Errno::kINVAL;
    const auto& groups = task.credentials().groups;
    if (size == 0) return static_cast<int64_t>(groups.size());
    if (groups.size() > static_cast<size_t>(size)) return Errno::kINVAL;
    TRY(list.store_array(task.space(), groups.span()));
    return static_cast<int64_t>(groups.size());
}

Result<int64_t> sys_setgroups(Task& task, int32_t size, UserIn<uint32_t> list) {
    if (!task.credentials().has(auth::Capability::kSetgid)) return Errno::kPERM;
    if (static_cast<uint32_t>(size) > auth::kMaxGroups) return Errno::kINVAL;
    Vector<auth::Gid> groups;
    TRY(groups.resize(static_cast<size_t>(size)));
    TRY(list.load_array(task.space(), groups.span()));
    return adopt(task, auth::set_groups(task.credentials(), std::move(groups)));
}

Result<int64_t> sys_capget(Task& task, UserInOut<CapHeader> header, UserOut<CapData> data) {
    const CapHeader loaded = TRY(header.load(task.space()));
    auto words = capability_words(task, header, loaded);
    if (words.is_error()) {
        if (words.error() == Errno::kINVAL && !data) return 0;  // asks for the version
        return words.error();
    }
    const Credentials* c = TRY(credentials_of(task, loaded.pid));
    if (!data) return 0;
    CapData out[2];
    for (unsigned i = 0; i < 2; ++i)
        out[i] = {static_cast<uint32_t>(c->effective.bits >> 32 * i),
                  static_cast<uint32_t>(c->permitted.bits >> 32 * i),
                  static_cast<uint32_t>(c->inheritable.bits >> 32 * i)};
    TRY(data.store_array(task.space(), std::span<const CapData>(out, words.value())));
    return 0;
}

Result<int64_t> sys_capset(Task& task, UserInOut<CapHeader> header, UserIn<CapData> data) {
    const CapHeader loaded = TRY(header.load(task.space()));
    const unsigned words = TRY(capability_words(task, header, loaded));
    if (loaded.pid != 0 && loaded.pid != task.tid) return Errno::kPERM;
    CapData in[2] = {};
    TRY(data.load_array(task.space(), std::span<CapData>(in, words)));
    return adopt(task, auth::set_capabilities(task.credentials(), join(in[0].effective, in[1].effective),
                                              join(in[0].permitted, in[1].permitted),
                                              join(in[0].inheritable, in[1].inheritable)));
}

}  // namespace kvmsbx::syscalls
