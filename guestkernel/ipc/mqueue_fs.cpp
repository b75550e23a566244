// The file system of POSIX message queues, and the calls that go by a queue's name.
#include "guestkernel/ipc/mqueue.hpp"
#include "guestkernel/vfs/dentry.hpp"
#include "guestkernel/vfs/file_system.hpp"
#include "guestkernel/vfs/mount.hpp"

namespace kvmsbx::ipc {

using auth::Capability;

MqueueLimits mqueue_limits;

namespace {

constexpr int64_t kHardMessages = 65536, kHardMessageSize = 16 << 20;  // HARD_MSGMAX, HARD_MSGSIZEMAX
constexpr size_t kMaxName = 255;
constexpr uint32_t kMayWrite = 2;

// What a queue counts for, as Linux reckons it: messages of full size, and its bookkeeping for each.
int64_t charge_of(int64_t maximum, int64_t message_size) { return maximum * (message_size + 48 + 48); }

struct UserCharge {
    auth::Uid user;
    uint64_t bytes;
};
Vector<UserCharge> charges;

Result<> charge(auth::Uid user, int64_t bytes, uint64_t limit) {
    const uint64_t amount = static_cast<uint64_t>(bytes);
    for (UserCharge& one : charges) {
        if (one.user != user) continue;
        if (one.bytes + amount > limit) return Errno::kMFILE;
        one.bytes += amount;
        return {};
    }
    if (amount > limit) return Errno::kMFILE;
    return charges.push_back({user, amount});
}

void discharge(auth::Uid user, int64_t bytes) {
    for (size_t i = 0; i < charges.size(); ++i)
        if (charges[i].user == user && (charges[i].bytes -= static_cast<uint64_t>(bytes)) == 0) return charges.erase(i);
}

class MqueueFs final : public vfs::FileSystem {
  public:
    MqueueFs() { cacheable_names = false; }
    Result<vfs::FsStatistics> statistics() override { return vfs::FsStatistics{.type = 0x19800202}; }
    std::string_view type_name() const override { return "mqueue"; }
};

class Directory final : public vfs::Inode {
  public:
    explicit Directory(RefPtr<vfs::FileSystem> fs) : Inode(std::move(fs)) {
        attributes_.ino = 1;
        attributes_.mode = vfs::kModeDirectory | 01777;
        attributes_.nlink = 2;
        attributes_.atime = attributes_.mtime = attributes_.ctime = vfs::current_time();
    }
    Result<vfs::Attributes> attributes() override {
        attributes_.size = queues_.size() * 20;
        return attributes_;
    }
    Result<> set_attributes(const vfs::AttributeChange& change) override {
        vfs::apply_change(change, attributes_);
        return {};
    }
    uint32_t type() const override { return vfs::kModeDirectory; }
    Result<RefPtr<vfs::File>> open(const vfs::Path& path, uint32_t flags) override {
        return vfs::open_directory(path, flags);
    }
    Result<RefPtr<vfs::Inode>> lookup(std::string_view name) override {
        RefPtr<PosixQueue> queue = find(name);
        return queue ? Result<RefPtr<vfs::Inode>>(queue) : Errno::kNOENT;
    }
    Result<RefPtr<vfs::Inode>> create(std::string_view name, const vfs::NewNode& node) override {
        return RefPtr<vfs::Inode>(TRY(add(name, node, nullptr)));
    }
    Result<> unlink(std::string_view name, vfs::Inode&) override { return remove(name); }
    Result<> read_directory(uint64_t cookie, vfs::DirectoryVisitor& visitor) override;

    RefPtr<PosixQueue> find(std::string_view name) const {
        for (const Entry& entry : queues_)
            if (entry.name == name) return entry.queue;
        return nullptr;
    }
    Result<RefPtr<PosixQueue>> add(std::string_view name, const vfs::NewNode& node, const MqAttributes* wanted);
    Result<> remove(std::string_view name);

