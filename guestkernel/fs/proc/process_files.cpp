#include "guestkernel/fs/proc/process_files.hpp"

#include "guestkernel/ipc/describe.hpp"
#include "guestkernel/vfs/locks.hpp"
#include "guestkernel/vfs/mount.hpp"
#include "guestkernel/vfs/walker.hpp"

namespace kvmsbx::fs {
namespace {

constexpr uint64_t kFdInoShift = 20;

Result<RefPtr<vfs::FdTable>> table_of(const ProcSubject& subject) {
    const task::Task* task = subject.task();
    if (!task || !task->files_) return Errno::kNOENT;
    return task->files_;
}

Result<RefPtr<vfs::File>> file_of(const ProcSubject& subject, int fd) {
    const auto table = TRY(table_of(subject));
    auto file = table->get(fd);
    if (file.is_error()) return Errno::kNOENT;
    return file;
}

class PlaceLink final : public MagicLink {
  public:
    PlaceLink(RefPtr<vfs::FileSystem> fs, uint64_t ino, ProcSubject subject, Place place)
        : MagicLink(std::move(fs), ino, 0777, std::move(subject)), place_(place) {}

  private:
    Result<vfs::Path> place() override {
        const task::Task* task = subject_.task();
        if (!task) return Errno::kNOENT;
        if (place_ == Place::kExecutable) {
            if (!task->space_ || !task->space().executable) return Errno::kNOENT;
            // SAFETY: AddressSpace::executable is a vfs::File by its contract.
            const vfs::Path* path = static_cast<vfs::File*>(task->space().executable.get())->path();
            return path ? Result<vfs::Path>(*path) : Errno::kNOENT;
        }
        if (!task->fs_) return Errno::kNOENT;
        return vfs::Path(place_ == Place::kRoot ? task->fs().root : task->fs().cwd);
    }
    const Place place_;
};

uint32_t link_permissions(const vfs::File& file) {
    return (file.readable() ? 0500U : 0) | (file.writable() ? 0300U : 0);
}

class FdLink final : public MagicLink {
  public:
    FdLink(RefPtr<vfs::FileSystem> fs, uint64_t ino, uint32_t permissions, ProcSubject subject, int fd)
        : MagicLink(std::move(fs), ino, permissions, std::move(subject)), fd_(fd) {}

  private:
    uint64_t size() const override { return 64; }
    Result<vfs::Path> place() override {
        const auto file = TRY(file_of(subject_, fd_));
        const vfs::Path* path = file->path();
        return path ? Result<vfs::Path>(*path) : Errno::kNXIO;
    }
    Result<String> describe() override { return TRY(file_of(subject_, fd_))->describe(); }
    const int fd_;
};

class FdInfo final : public TextNode {
  public:
    FdInfo(RefPtr<vfs::FileSystem> fs, uint64_t ino, ProcSubject subject, int fd)
        : TextNode(std::move(fs), ino, 0444), subject_(std::move(subject)), fd_(fd) {}
    Result<> generate(TextSink& sink) override {
        TRY(may_inspect(subject_));
        const auto file = TRY(file_of(subject_, fd_));
        const auto table = TRY(table_of(subject_));
        const auto close_on_exec = table->close_on_exec(fd_);
        const bool closes = close_on_exec.is_ok() && close_on_exec.value();
        format_to(sink, "pos:\t{}\nflags:\t0", file->position);
        put_octal(sink, file->flags | (closes ? vfs::kOCloexec : 0));
        uint64_t ino_number = 0;
        if (vfs::Inode* inode = file->inode()) {
            const auto attributes = inode->attributes();
            if (attributes.is_ok()) ino_number = attributes.value().ino;
        }
        format_to(sink, "\nmnt_id:\t{}\nino:\t{}\n", file->path() ? file->path()->mount().id : 0, ino_number);
        if (vfs::Inode* inode = file->inode()) TRY(vfs::put_locks_of(*inode, file.get(), table.get(), sink));
        ipc::put_fdinfo(*file, sink);
        return {};
    }

