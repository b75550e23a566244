#include "guestkernel/task/pidfd.hpp"

#include "guestkernel/task/registry.hpp"

namespace kvmsbx::task {

const char PidFd::kTag = 0;

// SAFETY: the tag is this class's own.
PidFd* PidFd::from(vfs::File& file) { return file.class_tag() == &kTag ? static_cast<PidFd*>(&file) : nullptr; }

Result<RefPtr<PidFd>> PidFd::of_process(Process& process, uint32_t flags) {
    return make_ref<PidFd>(RefPtr<Process>(process), process.pid, RefPtr<ThreadDeath>(), flags & ~kThread);
}

Result<RefPtr<PidFd>> PidFd::of_thread(Task& thread, uint32_t flags) {
    if (!thread.death) thread.death = TRY(make_ref<ThreadDeath>());
    return make_ref<PidFd>(RefPtr<Process>(thread.process()), thread.tid, thread.death, flags | kThread);
}

Task* PidFd::task() const {
    if (!of_thread()) return process_->leader();
    Task* const found = death_->happened ? nullptr : find_task(tid_);
    return found && &found->process() == process_.get() ? found : nullptr;
}

bool PidFd::gone() const {
    const bool reaped = process_->state == Process::State::kReaped;
    return of_thread() && tid_ != process_->pid ? death_->happened : reaped;
}

vfs::PollState PidFd::poll() {
    const bool ended = of_thread() ? death_->happened : process_->state != Process::State::kAlive;
    uint32_t events = ended ? vfs::kPollIn | vfs::kPollRdNorm : 0;
    if (ended && gone()) events |= vfs::kPollHup;
    return {events, of_thread() ? &death_->watchers : &process_->ended};
}

}  // namespace kvmsbx::task
