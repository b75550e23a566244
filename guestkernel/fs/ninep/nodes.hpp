#pragma once
// Inodes of the 9P file system (see ninep.hpp). Inside fs/ninep/ only.
#include "guestkernel/fs/ninep/client.hpp"
#include "guestkernel/fs/page_io.hpp"
#include "guestkernel/vfs/inode_file.hpp"

namespace kvmsbx::fs::ninep {

using fs::Frame;
using fs::kPageSize;
using vfs::Attributes;
using vfs::Inode;

class Node;
class Directory;

struct NodeKey {
    using type = uint64_t;
    type operator()(const Node& node) const;
};

class Super final : public vfs::FileSystem {
  public:
    Super(Client& client, bool shared) : client(client), shared(shared) { cacheable_names = !shared; }
    ~Super() override;
    Result<vfs::FsStatistics> statistics() override;
    std::string_view type_name() const override { return "9p"; }
    Result<String> options() override;
    Result<> synchronize() override;
    // The inode of that qid: the one known, with its attributes refreshed (the fid is given back), or a new one that
    // owns the fid. EIO: nonsense.
    Result<RefPtr<Node>> obtain(const Client::Walked& walked);
    // The same for an entry of a directory, whose inode has no fid before it is needed.
    Result<RefPtr<Node>> obtain_entry(Directory& parent, std::string_view name, const p9::Attr& attr);

    Client& client;
    const bool shared;
    uint32_t root_fid = p9::kNoFid;
    // Grows when an inode that was changed here is forgotten: what directories told of it before is too old.
    uint32_t forgotten_changes = 0;

  private:
    friend class Node;
    Result<RefPtr<Node>> create(uint32_t fid, const Attributes& attributes);
    void insert(Node& node);
    struct Table;
    Table* table_ = nullptr;
};

// What all kinds share: the fid and the attributes. An inode that was met in a listing of its directory has no fid
// until it is needed: most are only looked at (stat(2)).
class Node : public Inode {
  public:
    Node(RefPtr<Super> super, uint32_t fid, const Attributes& attributes)
        : Inode(super), fid_(fid), attributes_(attributes) {}
    ~Node() override;
    // For a new inode without a fid: where it can be walked to.
    Result<> set_origin(Directory& parent, std::string_view name);
    Result<Attributes> attributes() override;
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
    Client& client() const { return super().client; }
    // Opens the inode for reading, without a fid of its own where that is not needed: as Client::open().
    Result<Client::Opened> open_for_reading(Call& call, uint32_t read_count);
    // Walks to the inode if need be. ESTALE: the name stands for another one by now.
    Result<uint32_t> fid() { return fid_ != p9::kNoFid ? Result<uint32_t>(fid_) : walk_to_it(); }
    uint64_t number() const { return attributes_.ino; }
    void stale() { stale_ = true; }  // times, links or size changed on the server: ask when next wanted
    bool is_unlinked() const { return attributes_.nlink == 0; }
    void lost_name();                                      // one link less
    virtual void refreshed(const Attributes& attributes);  // the server's word
    TreeHook table_hook;

  protected:
    Result<Attributes> ask();
    uint32_t fid_;
    Attributes attributes_;
    bool stale_ = false;
    bool no_capability_ = false;  // known to have no security.capability
    uint32_t changes_ = 0;        // counts local changes: an answer asked for before one is too old

  private:
    Result<uint32_t> walk_to_it();
    RefPtr<Node> origin_;  // while there is no fid
    String origin_name_;
};

// What a listing told of names that nobody has looked up yet. Bounded: the oldest listings' go.
class Listing {
  public:
    struct Entry {
        String name;
        p9::Attr attr;
        TreeHook hook;
    };
    ~Listing() { clear(); }
    // epoch: Super::forgotten_changes when the listing was asked for.
    void start(uint32_t epoch);
    void add(std::string_view name, const p9::Attr& attr);  // not without memory, or beyond the bound
    // Gives the entry out; false: not known, or too old.
    bool take(std::string_view name, uint32_t epoch, p9::Attr& attr);
    void forget(std::string_view name);
    void clear();
    // A listing was kept, and nobody looked anything up.
    bool was_useless() const { return added_ > 0 && taken_ == 0; }

