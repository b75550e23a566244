// Inodes of all kinds, symbolic links, directories.
#include "guestkernel/fs/ninep/nodes.hpp"

namespace kvmsbx::fs::ninep {

using Change = vfs::AttributeChange;

namespace {

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
    if (changes_ > 0) ++super().forgotten_changes;
    if (fid_ == p9::kNoFid) return;
    if (super().root_fid != fid_) client().transport().clunk(fid_, attributes_.nlink == 0);
}

Result<> Node::set_origin(Directory& parent, std::string_view name) {
    origin_name_ = TRY(String::create(name));
    origin_ = RefPtr<Node>(parent);
    return {};
}

Result<uint32_t> Node::walk_to_it() {
    const RefPtr<Node> from = origin_;
    if (!from) return Errno::kSTALE;
    const String name = TRY(origin_name_.clone());
    const Client::Walked walked = TRY(client().walk(TRY(from->fid()), name));
    if (fid_ != p9::kNoFid || walked.attr.qid.path != number()) {
        client().transport().clunk(walked.fid);
        return fid_ != p9::kNoFid ? Result<uint32_t>(fid_) : Errno::kSTALE;
    }
    fid_ = walked.fid;
    origin_ = nullptr;
    origin_name_.clear();
    return fid_;
}

Result<Client::Opened> Node::open_for_reading(Call& call, uint32_t read_count) {
    const RefPtr<Node> from = origin_;
    if (fid_ != p9::kNoFid || !from || !client().opens_by_name())
        return client().open(call, TRY(fid()), p9::kOpenReadOnly, read_count);
    const String name = TRY(origin_name_.clone());
    return client().open_entry(call, TRY(from->fid()), name, number(), p9::kOpenReadOnly, read_count);
}

Result<Attributes> Node::ask() {
    const uint32_t before = changes_;
    const Attributes now = to_attributes(TRY(client().get_attributes(TRY(fid()))));
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
    const p9::Attr after = TRY(client().set_attributes(TRY(fid()), to_wire(change)));
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
    if (target_.empty() || super().shared) target_ = TRY(client().read_link(TRY(fid())));
    return target_.clone();
}

Directory::~Directory() {
    (void)take_whole();
    client().transport().clunk(open_fid_);
}

void Directory::changed() {
    ++changes_;
    stale_ = true;
    end_cookie_ = kNoCookie;
}

Result<RefPtr<Inode>> Directory::lookup(std::string_view name) {
    p9::Attr listed;
    if (listing_.take(name, super().forgotten_changes, listed))
        return RefPtr<Inode>(TRY(super().obtain_entry(*this, name, listed)));
    const Client::Walked walked = TRY(client().walk(TRY(fid()), name));
    return RefPtr<Inode>(TRY(super().obtain(walked)));
}

Result<RefPtr<Inode>> Directory::create(std::string_view name, const vfs::NewNode& node) {
    const Client::Created made = TRY(client().create(TRY(fid()), name, node));
    changed();
    Result<RefPtr<Node>> inode = super().obtain({made.fids.node, made.attr});
    if (inode.is_ok() && inode.value()->type() == vfs::kModeRegular)
        static_cast<Regular&>(*inode.value()).adopt_write_fid(made.fids.open);
    else
        client().transport().clunk(made.fids.open);
    return RefPtr<Inode>(TRY(std::move(inode)));
}

Result<RefPtr<Inode>> Directory::make(std::string_view name, std::string_view target, const vfs::NewNode& node) {
    const Client::Walked made = TRY(client().make_node(TRY(fid()), name, target, node));
    changed();
    return RefPtr<Inode>(TRY(super().obtain(made)));
}

Result<> Directory::link(std::string_view name, Inode& target) {
    Node& node = static_cast<Node&>(target);
    TRY(client().link(TRY(fid()), TRY(node.fid()), name));
    changed();
    node.stale();
    return {};
}

Result<> Directory::unlink(std::string_view name, Inode& victim) {
    TRY(static_cast<Node&>(victim).fid());  // it may be in use still
    TRY(client().unlink(TRY(fid()), name, false));
    listing_.forget(name);
    changed();
    static_cast<Node&>(victim).lost_name();
    return {};
}

Result<> Directory::remove_directory(std::string_view name, Inode& victim) {
    TRY(static_cast<Node&>(victim).fid());
    TRY(client().unlink(TRY(fid()), name, true));
    listing_.forget(name);
    changed();
    Directory& directory = static_cast<Directory&>(victim);
    directory.attributes_.nlink = 0;
    return {};
}

Result<> Directory::rename(std::string_view name, Inode& node, Inode& new_parent, std::string_view new_name,
                           Inode* target, uint32_t flags) {
    constexpr uint32_t kNoReplace = 1, kExchange = 2;
    if (flags & ~(kNoReplace | kExchange)) return Errno::kINVAL;
    Directory& to = static_cast<Directory&>(new_parent);
    TRY(static_cast<Node&>(node).fid());
    if (target) TRY(static_cast<Node*>(target)->fid());
    // That nothing is replaced was seen already, unless the host has a say.
    if (!super().shared) flags &= ~kNoReplace;
    TRY(client().rename(TRY(fid()), name, TRY(to.fid()), new_name, flags));
    listing_.forget(name);
    to.listing_.forget(new_name);
    changed();
    to.changed();
    static_cast<Node&>(node).stale();
    if (target && (flags & kExchange))
        static_cast<Node*>(target)->stale();
    else if (target)
        static_cast<Node*>(target)->lost_name();
    return {};
}

}  // namespace kvmsbx::fs::ninep
