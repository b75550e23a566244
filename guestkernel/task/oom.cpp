#include "guestkernel/task/oom.hpp"

#include "guestkernel/lib/format.hpp"
#include "guestkernel/task/registry.hpp"
#include "guestkernel/vfs/dentry.hpp"

namespace kvmsbx::task {

int64_t oom_badness(Process& process) {
    Task* task = process.leader();
    constexpr int kNeverKilled = -1000;
    if (process.state != Process::State::kAlive || !task || !task->space_) return kOomNever;
    if (process.oom_score_adj == kNeverKilled) return kOomNever;
    const auto total = static_cast<int64_t>(mm::memory_statistics().total / mm::kPageSize);
    return static_cast<int64_t>(task->space().resident_pages()) + process.oom_score_adj * total / 1000;
}

namespace {

uint64_t kills;

bool is_dying(const Process& process) { return process.exiting || process.pending.set.has(kSigKill); }

// The current thread needs memory and there is none: frees what is only kept for later, or kills the process with the
// most badness, unless one is dying already, and lets the others run. False: the current process itself is dying and
// must not go on.
bool kill_for_memory() {
    constexpr size_t kNames = 1000;
    if (mm::drop_kept_tables() > 0 || vfs::Dentry::shrink(kNames) > 0) return true;
    Task& needy = current();
    if (is_dying(needy.process())) return false;
    Process* victim = nullptr;
    int64_t most = kOomNever;
    bool memory_is_on_its_way = false;
    for_each_process([&](Process& process) {
        const int64_t points = oom_badness(process);
        const bool dies = is_dying(process);
        memory_is_on_its_way |= dies && process.leader() && process.leader()->space_;
        if (dies || points == kOomNever || points <= most) return;
        most = points;
        victim = &process;
    });
    if (!memory_is_on_its_way) {
        if (!victim) victim = &needy.process();  // nobody else may be chosen
        debug("out of memory: the container's limit is reached; process {}, of {} pages, is killed", victim->pid, most);
        ++kills;
        send_signal(*victim, kernel_signal(kSigKill));
        if (victim->pid == 1) force_signal(*victim->leader(), kernel_signal(kSigKill));
    }
    if (is_dying(needy.process())) return false;
    sched::yield();
    return true;
}

}  // namespace

uint64_t oom_kills() { return kills; }

void install_oom_killer() { mm::relieve_memory = kill_for_memory; }

}  // namespace kvmsbx::task
