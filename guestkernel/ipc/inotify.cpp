#include "guestkernel/ipc/inotify.hpp"

#include <cstring>

#include "guestkernel/ipc/inode_watches.hpp"
#include "guestkernel/vfs/mount.hpp"

namespace kvmsbx::ipc {

using Watch = Inotify::Watch;
using Event = Inotify::Event;

InotifyLimits inotify_limits;

namespace {

constexpr uint32_t kOverflow = 0x4000, kIgnored = 0x8000;  // IN_Q_OVERFLOW, IN_IGNORED
constexpr uint32_t kFionread = 0x541b;

struct EventHead {  // struct inotify_event
    int32_t descriptor;
    uint32_t mask, cookie, length;
};

// Names are padded with zeroes to multiples of the head's size, one zero at least.
size_t padded(const String& name) {
    return name.empty() ? 0 : (name.size() + sizeof(EventHead)) / sizeof(EventHead) * sizeof(EventHead);
}

List<Watch, &Watch::all_hook> all_watches;

// What a user has of a kind, for the limits.
class UserCounts {
  public:
    Result<> take(auth::Uid user, uint32_t limit, Errno beyond) {
        for (Entry& entry : entries_) {
            if (entry.user != user) continue;
            if (entry.count >= limit) return beyond;
            ++entry.count;
            return {};
        }
        if (limit == 0) return beyond;
        return entries_.push_back({user, 1});
    }
    void give(auth::Uid user) {
        for (size_t i = 0; i < entries_.size(); ++i)
            if (entries_[i].user == user && --entries_[i].count == 0) return entries_.erase(i);
    }

