// Extended attributes of tmpfs, in memory. All of a file system together are bounded as its inodes are: names and
// values count against 1 KiB per inode that may be (nr_inodes=), as on Linux.
#include <cstring>

#include "guestkernel/fs/tmpfs_nodes.hpp"
#include "guestkernel/vfs/xattr.hpp"

namespace kvmsbx::fs::tmpfs {

namespace {

constexpr uint64_t kBytesPerInode = 1024, kOverhead = 64, kUnlimitedInodes = 65536;

uint64_t cost(std::string_view name, size_t size) { return kOverhead + name.size() + size; }

}  // namespace

Result<> Super::take_xattr_bytes(uint64_t count) {
    const uint64_t limit = (limits.inodes ? limits.inodes : kUnlimitedInodes) * kBytesPerInode;
    if (xattr_bytes + count > limit) return Errno::kNOSPC;
    xattr_bytes += count;
    return {};
}

XattrTable::~XattrTable() {
    for (const Xattr& one : entries) super->xattr_bytes -= cost(one.name, one.value.size());
}

Xattr* XattrTable::find(std::string_view name) {
    for (Xattr& one : entries)
        if (one.name.view() == name) return &one;
    return nullptr;
}

Result<Vector<uint8_t>> Node::get_xattr(std::string_view name) {
    Xattr* const found = xattrs_ ? xattrs_->find(name) : nullptr;
    if (!found) return Errno::kNODATA;
    Vector<uint8_t> copy;
    TRY(copy.resize(found->value.size()));
    if (!copy.empty()) memcpy(copy.data(), found->value.data(), copy.size());
    return copy;
}

Result<> Node::set_xattr(std::string_view name, std::span<const uint8_t> value, uint32_t flags) {
    if (!xattrs_) xattrs_ = TRY(make_ref<XattrTable>(RefPtr<Super>(super())));
    Xattr* found = xattrs_->find(name);
    if (found && (flags & vfs::kXattrCreate)) return Errno::kEXIST;
    if (!found && (flags & vfs::kXattrReplace)) return Errno::kNODATA;
    Xattr fresh;
    fresh.name = TRY(String::create(name));
    TRY(fresh.value.resize(value.size()));
    if (!value.empty()) memcpy(fresh.value.data(), value.data(), value.size());
    TRY(super().take_xattr_bytes(cost(name, value.size())));
    if (found) {
        super().xattr_bytes -= cost(name, found->value.size());
        *found = std::move(fresh);
    } else if (Result<> added = xattrs_->entries.push_back(std::move(fresh)); added.is_error()) {
        super().xattr_bytes -= cost(name, value.size());
        return added;
    }
    if (name == vfs::kXattrCapability) has_capabilities = true;
    attributes_.ctime = vfs::current_time();
    return {};
}

Result<> Node::remove_xattr(std::string_view name) {
    Xattr* const found = xattrs_ ? xattrs_->find(name) : nullptr;
    if (!found) return Errno::kNODATA;
    super().xattr_bytes -= cost(name, found->value.size());
    xattrs_->entries.erase(static_cast<size_t>(found - xattrs_->entries.begin()));
    if (name == vfs::kXattrCapability) has_capabilities = false;
    attributes_.ctime = vfs::current_time();
    return {};
}

Result<Vector<uint8_t>> Node::list_xattrs() {
    Vector<uint8_t> names;
    if (!xattrs_) return names;
    for (const Xattr& one : xattrs_->entries) {
        for (char c : one.name.view()) TRY(names.push_back(static_cast<uint8_t>(c)));
        TRY(names.push_back(0));
    }
    return names;
}

}  // namespace kvmsbx::fs::tmpfs
