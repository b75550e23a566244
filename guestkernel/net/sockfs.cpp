#include "guestkernel/net/sockfs.hpp"

#include "guestkernel/vfs/dentry.hpp"
#include "guestkernel/vfs/mount.hpp"

namespace kvmsbx::net {

namespace {

class SocketFs final : public vfs::FileSystem {
  public:
    Result<vfs::FsStatistics> statistics() override {
        vfs::FsStatistics shown;
        shown.type = 0x534F434B;  // SOCKFS_MAGIC
        return shown;
    }
    std::string_view type_name() const override { return "sockfs"; }
};

class SocketInode final : public vfs::Inode {
  public:
    SocketInode(RefPtr<vfs::FileSystem> fs, uint64_t number, const auth::Credentials& owner) : Inode(std::move(fs)) {
        attributes_.ino = number;
        attributes_.mode = vfs::kModeSocket | 0777;
        attributes_.nlink = 1;
        attributes_.uid = owner.fsuid, attributes_.gid = owner.fsgid;
    }
    Result<vfs::Attributes> attributes() override { return attributes_; }
    Result<> set_attributes(const vfs::AttributeChange& change) override {
        vfs::apply_change(change, attributes_);
        return {};
    }
    uint32_t type() const override { return vfs::kModeSocket; }
    Result<RefPtr<vfs::File>> open(const vfs::Path&, uint32_t) override { return Errno::kNXIO; }

  private:
    vfs::Attributes attributes_;
};

Result<RefPtr<vfs::FileSystem>> the_file_system() {
    static RefPtr<SocketFs> fs;
    if (!fs) fs = TRY(make_ref<SocketFs>());
    return RefPtr<vfs::FileSystem>(fs);
}

}  // namespace

uint64_t next_inode_number() {
    static uint64_t last = 10'000;
    return ++last;
}

Result<RefPtr<vfs::Inode>> make_socket_inode(uint64_t number, const auth::Credentials& owner) {
    return RefPtr<vfs::Inode>(TRY(make_ref<SocketInode>(TRY(the_file_system()), number, owner)));
}

Result<vfs::Path> socket_path(RefPtr<vfs::Inode> inode) {
    static RefPtr<vfs::Mount> mount;
    RefPtr<vfs::FileSystem> fs = TRY(the_file_system());
    auto dentry = TRY(vfs::Dentry::create_root(std::move(inode)));
    if (!mount) mount = TRY(make_ref<vfs::Mount>(std::move(fs), dentry, 0));
    return vfs::Path(mount, std::move(dentry));
}

}  // namespace kvmsbx::net
