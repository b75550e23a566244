#include "guestkernel/task/pids.hpp"

#include "guestkernel/lib/assert.hpp"

namespace kvmsbx::task {
namespace {

PidsStatistics statistics;

}  // namespace

void set_pids_limit(uint64_t limit) { statistics.limit = limit; }

const PidsStatistics& pids_statistics() { return statistics; }

Result<PidCharge> PidCharge::take() {
    if (statistics.limit && statistics.current >= statistics.limit) {
        ++statistics.refused;
        return Errno::kAGAIN;
    }
    if (++statistics.current > statistics.peak) statistics.peak = statistics.current;
    return PidCharge();
}

PidCharge::~PidCharge() {
    if (held_) release_pid();
}

void release_pid() {
    VERIFY(statistics.current > 0);
    --statistics.current;
}

}  // namespace kvmsbx::task
