#include "guestkernel/task/signal.hpp"

namespace kvmsbx::task {

DefaultAction default_action(int signal) {
    switch (signal) {
        case kSigChld:
        case kSigUrg:
        case kSigWinch: return DefaultAction::kIgnore;
        case kSigCont: return DefaultAction::kContinue;
        case kSigStop:
        case kSigTstp:
        case kSigTtin:
        case kSigTtou: return DefaultAction::kStop;
        case kSigQuit:
        case kSigIll:
        case kSigTrap:
        case kSigAbrt:
        case kSigBus:
        case kSigFpe:
        case kSigSegv:
        case kSigXcpu:
        case kSigXfsz:
        case kSigSys: return DefaultAction::kCore;
        default: return DefaultAction::kTerminate;
    }
}

const char* signal_name(int signal) {
    static constexpr const char* kNames[] = {
        "SIG0",     "SIGHUP",   "SIGINT",   "SIGQUIT",  "SIGILL",   "SIGTRAP",  "SIGABRT",  "SIGBUS",    "SIGFPE",
        "SIGKILL",  "SIGUSR1",  "SIGSEGV",  "SIGUSR2",  "SIGPIPE",  "SIGALRM",  "SIGTERM",  "SIGSTKFLT", "SIGCHLD",
        "SIGCONT",  "SIGSTOP",  "SIGTSTP",  "SIGTTIN",  "SIGTTOU",  "SIGURG",   "SIGXCPU",  "SIGXFSZ",   "SIGVTALRM",
        "SIGPROF",  "SIGWINCH", "SIGIO",    "SIGPWR",   "SIGSYS",   "SIGRT_0",  "SIGRT_1",  "SIGRT_2",   "SIGRT_3",
        "SIGRT_4",  "SIGRT_5",  "SIGRT_6",  "SIGRT_7",  "SIGRT_8",  "SIGRT_9",  "SIGRT_10", "SIGRT_11",  "SIGRT_12",
        "SIGRT_13", "SIGRT_14", "SIGRT_15", "SIGRT_16", "SIGRT_17", "SIGRT_18", "SIGRT_19", "SIGRT_20",  "SIGRT_21",
        "SIGRT_22", "SIGRT_23", "SIGRT_24", "SIGRT_25", "SIGRT_26", "SIGRT_27", "SIGRT_28", "SIGRT_29",  "SIGRT_30",
        "SIGRT_31", "SIGRT_32",
    };
    static_assert(sizeof kNames / sizeof *kNames == kSigMax + 1);
    return signal >= 0 && signal <= kSigMax ? kNames[signal] : "SIG?";
}

Result<RefPtr<SignalActions>> SignalActions::clone() const {
    auto copy = TRY(make_ref<SignalActions>());
    for (int i = 0; i < kSigMax; ++i) copy->actions[i] = actions[i];
    return copy;
}

void SignalActions::reset_for_exec() {
    for (SigAction& action : actions) {
        const uint64_t handler = action.handler == kSigIgn ? kSigIgn : kSigDfl;
        action = SigAction{};
        action.handler = handler;
    }
}

Result<> PendingSignals::add(const SigInfo& info, uint64_t limit) {
    const bool real_time = info.signo >= kSigRtMin;
    if (!real_time && set.has(info.signo)) return {};
    // As on Linux (__send_signal_locked): without room a kill(2) still makes the signal pending, a sigqueue(3) fails.
    if ((real_time && queue_.size() >= limit) || queue_.push_back(info).is_error()) {
        if (real_time && info.code != kSiUser) return Errno::kAGAIN;
    }
    set.add(info.signo);
    return {};
}

bool PendingSignals::take(SignalSet wanted, SigInfo& out) {
    uint64_t ready = set.bits & wanted.bits;
    if (!ready) return false;
    if (ready & kSynchronous.bits) ready &= kSynchronous.bits;
    const int signal = __builtin_ctzll(ready) + 1;
    out = SigInfo{};
    out.signo = signal;
    size_t found = queue_.size();
    bool more = false;
    for (size_t i = 0; i < queue_.size(); ++i) {
        if (queue_[i].signo != signal) continue;
        if (found == queue_.size())
            found = i;
        else
            more = true;
    }
    if (found < queue_.size()) {
        out = queue_[found];
        queue_.erase(found);
    }
    if (!more) set.remove(signal);
    return true;
}

bool PendingSignals::has_timer(int32_t id) const {
    for (const SigInfo& info : queue_)
        if (info.code == kSiTimer && info.timer.timer_id == id) return true;
    return false;
}

void PendingSignals::add_overrun(int32_t id, uint64_t count) {
    for (SigInfo& info : queue_) {
        if (info.code != kSiTimer || info.timer.timer_id != id) continue;
        const uint64_t sum = static_cast<uint64_t>(info.timer.overrun) + count;
        info.timer.overrun = sum > INT32_MAX ? INT32_MAX : static_cast<int32_t>(sum);
    }
}

void PendingSignals::remove(SignalSet which) {
    set.bits &= ~which.bits;
    for (size_t i = queue_.size(); i-- > 0;)
        if (which.has(queue_[i].signo)) queue_.erase(i);
}

}  // namespace kvmsbx::task
