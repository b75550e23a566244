#include "guestkernel/fs/dev.hpp"

#include "guestkernel/fs/tmpfs.hpp"
#include "guestkernel/lib/random.hpp"
#include "guestkernel/vfs/device.hpp"
#include "guestkernel/vfs/inode_file.hpp"
#include "guestkernel/vfs/mount_point.hpp"
#include "guestkernel/vfs/namei.hpp"

namespace kvmsbx::fs {

namespace {

enum Minor : uint32_t { kNull = 3, kZero = 5, kFull = 7, kRandom = 8, kUrandom = 9 };
constexpr uint32_t kMemoryMajor = 1, kTtyMajor = 5, kLastTtyMinor = 2;  // tty, console, ptmx

bool is_memory_device(uint32_t minor) {
    return minor == kNull || minor == kZero || minor == kFull || minor == kRandom || minor == kUrandom;
}

class MemoryDevice final : public vfs::InodeFile {
  public:
    MemoryDevice(const vfs::Path& path, uint32_t flags, uint32_t minor) : InodeFile(path, flags), minor_(minor) {}
    Result<size_t> read(mm::IoBuffer& to) override { return read_at(to, 0); }
    Result<size_t> write(mm::IoBuffer& from) override { return write_at(from, 0); }
    Result<size_t> read_at(mm::IoBuffer& to, uint64_t) override {
        if (minor_ == kNull) return size_t{0};
        if (minor_ == kZero || minor_ == kFull) return to.put_zeroes(to.remaining());
        return read_random(to);
    }
    Result<size_t> write_at(mm::IoBuffer& from, uint64_t) override {
        if (minor_ == kFull && !from.empty()) return Errno::kNOSPC;
        if (minor_ == kRandom || minor_ == kUrandom) return stir_random(from);
        return from.remaining();
    }
    Result<uint64_t> seek(int64_t, int) override { return uint64_t{0}; }
    Result<RefPtr<mm::Mappable>> mappable() override {
        if (minor_ == kZero) return RefPtr<mm::Mappable>();
        return Errno::kNODEV;
    }

  private:
    static Result<size_t> read_random(mm::IoBuffer& to) {
        size_t done = 0;
        while (!to.empty()) {
            char bytes[256];
            const size_t count = to.remaining() < sizeof bytes ? to.remaining() : sizeof bytes;
            random::fill(bytes, count);
            Result<size_t> copied = to.put(bytes, count);
            if (copied.is_error()) return done ? Result<size_t>(done) : Result<size_t>(copied.error());
            done += copied.value();
            if (copied.value() < count) break;
        }
        return done;
    }
    static Result<size_t> stir_random(mm::IoBuffer& from) {
        size_t done = 0;
        while (!from.empty()) {
            char bytes[256];
            const size_t count =
                TRY(from.take(bytes, from.remaining() < sizeof bytes ? from.remaining() : sizeof bytes));
            random::stir(bytes, count);
            done += count;
        }
        return done;
    }
    const uint32_t minor_;
};

Result<RefPtr<vfs::File>> open_memory_device(const vfs::Path& path, uint32_t minor, uint32_t flags) {
    if (!is_memory_device(minor)) return Errno::kNXIO;
    const uint32_t kept = flags & (vfs::kOAccMode | vfs::kOAppend | vfs::kONonblock | vfs::kOSync | vfs::kONoatime);
    return RefPtr<vfs::File>(TRY(make_ref<MemoryDevice>(path, kept | vfs::kOLargefile, minor)));
}

struct NodeRow {
    std::string_view name;
    uint32_t major, minor;
};
constexpr NodeRow kNodes[] = {{"null", 1, kNull},     {"zero", 1, kZero},       {"full", 1, kFull},
                              {"random", 1, kRandom}, {"urandom", 1, kUrandom}, {"tty", 5, 0}};
struct LinkRow {
    std::string_view name, target;
};
constexpr LinkRow kLinks[] = {{"fd", "/proc/self/fd"},       {"stdin", "/proc/self/fd/0"},
                              {"stdout", "/proc/self/fd/1"}, {"stderr", "/proc/self/fd/2"},
                              {"core", "/proc/kcore"},       {"ptmx", "pts/ptmx"}};

Result<RefPtr<vfs::Inode>> make_devtmpfs(const vfs::MountOptions& options) {
    RefPtr<vfs::Inode> root = TRY(make_tmpfs_named("tmpfs", options));
    for (const NodeRow& row : kNodes)
        TRY(root->make_node(row.name, {vfs::kModeChar | 0666, 0, 0, vfs::make_device(row.major, row.minor)}));
    for (const LinkRow& row : kLinks) TRY(root->make_symlink(row.name, row.target, {vfs::kModeLink | 0777, 0, 0}));
    for (const std::string_view name : {std::string_view("pts"), std::string_view("shm")})
        TRY(root->make_directory(name, {vfs::kModeDirectory | 0755, 0, 0}));
    return root;
}

bool is_served(const spec::Device<wire::Viewed>& device) {
    if (device.type == vfs::kModeFifo) return true;
    if (device.type != vfs::kModeChar) return false;
    return device.major == kMemoryMajor ? is_memory_device(device.minor)
                                        : device.major == kTtyMajor && device.minor <= kLastTtyMinor;
}

// A node that devtmpfs brought along, or an earlier one of the list.
bool may_be_replaced(const vfs::Inode& inode) {
    const uint32_t type = inode.type();
    return (type == vfs::kModeChar || type == vfs::kModeFifo) && inode.fs().type_name() == "tmpfs";
}

}  // namespace

Result<> make_device(vfs::FsContext& context, const spec::Device<wire::Viewed>& device) {
    if (!is_served(device)) return Errno::kNXIO;
    RefPtr<auth::Credentials> credentials = TRY(auth::kernel_credentials());
    const vfs::Caller caller{context, *credentials};
    const size_t slash = device.path.rfind('/');
    const std::string_view folder = slash == device.path.npos ? std::string_view() : device.path.substr(0, slash);
    const std::string_view name = device.path.substr(slash + 1);
    const vfs::Path parent = TRY(vfs::obtain_place(caller, folder, vfs::PlaceKind::kDirectory)).path;
    const auto old = vfs::walk(caller, parent, name, vfs::Follow::kNo);
    if (old.is_ok()) {
        if (!may_be_replaced(old.value().inode())) return {};
        TRY(vfs::unlink(caller, parent, name));
    }
    const uint64_t number = device.type == vfs::kModeChar ? vfs::make_device(device.major, device.minor) : uint64_t{0};
    const vfs::Path made = TRY(vfs::make_node(caller, parent, name, device.type | (device.mode & 07777), number));
    vfs::AttributeChange change;  // the umask does not count
    change.valid = vfs::AttributeChange::kMode | vfs::AttributeChange::kUid | vfs::AttributeChange::kGid;
    change.mode = device.mode & 07777, change.uid = device.uid, change.gid = device.gid;
    return made.inode().set_attributes(change);
}

Result<> register_memory_devices() {
    TRY(vfs::register_char_device(kMemoryMajor, 0, 256, open_memory_device));
    return vfs::register_file_system("devtmpfs", make_devtmpfs, kTmpfsOptions);
}

}  // namespace kvmsbx::fs
