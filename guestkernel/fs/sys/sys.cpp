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
// The interface lo.

constexpr std::string_view kZero = "0\n";
constexpr StaticEntry kLoopbackStatistics[] = {
    constant_entry("collisions", kZero), constant_entry("multicast", kZero),  constant_entry("rx_bytes", kZero),
    constant_entry("rx_dropped", kZero), constant_entry("rx_errors", kZero),  constant_entry("rx_packets", kZero),
    constant_entry("tx_bytes", kZero),   constant_entry("tx_dropped", kZero), constant_entry("tx_errors", kZero),
    constant_entry("tx_packets", kZero)};
constexpr StaticEntry kLoopback[] = {
    constant_entry("addr_len", "6\n"),
    constant_entry("address", "00:00:00:00:00:00\n"),
    constant_entry("broadcast", "00:00:00:00:00:00\n"),
    constant_entry("carrier", "1\n"),
    constant_entry("dev_id", "0x0\n"),
    constant_entry("dormant", kZero),
    constant_entry("flags", "0x9\n"),
    constant_entry("ifindex", "1\n"),
    constant_entry("iflink", "1\n"),
    constant_entry("link_mode", kZero),
    constant_entry("mtu", "65536\n"),
    constant_entry("operstate", "unknown\n"),
    directory_entry("statistics", kLoopbackStatistics),
    link_entry("subsystem", "../../../../class/net"),
    constant_entry("tx_queue_len", "1000\n"),
    constant_entry("type", "772\n"),
    constant_entry("uevent", "INTERFACE=lo\nIFINDEX=1\n"),
};
constexpr StaticEntry kVirtualNet[] = {directory_entry("lo", kLoopback)};
constexpr StaticEntry kVirtual[] = {directory_entry("net", kVirtualNet)};
constexpr StaticEntry kClassNet[] = {link_entry("lo", "../../devices/virtual/net/lo")};
constexpr StaticEntry kClasses[] = {empty_directory("block"), directory_entry("net", kClassNet),
                                    empty_directory("thermal")};
constexpr StaticEntry kDeviceNumbers[] = {empty_directory("block"), empty_directory("char")};
constexpr StaticEntry kDevices[] = {directory_entry("virtual", kVirtual)};

// What stands in the root, and in /sys/devices/system by its own class.
constexpr StaticEntry kRootEntries[] = {
    empty_directory("block"),           empty_directory("bus"),
    directory_entry("class", kClasses), directory_entry("dev", kDeviceNumbers),
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

// /sys/devices and the root: tables, and one child that is not made of tables, system/ and devices/.
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
            return RefPtr<vfs::Inode>(TRY(make_ref<SysDirectory>(std::move(file_system), last_ino(),
                                                                 std::span<const StaticEntry>(kDevices), "system")));
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
