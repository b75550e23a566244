#include "guestkernel/ipc/epoll.hpp"

#include "guestkernel/ipc/poll.hpp"

namespace kvmsbx::ipc {
namespace {

constexpr uint32_t kPrivateBits = kEpollExclusive | kEpollWakeup | kEpollOneshot | kEpollEdge;

}  // namespace

const char Epoll::kTag = 0;

// SAFETY: the tag is this class's own.
Epoll* Epoll::from(vfs::File& file) { return file.class_tag() == &kTag ? static_cast<Epoll*>(&file) : nullptr; }

Epoll::~Epoll() {
    while (!interests_.empty()) delete &*interests_.begin();
}

// --- interests

void Epoll::Interest::notify(uint32_t events) {
    if (!wait_hook.is_linked()) {  // wake_one() takes exclusive waiters out
        if (sched::WaitQueue* queue = file.poll().queue) queue->add(*this);
    }
    if (!(event.events & ~kPrivateBits)) return;  // a oneshot that has fired
    if (events && !(events & (event.events | kPollAlways))) return;
    owner.make_ready(*this);
}

void Epoll::Interest::file_gone() { delete this; }

uint32_t Epoll::Interest::ask() { return file.poll().events & event.events & ~kPrivateBits; }

void Epoll::make_ready(Interest& interest) {
    if (!interest.ready_hook.is_linked()) ready_.push_back(interest);
    waiting_.wake_one();
    watched_.wake_all(vfs::kPollIn | vfs::kPollRdNorm);
}

void Epoll::recheck(Interest& interest) {
    if (interest.ask()) make_ready(interest);
}

Epoll::Interest* Epoll::find(vfs::File& file, int fd) {
    const auto it = interests_.find(Key{&file, fd});
    return it == interests_.end() ? nullptr : &*it;
}

Result<> Epoll::add(vfs::File& file, int fd, const EpollEvent& event) {
    if (find(file, fd)) return Errno::kEXIST;
    if (const Epoll* nested = from(file)) {
        if (nested == this || nested->reaches(*this, 0)) return Errno::kLOOP;
        if (nested->height() + height_above() > kMaxNesting) return Errno::kLOOP;
    }
    const vfs::PollState state = file.poll();
    EpollEvent kept = event;
    kept.events |= kPollAlways;
    auto* interest = new (std::nothrow) Interest(*this, file, fd, kept);
    if (!interest) return Errno::kNOMEM;
    interest->exclusive = event.events & kEpollExclusive;
    interests_.insert(*interest);
    file.observers.push_back(*interest);
    if (state.queue) state.queue->add(*interest);
    recheck(*interest);
    return {};
}

Result<> Epoll::modify(vfs::File& file, int fd, const EpollEvent& event) {
    Interest* interest = find(file, fd);
    if (!interest) return Errno::kNOENT;
    if (interest->event.events & kEpollExclusive) return Errno::kINVAL;
    interest->event = event;
    interest->event.events |= kPollAlways;
    recheck(*interest);
    return {};
}

Result<> Epoll::remove(vfs::File& file, int fd) {
    Interest* interest = find(file, fd);
    if (!interest) return Errno::kNOENT;
    delete interest;  // its hooks unlink themselves
    return {};
}

// --- nesting

bool Epoll::reaches(const Epoll& target, unsigned depth) const {
    if (depth > kMaxNesting) return true;
    for (const Interest& interest : interests_)
        if (const Epoll* nested = from(interest.file))
            if (nested == &target || nested->reaches(target, depth + 1)) return true;
    return false;
}

unsigned Epoll::height() const {
    unsigned below = 0;
    for (const Interest& interest : interests_)
        if (const Epoll* nested = from(interest.file)) below = std::max(below, nested->height());
    return below + 1;
}

unsigned Epoll::height_above() const {
    unsigned above = 0;
    for (const vfs::FileObserver& observer : observers)
        // SAFETY: epoll interests are the only observers of files that are epolls.
        above = std::max(above, static_cast<const Interest&>(observer).owner.height_above());
    return above + 1;
}

// --- waiting

size_t Epoll::collect(std::span<EpollEvent> out) {
    ReadyList scanned;
    scanned.swap(ready_);
    size_t count = 0;
    while (!scanned.empty() && count < out.size()) {
        Interest& interest = scanned.front();
        interest.ready_hook.unlink();
        const uint32_t events = interest.ask();
        if (!events) continue;
        out[count++] = {events, interest.event.data};
        if (interest.event.events & kEpollOneshot)
            interest.event.events &= kPrivateBits;
        else if (!(interest.event.events & kEpollEdge))
            ready_.push_back(interest);
    }
    ready_.splice(ready_.begin(), scanned);
    if (!ready_.empty()) waiting_.wake_one();
    return count;
}

bool Epoll::has_ready() {
    while (!ready_.empty()) {
        if (ready_.front().ask()) return true;
        ready_.front().ready_hook.unlink();
    }
    return false;
}

Result<size_t> Epoll::wait(std::span<EpollEvent> out, sched::Nanoseconds deadline) {
    for (;;) {
        if (const size_t count = collect(out)) return count;
        if (deadline != sched::kNever && sched::now() >= deadline) return size_t{0};
        const auto waited = waiting_.wait([&] { return !ready_.empty(); }, sched::Interruptible::kYes, deadline);
        if (waited.is_error() && waited.error() != Errno::kTIMEDOUT) return Errno::kINTR;
    }
}

vfs::PollState Epoll::poll() { return {has_ready() ? vfs::kPollIn | vfs::kPollRdNorm : 0, &watched_}; }

}  // namespace kvmsbx::ipc
