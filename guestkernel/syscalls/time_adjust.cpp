// adjtimex(2), clock_adjtime(2): the clock is the host's; it can be read, not set.
#include "guestkernel/syscalls/handlers_time.hpp"
#include "guestkernel/task/task.hpp"

namespace kvmsbx::syscalls {

using namespace task;

namespace {

constexpr uint32_t kSingleshotRead = 0xa001;  // ADJ_OFFSET_SS_READ
constexpr int64_t kTimeOk = 0, kTick = 10'000, kTolerance = 32'768'000, kPrecision = 1;

Result<int64_t> adjust(Task& task, UserInOut<Timex> buffer) {
    Timex state = TRY(buffer.load(task.space()));
    if (state.modes != 0 && state.modes != kSingleshotRead) return Errno::kPERM;
    const uint32_t modes = state.modes;
    state = Timex{};
    state.modes = modes;
    state.tick = kTick;
    state.tolerance = kTolerance;
    state.precision = kPrecision;
    state.time = to_timeval(sched::realtime_now());
    TRY(buffer.store(task.space(), state));
    return kTimeOk;
}

}  // namespace

Result<int64_t> sys_adjtimex(Task& task, UserInOut<Timex> buffer) { return adjust(task, buffer); }

Result<int64_t> sys_clock_adjtime(Task& task, int32_t clock, UserInOut<Timex> buffer) {
    TRY(buffer.load(task.space()));
    if (clock == kClockRealtime) return adjust(task, buffer);
    TRY(clock_time(task, clock));
    return Errno::kOPNOTSUPP;
}

}  // namespace kvmsbx::syscalls
