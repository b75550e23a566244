#pragma once
// Names: dentries, mounts, and the walk from a path string to a Path.
#include "guestkernel/vfs/inode.hpp"

namespace kvmsbx::abi {
struct BootInfo;
}

namespace kvmsbx::vfs {

class Dentry;
class Mount;

// A place in the tree: a mount and a dentry in it.
class Path {
  public:
    Path();
    Path(RefPtr<Mount> mount, RefPtr<Dentry> dentry);
    Path(const Path&);
    Path(Path&&) noexcept;
    Path& operator=(Path) noexcept;
    ~Path();
    Mount& mount() const;
    Dentry& dentry() const;
    Inode& inode() const;
    bool is_set() const { return static_cast<bool>(dentry_); }
    friend bool operator==(const Path& a, const Path& b) { return a.mount_ == b.mount_ && a.dentry_ == b.dentry_; }

  private:
    RefPtr<Mount> mount_;
    RefPtr<Dentry> dentry_;
};

// What CLONE_FS shares: root, working directory, umask.
class FsContext : public RefCounted {
  public:
    Path root, cwd;
    uint32_t umask = 022;
    Result<RefPtr<FsContext>> clone() const;
};

// How openat2(2) restricts a walk (its RESOLVE_ flags).
inline constexpr uint32_t kResolveNoXdev = 1, kResolveNoMagiclinks = 2, kResolveNoSymlinks = 4, kResolveBeneath = 8,
                          kResolveInRoot = 16, kResolveCached = 32;
// Of our own: the walk is no use of the mount that it ends in (MNT_EXPIRE).
inline constexpr uint32_t kResolveUnused = 1U << 31;

// Who walks: everything a path call needs to know of the caller.
struct Caller {
    FsContext& fs;
    const auth::Credentials& credentials;
    uint32_t resolve = 0;  // kResolve*
};

enum class Follow : bool { kNo, kYes };

inline constexpr int kAtFdcwd = -100;

// Walks `path` from `base` (the working directory or a dirfd's path; absolute paths start at the root). Errors as
// path_resolution(7).
Result<Path> walk(const Caller& caller, const Path& base, std::string_view path, Follow follow_last);

// open(2) without the descriptor. mode: permission bits for O_CREAT (umask is applied here).
Result<RefPtr<File>> open(const Caller& caller, const Path& base, std::string_view path, uint32_t flags, uint32_t mode);

// An absolute path's directory; the missing parts are made (obtain_place()).
Result<Path> obtain_directory(const Caller& caller, std::string_view path);

// What open_executable() would open, not opened.
Result<Path> find_executable(const Caller& caller, const Path& base, std::string_view path, Follow follow_last);
// For execve(2): walks, wants a regular file with execute permission on a mount without noexec (EACCES, ENOENT, ...),
// opens it for reading.
Result<RefPtr<File>> open_executable(const Caller& caller, const Path& base, std::string_view path, Follow follow_last);

// The path string from the caller's root, as /proc/PID/cwd and getcwd(2) show it ("(unreachable)/..." where it cannot
// be reached, " (deleted)" appended).
Result<String> path_string(const Path& path, const Path& root);

// access: R_OK 4, W_OK 2, X_OK 1 in any combination; EACCES or EROFS.
Result<> check_permission(const auth::Credentials& credentials, Inode& inode, uint32_t access);

// Builds the mount tree that the application spec asks for (root, proc, dev, bind mounts...). Returns the first
// process's context. Order at start: every fs/ part has registered its types (file_system.hpp) -> mount_root(root) ->
// mount_spec() for each further mount, in order -> make_path_readonly() and mask_path() for linux.readonlyPaths and
// maskedPaths. All of them may ask the gofer.
struct SpecMount {
    std::string_view type, source, destination, data;
    uint64_t flags;              // MS_*
    bool shared_access = false;  // 9p: what the host changes is seen
    bool copy_up = false;        // tmpfs: begins with what is below
};
Result<RefPtr<FsContext>> mount_root(const SpecMount& root);
// Makes a mount point that does not exist (as runc does; obtain_place()), or gives the error of making it. ENODEV: the
// Sentry does not have the type; EINVAL: the type does not have such an option. A tmpfs on /dev becomes a "devtmpfs"; a
// tmpfs without mode= takes over the mode of the folder below.
Result<> mount_spec(FsContext& context, const SpecMount& mount);
// linux.readonlyPaths: the path is mounted read-only over itself; maskedPaths: /dev/null over a file, an empty
// read-only tmpfs over a directory. A path that is not there is fine.
Result<> make_path_readonly(FsContext& context, std::string_view path);
Result<> mask_path(FsContext& context, std::string_view path);

}  // namespace kvmsbx::vfs
