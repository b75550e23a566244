#include "guestkernel/ipc/poll.hpp"

namespace kvmsbx::ipc {
namespace {

class PollWaiter final : public sched::Waiter {
  public:
    void notify(uint32_t) override { sched::wake(*thread_); }

  private:
    sched::Thread* thread_ = &sched::current();
};

// Takes all waiters out of their queues at the end of a round.
class PollRound {
  public:
    static constexpr size_t kInline = 16;
    explicit PollRound(size_t size) : size_(size) {
        if (size > kInline) many_ = new (std::nothrow) PollWaiter[size];
    }
    ~PollRound() {
        leave();
        delete[] many_;
    }
    bool is_ready() const { return size_ <= kInline || many_; }
    PollWaiter& at(size_t i) { return many_ ? many_[i] : few_[i]; }
    void leave() {
        for (size_t i = 0; i < size_; ++i)
            if (at(i).wait_hook.is_linked()) sched::WaitQueue::remove(at(i));
    }

  private:
    const size_t size_;
    PollWaiter few_[kInline];
    PollWaiter* many_ = nullptr;
};

}  // namespace

Result<int> poll_items(std::span<PollItem> items, int ready, sched::Nanoseconds deadline) {
    PollRound round(items.size());
    if (!round.is_ready()) return Errno::kNOMEM;
    for (;;) {
        for (size_t i = 0; i < items.size(); ++i) {
            PollItem& item = items[i];
            if (!item.file) continue;
            const vfs::PollState state = item.file->poll();
            item.events = state.events & (item.wanted | kPollAlways);
            if (item.events) ++ready;
            if (!ready && state.queue) state.queue->add(round.at(i));
        }
        if (ready) return ready;
        if (deadline != sched::kNever && sched::now() >= deadline) return 0;
        if (sched::current().interrupted()) return Errno::kRESTARTSYS;
        sched::block(sched::Interruptible::kYes, deadline);
        round.leave();
    }
}

}  // namespace kvmsbx::ipc
