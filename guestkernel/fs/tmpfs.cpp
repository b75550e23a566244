#include "guestkernel/fs/tmpfs.hpp"

#include "guestkernel/fs/tmpfs_nodes.hpp"
#include "guestkernel/lib/format.hpp"
#include "guestkernel/vfs/dentry.hpp"
#include "guestkernel/vfs/mount.hpp"

namespace kvmsbx::fs {

namespace tmpfs {

Node::Node(RefPtr<Super> super, const vfs::NewNode& node) : Inode(super) {
    attributes_.ino = ++super->last_ino;
    attributes_.mode = node.mode;
    attributes_.uid = node.uid;
    attributes_.gid = node.gid;
    attributes_.rdev = node.rdev;
    attributes_.nlink = (node.mode & vfs::kModeTypeMask) == vfs::kModeDirectory ? 2 : 1;
    attributes_.atime = attributes_.mtime = attributes_.ctime = attributes_.btime = vfs::current_time();
    ++super->used_inodes;
}

Node::~Node() { --super().used_inodes; }

Result<> Node::set_attributes(const vfs::AttributeChange& change) {
    vfs::apply_change(change, attributes_);
    return {};
}

void Node::add_links(int count) {
    attributes_.nlink = static_cast<uint32_t>(static_cast<int>(attributes_.nlink) + count);
    attributes_.ctime = vfs::current_time();
}

void Node::touch() { attributes_.mtime = attributes_.ctime = vfs::current_time(); }

Result<> Super::take_pages(uint64_t count) {
    if (max_pages && used_pages + count > max_pages) return Errno::kNOSPC;
    used_pages += count;
    return {};
}

Result<vfs::FsStatistics> Super::statistics() {
    vfs::FsStatistics shown;
    shown.type = 0x01021994;  // TMPFS_MAGIC
    shown.blocks = max_pages;
    shown.blocks_free = shown.blocks_available = max_pages > used_pages ? max_pages - used_pages : 0;
    shown.files = max_inodes;
    shown.files_free = max_inodes > used_inodes ? max_inodes - used_inodes : 0;
    shown.id = device;
    return shown;
}

Result<String> Super::options() {
    StringText text;
    format_to(text, "size={}k", max_pages * (kPageSize / 1024));
    if (root_mode != 01777) {
        const char digits[] = {static_cast<char>('0' + (root_mode >> 9 & 7)),
                               static_cast<char>('0' + (root_mode >> 6 & 7)),
                               static_cast<char>('0' + (root_mode >> 3 & 7)), static_cast<char>('0' + (root_mode & 7))};
        const std::string_view octal(digits, 4);
        format_to(text, ",mode={}", digits[0] == '0' ? octal.substr(1) : octal);
    }
    return text.take();
}

namespace {

Result<uint64_t> parse_number(std::string_view text, unsigned base) {
    uint64_t value = 0;
    if (text.empty()) return Errno::kINVAL;
    for (char c : text) {
        if (c < '0' || c >= static_cast<char>('0' + base)) return Errno::kINVAL;
        if (__builtin_mul_overflow(value, static_cast<uint64_t>(base), &value)) return Errno::kINVAL;
        if (__builtin_add_overflow(value, static_cast<uint64_t>(c - '0'), &value)) return Errno::kINVAL;
    }
    return value;
}

// "64m", "50%", "1024": units of `unit` bytes when without a suffix.
Result<uint64_t> parse_size(std::string_view text) {
    if (text.empty()) return Errno::kINVAL;
    unsigned shift = 0;
    const char last = static_cast<char>(text.back() | 0x20);
    if (text.back() == '%')
        return TRY(parse_number(text.substr(0, text.size() - 1), 10)) * (mm::memory_statistics().total / 100);
    if (last == 'k') shift = 10;
    if (last == 'm') shift = 20;
    if (last == 'g') shift = 30;
    if (shift) text.remove_suffix(1);
    const uint64_t value = TRY(parse_number(text, 10));
    if (value > ~0ULL >> shift) return Errno::kINVAL;
    return value << shift;
}

}  // namespace

Result<> Super::reconfigure(std::string_view data) {
    std::string_view value;
    uint64_t pages = max_pages, inodes = max_inodes;
    if (vfs::mount_option(data, "size", value)) pages = pages_of(TRY(parse_size(value)));
    if (vfs::mount_option(data, "nr_blocks", value)) pages = TRY(parse_size(value));
    if (vfs::mount_option(data, "nr_inodes", value)) inodes = TRY(parse_size(value));
    if ((pages && pages < used_pages) || (inodes && inodes < used_inodes)) return Errno::kINVAL;
    // A limit can change but neither come nor go.
    if ((pages && !max_pages) || (inodes && !max_inodes)) return Errno::kINVAL;
    max_pages = pages, max_inodes = inodes;
    return {};
}

Result<RefPtr<Super>> make_super(std::string_view type, const vfs::MountOptions& options) {
    auto super = TRY(make_ref<Super>(type));
    std::string_view value;
    super->max_pages = mm::memory_statistics().total / 2 / kPageSize;
    if (vfs::mount_option(options.data, "size", value)) super->max_pages = pages_of(TRY(parse_size(value)));
    if (vfs::mount_option(options.data, "nr_blocks", value)) super->max_pages = TRY(parse_size(value));
    super->max_inodes = mm::memory_statistics().total / 2 / kPageSize;
    if (vfs::mount_option(options.data, "nr_inodes", value)) super->max_inodes = TRY(parse_size(value));
    return super;
}

Result<RefPtr<Regular>> make_regular(RefPtr<Super> super, const vfs::NewNode& node) {
    auto pages = TRY(make_ref<Pages>(super));
    return make_ref<Regular>(std::move(super), node, std::move(pages));
}

namespace {

// The hidden file system that memfds live on.
struct MemfdHome {
    RefPtr<Super> super;
    RefPtr<vfs::Mount> mount;
};

Result<MemfdHome*> memfd_home() {
    static MemfdHome home;
    if (home.mount) return &home;
    auto super = TRY(make_super("tmpfs", {}));
    super->max_pages = super->max_inodes = 0;
    auto root = TRY(make_ref<Directory>(super, vfs::NewNode{vfs::kModeDirectory | 0755, 0, 0}));
    auto dentry = TRY(vfs::Dentry::create_root(std::move(root)));
    home.mount = TRY(make_ref<vfs::Mount>(super, std::move(dentry), 0));
    home.super = std::move(super);
    return &home;
}

class Memfd final : public RegularFile {
  public:
    Memfd(const vfs::Path& path, String name)
        : RegularFile(path, vfs::kORdwr | vfs::kOLargefile), name_(std::move(name)) {}
    Result<String> describe() override { return name_.clone(); }

