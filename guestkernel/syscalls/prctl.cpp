#include <cstring>

#include "guestkernel/auth/transitions.hpp"
#include "guestkernel/syscalls/handlers_creds.hpp"
#include "guestkernel/task/task.hpp"

namespace kvmsbx::syscalls {
namespace {

enum Option : int32_t {
    kSetPdeathsig = 1,
    kGetPdeathsig = 2,
    kGetDumpable = 3,
    kSetDumpable = 4,
    kGetKeepcaps = 7,
    kSetKeepcaps = 8,
    kGetTiming = 13,
    kSetName = 15,
    kGetName = 16,
    kSetTiming = 14,
    kGetSeccomp = 21,
    kSetSeccomp = 22,
    kCapbsetRead = 23,
    kCapbsetDrop = 24,
    kGetSecurebits = 27,
    kGetTsc = 25,
    kSetTsc = 26,
    kSetSecurebits = 28,
    kMceKill = 33,
    kMceKillGet = 34,
    kSetMm = 35,
    kSetIoFlusher = 57,
    kGetIoFlusher = 58,
    kGetAuxv = 0x41555856,
    kSetTimerslack = 29,
    kGetTimerslack = 30,
    kSetChildSubreaper = 36,
    kGetChildSubreaper = 37,
    kSetNoNewPrivs = 38,
    kGetNoNewPrivs = 39,
    kGetTidAddress = 40,
    kCapAmbient = 47,
};
enum Ambient : uint64_t { kAmbientIsSet = 1, kAmbientRaise = 2, kAmbientLower = 3, kAmbientClearAll = 4 };
constexpr uint64_t kLastCapability = static_cast<uint64_t>(auth::Capability::kLast);

Result<int64_t> adopt(Task& task, auth::NewCredentials changed) {
    task.adopt(TRY(std::move(changed)));
    return 0;
}

Result<int64_t> set_name(Task& task, uint64_t address) {
    char name[sizeof task.name] = {};
    // strncpy_from_user: reads up to the NUL only.
    for (size_t i = 0; i + 1 < sizeof name; ++i) {
        TRY(mm::copy_from_user(task.space(), &name[i], address + i, 1));
        if (!name[i]) break;
    }
    memcpy(task.name, name, sizeof name);
    return 0;
}

Result<int64_t> ambient(Task& task, uint64_t what, uint64_t capability, uint64_t a4, uint64_t a5) {
    const auth::Credentials& c = task.credentials();
    if (what == kAmbientClearAll) {
        if (capability | a4 | a5) return Errno::kINVAL;
        return adopt(task, auth::clear_ambient(c));
    }
    if ((a4 | a5) || capability > kLastCapability) return Errno::kINVAL;
    switch (what) {
        case kAmbientIsSet: return static_cast<int64_t>(c.ambient.bits >> capability & 1);
        case kAmbientRaise: return adopt(task, auth::raise_ambient(c, static_cast<unsigned>(capability)));
        case kAmbientLower: return adopt(task, auth::lower_ambient(c, static_cast<unsigned>(capability)));
        default: return Errno::kINVAL;
    }
}

Result<int64_t> capability_option(Task& task, int32_t option, uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5) {
    const auth::Credentials& c = task.credentials();
    switch (option) {
        case kGetKeepcaps: return (c.securebits & auth::kSecureKeepCaps) != 0;
        case kSetKeepcaps:
            if (a2 > 1) return Errno::kINVAL;
            return adopt(task, auth::set_keep_caps(c, a2 != 0));
        case kCapbsetRead:
            if (a2 > kLastCapability) return Errno::kINVAL;
            return static_cast<int64_t>(c.bounding.bits >> a2 & 1);
        case kCapbsetDrop:
            return adopt(task, auth::drop_from_bounding(c, a2 > kLastCapability ? ~0U : static_cast<unsigned>(a2)));
        case kGetSecurebits: return c.securebits;
        case kSetSecurebits:
            if (a2 >> 32) return Errno::kPERM;
            return adopt(task, auth::set_securebits(c, static_cast<uint32_t>(a2)));
        case kSetNoNewPrivs:
            if (a2 != 1 || a3 || a4 || a5) return Errno::kINVAL;
            return adopt(task, auth::set_no_new_privileges(c));
        case kGetNoNewPrivs:
            if (a2 || a3 || a4 || a5) return Errno::kINVAL;
            return c.no_new_privileges;
        default: return ambient(task, a2, a3, a4, a5);
    }
}

template <typename T>
Result<int64_t> store(Task& task, uint64_t address, T value) {
    TRY(UserOut<T>{address}.store(task.space(), value));
    return 0;
}

constexpr int32_t kTscEnabled = 1;

// PR_MCE_KILL: there are no machine checks, so what is asked for is kept and told.
Result<int64_t> machine_check_policy(task::Process& process, int32_t option, uint64_t a2, uint64_t a3, uint64_t a4,
                                     uint64_t a5) {
    constexpr uint64_t kClear = 0, kSet = 1, kDefault = 2;
    if (a4 | a5) return Errno::kINVAL;
    if (option == kMceKillGet) return a2 | a3 ? Result<int64_t>(Errno::kINVAL) : process.machine_check_policy;
    if (a2 > kSet || (a2 == kClear && a3) || a3 > kDefault) return Errno::kINVAL;
    process.machine_check_policy = static_cast<uint8_t>(a2 == kClear ? kDefault : a3);
    return 0;
}

// The whole size, however little fits.
Result<int64_t> copy_auxiliary_vector(Task& task, uint64_t address, uint64_t size, uint64_t rest) {
    if (rest) return Errno::kINVAL;
    const auto words = task.space().auxiliary_vector.span();
    TRY(mm::copy_to_user(task.space(), address, words.data(), size < words.size_bytes() ? size : words.size_bytes()));
    return static_cast<int64_t>(words.size_bytes());
}

}  // namespace

Result<int64_t> sys_prctl(Task& task, int32_t option, uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5) {
    task::Process& process = task.process();
    switch (option) {
        case kSetPdeathsig:
            if (a2 > task::kSigMax) return Errno::kINVAL;
            task.parent_death_signal = static_cast<int32_t>(a2);
            return 0;
        case kGetPdeathsig: return store<int32_t>(task, a2, task.parent_death_signal);
        case kGetDumpable: return process.dumpable;
        case kSetDumpable:
            if (a2 > 1) return Errno::kINVAL;
            process.dumpable = static_cast<uint8_t>(a2);
            return 0;
        case kGetTiming: return 0;  // PR_TIMING_STATISTICAL
        case kSetName: return set_name(task, a2);
        case kGetName: TRY(mm::copy_to_user(task.space(), a2, task.name, sizeof task.name)); return 0;
        case kSetTiming: return a2 ? Result<int64_t>(Errno::kINVAL) : 0;
        case kGetSeccomp: return static_cast<int64_t>(task.seccomp_mode);
        case kSetSeccomp: return set_seccomp_by_prctl(task, a2, a3);
        case kGetTsc: return store<int32_t>(task, a2, kTscEnabled);
        case kSetTsc: return a2 == kTscEnabled ? Result<int64_t>(0) : Errno::kINVAL;  // RDTSC cannot be taken away
        case kMceKill:
        case kMceKillGet: return machine_check_policy(process, option, a2, a3, a4, a5);
        case kSetMm:
        case kSetIoFlusher:
        case kGetIoFlusher:
            return task.credentials().has(auth::Capability::kSysResource) ? Errno::kINVAL : Errno::kPERM;
        case kGetAuxv: return copy_auxiliary_vector(task, a2, a3, a4 | a5);
        case kSetTimerslack: task.timer_slack = static_cast<int64_t>(a2) <= 0 ? task::kDefaultTimerSlack : a2; return 0;
        case kGetTimerslack: return static_cast<int64_t>(task.timer_slack);
        case kSetChildSubreaper: process.child_subreaper = a2 != 0; return 0;
        case kGetChildSubreaper: return store<int32_t>(task, a2, process.child_subreaper);
        case kGetTidAddress: return store<uint64_t>(task, a2, task.clear_child_tid);
        case kGetKeepcaps:
        case kSetKeepcaps:
        case kCapbsetRead:
        case kCapbsetDrop:
        case kGetSecurebits:
        case kSetSecurebits:
        case kSetNoNewPrivs:
        case kGetNoNewPrivs:
        case kCapAmbient: return capability_option(task, option, a2, a3, a4, a5);
        default: return Errno::kINVAL;
    }
}

}  // namespace kvmsbx::syscalls
