#include "guestkernel/task/oom.hpp"

#include "guestkernel/lib/format.hpp"
#include "guestkernel/task/registry.hpp"

namespace kvmsbx::task {

void kill_for_memory(Task& faulting) {
    mm::drop_kept_tables();
    Process* victim = nullptr;
    uint64_t most = 0;
    for_each_process([&](Process& process) {
        Task* task = process.leader();
        if (process.state != Process::State::kAlive || !task || !task->space_) return;
        const uint64_t pages = task->space().resident_pages();
        // One that dies already frees its memory soon.
        if (process.exiting || pages < most) return;
        most = pages;
        victim = &process;
    });
    if (victim) {
        log_line("out of memory: the container's limit is reached");
        debug("out of memory: killing process {} with {} KiB resident", victim->pid, most * 4);
        send_signal(*victim, kernel_signal(kSigKill));
        if (victim->pid == 1) force_signal(*victim->leader(), kernel_signal(kSigKill));
    }
    (void)faulting;
    sched::yield();
}

}  // namespace kvmsbx::task
