// The mount calls that work on descriptors: trees (open_tree(2), move_mount(2)) and file systems in the making
// (fsopen(2) and kin).
#include "guestkernel/ipc/anonymous_file.hpp"
#include "guestkernel/syscalls/mount_helpers.hpp"
#include "guestkernel/vfs/dentry.hpp"
#include "guestkernel/vfs/file_system.hpp"
#include "guestkernel/vfs/inode_file.hpp"

namespace kvmsbx::syscalls {

using vfs::CopyWhat;
using vfs::Path;

namespace {

constexpr uint32_t kAtRecursive = 0x8000;

// A path argument that may be null where it may be empty.
Result<Path> path_or_descriptor(Task& task, int directory, UserString path, uint64_t flags, vfs::Follow follow) {
    if (path || !(flags & kAtEmptyPath)) return path_at(task, directory, path, flags, follow);
    return base_of(task, directory, {});
}

}  // namespace

Result<int64_t> sys_open_tree(Task& task, DirFd directory, UserString path, uint32_t flags) {
    constexpr uint32_t kClone = 1, kCloexec = vfs::kOCloexec;
    constexpr uint32_t kPathFlags = kAtEmptyPath | kAtNoAutomount | kAtSymlinkNofollow;
    if (flags & ~(kPathFlags | kAtRecursive | kClone | kCloexec)) return Errno::kINVAL;
    if ((flags & (kAtRecursive | kClone)) == kAtRecursive) return Errno::kINVAL;
    if (flags & kClone) TRY(may_mount(task));
    const Path found = TRY(path_at(task, directory, path, flags, follow_unless(flags & kAtSymlinkNofollow)));
    if (!(flags & kClone)) return install(task, TRY(make_ref<vfs::PathFile>(found, vfs::kOPath)), flags & kCloexec);
    vfs::NewTree tree = TRY(vfs::copy_detached(found, flags & kAtRecursive ? CopyWhat::kTree : CopyWhat::kOneMount));
    return install(task, TRY(vfs::open_detached(std::move(tree))), flags & kCloexec);
}

Result<int64_t> sys_move_mount(Task& task, DirFd from_directory, UserString from, DirFd to_directory, UserString to,
                               uint32_t flags) {
    constexpr uint32_t kFromLinks = 1, kFromEmpty = 4, kToLinks = 0x10, kToEmpty = 0x40, kSetGroup = 0x100,
                       kBeneath = 0x200, kAll = 0x377;
    TRY(may_mount(task));
    if (flags & ~kAll) return Errno::kINVAL;
    if ((flags & (kSetGroup | kBeneath)) == (kSetGroup | kBeneath)) return Errno::kINVAL;
    const auto place_of = [&task](int directory, UserString path, bool empty, bool links) {
        return path_or_descriptor(task, directory, path, empty ? kAtEmptyPath : 0, follow_unless(!links));
    };
    const Path target = TRY(place_of(to_directory, to, flags & kToEmpty, flags & kToLinks));
    const Path source = TRY(place_of(from_directory, from, flags & kFromEmpty, flags & kFromLinks));
    if (flags & kSetGroup) return done(vfs::join_groups(source, target));
    const vfs::MoveTo where = flags & kBeneath ? vfs::MoveTo::kBeneath : vfs::MoveTo::kTop;
    return done(vfs::move_mount(source, target, where, task.fs().root));
}

namespace {

// What fsopen(2) and fspick(2) give: a file system that is being configured.
class FsConfiguration final : public ipc::AnonymousFile {
  public:
    explicit FsConfiguration(String type) : AnonymousFile("[fscontext]", 0), type_(std::move(type)) {}
    explicit FsConfiguration(vfs::FileSystem& picked)
        : AnonymousFile("[fscontext]", 0), phase_(Phase::kReconfigure), picked_(picked), readonly_(picked.readonly) {}

