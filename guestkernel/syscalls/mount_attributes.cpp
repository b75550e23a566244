// mount_setattr(2), statmount(2), listmount(2).
#include "guestkernel/lib/format.hpp"
#include "guestkernel/mm/frame.hpp"
#include "guestkernel/syscalls/mount_helpers.hpp"
#include "guestkernel/vfs/dentry.hpp"
#include "guestkernel/vfs/device.hpp"

namespace kvmsbx::syscalls {

using vfs::CopyWhat;
using vfs::Mount;
using vfs::Path;

namespace {

// MOUNT_ATTR_*; those that are bits on both sides.
constexpr uint64_t kAtimeMask = 0x70, kRelatime = 0, kNoatime = 0x10, kStrictatime = 0x20, kIdmap = 0x100000;
constexpr struct {
    uint64_t attribute, flag;
} kSameMeaning[] = {{1, vfs::kMsRdonly}, {2, vfs::kMsNosuid},        {4, vfs::kMsNodev},
                    {8, vfs::kMsNoexec}, {0x80, vfs::kMsNodiratime}, {0x200000, vfs::kMsNosymfollow}};

uint64_t bits_to_flags(uint64_t attributes) {
    uint64_t flags = 0;
    for (const auto& row : kSameMeaning)
        if (attributes & row.attribute) flags |= row.flag;
    return flags;
}

uint64_t attributes_of(const Mount& mount) {
    uint64_t attributes = 0;
    for (const auto& row : kSameMeaning)
        if (mount.flags & row.flag) attributes |= row.attribute;
    if (mount.flags & vfs::kMsNoatime) return attributes | kNoatime;
    return mount.flags & vfs::kMsRelatime ? attributes : attributes | kStrictatime;
}

}  // namespace

Result<uint64_t> mount_flags_of_attributes(uint64_t attributes) {
    const uint64_t flags = bits_to_flags(attributes);
    switch (attributes & kAtimeMask) {
        case kRelatime: return flags | vfs::kMsRelatime;
        case kNoatime: return flags | vfs::kMsNoatime;
        case kStrictatime: return flags;
        default: return Errno::kINVAL;
    }
}

namespace {

Result<vfs::FlagChange> to_change(Task& task, const MountAttributes& from) {
    constexpr uint64_t kPropagation = vfs::kMsShared | vfs::kMsPrivate | vfs::kMsSlave | vfs::kMsUnbindable;
    if ((from.propagation & ~kPropagation) || (from.propagation & (from.propagation - 1))) return Errno::kINVAL;
    if ((from.set | from.clear) & ~(kMountAttributes | kIdmap)) return Errno::kINVAL;
    vfs::FlagChange change{bits_to_flags(from.clear), bits_to_flags(from.set), from.propagation};
    if (from.clear & kAtimeMask) {
        if ((from.clear & kAtimeMask) != kAtimeMask) return Errno::kINVAL;
        change.clear |= vfs::kMsRelatime | vfs::kMsNoatime;
        change.set = TRY(mount_flags_of_attributes(from.set));
    } else if (from.set & kAtimeMask) {
        return Errno::kINVAL;
    }
    if ((from.set | from.clear) & kIdmap) {
        // There is one user namespace, and mounts cannot be mapped to it.
        if (from.clear & kIdmap || from.user_namespace > INT32_MAX) return Errno::kINVAL;
        TRY(task.files().get(static_cast<int>(from.user_namespace)));
        return Errno::kINVAL;
    }
    return change;
}

// A structure of a size that user space names: shorter ones mean zeroes. E2BIG, EINVAL, EFAULT.
template <typename T>
Result<T> load_sized(Task& task, uint64_t address, size_t size, size_t minimum) {
    if (size > mm::kPageSize) return Errno::k2BIG;
    if (size < minimum) return Errno::kINVAL;
    T value{};
    TRY(mm::copy_from_user(task.space(), &value, address, size < sizeof(T) ? size : sizeof(T)));
    for (size_t at = sizeof(T); at < size; ++at)
        if (TRY(UserIn<char>{address + at}.load(task.space())) != 0) return Errno::k2BIG;
    return value;
}

}  // namespace

Result<int64_t> sys_mount_setattr(Task& task, DirFd directory, UserString path, uint32_t flags,
                                  UserIn<MountAttributes> user, size_t size) {
    constexpr uint32_t kAtRecursive = 0x8000;
    if (flags & ~(kAtEmptyPath | kAtRecursive | kAtSymlinkNofollow | kAtNoAutomount)) return Errno::kINVAL;
    if (size > mm::kPageSize) return Errno::k2BIG;
    if (size < sizeof(MountAttributes)) return Errno::kINVAL;
    TRY(may_mount(task));
    const auto attributes = TRY(load_sized<MountAttributes>(task, user.address, size, sizeof(MountAttributes)));
    if (attributes.set == 0 && attributes.clear == 0 && attributes.propagation == 0) return int64_t{0};
    const vfs::FlagChange change = TRY(to_change(task, attributes));
    const Path place = TRY(path_at(task, directory, path, flags, follow_unless(flags & kAtSymlinkNofollow)));
    return done(vfs::change_flags(place, change, flags & kAtRecursive ? CopyWhat::kTree : CopyWhat::kOneMount));
}

namespace {

constexpr uint64_t kFirstUniqueId = 1ULL << 31;
constexpr size_t kFirstRequestSize = 24;

Result<MountIdRequest> load_request(Task& task, UserIn<MountIdRequest> user) {
    const uint32_t size = TRY(UserIn<uint32_t>{user.address}.load(task.space()));
    const auto request = TRY(load_sized<MountIdRequest>(task, user.address, size, kFirstRequestSize));
    if (request.unused != 0 || request.mount <= kFirstUniqueId) return Errno::kINVAL;
    if (request.name_space != 0) return Errno::kNOENT;  // there is one, and it has no number
    return request;
}

Result<RefPtr<Mount>> mount_by_unique_id(uint64_t id) {
    for (Mount* mount = vfs::first_mount(); mount; mount = vfs::next_mount(*mount))
        if (mount->unique_id() == id) return RefPtr<Mount>(*mount);
    return Errno::kNOENT;
}

// Collects the strings of a reply; each is known by its offset.
class ReplyText {
  public:
    Result<uint32_t> add(std::string_view text) {
        const auto offset = static_cast<uint32_t>(bytes_.size());
        for (char c : text) TRY(bytes_.push_back(c));
        TRY(bytes_.push_back('\0'));
        return offset;
    }
    std::span<const char> bytes() const { return bytes_.span(); }

