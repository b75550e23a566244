#pragma once
// Credentials (credentials(7), capabilities(7)). Immutable once shared: a change makes a copy.
#include <cstdint>

#include "guestkernel/lib/ref.hpp"
#include "guestkernel/lib/vector.hpp"

namespace kvmsbx::auth {

using Uid = uint32_t;
using Gid = uint32_t;

enum class Capability : unsigned {
    kChown = 0,
    kDacOverride = 1,
    kDacReadSearch = 2,
    kFowner = 3,
    kFsetid = 4,
    kKill = 5,
    kSetgid = 6,
    kSetuid = 7,
    kSetpcap = 8,
    kLinuxImmutable = 9,
    kNetBindService = 10,
    kNetBroadcast = 11,
    kNetAdmin = 12,
    kNetRaw = 13,
    kIpcLock = 14,
    kIpcOwner = 15,
    kSysModule = 16,
    kSysRawio = 17,
    kSysChroot = 18,
    kSysPtrace = 19,
    kSysPacct = 20,
    kSysAdmin = 21,
    kSysBoot = 22,
    kSysNice = 23,
    kSysResource = 24,
    kSysTime = 25,
    kSysTtyConfig = 26,
    kMknod = 27,
    kLease = 28,
    kAuditWrite = 29,
    kAuditControl = 30,
    kSetfcap = 31,
    kLast = 40,
};

struct CapabilitySet {
    uint64_t bits = 0;
    bool has(Capability c) const { return bits >> static_cast<unsigned>(c) & 1; }
    static constexpr uint64_t kAll = (1ULL << 41) - 1;
};

class Credentials : public RefCounted {
  public:
    Uid ruid = 0, euid = 0, suid = 0, fsuid = 0;
    Gid rgid = 0, egid = 0, sgid = 0, fsgid = 0;
    Vector<Gid> groups;
    CapabilitySet permitted, effective, inheritable, bounding, ambient;
    uint32_t securebits = 0;
    bool no_new_privileges = false;

    bool has(Capability c) const { return effective.has(c); }
    bool in_group(Gid gid) const {
        if (fsgid == gid) return true;
        for (Gid g : groups)
            if (g == gid) return true;
        return false;
    }
    Result<RefPtr<Credentials>> clone() const;
};

// Root with all capabilities: for what the Sentry itself does. ENOMEM.
Result<RefPtr<Credentials>> kernel_credentials();

}  // namespace kvmsbx::auth
