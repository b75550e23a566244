#include "guestkernel/fs/sys/sys.hpp"

#include "guestkernel/fs/sys/nodes.hpp"
#include "guestkernel/vfs/file_system.hpp"

namespace kvmsbx::fs {
namespace {

using sys::kNodeDirectory;

constexpr uint64_t kSysMagic = 0x62656572, kRootIno = 1;

// Large areas always get 2 MiB pages where they can be had.
constexpr StaticEntry kHugePages[] = {
    constant_entry("defrag", "always defer defer+madvise madvise [never]\n"),
    constant_entry("enabled", "[always] madvise never\n"),
    constant_entry("hpage_pmd_size", "2097152\n"),
    constant_entry("shmem_enabled", "always within_size advise [never] deny force\n"),
    constant_entry("use_zero_page", "0\n"),
};
constexpr StaticEntry kHugeTlb2M[] = {
    constant_entry("free_hugepages", "0\n"),          constant_entry("nr_hugepages", "0\n"),
    constant_entry("nr_overcommit_hugepages", "0\n"), constant_entry("resv_hugepages", "0\n"),
    constant_entry("surplus_hugepages", "0\n"),
};
constexpr StaticEntry kHugeTlb[] = {directory_entry("hugepages-2048kB", kHugeTlb2M)};
constexpr StaticEntry kMemory[] = {directory_entry("hugepages", kHugeTlb),
                                   directory_entry("transparent_hugepage", kHugePages)};
constexpr StaticEntry kKernel[] = {directory_entry("mm", kMemory)};
constexpr StaticEntry kFileSystems[] = {empty_directory("cgroup")};
constexpr StaticEntry kClasses[] = {empty_directory("block"), empty_directory("thermal")};

// What stands in the root, and in /sys/devices/system by its own class.
constexpr StaticEntry kRootEntries[] = {
    empty_directory("block"),           empty_directory("bus"),
    directory_entry("class", kClasses), empty_directory("dev"),
    empty_directory("firmware"),        directory_entry("fs", kFileSystems),
    directory_entry("kernel", kKernel), empty_directory("module"),
};

// /sys/devices/system.
class SystemDevices final : public SyntheticNode {
  public:
    SystemDevices(RefPtr<vfs::FileSystem> fs, uint64_t ino)
        : SyntheticNode(std::move(fs), ino, vfs::kModeDirectory | 0755) {}
    Result<RefPtr<vfs::Inode>> lookup(std::string_view name) override {
        RefPtr<vfs::FileSystem> file_system(fs());
        if (name == "cpu") return sys::make_cpu_directory(std::move(file_system), child_ino(ino, 0));
        if (name == "node") return make_static_node(std::move(file_system), kNodeDirectory, child_ino(ino, 1));
        return Errno::kNOENT;
    }
    Result<> read_directory(uint64_t cookie, vfs::DirectoryVisitor& visitor) override {
        if (!visit_dots(cookie, ino, visitor)) return {};
        if (cookie < 3 && !visitor.visit({"cpu", child_ino(ino, 0), kDtDirectory, 3})) return {};
        if (cookie < 4) (void)visitor.visit({"node", child_ino(ino, 1), kDtDirectory, 4});
        return {};
    }
};

// /sys/devices, whose only child is system/, and the root, where devices/ stands among tables.
class SysDirectory final : public SyntheticNode {
  public:
    SysDirectory(RefPtr<vfs::FileSystem> fs, uint64_t ino, std::span<const StaticEntry> entries, std::string_view child)
        : SyntheticNode(std::move(fs), ino, vfs::kModeDirectory | (ino == kRootIno ? 0555 : 0755)),
          entries_(entries),
          child_(child) {}
    Result<RefPtr<vfs::Inode>> lookup(std::string_view name) override {
        RefPtr<vfs::FileSystem> file_system(fs());
        for (size_t i = 0; i < entries_.size(); ++i)
            if (entries_[i].name == name)
                return make_static_node(std::move(file_system), entries_[i], child_ino(ino, i));
        if (name != child_) return Errno::kNOENT;
        if (ino == kRootIno)
            return RefPtr<vfs::Inode>(TRY(
                make_ref<SysDirectory>(std::move(file_system), last_ino(), std::span<const StaticEntry>(), "system")));
        return RefPtr<vfs::Inode>(TRY(make_ref<SystemDevices>(std::move(file_system), last_ino())));
    }
    Result<> read_directory(uint64_t cookie, vfs::DirectoryVisitor& visitor) override {
        if (!visit_dots(cookie, ino, visitor) || !visit_entries(cookie, ino, entries_, visitor)) return {};
        const uint64_t last = entries_.size() + 3;
        if (cookie < last) (void)visitor.visit({child_, last_ino(), kDtDirectory, last});
        return {};
    }

  private:
    uint64_t last_ino() const { return child_ino(ino, entries_.size()); }
    const std::span<const StaticEntry> entries_;
    const std::string_view child_;
};

Result<RefPtr<vfs::Inode>> make_sys(const vfs::MountOptions&) {
    auto file_system = TRY(make_ref<SyntheticFileSystem>("sysfs", kSysMagic));
    return RefPtr<vfs::Inode>(TRY(make_ref<SysDirectory>(std::move(file_system), kRootIno,
                                                         std::span<const StaticEntry>(kRootEntries), "devices")));
}

}  // namespace

Result<> register_sys() {
    TRY(register_cgroup());
    return vfs::register_file_system("sysfs", make_sys);
}

}  // namespace kvmsbx::fs
