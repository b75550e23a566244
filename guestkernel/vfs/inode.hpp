#pragma once
// Inodes: a file, directory, link or device of one mounted file system. File systems (tmpfs, 9p, proc, ...) derive from
// it. The VFS (walker.cpp and friends) does path walk, mounts, permission and sticky checks, and calls these with names
// that are single components.
#include <cstdint>
#include <string_view>

#include "guestkernel/auth/credentials.hpp"
#include "guestkernel/lib/ref.hpp"
#include "guestkernel/lib/string.hpp"
#include "guestkernel/lib/vector.hpp"
#include "guestkernel/vfs/file.hpp"

namespace kvmsbx::vfs {

// st_mode file types and bits (inode(7)).
inline constexpr uint32_t kModeTypeMask = 0170000, kModeSocket = 0140000, kModeLink = 0120000, kModeRegular = 0100000,
                          kModeBlock = 0060000, kModeDirectory = 0040000, kModeChar = 0020000, kModeFifo = 0010000,
                          kModeSetuid = 04000, kModeSetgid = 02000, kModeSticky = 01000;

struct Timestamp {
    int64_t seconds = 0;
    uint32_t nanoseconds = 0;
};

struct Attributes {
    uint64_t ino = 0;
    uint32_t mode = 0;  // type and permission bits
    uint32_t nlink = 0;
    uint32_t uid = 0, gid = 0;
    uint64_t rdev = 0;
    uint64_t size = 0, blocks = 0;  // bytes; units of 512 bytes
    uint32_t block_size = 4096;
    Timestamp atime, mtime, ctime, btime;
};

// What setattr changes; a field counts where its bit in `valid` is set.
struct AttributeChange {
    enum : uint32_t {
        kMode = 1,
        kUid = 2,
        kGid = 4,
        kSize = 8,
        kAtime = 16,
        kMtime = 32,
        kAtimeNow = 64,
        kMtimeNow = 128
    };
    uint32_t valid = 0;
    uint32_t mode = 0, uid = 0, gid = 0;
    uint64_t size = 0;
    Timestamp atime, mtime;
};

Timestamp current_time();  // CLOCK_REALTIME
// What set_attributes() does to attributes kept in memory: everything but the contents that a new size cuts off. ctime
// becomes now.
void apply_change(const AttributeChange& change, Attributes& attributes);

struct FsStatistics {  // statfs(2)
    uint64_t type = 0, block_size = 4096, blocks = 0, blocks_free = 0, blocks_available = 0, files = 0, files_free = 0,
             name_length = 255, id = 0;
};

struct NewNode {
    uint32_t mode;  // type and permission bits, umask applied
    uint32_t uid, gid;
    uint64_t rdev = 0;
};

struct DirectoryEntry {
    std::string_view name;
    uint64_t ino;
    uint8_t type;     // DT_*
    uint64_t cookie;  // d_off: where to go on after this entry
};

class DirectoryVisitor {
  public:
    // False stops the walk; that entry is not taken.
    virtual bool visit(const DirectoryEntry& entry) = 0;

  protected:
    ~DirectoryVisitor() = default;
};

class FileSystem : public RefCounted {  // a superblock
  public:
    FileSystem();
    virtual Result<FsStatistics> statistics() = 0;
    virtual std::string_view type_name() const = 0;
    // Options as /proc/mounts shows them behind the mount's own ("size=65536k,mode=1777"), or nothing.
    virtual Result<String> options() { return String(); }
    // syncfs(2): writes everything back. May block.
    virtual Result<> synchronize() { return {}; }
    // A remount with these options, as the type's factory takes them. EINVAL for options that cannot change.
    virtual Result<> reconfigure(std::string_view data) { return data.empty() ? Result<>() : Result<>(Errno::kINVAL); }
    // name_to_handle_at(2): an inode number names a file for as long as it has a name.
    virtual bool has_file_handles() const { return false; }
    // The attribute bits of statx(2) that mean something here.
    virtual uint64_t statx_attributes() const { return 0; }
    const uint64_t device;  // st_dev, unique per file system
    bool readonly = false;  // however it is mounted
    // False: names and attributes can change under us (--file-access=shared, proc): dentries are revalidated.
    bool cacheable_names = true;
};

struct Ownership {  // what permission checks look at
    uint32_t mode, uid, gid;
};

class Inode : public RefCounted {
  public:
    explicit Inode(RefPtr<FileSystem> fs) : fs_(std::move(fs)) {}
    ~Inode() override;
    FileSystem& fs() const { return *fs_; }
    // Which class it is, as File::class_tag; null for most.
    virtual const void* class_tag() const { return nullptr; }
    bool is_directory() const { return type() == kModeDirectory; }
    bool is_link() const { return type() == kModeLink; }

