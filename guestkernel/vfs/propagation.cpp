#include "guestkernel/vfs/propagation.hpp"

#include "guestkernel/vfs/dentry.hpp"

namespace kvmsbx::vfs {

namespace {

constexpr size_t kMaxMounts = 100000;  // fs.mount-max
uint32_t last_group;

bool has_members(uint32_t group) {
    for (const Mount& mount : all_mounts())
        if (mount.peer_group == group) return true;
    return false;
}

// Gives the mount's group up; what it gets events from then, should it become a slave.
uint32_t leave_group(Mount& mount) {
    const uint32_t group = mount.peer_group;
    mount.peer_group = 0;
    if (group == 0) return mount.master_group;
    if (has_members(group)) return group;
    for (Mount& slave : all_mounts())
        if (slave.master_group == group) slave.master_group = mount.master_group;
    return mount.master_group;
}

Result<RefPtr<Mount>> copy_mount(const Mount& source, Dentry& root, CopyAs relation) {
    RefPtr<Mount> copy = TRY(make_mount(RefPtr<Dentry>(root), source.source, source.flags));
    if (relation == CopyAs::kAsItIs) {
        copy->peer_group = source.peer_group;
        copy->master_group = source.master_group;
    } else {
        copy->master_group = source.peer_group;
        if (relation == CopyAs::kSharedSlave) copy->peer_group = ++last_group;
    }
    return copy;
}

struct CopiedMount {
    Mount* from;
    Mount* to;
};

Mount* copy_of(const Vector<CopiedMount>& copied, const Mount& from) {
    for (const CopiedMount& pair : copied)
        if (pair.from == &from) return pair.to;
    return nullptr;
}

}  // namespace

Result<NewTree> copy_tree(Mount& source, Dentry& root, CopyAs relation, CopyWhat what) {
    NewTree tree(TRY(copy_mount(source, root, relation)));
    if (what == CopyWhat::kOneMount) return tree;
    Vector<CopiedMount> copied;
    TRY(copied.push_back({&source, &tree.top()}));
    for (Mount* mount = next_in_tree(source, source); mount; mount = next_in_tree(*mount, source)) {
        // Below a mount that was left out, and beside the part that is copied, there is no copy to stand on.
        Mount* const parent = copy_of(copied, mount->place.mount());
        if (!parent || mount->unbindable) continue;
        if (&mount->place.mount() == &source && !mount->place.dentry().is_below(root)) continue;
        RefPtr<Mount> copy = TRY(copy_mount(*mount, *mount->root(), relation));
        attach(*copy, Path(RefPtr<Mount>(*parent), RefPtr<Dentry>(mount->place.dentry())));
        TRY(copied.push_back({mount, copy.get()}));
    }
    return tree;
}

void change_propagation(Mount& mount, uint64_t type) {
    if (type == kMsShared) {
        if (mount.peer_group == 0) mount.peer_group = ++last_group;
        mount.unbindable = false;
        return;
    }
    const uint32_t master = leave_group(mount);
    if (type == kMsSlave) {
        mount.master_group = master;
        return;
    }
    mount.master_group = 0;
    mount.unbindable = type == kMsUnbindable;
}

namespace {

// The mounts of the namespace to which an event on `origin` propagates: its peers, then the slaves group by group, each
// group after the one that it hears.
Result<Vector<Mount*>> receivers_of(const Mount& origin) {
    Vector<Mount*> receivers;
    if (origin.peer_group == 0) return receivers;
    Vector<uint32_t> groups;
    TRY(groups.push_back(origin.peer_group));
    for (size_t i = 0; i < groups.size(); ++i) {
        const uint32_t group = groups[i];
        for (Mount& mount : all_mounts())
            if (mount.in_namespace && mount.peer_group == group && &mount != &origin) TRY(receivers.push_back(&mount));
        for (Mount& mount : all_mounts()) {
            if (!mount.in_namespace || mount.master_group != group) continue;
            if (mount.peer_group == 0) TRY(receivers.push_back(&mount));
            bool known = mount.peer_group == 0;
            for (uint32_t other : groups) known = known || other == mount.peer_group;
            if (!known) TRY(groups.push_back(mount.peer_group));
        }
    }
    return receivers;
}

struct Copy {
    NewTree tree;
    Path place;
};

// The copies that a mount event makes.
class Copies {
  public:
    Copies(Mount& tree, const Path& place) : place_(place) { origin_ = {place.mount().peer_group, &tree}; }
    Result<> make() {
        const Vector<Mount*> receivers = TRY(receivers_of(place_.mount()));
        TRY(models_.push_back(origin_));
        for (Mount* receiver : receivers)
            if (place_.dentry().is_below(*receiver->root())) TRY(copy_for(*receiver));
        return {};
    }
    Vector<Copy>& all() { return copies_; }

