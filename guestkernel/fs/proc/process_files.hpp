#pragma once
// Descriptors and places of a process: fd, fdinfo, exe, cwd, root.
#include "guestkernel/fs/proc/nodes.hpp"
#include "guestkernel/fs/proc/subject.hpp"

namespace kvmsbx::fs {

enum class FdView : uint8_t { kLinks, kInfo };
Result<RefPtr<vfs::Inode>> make_fd_directory(RefPtr<vfs::FileSystem> fs, uint64_t ino, ProcSubject subject,
                                             FdView view);

enum class Place : uint8_t { kExecutable, kWorkingDirectory, kRoot };
Result<RefPtr<vfs::Inode>> make_place_link(RefPtr<vfs::FileSystem> fs, uint64_t ino, ProcSubject subject, Place place);

// /proc/PID/ns: every process is in the one namespace of each kind.
Result<RefPtr<vfs::Inode>> make_namespace_directory(RefPtr<vfs::FileSystem> fs, uint64_t ino, ProcSubject subject);

// /proc/PID/timens_offsets (time_namespaces(7)).
Result<> put_time_offsets(const ProcSubject& subject, TextSink& sink);
Result<> store_time_offsets(const ProcSubject& subject, std::string_view text);

// A link that leads to an object, not to its name (proc(5)), for those who may look into the subject.
class MagicLink : public SyntheticNode {
  public:
    MagicLink(RefPtr<vfs::FileSystem> fs, uint64_t ino, uint32_t permissions, ProcSubject subject)
        : SyntheticNode(std::move(fs), ino, vfs::kModeLink | permissions), subject_(std::move(subject)) {}
    bool is_magic_link() const final { return true; }
    Result<vfs::Path> follow_magic_link() final;
    Result<String> read_link() final;

  protected:
    virtual Result<vfs::Path> place() = 0;
    virtual Result<String> describe();
    const ProcSubject subject_;

  private:
    const void* identity() const override { return subject_.process.get(); }
    void owner(uint32_t& uid, uint32_t& gid) override { uid = subject_.uid(), gid = subject_.gid(); }
};

// A decimal number as names in /proc have it (no leading zero); -1 if it is none.
int32_t parse_pid(std::string_view name);

}  // namespace kvmsbx::fs
