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
    if (limits.pages && used_pages + count > limits.pages) return Errno::kNOSPC;
    used_pages += count;
    return {};
}

Result<vfs::FsStatistics> Super::statistics() {
    vfs::FsStatistics shown;
    shown.type = 0x01021994;  // TMPFS_MAGIC
    shown.blocks = limits.pages;
    shown.blocks_free = shown.blocks_available = limits.pages > used_pages ? limits.pages - used_pages : 0;
    shown.files = limits.inodes;
    shown.files_free = limits.inodes > used_inodes ? limits.inodes - used_inodes : 0;
    shown.id = device;
    return shown;
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
    super->limits.pages = super->limits.inodes = 0;
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
    const vfs::NewNode root{vfs::kModeDirectory | super->root_mode, super->root_uid, super->root_gid};
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
