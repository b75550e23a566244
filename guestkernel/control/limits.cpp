#include "guestkernel/control/limits.hpp"

#include "guestkernel/fs/sys/sys.hpp"
#include "guestkernel/mm/frame.hpp"

namespace kvmsbx::control {

void apply_limits(const spec::Limits& limits) {
    mm::set_memory_limit(limits.memory);
    fs::set_cgroup_cpu_limit(limits.cpu_quota, limits.cpu_period);
}

}  // namespace kvmsbx::control