    // There are no messages.
    Result<size_t> read(mm::IoBuffer&) override { return Errno::kNODATA; }
    Result<size_t> write(mm::IoBuffer&) override { return Errno::kINVAL; }
    const void* class_tag() const override { return &kTag; }
    static FsConfiguration* from(vfs::File& file) {
        // SAFETY: the tag is this class's own.
        return file.class_tag() == &kTag ? static_cast<FsConfiguration*>(&file) : nullptr;
    }

    // value null: a flag. EBUSY: not the time for it; EINVAL.
    Result<> set(std::string_view key, const String* value);
    Result<> create();
    Result<> reconfigure();
    // A mount of what create() made, once. EINVAL: not created; EBUSY: mounted already.
    Result<RefPtr<vfs::Mount>> mount(uint64_t flags);

  private:
    enum class Phase : uint8_t { kParameters, kCreated, kReconfigure, kFailed };
    static const char kTag;

    std::string_view type() const { return picked_ ? picked_->type_name() : type_.view(); }

    String type_;
    Phase phase_ = Phase::kParameters;
    RefPtr<vfs::FileSystem> picked_;  // by fspick(2), and what was mounted
    RefPtr<vfs::Inode> root_;         // of what was created
    String source_, options_;
    bool readonly_ = false;
};

const char FsConfiguration::kTag = 0;

Result<> FsConfiguration::set(std::string_view key, const String* value) {
    if (phase_ != Phase::kParameters && phase_ != Phase::kReconfigure) return Errno::kBUSY;
    if (key.empty()) return Errno::kINVAL;
    if (vfs::take_super_flag(key, readonly_)) return {};
    if (key == "source") {
        if (!value || !source_.empty()) return Errno::kINVAL;
        source_ = TRY(value->clone());
        return {};
    }
    String option = TRY(String::create(key));
    if (value) {
        TRY(option.append('='));
        TRY(option.append(value->view()));
    }
    TRY(vfs::check_mount_options(type(), option));
    TRY(vfs::make_file_system(type(), {{}, option, 0}));  // is the value one?
    if (!options_.empty()) TRY(options_.append(','));
    return options_.append(option.view());
}

Result<> FsConfiguration::create() {
    if (phase_ != Phase::kParameters) return Errno::kBUSY;
    phase_ = Phase::kFailed;
    root_ = TRY(make_new_file_system(type_, source_, options_, readonly_));
    phase_ = Phase::kCreated;
    return {};
}

Result<> FsConfiguration::reconfigure() {
    if (phase_ != Phase::kReconfigure) return Errno::kBUSY;
    phase_ = Phase::kFailed;
    TRY(vfs::reconfigure(*picked_, readonly_, options_));
    options_.clear();
    phase_ = Phase::kReconfigure;
    return {};
}

Result<RefPtr<vfs::Mount>> FsConfiguration::mount(uint64_t flags) {
    if (!root_) return Errno::kINVAL;
    if (phase_ != Phase::kCreated) return Errno::kBUSY;
    RefPtr<vfs::Dentry> dentry = TRY(vfs::Dentry::create_root(root_));
    RefPtr<vfs::Mount> mount = TRY(vfs::make_mount(dentry, source_.empty() ? "none" : source_.view(), flags));
    phase_ = Phase::kReconfigure;
    picked_ = RefPtr<vfs::FileSystem>(root_->fs());
    options_.clear();
    return mount;
}

Result<RefPtr<vfs::File>> configuration_file(Task& task, int fd) {
    RefPtr<vfs::File> file = TRY(file_of(task, fd));
    if (!FsConfiguration::from(*file)) return Errno::kINVAL;
    return file;
}

}  // namespace

Result<int64_t> sys_fsopen(Task& task, UserString type, uint32_t flags) {
    constexpr uint32_t kCloexec = 1;
    TRY(may_mount(task));
    if (flags & ~kCloexec) return Errno::kINVAL;
    String name = TRY(load_mount_text(task, type));
    bool known = false;
    for (const vfs::FileSystemType& one : vfs::file_system_types()) known = known || one.name == name.view();
    if (!known) return Errno::kNODEV;
    return install(task, TRY(make_ref<FsConfiguration>(std::move(name))), flags & kCloexec);
}

Result<int64_t> sys_fspick(Task& task, DirFd directory, UserString path, uint32_t flags) {
    constexpr uint32_t kCloexec = 1, kNofollow = 2, kNoAutomount = 4, kEmptyPath = 8;
    TRY(may_mount(task));
    if (flags & ~(kCloexec | kNofollow | kNoAutomount | kEmptyPath)) return Errno::kINVAL;
    const Path found =
        TRY(path_at(task, directory, path, flags & kEmptyPath ? kAtEmptyPath : 0, follow_unless(flags & kNofollow)));
    if (!vfs::is_mounted(found)) return Errno::kINVAL;
    return install(task, TRY(make_ref<FsConfiguration>(found.mount().fs())), flags & kCloexec);
}

namespace {

enum FsCommand : uint32_t {
    kSetFlag,
    kSetString,
    kSetBinary,
    kSetPath,
    kSetPathEmpty,
    kSetFd,
    kCreate,
    kReconfigure,
    kCreateExclusive
};

// Which arguments a command takes. EINVAL; EOPNOTSUPP: no such command.
Result<> check_arguments(uint32_t command, bool key, bool value, int32_t aux) {
    constexpr int32_t kMaxBinary = 1024 * 1024;
    bool good = false;
    switch (command) {
        case kSetFlag: good = key && !value && aux == 0; break;
        case kSetString: good = key && value && aux == 0; break;
        case kSetBinary: good = key && value && aux > 0 && aux <= kMaxBinary; break;
        case kSetPath:
        case kSetPathEmpty: good = key && value && (aux == vfs::kAtFdcwd || aux >= 0); break;
        case kSetFd: good = key && !value && aux >= 0; break;
        case kCreate:
        case kReconfigure:
        case kCreateExclusive: good = !key && !value && aux == 0; break;
        default: return Errno::kOPNOTSUPP;
    }
    return good ? Result<>() : Result<>(Errno::kINVAL);
}

}  // namespace

Result<int64_t> sys_fsconfig(Task& task, Fd fd, uint32_t command, UserString key, UserString value, int32_t aux) {
    constexpr size_t kMaxText = 256;
    if (fd < 0) return Errno::kINVAL;
    TRY(check_arguments(command, static_cast<bool>(key), static_cast<bool>(value), aux));
    const RefPtr<vfs::File> file = TRY(configuration_file(task, fd));
    FsConfiguration& configuration = *FsConfiguration::from(*file);
    String name, text;
    if (key) name = TRY(load_mount_text(task, key, kMaxText));
    if (command == kSetString) text = TRY(load_mount_text(task, value, kMaxText));
    switch (command) {
        case kSetFlag: return done(configuration.set(name, nullptr));
        case kSetString: return done(configuration.set(name, &text));
        case kCreate:
        case kCreateExclusive: TRY(may_mount(task)); return done(configuration.create());
        case kReconfigure: TRY(may_mount(task)); return done(configuration.reconfigure());
        default: return Errno::kINVAL;  // no parameter of any type is a blob, a path or a descriptor
    }
}

Result<int64_t> sys_fsmount(Task& task, Fd fd, uint32_t flags, uint32_t attributes) {
    constexpr uint32_t kCloexec = 1;
    TRY(may_mount(task));
    if (flags & ~kCloexec) return Errno::kINVAL;
    if (attributes & ~kMountAttributes) return Errno::kINVAL;
    const uint64_t mount_flags = TRY(mount_flags_of_attributes(attributes));
    const RefPtr<vfs::File> file = TRY(configuration_file(task, fd));
    vfs::NewTree tree(TRY(FsConfiguration::from(*file)->mount(mount_flags)));
    vfs::enter_detached_tree(tree.top());
    return install(task, TRY(vfs::open_detached(std::move(tree))), flags & kCloexec);
}

}  // namespace kvmsbx::syscalls
