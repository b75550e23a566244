#include "guestkernel/auth/transitions.hpp"
#include "guestkernel/task/task.hpp"

namespace kvmsbx::task {

void Task::adopt(RefPtr<auth::Credentials> changed) {
    if (auth::changes_trust(*credentials_, *changed)) {
        process().dumpable = 0;
        parent_death_signal = 0;
    }
    credentials_ = std::move(changed);
}

}  // namespace kvmsbx::task
