#pragma once
// The dentry cache. A dentry is a name in a directory and what it names: an inode, or nothing (a negative dentry, which
// saves asking the file system again). Model:
// - A dentry holds its parent and its inode; the tree of dentries of a file system hangs on its root dentry, which its
//   mounts hold.
// - Hashed dentries are found by (parent, name) and are what the file system says. One that nobody refers to stays
//   hashed, on the LRU list; the oldest go when there are more than limit_unused() allows, or when what they hold
//   (memory, the gofer's descriptors) runs out.
// - drop() unhashes: the name was unlinked or replaced. The object lives on while a file, a working directory or a
//   child refers to it.
// - Whoever changes or fills a directory holds its inode's directory_lock; finding in the cache needs no lock.
#include "guestkernel/lib/list.hpp"
#include "guestkernel/vfs/inode.hpp"

namespace kvmsbx::vfs {

class Dentry final : public RefCounted {
  public:
    // The root of a file system, or a nameless dentry for an object outside any tree.
    static Result<RefPtr<Dentry>> create_root(RefPtr<Inode> inode);
    // From the cache; null: not known.
    static RefPtr<Dentry> find(Dentry& parent, std::string_view name);
    // A new dentry, hashed unless the file system's names cannot be cached. inode null: negative. ENOMEM.
    static Result<RefPtr<Dentry>> create(Dentry& parent, std::string_view name, RefPtr<Inode> inode);

    // A name that stands for an object outside the directory's own names: shown as deleted, never found.
    static Result<RefPtr<Dentry>> create_unhashed(Dentry& parent, std::string_view name, RefPtr<Inode> inode);

    const RefPtr<Dentry>& parent() const { return parent_; }  // null: a root
    std::string_view name() const { return name_; }
    Inode* inode() const { return inode_.get(); }
    bool is_negative() const { return !inode_; }
    bool is_dropped() const { return dropped_; }

    // A negative dentry's name was created.
    void set_inode(RefPtr<Inode> inode) { inode_ = std::move(inode); }
    // The name is gone: out of the cache, with the negative dentries below it.
    void drop();
    // rename(2): the same object under another name; what stood there must have been dropped.
    void move(RefPtr<Dentry> new_parent, String new_name);
    // rename(2) with RENAME_EXCHANGE.
    static void exchange(Dentry& a, Dentry& b);
    bool is_below(const Dentry& ancestor) const;  // or the same

    unsigned mounts = 0;  // how many mounts stand on it

    // Frees unused dentries (and with them inodes and page caches), the oldest first; gives how many went.
    static size_t shrink(size_t count);
    static size_t count_unused();
    // How many unused ones may be kept from now on.
    static void limit_unused(size_t count);

    Dentry() = default;  // use create()
    ListHook hash_hook_, unused_hook_, child_hook_;

  protected:
    void last_reference_gone() override;

  private:
    ~Dentry() override = default;
    void hash();
    void attach(RefPtr<Dentry> parent);
    static void destroy(Dentry* dentry);

    String name_;
    RefPtr<Dentry> parent_;
    RefPtr<Inode> inode_;
    bool dropped_ = false;
    List<Dentry, &Dentry::child_hook_> children_;
};

}  // namespace kvmsbx::vfs