  private:
    struct Entry {
        String name;
        RefPtr<PosixQueue> queue;
        uint64_t cookie = 0;
    };
    vfs::Attributes attributes_;
    Vector<Entry> queues_;
    uint64_t last_cookie_ = 2;
};

Result<> check_attributes(const auth::Credentials& who, const MqAttributes& wanted) {
    const bool privileged = who.has(Capability::kSysResource);
    const int64_t messages = privileged ? kHardMessages : mqueue_limits.messages;
    const int64_t size = privileged ? kHardMessageSize : mqueue_limits.message_size;
    if (wanted.maximum <= 0 || wanted.message_size <= 0) return Errno::kINVAL;
    if (wanted.maximum > messages || wanted.message_size > size) return Errno::kINVAL;
    return {};
}

Result<RefPtr<PosixQueue>> Directory::add(std::string_view name, const vfs::NewNode& node, const MqAttributes* wanted) {
    const task::Task& task = task::current();
    if (name.size() > kMaxName) return Errno::kNAMETOOLONG;
    if (queues_.size() >= mqueue_limits.queues && !task.credentials().has(Capability::kSysResource))
        return Errno::kNOSPC;
    int64_t maximum = std::min(mqueue_limits.messages, mqueue_limits.default_messages);
    int64_t message_size = std::min(mqueue_limits.message_size, mqueue_limits.default_message_size);
    if (wanted) {
        TRY(check_attributes(task.credentials(), *wanted));
        maximum = wanted->maximum, message_size = wanted->message_size;
    }
    Entry entry{TRY(String::create(name)), nullptr, ++last_cookie_};
    TRY(queues_.reserve(queues_.size() + 1));
    TRY(charge(node.uid, charge_of(maximum, message_size), task.limit(task::kRlimitMsgqueue)));
    auto queue = make_ref<PosixQueue>(RefPtr<vfs::FileSystem>(fs()), node, maximum, message_size);
    if (queue.is_error()) {
        discharge(node.uid, charge_of(maximum, message_size));
        return queue;
    }
    entry.queue = *queue;
    TRY(queues_.push_back(std::move(entry)));
    attributes_.mtime = attributes_.ctime = vfs::current_time();
    return queue;
}

Result<> Directory::remove(std::string_view name) {
    for (size_t i = 0; i < queues_.size(); ++i) {
        if (queues_[i].name != name) continue;
        queues_[i].queue->unlinked();
        queues_.erase(i);
        attributes_.mtime = attributes_.ctime = vfs::current_time();
        return {};
    }
    return Errno::kNOENT;
}

Result<> Directory::read_directory(uint64_t cookie, vfs::DirectoryVisitor& visitor) {
    constexpr uint8_t kDtDirectory = 4, kDtRegular = 8;
    if (cookie < 1 && !visitor.visit({".", 1, kDtDirectory, 1})) return {};
    if (cookie < 2 && !visitor.visit({"..", 1, kDtDirectory, 2})) return {};
    for (uint64_t at = cookie < 2 ? 2 : cookie;;) {
        const Entry* next = nullptr;
        for (const Entry& entry : queues_)
            if (entry.cookie > at && (!next || entry.cookie < next->cookie)) next = &entry;
        if (!next) return {};
        at = next->cookie;
        const String name = TRY(next->name.clone());  // the visitor may block
        const uint64_t ino = TRY(next->queue->attributes()).ino;
        if (!visitor.visit({name, ino, kDtRegular, at})) return {};
    }
}

struct Home {
    RefPtr<Directory> directory;
    RefPtr<vfs::Mount> mount;  // never in the tree: for descriptors of mq_open(2)
};

Result<Home*> home() {
    static Home home;
    if (home.mount) return &home;
    auto fs = TRY(make_ref<MqueueFs>());
    auto directory = TRY(make_ref<Directory>(fs));
    auto root = TRY(vfs::Dentry::create_root(directory));
    home.mount = TRY(make_ref<vfs::Mount>(fs, std::move(root), 0));
    home.directory = std::move(directory);
    return &home;
}

Result<> check_name(std::string_view name) {
    if (name.empty()) return Errno::kNOENT;
    if (name == "." || name == ".." || name.find('/') != std::string_view::npos) return Errno::kACCES;
    return name.size() > kMaxName ? Result<>(Errno::kNAMETOOLONG) : Result<>();
}

uint32_t access_of(uint32_t flags) {
    constexpr uint32_t kRead = 4, kByMode[] = {kRead, kMayWrite, kRead | kMayWrite, 0};
    return kByMode[flags & vfs::kOAccMode];
}

}  // namespace

PosixQueue::PosixQueue(RefPtr<vfs::FileSystem> fs, const vfs::NewNode& node, int64_t most, int64_t size)
    : Inode(std::move(fs)), maximum(most), message_size(size) {
    static uint64_t last_number = 1;
    attributes_.ino = ++last_number;
    attributes_.mode = vfs::kModeRegular | (node.mode & 07777);
    attributes_.nlink = 1;
    attributes_.uid = charged_user_ = node.uid, attributes_.gid = node.gid;
    attributes_.size = 80;
    attributes_.atime = attributes_.mtime = attributes_.ctime = vfs::current_time();
}

void PosixQueue::end_charge() { discharge(charged_user_, charge_of(maximum, message_size)); }

Result<RefPtr<vfs::File>> open_queue(task::Task& task, std::string_view name, uint32_t flags, uint32_t mode,
                                     const MqAttributes* attributes) {
    TRY(check_name(name));
    Home* const all = TRY(home());
    RefPtr<PosixQueue> queue = all->directory->find(name);
    const auth::Credentials& who = task.credentials();
    if (queue) {
        if ((flags & vfs::kOCreat) && (flags & vfs::kOExcl)) return Errno::kEXIST;
        if ((flags & vfs::kOAccMode) == vfs::kOAccMode) return Errno::kINVAL;
        TRY(vfs::check_permission(who, *queue, access_of(flags)));
    } else {
        if (!(flags & vfs::kOCreat)) return Errno::kNOENT;
        TRY(vfs::check_permission(who, *all->directory, kMayWrite));
        const vfs::NewNode node{vfs::kModeRegular | (mode & 07777 & ~task.fs().umask), who.fsuid, who.fsgid};
        queue = TRY(all->directory->add(name, node, attributes));
    }
    const uint32_t kept = flags & (vfs::kOAccMode | vfs::kONonblock);
    const vfs::Path path(all->mount, TRY(vfs::Dentry::create_root(queue)));
    return RefPtr<vfs::File>(TRY(make_ref<PosixQueueFile>(path, kept, TRY(String::create(name)))));
}

Result<> unlink_queue(task::Task& task, std::string_view name) {
    TRY(check_name(name));
    Home* const all = TRY(home());
    const RefPtr<PosixQueue> queue = all->directory->find(name);
    if (!queue) return Errno::kNOENT;
    const auth::Credentials& who = task.credentials();
    TRY(vfs::check_permission(who, *all->directory, kMayWrite));
    const vfs::Ownership directory = TRY(all->directory->ownership());
    const bool own = who.fsuid == TRY(queue->ownership()).uid || who.fsuid == directory.uid;
    if ((directory.mode & vfs::kModeSticky) && !own && !who.has(Capability::kFowner)) return Errno::kPERM;
    return all->directory->remove(name);
}

Result<> register_mqueue() {
    return vfs::register_file_system("mqueue", [](const vfs::MountOptions&) -> Result<RefPtr<vfs::Inode>> {
        return RefPtr<vfs::Inode>(TRY(home())->directory);
    });
}

}  // namespace kvmsbx::ipc