  private:
    String name_;
};

}  // namespace

}  // namespace tmpfs

Result<RefPtr<vfs::Inode>> make_tmpfs(const vfs::MountOptions& options) { return make_tmpfs_named("tmpfs", options); }

Result<RefPtr<vfs::Inode>> make_tmpfs_named(std::string_view type, const vfs::MountOptions& options) {
    using namespace tmpfs;
    auto super = TRY(make_super(type, options));
    vfs::NewNode root{01777, 0, 0};
    std::string_view value;
    if (vfs::mount_option(options.data, "mode", value))
        root.mode = static_cast<uint32_t>(TRY(parse_number(value, 8))) & 07777;
    if (vfs::mount_option(options.data, "uid", value)) root.uid = static_cast<uint32_t>(TRY(parse_number(value, 10)));
    if (vfs::mount_option(options.data, "gid", value)) root.gid = static_cast<uint32_t>(TRY(parse_number(value, 10)));
    super->root_mode = root.mode;
    root.mode |= vfs::kModeDirectory;
    return RefPtr<vfs::Inode>(TRY(make_ref<Directory>(std::move(super), root)));
}

Result<RefPtr<vfs::File>> make_memfd(std::string_view name, const auth::Credentials& owner) {
    using namespace tmpfs;
    MemfdHome* home = TRY(memfd_home());
    StringText shown;
    format_to(shown, "/memfd:{} (deleted)", name);
    auto node = TRY(make_regular(home->super, {vfs::kModeRegular | 0777, owner.fsuid, owner.fsgid}));
    node->pages().sealable = true;
    node->add_links(-1);
    auto dentry = TRY(vfs::Dentry::create_root(std::move(node)));
    return RefPtr<vfs::File>(TRY(make_ref<Memfd>(vfs::Path(home->mount, std::move(dentry)), TRY(shown.take()))));
}

namespace {

Result<tmpfs::Pages*> sealable_pages(vfs::File& file) {
    vfs::Inode* inode = file.inode();
    const Result<tmpfs::MemfdHome*> home = tmpfs::memfd_home();
    if (!inode || home.is_error() || &inode->fs() != home.value()->super.get() || inode->type() != vfs::kModeRegular)
        return Errno::kINVAL;
    return &static_cast<tmpfs::Regular*>(inode)->pages();
}

}  // namespace

Result<> add_seals(vfs::File& file, uint32_t seals) {
    using namespace tmpfs;
    if (!file.writable()) return Errno::kPERM;
    if (seals & ~kSealAll) return Errno::kINVAL;
    Pages* pages = TRY(sealable_pages(file));
    if (!pages->sealable || (pages->seals & kSealSeal)) return Errno::kPERM;
    if ((seals & kSealWrite) && !(pages->seals & kSealWrite) && pages->has_shared_writers()) return Errno::kBUSY;
    if ((seals & kSealExec) && (TRY(file.inode()->ownership()).mode & 0111))
        seals |= kSealShrink | kSealGrow | kSealWrite | kSealFutureWrite;
    pages->seals |= seals;
    return {};
}

Result<uint32_t> get_seals(vfs::File& file) { return TRY(sealable_pages(file))->seals; }

}  // namespace kvmsbx::fs
