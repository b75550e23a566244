#pragma once
// inotify(7).
//
// Model. An Inotify is an open file with a queue of events and its Watches, by descriptor. A Watch holds the path that
// was watched (so its inode stays the one that the rest of the Sentry sees), and is listed with the inode's other
// watches in an InodeWatches (inode_watches.hpp). What happens comes in through it; nothing here blocks. A watch ends
// with its Inotify, by inotify_rm_watch(2), by IN_ONESHOT, with its object, or with the mount that it was made through;
// all but the first are told with IN_IGNORED.
#include "guestkernel/ipc/anonymous_file.hpp"
#include "guestkernel/lib/format.hpp"
#include "guestkernel/vfs/watch.hpp"

namespace kvmsbx::ipc {

// inotify_add_watch(2) flags beyond the events.
inline constexpr uint32_t kInOnlyDirectory = 0x01000000, kInDontFollow = 0x02000000, kInExcludeUnlinked = 0x04000000,
                          kInMaskCreate = 0x10000000, kInMaskAdd = 0x20000000, kInOneshot = 0x80000000,
                          kInAllEvents = 0xfff;

struct InotifyLimits {  // /proc/sys/fs/inotify; watches and instances are per user
    uint32_t queued_events = 16384, instances = 128, watches = 65536;
};
extern InotifyLimits inotify_limits;

class InodeWatches;

class Inotify final : public vfs::File {
  public:
    // EMFILE: too many instances of the user.
    static Result<RefPtr<Inotify>> create(auth::Uid user, uint32_t flags);
    // Null if the file is no inotify instance.
    static Inotify* from(vfs::File& file);
    // The watch descriptor. EEXIST (IN_MASK_CREATE), ENOSPC, ENOMEM.
    Result<int32_t> add(const vfs::Path& path, uint32_t mask);
    Result<> remove(int32_t descriptor);  // EINVAL

    Result<size_t> read(mm::IoBuffer& to) override;
    vfs::PollState poll() override;
    Result<int64_t> ioctl(mm::AddressSpace& space, uint32_t request, uint64_t argument) override;
    Result<uint64_t> seek(int64_t, int) override { return Errno::kSPIPE; }
    Result<String> describe() override { return String::create("anon_inode:inotify"); }
    const void* class_tag() const override { return &kTag; }
    void put_fdinfo(TextSink& sink) const;
    // The file system is mounted nowhere any more: IN_UNMOUNT.
    static void fs_gone(const vfs::FileSystem& fs);
    explicit Inotify(auth::Uid user, uint32_t flags) : File(vfs::kORdonly | flags), user_(user) {}
    ~Inotify() override;

    struct Watch {
        // Both may end the watch.
        void happened(uint32_t events, std::string_view name, uint32_t cookie, bool unlinked);
        void inode_gone();

        Inotify& owner;
        InodeWatches& inode_watches;
        const vfs::Path path;
        const int32_t descriptor;
        uint32_t mask;
        ListHook inode_hook, all_hook;
        TreeHook owner_hook;
    };
    struct Event {
        int32_t descriptor;
        uint32_t mask, cookie;
        String name;
        ListHook hook;
    };

  private:
    static const char kTag;
    struct DescriptorOf {
        using type = int32_t;
        type operator()(const Watch& watch) const { return watch.descriptor; }
    };
    Watch* find(vfs::Inode& inode);
    Result<int32_t> add_new(const vfs::Path& path, uint32_t mask);
    void queue(int32_t descriptor, uint32_t mask, std::string_view name, uint32_t cookie);
    void end_watch(Watch& watch);  // without a word
    void ignore(Watch& watch);     // with IN_IGNORED
    OwnPtr<Event> take_first();

    const auth::Uid user_;
    int32_t last_descriptor_ = 0;
    size_t event_count_ = 0, event_bytes_ = 0;
    List<Event, &Event::hook> events_;
    Tree<Watch, &Watch::owner_hook, boost::intrusive::key_of_value<DescriptorOf>> watches_;
    sched::WaitQueue changed_;
};

// Lets vfs/ tell of mounts that go. Called once at start.
void initialize_inotify();

}  // namespace kvmsbx::ipc