  private:
    Vector<char> bytes_;
};

enum StatmountMask : uint64_t {
    kSuperBasic = 1,
    kMountBasic = 2,
    kPropagateFrom = 4,
    kRoot = 8,
    kPoint = 0x10,
    kFsType = 0x20,
    kOptions = 0x80,
    kSource = 0x200,
    kSupported = 0x1000,
    kServed = kSuperBasic | kMountBasic | kPropagateFrom | kRoot | kPoint | kFsType | kOptions | kSource | kSupported
};

Result<> put_numbers(const Mount& mount, const Path& root, uint64_t wanted, MountStatistics& to) {
    if (wanted & kSuperBasic) {
        to.device_major = vfs::major_of(mount.fs().device), to.device_minor = vfs::minor_of(mount.fs().device);
        to.magic = TRY(mount.fs().statistics()).type;
        to.fs_flags = mount.fs().readonly ? 1 : 0;
    }
    if (wanted & kMountBasic) {
        const Mount& parent = mount.place.is_set() ? mount.place.mount() : mount;
        to.id = mount.unique_id(), to.parent_id = parent.unique_id();
        to.old_id = static_cast<uint32_t>(mount.id), to.old_parent_id = static_cast<uint32_t>(parent.id);
        to.attributes = attributes_of(mount);
        to.propagation = (mount.peer_group ? vfs::kMsShared : 0) | (mount.master_group ? vfs::kMsSlave : 0) |
                         (mount.unbindable ? vfs::kMsUnbindable : 0);
        if (to.propagation == 0) to.propagation = vfs::kMsPrivate;
        to.peer_group = mount.peer_group, to.master_group = mount.master_group;
    }
    if (wanted & kPropagateFrom)
        to.propagate_from =
            vfs::dominating_group(mount, [&root](const Mount& other) { return vfs::is_visible(other, root); });
    return {};
}

Result<> put_texts(Mount& mount, const Path& root, uint64_t wanted, MountStatistics& to, ReplyText& text) {
    if (wanted & kFsType) to.fs_type = TRY(text.add(mount.fs().type_name()));
    if (wanted & kRoot) to.root = TRY(text.add(TRY(vfs::path_inside(*mount.root()))));
    if (wanted & kPoint)
        to.point = TRY(text.add(TRY(vfs::path_string(Path(RefPtr<Mount>(mount), mount.root()), root))));
    if (wanted & kOptions) {
        const String options = TRY(mount.fs().options());
        if (!options.empty())
            to.options = TRY(text.add(options));
        else
            to.mask &= ~uint64_t{kOptions};
    }
    if (wanted & kSource) to.source = TRY(text.add(mount.source));
    return {};
}

}  // namespace

Result<int64_t> sys_statmount(Task& task, UserIn<MountIdRequest> user, UserBuffer buffer, size_t size, uint32_t flags) {
    if (flags != 0) return Errno::kINVAL;
    const MountIdRequest request = TRY(load_request(task, user));
    const RefPtr<Mount> mount = TRY(mount_by_unique_id(request.mount));
    const Path root(task.fs().root);
    if (!vfs::is_visible(*mount, root)) TRY(may_mount(task));
    MountStatistics to{};
    ReplyText text;
    to.mask = request.parameter & kServed;
    to.supported = request.parameter & kSupported ? uint64_t{kServed} : 0;
    TRY(put_numbers(*mount, root, request.parameter, to));
    TRY(put_texts(*mount, root, request.parameter, to, text));
    if (!text.bytes().empty() && size < sizeof to + text.bytes().size()) return Errno::kOVERFLOW;
    const size_t head = size < sizeof to ? size : sizeof to;
    to.size = static_cast<uint32_t>(head + text.bytes().size());
    TRY(mm::copy_to_user(task.space(), buffer.address, &to, head));
    TRY(mm::copy_to_user(task.space(), buffer.address + sizeof to, text.bytes().data(), text.bytes().size()));
    return int64_t{0};
}

Result<int64_t> sys_listmount(Task& task, UserIn<MountIdRequest> user, UserOut<uint64_t> ids, size_t count,
                              uint32_t flags) {
    constexpr uint32_t kReverse = 1;
    constexpr size_t kMaxCount = 1000000;
    constexpr uint64_t kRootOfTask = ~0ULL;
    if (flags & ~kReverse) return Errno::kINVAL;
    if (count > kMaxCount) return Errno::kOVERFLOW;
    const MountIdRequest request = TRY(load_request(task, user));
    Path top(task.fs().root);
    if (request.mount != kRootOfTask) {
        const RefPtr<Mount> mount = TRY(mount_by_unique_id(request.mount));
        top = Path(mount, mount->root());
        if (!vfs::is_visible(*mount, task.fs().root)) TRY(may_mount(task));
    }
    Vector<uint64_t> found;
    for (Mount* mount = vfs::first_mount(); mount; mount = vfs::next_mount(*mount)) {
        if (mount->unique_id() == request.mount || !vfs::is_visible(*mount, top)) continue;
        const uint64_t id = mount->unique_id(), last = request.parameter;
        if (last != 0 && (flags & kReverse ? id >= last : id <= last)) continue;
        TRY(found.push_back(id));
    }
    const size_t taken = found.size() < count ? found.size() : count;
    for (size_t i = 0; i < taken; ++i) {
        const uint64_t id = found[flags & kReverse ? found.size() - 1 - i : i];
        TRY(UserOut<uint64_t>{ids.address + i * sizeof id}.store(task.space(), id));
    }
    return static_cast<int64_t>(taken);
}

}  // namespace kvmsbx::syscalls
