#pragma once
// Signals (signal(7)): numbers, sets, siginfo, actions, pending queues. ABI structures are those of x86-64 Linux.
#include <cstdint>
#include <type_traits>

#include "common/base/result.hpp"
#include "guestkernel/lib/list.hpp"
#include "guestkernel/lib/ref.hpp"
#include "guestkernel/lib/vector.hpp"

namespace kvmsbx::task {

enum Signal : int {
    kSigHup = 1,
    kSigInt,
    kSigQuit,
    kSigIll,
    kSigTrap,
    kSigAbrt,
    kSigBus,
    kSigFpe,
    kSigKill,
    kSigUsr1,
    kSigSegv,
    kSigUsr2,
    kSigPipe,
    kSigAlrm,
    kSigTerm,
    kSigStkflt,
    kSigChld,
    kSigCont,
    kSigStop,
    kSigTstp,
    kSigTtin,
    kSigTtou,
    kSigUrg,
    kSigXcpu,
    kSigXfsz,
    kSigVtalrm,
    kSigProf,
    kSigWinch,
    kSigIo,
    kSigPwr,
    kSigSys,
    kSigRtMin = 32,
    kSigMax = 64,
};

// Bit n-1 = signal n, as sigset_t.
struct SignalSet {
    uint64_t bits = 0;
    bool has(int signal) const { return bits >> (signal - 1) & 1; }
    void add(int signal) { bits |= 1ULL << (signal - 1); }
    void remove(int signal) { bits &= ~(1ULL << (signal - 1)); }
};

// siginfo_t. `internal` is zero when the structure goes to an application. Each member of the union fills it, so that
// no byte of it is padding.
struct SigInfo {
    int32_t signo = 0, error = 0, code = 0, internal = 0;
    union {
        struct {
            int32_t pid;
            uint32_t uid;
            union {
                struct {
                    int32_t status;
                    uint32_t pad;
                };
                uint64_t value;
            };
            int64_t utime, stime;
            uint64_t rest[10];
        } from;  // kill, SIGCHLD, sigqueue
        struct {
            uint64_t address;
            uint64_t rest[13];
        } fault;
        struct {
            int32_t timer_id;
            int32_t overrun;
            uint64_t value;
            uint64_t rest[12];
        } timer;
        struct {
            uint64_t address;
            int32_t number;
            uint32_t architecture;
            uint64_t rest[12];
        } call;  // SIGSYS
        uint64_t raw[14];
    };
    SigInfo() : raw{} {}
};
static_assert(sizeof(SigInfo) == 128 && std::has_unique_object_representations_v<SigInfo>);
// SigInfo::internal: from outside the sandbox or a fault: pid 1 is not spared its default action.
inline constexpr int32_t kSignalForced = 1;

// si_code values.
inline constexpr int kSiUser = 0, kSiKernel = 0x80, kSiQueue = -1, kSiTimer = -2, kSiTkill = -6;
inline constexpr int kSegvMaperr = 1, kSegvAccerr = 2, kBusAdraln = 1, kBusAdrerr = 2, kTrapBrkpt = 1, kTrapTrace = 2,
                     kIllIllopn = 2, kFpeIntdiv = 1, kFpeFltinv = 7, kCldExited = 1, kCldKilled = 2, kCldDumped = 3,
                     kCldTrapped = 4, kCldStopped = 5, kCldContinued = 6;

// struct sigaction of the kernel ABI.
struct SigAction {
    uint64_t handler = 0;  // kSigDfl, kSigIgn or a user address
    uint64_t flags = 0;
    uint64_t restorer = 0;
    SignalSet mask;
};
static_assert(sizeof(SigAction) == 32);
inline constexpr uint64_t kSigDfl = 0, kSigIgn = 1;
inline constexpr uint64_t kSaNocldstop = 1, kSaNocldwait = 2, kSaSiginfo = 4, kSaRestorer = 0x04000000,
                          kSaOnstack = 0x08000000, kSaRestart = 0x10000000, kSaNodefer = 0x40000000,
                          kSaResethand = 0x80000000;

// What CLONE_SIGHAND shares.
class SignalActions : public RefCounted {
  public:
    SigAction actions[kSigMax];  // [signal - 1]
    SigAction& of(int signal) { return actions[signal - 1]; }
    Result<RefPtr<SignalActions>> clone() const;
    void reset_for_exec();  // handlers become default, ignored stays ignored
};

// Signals that wait for delivery: standard ones once, real-time ones queued.
class PendingSignals {
  public:
    SignalSet set;
    // Standard signals already pending are dropped, as on Linux. EAGAIN when `limit` real-time signals are queued; out
    // of memory the signal is pending without its info.
    Result<> add(const SigInfo& info, uint64_t limit = ~0ULL);
    // Takes the next one of `wanted` (lowest number first; synchronous faults before all). False if there is none.
    bool take(SignalSet wanted, SigInfo& out);
    void remove(SignalSet which);
    // POSIX timers: is the signal of timer `id` still waiting; counts further expiries in it.
    bool has_timer(int32_t id) const;
    void add_overrun(int32_t id, uint64_t count);

  private:
    Vector<SigInfo> queue_;
};

// signal(7): what a default action does.
enum class DefaultAction : uint8_t { kTerminate, kCore, kIgnore, kStop, kContinue };
DefaultAction default_action(int signal);
const char* signal_name(int signal);  // "SIGSEGV"

inline constexpr SignalSet kUnblockable{1ULL << (kSigKill - 1) | 1ULL << (kSigStop - 1)};
inline constexpr SignalSet kStopSignals{1ULL << (kSigStop - 1) | 1ULL << (kSigTstp - 1) | 1ULL << (kSigTtin - 1) |
                                        1ULL << (kSigTtou - 1)};
// Raised by instructions; delivered before others.
inline constexpr SignalSet kSynchronous{1ULL << (kSigSegv - 1) | 1ULL << (kSigBus - 1) | 1ULL << (kSigIll - 1) |
                                        1ULL << (kSigTrap - 1) | 1ULL << (kSigFpe - 1) | 1ULL << (kSigSys - 1)};

}  // namespace kvmsbx::task
