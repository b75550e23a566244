#include "guestkernel/fs/sys/sys.hpp"

#include "guestkernel/arch/arch.hpp"
#include "guestkernel/fs/proc/nodes.hpp"
#include "guestkernel/vfs/file_system.hpp"

namespace kvmsbx::fs {
namespace {

constexpr uint64_t kSysMagic = 0x62656572, kRootIno = 1;

uint64_t all_cpus() {
    const unsigned count = arch::boot_info().cpu_count;
    return count >= 64 ? ~0ULL : (1ULL << count) - 1;
}

Result<> put_cpus(TextSink& sink) {
    put_cpu_list(sink, all_cpus());
    sink.put("\n");
    return {};
}

constexpr StaticEntry kCpuTexts[] = {text_entry("online", put_cpus), text_entry("possible", put_cpus),
                                     text_entry("present", put_cpus), constant_entry("offline", "\n"),
                                     constant_entry("kernel_max", "63\n")};

// /sys/devices/system/cpu: the fixed files and a directory per CPU.
class CpuDirectory final : public SyntheticNode {
  public:
    CpuDirectory(RefPtr<vfs::FileSystem> fs, uint64_t ino)
        : SyntheticNode(std::move(fs), ino, vfs::kModeDirectory | 0755) {}
    Result<RefPtr<vfs::Inode>> lookup(std::string_view name) override;
    Result<> read_directory(uint64_t cookie, vfs::DirectoryVisitor& visitor) override;
};

// An empty directory: /sys/devices/system/cpu/cpuN.
class OneCpu final : public SyntheticNode {
  public:
    OneCpu(RefPtr<vfs::FileSystem> fs, uint64_t ino) : SyntheticNode(std::move(fs), ino, vfs::kModeDirectory | 0755) {}
    Result<RefPtr<vfs::Inode>> lookup(std::string_view) override { return Errno::kNOENT; }
    Result<> read_directory(uint64_t cookie, vfs::DirectoryVisitor& visitor) override {
        visit_dots(cookie, ino, visitor);
        return {};
    }
};

constexpr size_t kTextCount = std::size(kCpuTexts);

Result<RefPtr<vfs::Inode>> CpuDirectory::lookup(std::string_view name) {
    RefPtr<vfs::FileSystem> file_system(fs());
    for (size_t i = 0; i < kTextCount; ++i)
        if (kCpuTexts[i].name == name) return make_static_node(std::move(file_system), kCpuTexts[i], child_ino(ino, i));
    for (unsigned cpu = 0; cpu < arch::boot_info().cpu_count; ++cpu) {
        FixedText<16> wanted;
        format_to(wanted, "cpu{}", cpu);
        if (wanted.view() == name)
            return RefPtr<vfs::Inode>(TRY(make_ref<OneCpu>(std::move(file_system), (ino << 8) + cpu)));
    }
    return Errno::kNOENT;
}

Result<> CpuDirectory::read_directory(uint64_t cookie, vfs::DirectoryVisitor& visitor) {
    if (!visit_dots(cookie, ino, visitor) || !visit_entries(cookie, ino, kCpuTexts, visitor)) return {};
    const uint64_t first = kTextCount + 3;
    for (uint64_t cpu = cookie >= first ? cookie - first + 1 : 0; cpu < arch::boot_info().cpu_count; ++cpu) {
        FixedText<16> name;
        format_to(name, "cpu{}", cpu);
        if (!visitor.visit({name.view(), (ino << 8) + cpu, kDtDirectory, first + cpu})) return {};
    }
    return {};
}

// A directory with one child: the way down to cpu/.
class Step final : public SyntheticNode {
  public:
    Step(RefPtr<vfs::FileSystem> fs, unsigned depth)
        : SyntheticNode(std::move(fs), kRootIno + depth, vfs::kModeDirectory | 0755), depth_(depth) {}
    Result<RefPtr<vfs::Inode>> lookup(std::string_view name) override {
        if (name != kNames[depth_]) return Errno::kNOENT;
        RefPtr<vfs::FileSystem> file_system(fs());
        if (depth_ + 1 == std::size(kNames))
            return RefPtr<vfs::Inode>(TRY(make_ref<CpuDirectory>(std::move(file_system), kRootIno + depth_ + 1)));
        return RefPtr<vfs::Inode>(TRY(make_ref<Step>(std::move(file_system), depth_ + 1)));
    }
    Result<> read_directory(uint64_t cookie, vfs::DirectoryVisitor& visitor) override {
        if (visit_dots(cookie, ino, visitor) && cookie < 3)
            (void)visitor.visit({kNames[depth_], ino + 1, kDtDirectory, 3});
        return {};
    }

  private:
    static constexpr std::string_view kNames[] = {"devices", "system", "cpu"};
    const unsigned depth_;
};

Result<RefPtr<vfs::Inode>> make_sys(const vfs::MountOptions&) {
    auto file_system = TRY(make_ref<SyntheticFileSystem>("sysfs", kSysMagic));
    return RefPtr<vfs::Inode>(TRY(make_ref<Step>(std::move(file_system), 0)));
}

}  // namespace

Result<> register_sys() { return vfs::register_file_system("sysfs", make_sys); }

}  // namespace kvmsbx::fs
