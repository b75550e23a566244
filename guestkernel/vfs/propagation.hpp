#pragma once
// Shared subtrees (mount_namespaces(7)): what is mounted on, or unmounted from, a mount of a peer group is mounted on
// and unmounted from its peers and their slaves, too. Model:
// - A peer group is a number that its members carry, and a slave carries its master group's: that is all. When a
//   group's last member goes, its slaves pass to the group's own master.
// - All members of a group have the same master.
#include "guestkernel/lib/vector.hpp"
#include "guestkernel/vfs/mount.hpp"

namespace kvmsbx::vfs {

// A tree of mounts in the making: taken apart again unless it is released.
class NewTree {
  public:
    NewTree() = default;
    explicit NewTree(RefPtr<Mount> top) : top_(std::move(top)) {}
    NewTree(NewTree&&) = default;
    NewTree& operator=(NewTree&& other) noexcept {
        std::swap(top_, other.top_);
        return *this;
    }
    ~NewTree() {
        if (top_) dissolve(*top_);
    }
    Mount& top() const { return *top_; }
    RefPtr<Mount> release() { return std::move(top_); }

  private:
    RefPtr<Mount> top_;
};

// How a copy relates to what it is a copy of.
enum class CopyAs : uint8_t {
    kAsItIs,       // in the same group, if it is in one
    kSlave,        // a slave of the original's group
    kSharedSlave,  // and in a new group of its own
};
enum class CopyWhat : uint8_t { kOneMount, kTree };

// Copies `source` with `root` (at or below the source's own) as its root, and the mounts below that; those that are
// unbindable are left out. ENOMEM.
Result<NewTree> copy_tree(Mount& source, Dentry& root, CopyAs relation, CopyWhat what);

// mount(2) with one of kMsShared, kMsPrivate, kMsSlave, kMsUnbindable, for this mount alone.
void change_propagation(Mount& mount, uint64_t type);

// Mounts the tree on `place` (the topmost there) of the namespace and everywhere that this propagates to; it may come
// from another place of the namespace. ENOSPC: too many mounts; ENOMEM.
Result<> mount_and_propagate(Mount& tree, const Path& place);

// Unmounts the tree, and from where this propagates to, what stands at the same places with nothing else on it.
// ENOMEM.
Result<> unmount_and_propagate(Mount& tree);
// Whether one of the mounts that would go with `mount` is in use.
bool copies_are_busy(const Mount& mount);
// Whether an event on `origin` reaches `mount`. ENOMEM.
Result<bool> propagates_to(const Mount& origin, const Mount& mount);
// References to it beyond those of the tree.
inline uint32_t uses_of(const Mount& mount) {
    return mount.reference_count() - mount.watches - (mount.place.is_set() ? 1 : 0);
}

// For mountinfo's propagate_from: the nearest group that `mount` gets events from with a member for which `visible`
// holds; 0: none.
template <typename Visible>
uint32_t dominating_group(const Mount& mount, Visible visible) {
    uint32_t group = mount.master_group;
    while (group != 0) {
        uint32_t master = 0;
        for (Mount& other : all_mounts()) {
            if (other.peer_group != group) continue;
            if (other.in_namespace && visible(other)) return group;
            master = other.master_group;
        }
        group = master;
    }
    return 0;
}

}  // namespace kvmsbx::vfs
