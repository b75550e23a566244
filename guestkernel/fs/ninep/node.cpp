// Inodes of all kinds, symbolic links, directories.
#include "guestkernel/fs/ninep/nodes.hpp"

namespace kvmsbx::fs::ninep {

using Change = vfs::AttributeChange;

namespace {

constexpr uint32_t kReadDirectorySize = 32 * 1024;
constexpr uint32_t kLargestEntry = 13 + 8 + 1 + 2 + p9::kMaxName;

p9::SetAttr to_wire(const Change& change) {
    p9::SetAttr set;
    const auto add = [&](uint32_t ours, uint32_t theirs) {
        if (change.valid & ours) set.valid |= theirs;
    };
    add(Change::kMode, p9::kSetMode), add(Change::kUid, p9::kSetUid), add(Change::kGid, p9::kSetGid),
        add(Change::kSize, p9::kSetSize);
    add(Change::kAtime, p9::kSetAtime | p9::kSetAtimeSet), add(Change::kMtime, p9::kSetMtime | p9::kSetMtimeSet);
    add(Change::kAtimeNow, p9::kSetAtime), add(Change::kMtimeNow, p9::kSetMtime);
    set.mode = change.mode & 07777, set.uid = change.uid, set.gid = change.gid, set.size = change.size;
    set.atime_sec = static_cast<uint64_t>(change.atime.seconds), set.atime_nsec = change.atime.nanoseconds;
    set.mtime_sec = static_cast<uint64_t>(change.mtime.seconds), set.mtime_nsec = change.mtime.nanoseconds;
    return set;
}

}  // namespace

Node::~Node() {
    if (super().root_fid != fid_) client().transport().clunk(fid_, attributes_.nlink == 0);
}

Result<Attributes> Node::ask() {
    const uint32_t before = changes_;
    const Attributes now = to_attributes(TRY(client().get_attributes(fid_)));
    if ((now.mode & vfs::kModeTypeMask) != type()) return Errno::kIO;
    if (changes_ == before) {
        stale_ = false;
        refreshed(now);
    }
    return attributes_;
}

Result<Attributes> Node::attributes() {
    if (!stale_ && !super().shared) return attributes_;
    return ask();
}

void Node::refreshed(const Attributes& attributes) {
    const uint64_t number = attributes_.ino;
    attributes_ = attributes;
    attributes_.ino = number;  // the key in the super's table
}

Result<> Node::set_attributes(const Change& change) {
    const p9::Attr after = TRY(client().set_attributes(fid_, to_wire(change)));
    const Attributes now = to_attributes(after);
    if ((now.mode & vfs::kModeTypeMask) != type()) return Errno::kIO;
    ++changes_;
    stale_ = false;
    refreshed(now);
    return {};
}

void Node::lost_name() {
    if (attributes_.nlink > 0) --attributes_.nlink;
    ++changes_;
    if (attributes_.nlink > 0) stale_ = true;
    attributes_.ctime = vfs::current_time();
}

Result<String> Link::read_link() {
    if (target_.empty() || super().shared) target_ = TRY(client().read_link(fid_));
    return target_.clone();
}

Directory::~Directory() { client().transport().clunk(open_fid_); }

void Directory::changed() {
    ++changes_;
    stale_ = true;
    end_cookie_ = kNoCookie;
}

Result<RefPtr<Inode>> Directory::lookup(std::string_view name) {
    const Client::Walked walked = TRY(client().walk(fid_, name));
    return RefPtr<Inode>(TRY(super().obtain(walked)));
}

Result<RefPtr<Inode>> Directory::create(std::string_view name, const vfs::NewNode& node) {
    const Client::Created made = TRY(client().create(fid_, name, node));
    changed();
    Result<RefPtr<Node>> inode = super().obtain({made.fids.node, made.attr});
    if (inode.is_ok() && inode.value()->type() == vfs::kModeRegular)
        static_cast<Regular&>(*inode.value()).adopt_write_fid(made.fids.open);
    else
        client().transport().clunk(made.fids.open);
    return RefPtr<Inode>(TRY(std::move(inode)));
}

Result<RefPtr<Inode>> Directory::make(std::string_view name, std::string_view target, const vfs::NewNode& node) {
    const Client::Walked made = TRY(client().make_node(fid_, name, target, node));
    changed();
    return RefPtr<Inode>(TRY(super().obtain(made)));
}

Result<> Directory::link(std::string_view name, Inode& target) {
    Node& node = static_cast<Node&>(target);
    TRY(client().link(fid_, node.fid(), name));
    changed();
    node.stale();
    return {};
}

Result<> Directory::unlink(std::string_view name, Inode& victim) {
    TRY(client().unlink(fid_, name, false));
    changed();
    static_cast<Node&>(victim).lost_name();
    return {};
}

Result<> Directory::remove_directory(std::string_view name, Inode& victim) {
    TRY(client().unlink(fid_, name, true));
    changed();
    Directory& directory = static_cast<Directory&>(victim);
    directory.attributes_.nlink = 0;
    return {};
}

Result<> Directory::rename(std::string_view name, Inode& node, Inode& new_parent, std::string_view new_name,
                           Inode* target, uint32_t flags) {
    constexpr uint32_t kExchange = 2;
    if (flags & kExchange) return Errno::kINVAL;  // 9P has no such request
    Directory& to = static_cast<Directory&>(new_parent);
    TRY(client().rename(fid_, name, to.fid_, new_name));
    changed();
    to.changed();
    static_cast<Node&>(node).stale();
    if (target) static_cast<Node*>(target)->lost_name();
    return {};
}

Result<> Directory::read_directory(uint64_t cookie, vfs::DirectoryVisitor& visitor) {
    if (cookie != 0 && cookie == end_cookie_ && !super().shared) return {};
    if (open_fid_ == p9::kNoFid) {
        Call call(client().transport());
        const uint32_t opened = TRY(client().open(call, fid_, p9::kOpenReadOnly | p9::kOpenDirectory, 0))
        .fid;
        if (open_fid_ == p9::kNoFid)
            open_fid_ = opened;
        else
            client().transport().clunk(opened);
    }
    const uint32_t before = changes_;
    const uint32_t wanted = kReadDirectorySize < client().read_limit() ? kReadDirectorySize : client().read_limit();
    const Vector<uint8_t> bytes = TRY(client().read_directory(open_fid_, cookie, wanted));
    const bool at_end = bytes.size() + kLargestEntry < wanted;
    std::span<const uint8_t> rest = bytes.span();
    p9::DirEntry entry;
    uint64_t last = cookie;
    for (;;) {
        Result<bool> next = p9::next_entry(rest, entry);
        if (next.is_error() || entry.name.size() > p9::kMaxName) return Errno::kIO;
        if (!next.value()) break;
        last = entry.offset;
        if (!visitor.visit({entry.name, entry.qid.path, entry.type, entry.offset})) return {};
    }
    if (at_end && changes_ == before) end_cookie_ = last;
    return {};
}

}  // namespace kvmsbx::fs::ninep