  private:
    static constexpr size_t kMaxEntries = 8192;
    struct NameOf {
        using type = std::string_view;
        type operator()(const Entry& entry) const { return entry.name.view(); }
    };
    void remove(Entry& entry);
    Tree<Entry, &Entry::hook, boost::intrusive::key_of_value<NameOf>> entries_;
    size_t count_ = 0, added_ = 0, taken_ = 0;
    uint32_t epoch_ = 0;
};

class Link final : public Node {
  public:
    using Node::Node;
    Result<String> read_link() override;

  private:
    String target_;
};

class Directory final : public Node {
  public:
    using Node::Node;
    ~Directory() override;
    Result<RefPtr<Inode>> lookup(std::string_view name) override;
    Result<RefPtr<Inode>> create(std::string_view name, const vfs::NewNode& node) override;
    Result<RefPtr<Inode>> make_directory(std::string_view name, const vfs::NewNode& node) override {
        return make(name, {}, node);
    }
    Result<RefPtr<Inode>> make_node(std::string_view name, const vfs::NewNode& node) override {
        return make(name, {}, node);
    }
    Result<RefPtr<Inode>> make_symlink(std::string_view name, std::string_view target,
                                       const vfs::NewNode& node) override {
        return make(name, target, node);
    }
    Result<> link(std::string_view name, Inode& target) override;
    Result<> unlink(std::string_view name, Inode& victim) override;
    Result<> remove_directory(std::string_view name, Inode& victim) override;
    Result<> rename(std::string_view name, Inode& node, Inode& new_parent, std::string_view new_name, Inode* target,
                    uint32_t flags) override;
    Result<> read_directory(uint64_t cookie, vfs::DirectoryVisitor& visitor) override;
    Result<RefPtr<vfs::File>> open(const vfs::Path& path, uint32_t flags) override {
        return vfs::open_directory(path, flags);
    }

  private:
    Result<RefPtr<Inode>> make(std::string_view name, std::string_view target, const vfs::NewNode& node);
    void changed();  // a name came or went
    Result<uint32_t> fid_for_listing();
    // An answer to a request for entries, and how far it was shown.
    struct Batch {
        Vector<uint8_t> bytes;
        size_t position = 0;
        uint64_t first_cookie = 0;  // that was asked for
        uint64_t cookie = 0;        // behind the last entry shown
        uint32_t changes = 0;
        bool with_attributes = false, at_end = false;
    };
    bool is_whole(const Batch& batch) const { return batch.first_cookie == 0 && batch.at_end; }
    void keep_whole(Batch batch);
    Batch take_whole();
    Result<Batch> ask_for_batch(uint64_t cookie);
    template <typename Entry>
    Result<bool> visit(Batch& batch, vfs::DirectoryVisitor& visitor);
    template <typename Entry>
    Result<> keep_all(std::span<const uint8_t> bytes);
    Batch unread_;
    Batch whole_;              // all there is, as long as the directory does not change; empty: not kept
    bool was_listed_ = false;  // whoever lists once may list again, whoever lists twice will
    ListHook whole_hook_;
    static auto& with_whole();
    void keep(const p9::DirEntry&) {}
    void keep(const p9::DirEntryAttr& entry);
    Listing listing_;
    bool attributes_wanted_ = false;  // of the listing that is being read
    static constexpr uint64_t kNoCookie = ~0ULL;
    uint32_t open_fid_ = p9::kNoFid;
    uint64_t end_cookie_ = kNoCookie;  // nothing follows it, as long as the directory does not change
};

class Regular;

// The pages of a regular file. Outlives its inode where a mapping does.
class Contents final : public mm::Mappable {
  public:
    explicit Contents(Regular* owner) : owner(owner) {}
    ~Contents() override;
    Result<Frame*> get_page(uint64_t index, bool for_write) override;
    Frame* cached_page(uint64_t index) override { return cache.find(index); }
    mm::PageCache* page_cache() override { return &cache; }
    Result<> write_back(uint64_t first, uint64_t last) override;
    void note_lost(Errno error) override;
    void mark_dirty(uint64_t index) override;
    // EEXIST: there is one already. Takes over the reference.
    Result<> insert(uint64_t index, Frame* frame);
    void drop(uint64_t index);
    void cut(uint64_t size);                  // the file ends there now
    void zero(uint64_t start, uint64_t end);  // in the pages that are here
    uint64_t drop_clean();                    // all pages that are clean and not mapped
    bool has_mapped_dirty() const { return mapped_first_ <= mapped_last_; }
    void take_mapped_dirty(uint64_t& first, uint64_t& last);
    // Evicts clean pages, mapped or not, about `wanted` of them, from where the last call ended to the end of the file.
    uint64_t evict_from_hand(uint64_t wanted);

