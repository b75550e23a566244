#pragma once
// The walk of path_resolution(7), in steps, for calls that treat the last component themselves. Inside vfs/ only.
//   Walker walker(caller, base);
//   TRY(walker.start(path));      // ENOENT, ENAMETOOLONG
//   TRY(walker.to_parent());      // all but the last component
//   walker.lookup_last() ...      // the last one; may be a negative dentry
#include "guestkernel/vfs/dentry.hpp"
#include "guestkernel/vfs/mount.hpp"

namespace kvmsbx::vfs {

inline constexpr size_t kMaxName = 255, kMaxPath = 4096;
inline constexpr unsigned kMaxLinks = 40;

class Walker {
  public:
    enum class Last : uint8_t { kNormal, kDot, kDotDot, kRoot };

    Walker(const Caller& caller, const Path& base) : caller_(caller), base_(base), place_(base) {}
    Result<> start(std::string_view path);
    // place() is then the directory (search permission checked), last() the name in it.
    Result<> to_parent();
    // What last() names, mounts crossed. The dentry may be negative.
    Result<Path> lookup_last();
    // `link` was found for last(): goes on with its target, up to the target's own last component. A magic link ends
    // the walk: true, and place() is what it points at.
    Result<bool> follow(const Path& link);

    Path& place() { return place_; }
    std::string_view last() const { return last_; }
    Last last_kind() const { return last_kind_; }
    bool trailing_slash() const { return trailing_slash_; }

  private:
    Result<> enter_directory();  // ENOTDIR, EACCES
    Result<Path> step(std::string_view name);
    // Replaces what is left to walk by the link's target and `after`. `kept` takes the old text, into which last() may
    // point.
    Result<> follow_into(const Path& link, std::string_view after, String& kept);
    Result<> step_up();
    // What "/" means for this walk: the base with RESOLVE_IN_ROOT. EXDEV with RESOLVE_BENEATH.
    Result<> go_to_root();
    const Path& root() const;
    Result<> stay_in_mount(const Mount& before) const;  // EXDEV with RESOLVE_NO_XDEV

    const Caller& caller_;
    const Path base_;
    Path place_;
    String buffer_;  // holds rest_ after a link was followed
    std::string_view rest_, last_;
    Last last_kind_ = Last::kRoot;
    bool trailing_slash_ = false;
    bool magic_ = false;  // the last link followed was a magic one
    unsigned links_ = 0;
};

// The dentry of `name` in a directory, from the cache or the file system; may be negative. The directory's lock must be
// held if locked, else it is taken as needed. ENAMETOOLONG, ENOENT (a removed directory), errors of the file system.
enum class DirectoryLock : bool { kTake, kHeld };
Result<RefPtr<Dentry>> lookup_child(Dentry& directory, std::string_view name, DirectoryLock lock);
// The topmost mount's root if something is mounted here.
void cross_mounts(Path& path);

}  // namespace kvmsbx::vfs
