#pragma once
// The inodes of tmpfs (see tmpfs.hpp). Inside fs/tmpfs*.cpp only.
#include "guestkernel/fs/page_io.hpp"
#include "guestkernel/fs/tmpfs.hpp"
#include "guestkernel/vfs/inode_file.hpp"

namespace kvmsbx::fs::tmpfs {

using vfs::Attributes;
using vfs::Inode;

class Node;

// F_SEAL_* of fcntl(2).
inline constexpr uint32_t kSealSeal = 1, kSealShrink = 2, kSealGrow = 4, kSealWrite = 8, kSealFutureWrite = 0x10,
                          kSealExec = 0x20, kSealAll = 0x3f;

class Super final : public vfs::FileSystem {
  public:
    explicit Super(std::string_view type) : type_(type) {}
    Result<vfs::FsStatistics> statistics() override;
    std::string_view type_name() const override { return type_; }
    Result<String> options() override;
    Result<> configure(std::string_view data);
    Result<> reconfigure(std::string_view data) override;
    bool has_file_handles() const override { return true; }
    uint64_t statx_attributes() const override { return 0x70; }  // immutable, append, nodump

    // Accounts for pages; ENOSPC.
    Result<> take_pages(uint64_t count);
    void give_pages(uint64_t count) { used_pages -= count; }

    Result<> take_xattr_bytes(uint64_t count);  // ENOSPC
    uint64_t xattr_bytes = 0;

    // What a remount can change.
    struct Limits {
        uint64_t pages = 0, inodes = 0;  // 0: none
        uint8_t huge = 0;                // huge=, as it is shown: mm decides about huge pages
        String policy;                   // mpol=, as it is shown
        Result<> read(std::string_view data);
    } limits;
    uint64_t used_pages = 0, used_inodes = 0, last_ino = 0;
    uint32_t root_mode = 01777, root_uid = 0, root_gid = 0;

  private:
    const std::string_view type_;
    bool no_swap_ = false;
};

struct Xattr {
    String name;
    Vector<uint8_t> value;
};
// A node's extended attributes; most nodes have no table.
class XattrTable final : public RefCounted {
  public:
    explicit XattrTable(RefPtr<Super> of) : super(std::move(of)) {}
    ~XattrTable() override;
    Xattr* find(std::string_view name);
    RefPtr<Super> super;
    Vector<Xattr> entries;
};

// What all kinds share: attributes in memory.
class Node : public Inode {
  public:
    Node(RefPtr<Super> super, const vfs::NewNode& node);
    ~Node() override;
    Result<Attributes> attributes() override { return attributes_; }
    Result<vfs::Ownership> ownership() override {
        return vfs::Ownership{attributes_.mode, attributes_.uid, attributes_.gid};
    }
    Result<> set_attributes(const vfs::AttributeChange& change) override;
    uint32_t type() const override { return attributes_.mode & vfs::kModeTypeMask; }
    Result<RefPtr<vfs::File>> open(const vfs::Path&, uint32_t) override { return Errno::kNXIO; }

    Result<Vector<uint8_t>> get_xattr(std::string_view name) override;
    Result<> set_xattr(std::string_view name, std::span<const uint8_t> value, uint32_t flags) override;
    Result<> remove_xattr(std::string_view name) override;
    Result<Vector<uint8_t>> list_xattrs() override;

    Super& super() const { return static_cast<Super&>(fs()); }
    void add_links(int count);
    void touch();  // mtime and ctime

  protected:
    Attributes attributes_;

  private:
    RefPtr<XattrTable> xattrs_;
};

class Link final : public Node {
  public:
    Link(RefPtr<Super> super, const vfs::NewNode& node, String target)
        : Node(std::move(super), node), target_(std::move(target)) {
        attributes_.size = target_.size();
    }
    Result<String> read_link() override { return target_.clone(); }

  private:
    String target_;
};

// The contents of a regular file.
class Pages final : public mm::Mappable {
  public:
    explicit Pages(RefPtr<Super> super) : super_(std::move(super)) {}
    ~Pages() override;
    Result<Frame*> get_page(uint64_t index, bool for_write) override;
    Frame* cached_page(uint64_t index) override { return cache_.find(index); }
    mm::PageCache* page_cache() override { return &cache_; }
    bool ignores_writes() const override { return true; }
    Result<> punch_pages(uint64_t first, uint64_t last) override;
    Result<> check_shared(uint32_t protection, uint32_t& max_protection) override;
    // Without a check against the size. ENOSPC, ENOMEM. New reference.
    Result<Frame*> obtain(uint64_t index);
    void set_size(uint64_t bytes);             // cuts off what lies behind
    void drop_beyond(uint64_t index);          // a page that a write beyond the end did not fill
    void punch(uint64_t start, uint64_t end);  // bytes become zero, whole pages are freed
    uint64_t size = 0;
    uint64_t page_count() const { return cache_.page_count(); }
    uint32_t seals = 0;
    bool sealable = false;