    mm::PageCache cache{mm::PageCache::Content::kOfFile};
    Regular* owner;  // null: the inode is gone

  private:
    void complete_block(uint64_t index);
    uint64_t mapped_first_ = ~0ULL, mapped_last_ = 0;  // bounds of the dirty marks
    uint64_t hand_ = 0;                                // of the clock that evict_from_hand() is
};

class Regular final : public Node {
  public:
    using Node::Node;
    ~Regular() override;
    Result<Attributes> attributes() override;
    Result<> set_attributes(const vfs::AttributeChange& change) override;
    Result<RefPtr<vfs::File>> open(const vfs::Path& path, uint32_t flags) override;
    void refreshed(const Attributes& attributes) override;

    uint64_t size() const { return attributes_.size; }
    Result<Contents*> contents();
    void adopt_write_fid(uint32_t fid);

    // The page with a new reference, read from the server if need be (with neighbours).
    Result<Frame*> page(uint64_t index);
    // write(2): write_lock is held.
    Result<size_t> write_locked(mm::IoBuffer& from, uint64_t offset);
    Result<> flush_locked();
    Result<> flush();                                           // takes write_lock
    Result<> write_back_mapped(uint64_t first, uint64_t last);  // dirty marks of shared mappings
    Result<> synchronize(bool data_only);
    void note_lost(Errno error) { lost_ = error; }
    Result<> take_lost();  // what note_lost() was told, once
    // fallocate(2); zeroes: the range reads as zeroes after it.
    Result<> allocate(uint32_t mode, uint64_t offset, uint64_t length, bool zeroes);
    bool is_dirty() const { return dirty_start_ < dirty_end_; }
    void close_idle_fids();
    uint64_t drop_clean_pages();
    uint64_t evict(uint64_t wanted);
    // For eviction, without a wait for others; false: nothing was to be done.
    bool write_back_for_eviction();
    bool is_dirty_in(uint64_t first, uint64_t last) const {  // pages
        return is_dirty() && dirty_start_ / kPageSize <= last && (dirty_end_ - 1) / kPageSize >= first;
    }

    sched::Mutex write_lock;
    ListHook dirty_hook, fids_hook, cached_hook;
    RefPtr<Contents> contents_;

  private:
    friend class Contents;
    Result<uint32_t> fid_for_reading();
    Result<uint32_t> fid_for_writing();
    void keep_fids();
    Result<> fill(uint64_t index);
    Result<> fill_from(uint64_t first, uint64_t count, std::span<const uint8_t> bytes);
    Result<> prefetch_at_open();
    Result<> send(uint64_t start, uint64_t end);  // the bytes of the cached pages; io_lock is held
    Result<Frame*> page_to_write(uint64_t index, bool whole);
    bool wrote(uint64_t offset, size_t count, size_t wanted);
    Result<> truncate(const vfs::AttributeChange& change);
    void zero_gap(uint64_t offset);  // between the end of the file and offset, in the cached last page

    sched::Mutex io_lock_;
    uint32_t read_fid_ = p9::kNoFid, write_fid_ = p9::kNoFid;
    uint64_t next_read_ = 0;  // page index after the last fill: reading goes on there
    uint64_t fresh_ = ~0ULL;  // index of a page that write put into the cache without asking the server for it
    Result<> flush_error_;    // of a flush in the midst of a write
    Result<> lost_;           // of a write-back that nobody asked for
    uint64_t dirty_start_ = 0, dirty_end_ = 0;  // bytes written and not flushed; all of their pages are cached
};

class RegularFile final : public vfs::InodeFile {
  public:
    using InodeFile::InodeFile;
    Result<size_t> read_at(mm::IoBuffer& to, uint64_t offset) override;
    Result<size_t> write_at(mm::IoBuffer& from, uint64_t offset) override;
    Result<> fsync(bool data_only) override { return node().synchronize(data_only); }
    Result<RefPtr<mm::Mappable>> mappable() override;
    Result<> allocate(uint32_t mode, uint64_t offset, uint64_t length) override;
    Result<> flush() override;

  protected:
    Result<size_t> append(mm::IoBuffer& from, uint64_t& end) override;

  private:
    Result<size_t> finish(Result<size_t> written);
    Regular& node() const { return static_cast<Regular&>(*inode_); }
};

// Regular files with unflushed data, with open fids, with cached pages: each in order of use.
void note_dirty(Regular& file);
void note_cached(Regular& file);

}  // namespace kvmsbx::fs::ninep
