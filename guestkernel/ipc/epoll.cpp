#include "guestkernel/ipc/epoll.hpp"

#include "guestkernel/ipc/poll.hpp"
#include "guestkernel/mm/frame.hpp"

namespace kvmsbx::ipc {
namespace {

constexpr uint32_t kPrivateBits = kEpollExclusive | kEpollWakeup | kEpollOneshot | kEpollEdge;
// How many ways of each length an event may go up, beyond the epolls that watch its file and are not watched
// themselves (path_limits of fs/eventpoll.c).
constexpr unsigned kPathLimits[Epoll::kMaxNesting] = {~0U, 500, 100, 50, 10};

// fs.epoll.max_user_watches: a 25th of memory.
size_t most_interests(size_t size) {
    static const uint64_t limit = mm::memory_statistics().total / 25;
    return limit / size;
}

}  // namespace

const char Epoll::kTag = 0;
size_t Epoll::total_interests = 0;
uint64_t Epoll::search = 0;

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
    const Epoll* const nested = from(file);
    if (nested) TRY(check_nesting(*nested));
    if (total_interests >= most_interests(sizeof(Interest))) return Errno::kNOSPC;
    const vfs::PollState state = file.poll();
    EpollEvent kept = event;
    kept.events |= kPollAlways;
    auto* interest = new (std::nothrow) Interest(*this, file, fd, kept);
    if (!interest) return Errno::kNOMEM;
    interest->exclusive = event.events & kEpollExclusive;
    interests_.insert(*interest);
    file.observers.push_back(*interest);
    const bool nests = nested || !observers.empty();
    if (nests && !(nested ? nested->files_have_few_ways_up() : has_few_ways_up(file))) {
        delete interest;
        return Errno::kINVAL;
    }
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

Result<> Epoll::check_nesting(const Epoll& nested) const {
    begin_search();
    if (&nested == this || nested.reaches(*this)) return Errno::kLOOP;
    return nested.height() + height_above() > kMaxNesting ? Result<>(Errno::kLOOP) : Result<>();
}

bool Epoll::reaches(const Epoll& target) const {
    if (!first_visit()) return false;
    for (const Interest& interest : interests_)
        if (const Epoll* nested = from(interest.file))
            if (nested == &target || nested->reaches(target)) return true;
    return false;
}

unsigned Epoll::height() const {
    begin_search();
    return find_height();
}

unsigned Epoll::find_height() const {
    if (!first_visit()) return found_height_;
    unsigned below = 0;
    for (const Interest& interest : interests_)
        if (const Epoll* nested = from(interest.file)) below = std::max(below, nested->find_height());
    return found_height_ = below + 1;
}

unsigned Epoll::height_above() const {
    begin_search();
    return find_height_above();
}

unsigned Epoll::find_height_above() const {
    if (!first_visit()) return found_height_;
    unsigned above = 0;
    for (const vfs::FileObserver& observer : observers)
        // SAFETY: epoll interests are the only observers of files.
        above = std::max(above, static_cast<const Interest&>(observer).owner.find_height_above());
    return found_height_ = above + 1;
}

bool Epoll::has_few_ways_up(const vfs::File& file) {
    unsigned counts[kMaxNesting] = {};
    return count_ways_up(file, 0, counts);
}

bool Epoll::count_ways_up(const vfs::File& file, unsigned depth, unsigned (&counts)[kMaxNesting]) {
    for (const vfs::FileObserver& observer : file.observers) {
        // SAFETY: as above.
        const Epoll& above = static_cast<const Interest&>(observer).owner;
        if (above.observers.empty()) {
            if (++counts[depth] > kPathLimits[depth]) return false;
        } else if (depth + 1 == kMaxNesting || !count_ways_up(above, depth + 1, counts)) {
            return false;
        }
    }
    return true;
}

bool Epoll::files_have_few_ways_up() const {
    begin_search();
    return check_files_below();
}

bool Epoll::check_files_below() const {
    if (!first_visit()) return true;
    for (const Interest& interest : interests_) {
        const Epoll* const nested = from(interest.file);
        if (!(nested ? nested->check_files_below() : has_few_ways_up(interest.file))) return false;
    }
    return true;
}

// --- waiting

size_t Epoll::collect(std::span<Taken> out) {
    ReadyList scanned;
    scanned.swap(ready_);
    size_t count = 0;
    while (!scanned.empty() && count < out.size()) {
        Interest& interest = scanned.front();
        interest.ready_hook.unlink();
        const uint32_t events = interest.ask();
        if (!events) continue;
        out[count++] = {{events, interest.event.data}, interest.event.events, &interest.file, interest.fd};
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

void Epoll::give_back(std::span<const Taken> events) {
    for (const Taken& taken : events) {
        const auto found = interests_.find(Key{taken.file, taken.fd});
        if (found == interests_.end()) continue;
        if (!(found->event.events & ~kPrivateBits)) found->event.events = taken.mask;
        make_ready(*found);
    }
}

Result<size_t> Epoll::wait(std::span<Taken> out, sched::Nanoseconds deadline) {
    for (;;) {
        if (const size_t count = collect(out)) return count;
        if (deadline != sched::kNever && sched::now() >= deadline) return size_t{0};
        const auto waited = waiting_.wait([&] { return !ready_.empty(); }, sched::Interruptible::kYes, deadline);
        if (waited.is_error() && waited.error() != Errno::kTIMEDOUT) return Errno::kINTR;
    }
}

vfs::PollState Epoll::poll() { return {has_ready() ? vfs::kPollIn | vfs::kPollRdNorm : 0, &watched_}; }

}  // namespace kvmsbx::ipc