  private:
    struct Entry {
        auth::Uid user;
        uint32_t count;
    };
    Vector<Entry> entries_;
};
UserCounts instances, watches;

}  // namespace

void Watch::happened(uint32_t events, std::string_view name, uint32_t cookie, bool unlinked) {
    if (!(mask & events & kInAllEvents)) return;
    if (unlinked && !name.empty() && (mask & kInExcludeUnlinked)) return;
    if (events & (vfs::kWatchMoveSelf | vfs::kWatchDeleteSelf)) events &= ~vfs::kWatchIsDirectory;
    owner.queue(descriptor, events, name, cookie);
    if (mask & kInOneshot) owner.ignore(*this);
}

void Watch::inode_gone() {
    if (mask & vfs::kWatchDeleteSelf) owner.queue(descriptor, vfs::kWatchDeleteSelf, {}, 0);
    owner.ignore(*this);
}

const char Inotify::kTag = 0;

// SAFETY: the tag is this class's own.
Inotify* Inotify::from(vfs::File& file) { return file.class_tag() == &kTag ? static_cast<Inotify*>(&file) : nullptr; }

Result<RefPtr<Inotify>> Inotify::create(auth::Uid user, uint32_t flags) {
    TRY(instances.take(user, inotify_limits.instances, Errno::kMFILE));
    auto made = make_ref<Inotify>(user, flags);
    if (made.is_error()) instances.give(user);
    return made;
}

Inotify::~Inotify() {
    while (!watches_.empty()) end_watch(*watches_.begin());
    while (!events_.empty()) take_first();
    instances.give(user_);
}

// Goes through the inode's watches, which are few; this instance may have very many.
Watch* Inotify::find(vfs::Inode& inode) {
    InodeWatches* const inode_watches = InodeWatches::find(inode);
    if (!inode_watches) return nullptr;
    for (Watch& watch : inode_watches->watches)
        if (&watch.owner == this) return &watch;
    return nullptr;
}

Result<int32_t> Inotify::add(const vfs::Path& path, uint32_t mask) {
    const uint32_t kept = mask & (kInAllEvents | kInExcludeUnlinked | kInOneshot);
    if (Watch* const watch = find(path.inode())) {
        if (mask & kInMaskCreate) return Errno::kEXIST;
        watch->mask = mask & kInMaskAdd ? watch->mask | kept : kept;
        return watch->descriptor;
    }
    TRY(watches.take(user_, inotify_limits.watches, Errno::kNOSPC));
    const Result<int32_t> made = add_new(path, kept);
    if (made.is_error()) watches.give(user_);
    return made.is_ok() ? Result<int32_t>(made.value()) : Result<int32_t>(made.error());
}

Result<int32_t> Inotify::add_new(const vfs::Path& path, uint32_t mask) {
    InodeWatches* const inode_watches = TRY(InodeWatches::of(path.inode()));
    auto* watch = new (std::nothrow) Watch{*this, *inode_watches, path, last_descriptor_ + 1, mask, {}, {}, {}};
    if (!watch) {
        inode_watches->end_if_unused();
        return Errno::kNOMEM;
    }
    ++watch->path.mount().watches;
    inode_watches->watches.push_back(*watch);
    all_watches.push_back(*watch);
    watches_.insert(*watch);
    return ++last_descriptor_;
}

void Inotify::end_watch(Watch& watch) {
    OwnPtr<Watch> owned(&watch);
    --watch.path.mount().watches;
    watch.inode_hook.unlink();
    watch.all_hook.unlink();
    watch.owner_hook.unlink();
    watch.inode_watches.end_if_unused();
    watches.give(user_);
}

void Inotify::ignore(Watch& watch) {
    const int32_t descriptor = watch.descriptor;
    end_watch(watch);
    queue(descriptor, kIgnored, {}, 0);
}

Result<> Inotify::remove(int32_t descriptor) {
    const auto it = watches_.find(descriptor);
    if (it == watches_.end()) return Errno::kINVAL;
    ignore(*it);
    return {};
}

// --- events

void Inotify::queue(int32_t descriptor, uint32_t mask, std::string_view name, uint32_t cookie) {
    if (!events_.empty()) {
        const Event& last = events_.back();
        if (last.descriptor == descriptor && last.mask == mask && last.name == name) return;
    }
    if (event_count_ >= inotify_limits.queued_events) {
        if (!events_.empty() && events_.back().mask == kOverflow) return;
        descriptor = -1, mask = kOverflow, name = {}, cookie = 0;
    }
    auto event = make_own<Event>();
    Result<String> kept = String::create(name);
    if (event.is_error() || kept.is_error()) return;  // as Linux: lost for want of memory
    **event = Event{descriptor, mask, cookie, kept.release_value(), {}};
    event_bytes_ += sizeof(EventHead) + padded((*event)->name);
    ++event_count_;
    events_.push_back(*event.value().leak());
    changed_.wake_all(vfs::kPollIn | vfs::kPollRdNorm);
}

OwnPtr<Event> Inotify::take_first() {
    OwnPtr<Event> first(&events_.front());
    first->hook.unlink();
    --event_count_;
    event_bytes_ -= sizeof(EventHead) + padded(first->name);
    return first;
}

namespace {

Result<> copy_event(const Event& event, size_t length, mm::IoBuffer& to) {
    char record[sizeof(EventHead) + 256 + sizeof(EventHead)] = {};
    const EventHead head{event.descriptor, event.mask, event.cookie, static_cast<uint32_t>(length)};
    memcpy(record, &head, sizeof head);
    memcpy(record + sizeof head, event.name.c_str(), event.name.size());
    const size_t size = sizeof head + length;
    return TRY(to.put(record, size)) == size ? Result<>() : Result<>(Errno::kFAULT);
}

}  // namespace

Result<size_t> Inotify::read(mm::IoBuffer& to) {
    size_t done = 0;
    for (;;) {
        while (!events_.empty()) {
            const size_t length = padded(events_.front().name);
            if (to.remaining() < sizeof(EventHead) + length) return done ? Result<size_t>(done) : Errno::kINVAL;
            const OwnPtr<Event> event = take_first();  // before the copy, which may block
            TRY(copy_event(*event, length, to));
            done += sizeof(EventHead) + length;
        }
        if (done) return done;
        if (nonblocking()) return Errno::kAGAIN;
        TRY(changed_.wait([this] { return !events_.empty(); }));
    }
}

vfs::PollState Inotify::poll() { return {events_.empty() ? 0 : vfs::kPollIn | vfs::kPollRdNorm, &changed_}; }

Result<int64_t> Inotify::ioctl(mm::AddressSpace& space, uint32_t request, uint64_t argument) {
    if (request != kFionread) return Errno::kNOTTY;
    TRY(mm::UserOut<int32_t>{argument}.store(space, static_cast<int32_t>(event_bytes_)));
    return int64_t{0};
}

void Inotify::put_fdinfo(TextSink& sink) const {
    for (const Watch& watch : watches_) {
        const Result<vfs::Attributes> attributes = watch.path.inode().attributes();
        format_to(sink, "inotify wd:{x} ino:{x} sdev:{x} mask:{x} ignored_mask:0 \n", watch.descriptor,
                  attributes.is_ok() ? attributes.value().ino : 0, watch.path.inode().fs().device, watch.mask);
    }
}

// --- mounts

namespace {

bool is_mounted(const vfs::FileSystem& fs) {
    for (vfs::Mount* mount = vfs::first_mount(); mount; mount = vfs::next_mount(*mount))
        if (&mount->fs() == &fs) return true;
    return false;
}

}  // namespace

void initialize_inotify() {
    vfs::mount_removed = [](vfs::Mount& mount) {
        if (all_watches.empty() || is_mounted(mount.fs())) return;
        Inotify::fs_gone(mount.fs());
    };
}

void Inotify::fs_gone(const vfs::FileSystem& fs) {
    for (auto it = all_watches.begin(); it != all_watches.end();) {
        Watch& watch = *it++;
        if (&watch.path.inode().fs() != &fs) continue;
        watch.owner.queue(watch.descriptor, vfs::kWatchUnmount, {}, 0);
        watch.owner.ignore(watch);
    }
}

}  // namespace kvmsbx::ipc
