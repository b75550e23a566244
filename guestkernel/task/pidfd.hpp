#pragma once
// Process descriptors (pidfd_open(2), CLONE_PIDFD). A descriptor keeps the Process, which is small once its threads are
// gone, never a Task; a descriptor of one thread (PIDFD_THREAD) shares a ThreadDeath with it.
#include "guestkernel/task/task.hpp"

namespace kvmsbx::task {

class PidFd final : public vfs::File {
  public:
    // Of a process, or of the thread `tid` of it. kONonblock and kThread are the flags.
    PidFd(RefPtr<Process> process, int32_t tid, RefPtr<ThreadDeath> death, uint32_t flags)
        : File(vfs::kORdwr | flags), process_(std::move(process)), death_(std::move(death)), tid_(tid) {}
    static constexpr uint32_t kThread = vfs::kOExcl;  // PIDFD_THREAD

    // ENOMEM.
    static Result<RefPtr<PidFd>> of_process(Process& process, uint32_t flags);
    static Result<RefPtr<PidFd>> of_thread(Task& thread, uint32_t flags);
    // Null if the file is none.
    static PidFd* from(vfs::File& file);

    Process& process() const { return *process_; }
    bool of_thread() const { return flags & kThread; }
    // The thread it stands for: for a process any of its threads. Null: ended.
    Task* task() const;
    // Nothing is left of it, not even a zombie.
    bool gone() const;
    int32_t number() const { return gone() ? -1 : tid_; }

    vfs::PollState poll() override;
    Result<String> describe() override { return String::create("anon_inode:[pidfd]"); }
    Result<uint64_t> seek(int64_t, int) override { return Errno::kSPIPE; }
    const void* class_tag() const override { return &kTag; }

  private:
    static const char kTag;
    RefPtr<Process> process_;
    RefPtr<ThreadDeath> death_;
    const int32_t tid_;
};

}  // namespace kvmsbx::task
