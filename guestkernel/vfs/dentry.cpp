#include "guestkernel/vfs/dentry.hpp"

namespace kvmsbx::vfs {

namespace {

constexpr size_t kBuckets = 16384;
List<Dentry, &Dentry::hash_hook_> buckets[kBuckets];
List<Dentry, &Dentry::unused_hook_> unused;  // oldest first
size_t unused_count, most_unused = 6000;

auto& bucket_of(const Dentry* parent, std::string_view name) {
    // SAFETY: the address is only mixed into the hash.
    uint64_t hash = reinterpret_cast<uintptr_t>(parent) >> 4;
    for (char c : name) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3ULL;
    return buckets[(hash ^ hash >> 29) % kBuckets];
}

void take_from_unused(Dentry& dentry) {
    if (!dentry.unused_hook_.is_linked()) return;
    dentry.unused_hook_.unlink();
    --unused_count;
}

}  // namespace

Result<RefPtr<Dentry>> Dentry::create_root(RefPtr<Inode> inode) {
    auto dentry = TRY(make_ref<Dentry>());
    dentry->inode_ = std::move(inode);
    return dentry;
}

RefPtr<Dentry> Dentry::find(Dentry& parent, std::string_view name) {
    for (Dentry& dentry : bucket_of(&parent, name)) {
        if (dentry.parent_ != &parent || dentry.name_.view() != name) continue;
        take_from_unused(dentry);
        return RefPtr<Dentry>(dentry);
    }
    return nullptr;
}

Result<RefPtr<Dentry>> Dentry::create(Dentry& parent, std::string_view name, RefPtr<Inode> inode) {
    auto dentry = TRY(make_ref<Dentry>());
    dentry->dropped_ = true;
    dentry->name_ = TRY(String::create(name));
    const bool cache = !parent.dropped_ && (inode || parent.inode_->fs().cacheable_names);
    dentry->inode_ = std::move(inode);
    dentry->attach(RefPtr<Dentry>(parent));
    if (cache) {
        dentry->dropped_ = false;
        dentry->hash();
    }
    return dentry;
}

Result<RefPtr<Dentry>> Dentry::create_unhashed(Dentry& parent, std::string_view name, RefPtr<Inode> inode) {
    auto dentry = TRY(make_ref<Dentry>());
    dentry->dropped_ = true;
    dentry->name_ = TRY(String::create(name));
    dentry->inode_ = std::move(inode);
    dentry->attach(RefPtr<Dentry>(parent));
    return dentry;
}

void Dentry::hash() { bucket_of(parent_.get(), name_).push_front(*this); }

void Dentry::attach(RefPtr<Dentry> parent) {
    if (child_hook_.is_linked()) child_hook_.unlink();
    parent_ = std::move(parent);
    parent_->children_.push_back(*this);
}

void Dentry::drop() {
    dropped_ = true;
    if (hash_hook_.is_linked()) hash_hook_.unlink();
    for (auto it = children_.begin(); it != children_.end();) {
        Dentry& child = *it++;
        if (!child.unused_hook_.is_linked()) continue;
        take_from_unused(child);
        child.dropped_ = true;
        child.child_hook_.unlink();
        destroy(&child);
    }
}

void Dentry::move(RefPtr<Dentry> new_parent, String new_name) {
    hash_hook_.unlink();
    name_ = std::move(new_name);
    attach(std::move(new_parent));
    if (!dropped_) hash();
}

void Dentry::exchange(Dentry& a, Dentry& b) {
    a.hash_hook_.unlink();
    b.hash_hook_.unlink();
    std::swap(a.name_, b.name_);
    RefPtr<Dentry> parent = a.parent_;
    a.attach(b.parent_);
    b.attach(std::move(parent));
    if (!a.dropped_) a.hash();
    if (!b.dropped_) b.hash();
}

bool Dentry::is_below(const Dentry& ancestor) const {
    for (const Dentry* dentry = this; dentry; dentry = dentry->parent_.get())
        if (dentry == &ancestor) return true;
    return false;
}

void Dentry::last_reference_gone() {
    if (dropped_ || !parent_) return destroy(this);
    unused.push_back(*this);
    if (++unused_count > most_unused) shrink(unused_count - most_unused);
}

// A chain of dropped directories may be of any length: no recursion.
void Dentry::destroy(Dentry* dentry) {
    static List<Dentry, &Dentry::unused_hook_> doomed;
    static bool busy;
    doomed.push_back(*dentry);
    if (busy) return;
    busy = true;
    while (!doomed.empty()) {
        Dentry& next = doomed.front();
        doomed.pop_front();
        delete &next;
    }
    busy = false;
}

size_t Dentry::shrink(size_t count) {
    size_t gone = 0;
    while (gone < count && !unused.empty()) {
        Dentry& oldest = unused.front();
        take_from_unused(oldest);
        oldest.dropped_ = true;
        if (oldest.hash_hook_.is_linked()) oldest.hash_hook_.unlink();
        oldest.child_hook_.unlink();
        destroy(&oldest);
        ++gone;
    }
    return gone;
}

size_t Dentry::count_unused() { return unused_count; }

void Dentry::limit_unused(size_t count) {
    most_unused = count;
    if (unused_count > most_unused) shrink(unused_count - most_unused);
}

}  // namespace kvmsbx::vfs
