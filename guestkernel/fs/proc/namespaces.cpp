// /proc/PID/ns (namespaces(7)): links whose target is a file of nsfs, with which one can compare.
#include "guestkernel/fs/proc/process_files.hpp"
#include "guestkernel/sched/clock.hpp"
#include "guestkernel/task/clocks.hpp"
#include "guestkernel/vfs/dentry.hpp"
#include "guestkernel/vfs/mount.hpp"

namespace kvmsbx::fs {
namespace {

constexpr uint64_t kNsfsMagic = 0x6e736673;

// Numbers as those of Linux's initial namespaces (PROC_*_INIT_INO); net has none of its own there.
struct NamespaceRow {
    std::string_view name, kind;
    uint64_t ino;
};
constexpr NamespaceRow kNamespaces[] = {
    {"cgroup", "cgroup", 4026531835}, {"ipc", "ipc", 4026531839},
    {"mnt", "mnt", 4026531841},       {"net", "net", 4026531840},
    {"pid", "pid", 4026531836},       {"pid_for_children", "pid", 4026531836},
    {"time", "time", 4026531834},     {"time_for_children", "time", 4026531834},
    {"user", "user", 4026531837},     {"uts", "uts", 4026531838},
};

class NamespaceNode final : public TextNode {
  public:
    NamespaceNode(RefPtr<vfs::FileSystem> fs, uint64_t ino) : TextNode(std::move(fs), ino, 0444) {}
    Result<> generate(TextSink&) override { return Errno::kINVAL; }
};

// The file system that no path leads to.
Result<RefPtr<vfs::FileSystem>> nsfs() {
    static RefPtr<vfs::FileSystem> file_system;
    if (!file_system) file_system = TRY(make_ref<SyntheticFileSystem>("nsfs", kNsfsMagic));
    return file_system;
}

class NamespaceLink final : public MagicLink {
  public:
    NamespaceLink(RefPtr<vfs::FileSystem> fs, uint64_t ino, ProcSubject subject, const NamespaceRow& row)
        : MagicLink(std::move(fs), ino, 0777, std::move(subject)), row_(row) {}

  private:
    Result<vfs::Path> place() override {
        if (!subject_.task()) return Errno::kNOENT;
        RefPtr<vfs::FileSystem> file_system = TRY(nsfs());
        RefPtr<vfs::Inode> inode = TRY(make_ref<NamespaceNode>(file_system, row_.ino));
        RefPtr<vfs::Dentry> dentry = TRY(vfs::Dentry::create_root(std::move(inode)));
        auto mount = TRY(make_ref<vfs::Mount>(std::move(file_system), dentry, uint64_t{0}));
        return vfs::Path(std::move(mount), std::move(dentry));
    }
    Result<String> describe() override {
        if (!subject_.task()) return Errno::kNOENT;
        FixedText<48> text;
        format_to(text, "{}:[{}]", row_.kind, row_.ino);
        return String::create(text.view());
    }
    const NamespaceRow& row_;
};

class NamespaceDirectory final : public SyntheticNode {
  public:
    NamespaceDirectory(RefPtr<vfs::FileSystem> fs, uint64_t ino, ProcSubject subject)
        : SyntheticNode(std::move(fs), ino, vfs::kModeDirectory | 0511), subject_(std::move(subject)) {}
    Result<RefPtr<vfs::Inode>> lookup(std::string_view name) override {
        for (size_t i = 0; i < std::size(kNamespaces); ++i)
            if (kNamespaces[i].name == name)
                return RefPtr<vfs::Inode>(TRY(make_ref<NamespaceLink>(RefPtr<vfs::FileSystem>(fs()), child_ino(ino, i),
                                                                      subject_, kNamespaces[i])));
        return Errno::kNOENT;
    }
    Result<> read_directory(uint64_t cookie, vfs::DirectoryVisitor& visitor) override {
        TRY(may_inspect(subject_));
        if (!visit_dots(cookie, ino, visitor)) return {};
        for (size_t i = cookie > 2 ? cookie - 2 : 0; i < std::size(kNamespaces); ++i)
            if (!visitor.visit({kNamespaces[i].name, child_ino(ino, i), kDtLink, i + 3})) return {};
        return {};
    }

  private:
    const void* identity() const override { return subject_.process.get(); }
    void owner(uint32_t& uid, uint32_t& gid) override { uid = subject_.uid(), gid = subject_.gid(); }
    const ProcSubject subject_;
};

// The seconds are rounded downwards.
void put_time_offset(TextSink& sink, std::string_view clock, int64_t offset) {
    constexpr auto kSecond = static_cast<int64_t>(task::kNsPerSecond);
    const int64_t seconds = offset / kSecond - (offset % kSecond < 0), rest = offset - seconds * kSecond;
    put_left(sink, clock, 10);
    format_to(sink, " {10} {9}\n", seconds, rest);
}

}  // namespace

Result<> put_time_offsets(const ProcSubject& subject, TextSink& sink) {
    if (!subject.alive()) return Errno::kSRCH;
    put_time_offset(sink, "monotonic", sched::clock_offsets().monotonic);
    put_time_offset(sink, "boottime", sched::clock_offsets().boottime);
    return {};
}

// Offsets are set while a time namespace is empty.
Result<> store_time_offsets(const ProcSubject&, std::string_view) {
    return task::current().credentials().has(auth::Capability::kSysTime) ? Errno::kACCES : Errno::kPERM;
}

Result<RefPtr<vfs::Inode>> make_namespace_directory(RefPtr<vfs::FileSystem> fs, uint64_t ino, ProcSubject subject) {
    return RefPtr<vfs::Inode>(TRY(make_ref<NamespaceDirectory>(std::move(fs), ino, std::move(subject))));
}

}  // namespace kvmsbx::fs
