#include "guestkernel/control/limits.hpp"

#include "guestkernel/fs/sys/sys.hpp"
#include "guestkernel/mm/frame.hpp"
#include "guestkernel/sched/quota.hpp"
#include "guestkernel/task/pids.hpp"

namespace kvmsbx::control {

Result<> apply_limits(const spec::Limits& limits) {
    constexpr uint64_t kNsPerMicrosecond = 1000, kMost = 1'000'000'000;  // us: no overflow below
    if (limits.cpu_quota > kMost || limits.cpu_period > kMost) return Errno::kINVAL;
    TRY(sched::set_cpu_quota(limits.cpu_quota * kNsPerMicrosecond, limits.cpu_period * kNsPerMicrosecond));
    mm::set_memory_limit(limits.memory, limits.host_counts_memory ? mm::LimitOf::kBlocks : mm::LimitOf::kFrames);
    task::set_pids_limit(limits.pids);
    fs::set_cpu_shares(limits.cpu_shares);
    return {};
}

}  // namespace kvmsbx::control