  private:
    // What the copies for one group of receivers are copies of.
    struct Model {
        uint32_t group;
        Mount* tree;
    };
    Mount* model_of(uint32_t group) const {
        for (const Model& model : models_)
            if (model.group == group) return model.tree;
        return nullptr;
    }
    // The model of the nearest group above that has one: groups none of whose members shows the place have none.
    Mount* model_above(const Mount& receiver) const {
        for (uint32_t group = receiver.master_group; group != 0;) {
            if (Mount* model = model_of(group)) return model;
            uint32_t master = 0;
            for (const Mount& other : all_mounts())
                if (other.peer_group == group) master = other.master_group;
            group = master;
        }
        return origin_.tree;
    }
    Result<> copy_for(Mount& mount) {
        Mount* model = mount.peer_group ? model_of(mount.peer_group) : nullptr;
        const bool first_of_group = mount.peer_group != 0 && !model;
        CopyAs relation = CopyAs::kAsItIs;
        if (!model) {
            model = model_above(mount);
            relation = first_of_group ? CopyAs::kSharedSlave : CopyAs::kSlave;
        }
        NewTree tree = TRY(copy_tree(*model, *model->root(), relation, CopyWhat::kTree));
        if (first_of_group) TRY(models_.push_back({mount.peer_group, &tree.top()}));
        return copies_.push_back({std::move(tree), Path(RefPtr<Mount>(mount), RefPtr<Dentry>(place_.dentry()))});
    }

    const Path place_;
    Model origin_;
    Vector<Model> models_;
    Vector<Copy> copies_;
};

// The tree comes to stand on the place; what stood there stands on the tree's top then.
void put_below(Mount& tree, const Path& place) {
    const RefPtr<Mount> above(mount_on(place));
    attach(tree, place);
    if (!above) return;
    detach(*above);
    attach(*above, topmost(Path(RefPtr<Mount>(tree), tree.root())));
}

size_t size_of(Mount& tree) {
    size_t count = 0;
    for (Mount* mount = &tree; mount; mount = next_in_tree(*mount, tree)) ++count;
    return count;
}

}  // namespace

Result<> mount_and_propagate(Mount& tree, const Path& place) {
    const RefPtr<Mount> keep(tree);
    const size_t size = size_of(tree);
    if (mount_count() + (tree.in_namespace ? 0 : size) > kMaxMounts) return Errno::kNOSPC;
    const bool shared = place.mount().peer_group != 0;
    if (shared)
        for (Mount* mount = &tree; mount; mount = next_in_tree(*mount, tree)) change_propagation(*mount, kMsShared);
    Copies copies(tree, place);
    if (shared) TRY(copies.make());
    if (mount_count() + (copies.all().size() + 1) * size > kMaxMounts) return Errno::kNOSPC;
    if (tree.place.is_set()) detach(tree);
    put_below(tree, place);
    enter_namespace(tree);
    for (Copy& copy : copies.all()) {
        const RefPtr<Mount> top = copy.tree.release();
        put_below(*top, copy.place);
        enter_namespace(*top);
    }
    return {};
}

namespace {

bool contains(const Vector<RefPtr<Mount>>& mounts, const Mount& mount) {
    for (const RefPtr<Mount>& one : mounts)
        if (one == &mount) return true;
    return false;
}

// Something stands on the mount that does not go with it, other than on its root, which can stay.
bool is_needed(const Mount& mount, const Vector<RefPtr<Mount>>& going) {
    for (const Mount& child : mount.children)
        if (&child.place.dentry() != mount.root().get() && !contains(going, child)) return true;
    return false;
}

Result<Vector<RefPtr<Mount>>> all_that_goes(Mount& tree) {
    Vector<RefPtr<Mount>> going;
    for (Mount* mount = &tree; mount; mount = next_in_tree(*mount, tree)) TRY(going.push_back(RefPtr<Mount>(*mount)));
    const size_t own = going.size();
    for (size_t i = 0; i < own; ++i) {
        const Path& place = going[i]->place;
        if (!place.is_set()) continue;
        for (Mount* receiver : TRY(receivers_of(place.mount()))) {
            Mount* copy = mount_on(Path(RefPtr<Mount>(*receiver), RefPtr<Dentry>(place.dentry())));
            if (copy && !contains(going, *copy)) TRY(going.push_back(RefPtr<Mount>(*copy)));
        }
    }
    for (size_t i = own; i < going.size();) {
        if (!is_needed(*going[i], going)) {
            ++i;
            continue;
        }
        going.erase(i);
        i = own;  // what it stands on is needed now, too
    }
    return going;
}

}  // namespace

Result<bool> propagates_to(const Mount& origin, const Mount& mount) {
    for (const Mount* receiver : TRY(receivers_of(origin)))
        if (receiver == &mount) return true;
    return false;
}

Result<> unmount_and_propagate(Mount& tree) {
    Vector<RefPtr<Mount>> going = TRY(all_that_goes(tree));
    // From the end, so that a mount goes before the one that it stands on, except for copies: those hand their place
    // on.
    for (size_t i = going.size(); i-- > 0;) {
        Mount& mount = *going[i];
        const RefPtr<Mount> above(mount_on(Path(RefPtr<Mount>(mount), mount.root())));
        const Path place(mount.place);
        forget(mount);
        if (place.is_set()) detach(mount);
        if (!above || contains(going, *above) || !place.is_set()) continue;
        detach(*above);
        attach(*above, place);
    }
    return {};
}

bool copies_are_busy(const Mount& mount) {
    if (!mount.place.is_set()) return false;
    const Result<Vector<Mount*>> receivers = receivers_of(mount.place.mount());
    if (receivers.is_error()) return true;
    for (Mount* receiver : receivers.value()) {
        const Mount* copy = mount_on(Path(RefPtr<Mount>(*receiver), RefPtr<Dentry>(mount.place.dentry())));
        if (copy && copy->children.empty() && uses_of(*copy) > 0) return true;
    }
    return false;
}

}  // namespace kvmsbx::vfs