  private:
    const void* identity() const override { return subject_.process.get(); }
    void owner(uint32_t& uid, uint32_t& gid) override { uid = subject_.uid(), gid = subject_.gid(); }
    const ProcSubject subject_;
    const int fd_;
};

class FdDirectory final : public SyntheticNode {
  public:
    FdDirectory(RefPtr<vfs::FileSystem> fs, uint64_t ino, ProcSubject subject, FdView view)
        : SyntheticNode(std::move(fs), ino, vfs::kModeDirectory | (view == FdView::kLinks ? 0500 : 0555)),
          subject_(std::move(subject)),
          view_(view) {}
    Result<RefPtr<vfs::Inode>> lookup(std::string_view name) override;
    Result<> read_directory(uint64_t cookie, vfs::DirectoryVisitor& visitor) override;
    // The process itself always may, even if it is not dumpable.
    Result<vfs::Ownership> ownership() override {
        vfs::Ownership owner = TRY(SyntheticNode::ownership());
        if (&task::current().process() == subject_.process.get()) owner.mode |= 0555;
        return owner;
    }

  private:
    const void* identity() const override { return subject_.process.get(); }
    void owner(uint32_t& uid, uint32_t& gid) override { uid = subject_.uid(), gid = subject_.gid(); }
    uint32_t count_subdirectories() override { return 0; }
    uint64_t entry_ino(int fd) const { return ino << kFdInoShift | static_cast<uint64_t>(fd); }
    const ProcSubject subject_;
    const FdView view_;
};

Result<RefPtr<vfs::Inode>> FdDirectory::lookup(std::string_view name) {
    const int fd = name == "0" ? 0 : parse_pid(name);
    if (fd < 0) return Errno::kNOENT;
    const auto file = TRY(file_of(subject_, fd));
    RefPtr<vfs::FileSystem> file_system(fs());
    if (view_ == FdView::kInfo)
        return RefPtr<vfs::Inode>(TRY(make_ref<FdInfo>(std::move(file_system), entry_ino(fd), subject_, fd)));
    return RefPtr<vfs::Inode>(
        TRY(make_ref<FdLink>(std::move(file_system), entry_ino(fd), link_permissions(*file), subject_, fd)));
}

// Cookies: 3 + fd.
Result<> FdDirectory::read_directory(uint64_t cookie, vfs::DirectoryVisitor& visitor) {
    TRY(may_inspect(subject_));
    const auto table = TRY(table_of(subject_));
    if (!visit_dots(cookie, ino, visitor)) return {};
    for (int fd = table->next_open(cookie > 2 ? static_cast<int>(cookie - 2) : 0); fd >= 0;
         fd = table->next_open(fd + 1)) {
        FixedText<16> name;
        format_to(name, "{}", fd);
        const uint8_t type = view_ == FdView::kLinks ? kDtLink : kDtRegular;
        if (!visitor.visit({name.view(), entry_ino(fd), type, static_cast<uint64_t>(fd) + 3})) return {};
    }
    return {};
}

}  // namespace

Result<vfs::Path> MagicLink::follow_magic_link() {
    TRY(may_inspect(subject_));
    return place();
}
Result<String> MagicLink::read_link() {
    TRY(may_inspect(subject_));
    String text = TRY(describe());
    if (text.size() + 1 > vfs::kMaxPath) return Errno::kNAMETOOLONG;
    return text;
}
Result<String> MagicLink::describe() { return vfs::path_string(TRY(place()), task::current().fs().root); }

Result<RefPtr<vfs::Inode>> make_fd_directory(RefPtr<vfs::FileSystem> fs, uint64_t ino, ProcSubject subject,
                                             FdView view) {
    return RefPtr<vfs::Inode>(TRY(make_ref<FdDirectory>(std::move(fs), ino, std::move(subject), view)));
}

Result<RefPtr<vfs::Inode>> make_place_link(RefPtr<vfs::FileSystem> fs, uint64_t ino, ProcSubject subject, Place place) {
    return RefPtr<vfs::Inode>(TRY(make_ref<PlaceLink>(std::move(fs), ino, std::move(subject), place)));
}

}  // namespace kvmsbx::fs