    // File systems whose names are not cached (FileSystem::cacheable_names): whether a new lookup of a name found what
    // `this` stands for. Both are of one file system.
    virtual bool is_same(const Inode& other) const { return this == &other; }

    virtual Result<Attributes> attributes() = 0;
    // Rules of who may change what are the VFS's (attributes.cpp). EPERM where the file system has no such attribute.
    virtual Result<> set_attributes(const AttributeChange& change) = 0;
    // Mode and owner alone; override it where that is cheaper than attributes().
    virtual Result<Ownership> ownership();
    // File type bits of the mode (constant for an inode's life).
    virtual uint32_t type() const = 0;

    // Directories.
    virtual Result<RefPtr<Inode>> lookup(std::string_view name);                       // ENOENT
    virtual Result<RefPtr<Inode>> create(std::string_view name, const NewNode& node);  // regular file; EEXIST
    // O_TMPFILE: a regular file of this directory's file system without a name. EOPNOTSUPP.
    virtual Result<RefPtr<Inode>> create_unnamed(const NewNode& node);
    virtual Result<RefPtr<Inode>> make_directory(std::string_view name, const NewNode& node);
    virtual Result<RefPtr<Inode>> make_node(std::string_view name, const NewNode& node);
    virtual Result<RefPtr<Inode>> make_symlink(std::string_view name, std::string_view target, const NewNode& node);
    virtual Result<> link(std::string_view name, Inode& target);
    virtual Result<> unlink(std::string_view name, Inode& victim);
    virtual Result<> remove_directory(std::string_view name, Inode& victim);
    // flags: RENAME_NOREPLACE 1, RENAME_EXCHANGE 2, RENAME_WHITEOUT 4 (EINVAL where there are none). new_parent is on
    // the same file system. target: what new_name is now, or null.
    virtual Result<> rename(std::string_view name, Inode& node, Inode& new_parent, std::string_view new_name,
                            Inode* target, uint32_t flags);
    virtual Result<> read_directory(uint64_t cookie, DirectoryVisitor& visitor);

    // Links. A magic link (/proc/self/fd/3, exe, cwd) gives a Path instead: see follow_magic_link.
    virtual Result<String> read_link();
    virtual bool is_magic_link() const { return false; }
    virtual Result<Path> follow_magic_link();

    // Opens: a File for regular files, directories and what the file system implements itself (devices and FIFOs are
    // opened by the VFS through device.hpp and pipe.hpp). path is kept by the File.
    virtual Result<RefPtr<File>> open(const Path& path, uint32_t flags) = 0;
    // A FIFO that is no pipe of ours (the container's standard streams): open() is to be called for it.
    virtual bool opens_itself() const { return false; }

    // Extended attributes as they are; the rules are the VFS's (xattr.hpp). EOPNOTSUPP where there are none; ENODATA.
    virtual Result<Vector<uint8_t>> get_xattr(std::string_view name);
    virtual Result<> set_xattr(std::string_view name, std::span<const uint8_t> value, uint32_t flags);
    virtual Result<> remove_xattr(std::string_view name);
    virtual Result<Vector<uint8_t>> list_xattrs();  // names, each ended by NUL

    // Extra permission rules; the default is mode bits and capabilities (vfs/permission.cpp).
    virtual bool always_readonly() const { return false; }

    // Held by the VFS over lookups that ask the file system and over changes of this directory; rename holds two.
    sched::Mutex directory_lock;
    // POSIX and flock locks of this inode (locks.hpp); null while there is none.
    class LockList* locks = nullptr;
    // Who watches it (watch.hpp); null: nobody.
    class Watches* watches = nullptr;
    // What another layer keeps with the inode: the pipe of a FIFO, the socket bound to a name.
    RefPtr<RefCounted> attachment;

    // security.capability is set, and goes when the file is written to or changes its owner.
    bool has_capabilities = false;

    // Without a name, and may get one by linkat(2): made by O_TMPFILE, and not with O_EXCL.
    bool linkable = false;

    // ETXTBSY: open descriptions that may write, and running programs.
    uint32_t writers = 0, executions = 0;

  private:
    RefPtr<FileSystem> fs_;
};

}  // namespace kvmsbx::vfs