  private:
    void zero_part(uint64_t start, uint64_t end);
    RefPtr<Super> super_;
    mm::PageCache cache_;
};

class Regular final : public Node {
  public:
    Regular(RefPtr<Super> super, const vfs::NewNode& node, RefPtr<Pages> pages)
        : Node(std::move(super), node), pages_(std::move(pages)) {}
    Result<Attributes> attributes() override;
    Result<> set_attributes(const vfs::AttributeChange& change) override;
    Result<RefPtr<vfs::File>> open(const vfs::Path& path, uint32_t flags) override;
    Pages& pages() const { return *pages_; }
    void accessed();  // relatime
    // Writers one after the other: write(2) is atomic, and appends do not overlap.
    sched::Mutex write_lock;

  private:
    RefPtr<Pages> pages_;
};

class RegularFile : public vfs::InodeFile {
  public:
    using InodeFile::InodeFile;
    Result<size_t> read_at(mm::IoBuffer& to, uint64_t offset) override;
    Result<size_t> write_at(mm::IoBuffer& from, uint64_t offset) override;
    Result<> fsync(bool) override { return {}; }
    Result<RefPtr<mm::Mappable>> mappable() override { return RefPtr<mm::Mappable>(node().pages()); }
    Result<> allocate(uint32_t mode, uint64_t offset, uint64_t length) override;
    Result<uint64_t> seek(int64_t offset, int whence) override;

  protected:
    Result<size_t> append(mm::IoBuffer& from, uint64_t& end) override;

  private:
    Result<size_t> write_locked(mm::IoBuffer& from, uint64_t offset);
    Regular& node() const { return static_cast<Regular&>(*inode_); }
};

struct Entry {
    String name;
    RefPtr<Node> node;
    uint64_t cookie;
    TreeHook by_name, by_cookie;
};
struct EntryName {
    using type = std::string_view;
    type operator()(const Entry& entry) const { return entry.name; }
};
struct EntryCookie {
    using type = uint64_t;
    type operator()(const Entry& entry) const { return entry.cookie; }
};

class Directory final : public Node {
  public:
    using Node::Node;
    ~Directory() override;
    Result<RefPtr<Inode>> lookup(std::string_view name) override;
    Result<RefPtr<Inode>> create(std::string_view name, const vfs::NewNode& node) override;
    Result<RefPtr<Inode>> create_unnamed(const vfs::NewNode& node) override;
    Result<RefPtr<Inode>> make_directory(std::string_view name, const vfs::NewNode& node) override;
    Result<RefPtr<Inode>> make_node(std::string_view name, const vfs::NewNode& node) override;
    Result<RefPtr<Inode>> make_symlink(std::string_view name, std::string_view target,
                                       const vfs::NewNode& node) override;
    Result<> link(std::string_view name, Inode& target) override;
    Result<> unlink(std::string_view name, Inode& victim) override;
    Result<> remove_directory(std::string_view name, Inode& victim) override;
    Result<> rename(std::string_view name, Inode& node, Inode& new_parent, std::string_view new_name, Inode* target,
                    uint32_t flags) override;
    Result<> read_directory(uint64_t cookie, vfs::DirectoryVisitor& visitor) override;
    Result<RefPtr<vfs::File>> open(const vfs::Path& path, uint32_t flags) override {
        return vfs::open_directory(path, flags);
    }
    ListHook doomed_hook;

  protected:
    void last_reference_gone() override;

  private:
    Entry* find(std::string_view name);
    Result<> add(std::string_view name, RefPtr<Node> node);
    void remove(Entry& entry);
    void replace(Entry& entry, RefPtr<Node> node);  // by what is no directory
    Tree<Entry, &Entry::by_name, boost::intrusive::key_of_value<EntryName>> names_;
    Tree<Entry, &Entry::by_cookie, boost::intrusive::key_of_value<EntryCookie>> cookies_;
    uint64_t last_cookie_ = 2;  // 1 and 2: "." and ".."
};

Result<RefPtr<Super>> make_super(std::string_view type, const vfs::MountOptions& options);
Result<RefPtr<Regular>> make_regular(RefPtr<Super> super, const vfs::NewNode& node);

}  // namespace kvmsbx::fs::tmpfs
