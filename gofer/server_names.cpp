// Walking, and changing what names stand for.
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "common/host/errno.hpp"
#include "gofer/server.hpp"

namespace kvmsbx::gofer {

using namespace p9;

Result<Attr> Server::attributes(int fd, const Export& tree) {
    FileStat st = TRY(stat_fd(fd));
    st.attr.qid = qids_.qid(st.device, st.inode, st.attr);
    st.attr.uid = tree.owners.uids.to_client(st.attr.uid);
    st.attr.gid = tree.owners.gids.to_client(st.attr.gid);
    return st.attr;
}

Result<Server::Found> Server::node_of(host::Fd fd, const NodePtr& parent, const Export* tree, const char* name) {
    Found found;
    found.attr = TRY(attributes(fd.get(), *tree));
    auto node = std::make_shared<Node>();
    node->fd = std::move(fd);
    node->type = found.attr.mode & S_IFMT;
    node->qid_path = found.attr.qid.path;
    node->tree = tree;
    node->parent = parent;
    node->name = name;
    found.node = std::move(node);
    return found;
}

Result<Server::Found> Server::walk_one(const NodePtr& parent, std::string_view component) {
    Name name = TRY(Name::create(component));
    if (parent->type != S_IFDIR) return Errno::kNOTDIR;
    host::Fd fd = TRY(open_component(parent->fd.get(), name));
    return node_of(std::move(fd), parent, parent->tree, name.c_str());
}

Result<Rwalk> Server::on(const Twalk& message) {
    Fid* fid = TRY(fids_.find(message.fid));
    if (fid->xattr) return Errno::kINVAL;
    if (message.newfid != message.fid)
        TRY(fids_.check_free(message.newfid));
    else if (fid->open.is_open())
        return Errno::kBUSY;
    Rwalk reply;
    NodePtr node = fid->node;
    for (std::string_view name : message.names) {
        Result<Found> found = walk_one(node, name);
        if (found.is_error()) {
            if (reply.qids.count == 0) return found.error();
            return reply;  // shorter than asked: newfid is not made
        }
        node = std::move(found->node);
        reply.qids.push(found->attr.qid);
    }
    Fid walked;
    walked.node = std::move(node);
    walked.uid = fid->uid;
    fids_.put(message.newfid, std::move(walked));
    return reply;
}

Result<Rwalkattr> Server::on(const Twalkattr& message) {
    Fid* fid = TRY(fids_.find(message.fid));
    if (fid->xattr) return Errno::kINVAL;
    uint32_t wanted = std::max<uint32_t>(message.names.count, 1);
    for (uint32_t i = 0; i < wanted; i++) TRY(fids_.check_free(message.newfid + i));
    for (std::string_view name : message.names) TRY(Name::create(name));
    uint32_t uid = fid->uid;
    NodePtr node = fid->node;
    auto keep = [&](uint32_t number) {
        Fid walked;
        walked.node = node;
        walked.uid = uid;
        fids_.put(number, std::move(walked));
    };
    Rwalkattr reply;
    if (message.names.count == 0) {
        reply.attrs.push(TRY(attributes(node->fd.get(), *node->tree)));
        keep(message.newfid);
    }
    for (std::string_view name : message.names) {
        Result<Found> found = walk_one(node, name);
        if (found.is_error()) {
            reply.error = static_cast<uint32_t>(found.error());
            break;
        }
        node = std::move(found->node);
        keep(message.newfid + reply.attrs.count);
        reply.attrs.push(found->attr);
        if (node->type == S_IFLNK) break;
    }
    return reply;
}

Result<Rreadlink> Server::on(const Treadlink& message) {
    Fid* fid = TRY(fids_.find(message.fid));
    if (fid->node->type != S_IFLNK) return Errno::kINVAL;
    ssize_t length = readlinkat(fid->node->fd.get(), "", link_target_, sizeof link_target_);
    if (length < 0) return host::last_errno();
    return Rreadlink{std::string_view(link_target_, static_cast<size_t>(length))};
}

Result<Server::NodePtr> Server::writable_directory(uint32_t number) {
    Fid* fid = TRY(fids_.find(number));
    if (fid->node->type != S_IFDIR) return Errno::kNOTDIR;
    if (fid->node->tree->readonly) return Errno::kROFS;
    return fid->node;
}

Result<Rlink> Server::on(const Tlink& message) {
    NodePtr directory = TRY(writable_directory(message.dfid));
    Fid* fid = TRY(fids_.find(message.fid));
    Name name = TRY(Name::create(message.name));
    if (fid->node->tree != directory->tree) return Errno::kXDEV;
    TRY(reopener_.link(fid->node->fd.get(), directory->fd.get(), name));
    return Rlink{};
}

Result<Rrenameat> Server::on(const Trenameat& message) {
    NodePtr from = TRY(writable_directory(message.olddirfid));
    NodePtr to = TRY(writable_directory(message.newdirfid));
    Name old_name = TRY(Name::create(message.oldname));
    Name new_name = TRY(Name::create(message.newname));
    if (from->tree != to->tree) return Errno::kXDEV;
    TRY(host::checked(renameat(from->fd.get(), old_name.c_str(), to->fd.get(), new_name.c_str())));
    return Rrenameat{};
}

Result<Rrenameflags> Server::on(const Trenameflags& message) {
    NodePtr from = TRY(writable_directory(message.olddirfid));
    NodePtr to = TRY(writable_directory(message.newdirfid));
    Name old_name = TRY(Name::create(message.oldname));
    Name new_name = TRY(Name::create(message.newname));
    if (from->tree != to->tree) return Errno::kXDEV;
    if ((message.flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE)) != 0) return Errno::kINVAL;
    TRY(host::checked(renameat2(from->fd.get(), old_name.c_str(), to->fd.get(), new_name.c_str(), message.flags)));
    return Rrenameflags{};
}

namespace {

// The directory in which `node` was found, provided that the name still stands for it there. kSTALE: it does not.
Result<std::shared_ptr<const Node>> parent_of(const Node& node, const FileStat& now, const Name& name) {
    std::shared_ptr<const Node> parent = node.parent.lock();
    if (!parent) return Errno::kSTALE;
    FileStat there = TRY(stat_name(parent->fd.get(), name));
    if (there.device != now.device || there.inode != now.inode) return Errno::kSTALE;
    return parent;
}

}  // namespace

Result<Rrename> Server::on(const Trename& message) {
    Fid* fid = TRY(fids_.find(message.fid));
    NodePtr to = TRY(writable_directory(message.dfid));
    Name new_name = TRY(Name::create(message.name));
    if (fid->node->tree != to->tree) return Errno::kXDEV;
    Name old_name = TRY(Name::create(fid->node->name));
    FileStat now = TRY(stat_fd(fid->node->fd.get()));
    NodePtr parent = TRY(parent_of(*fid->node, now, old_name));
    TRY(host::checked(renameat(parent->fd.get(), old_name.c_str(), to->fd.get(), new_name.c_str())));
    host::Fd again = TRY(reopener_.open_path(fid->node->fd.get()));
    fid->node = TRY(node_of(std::move(again), to, to->tree, new_name.c_str())).node;
    return Rrename{};
}

Result<Runlinkat> Server::on(const Tunlinkat& message) {
    NodePtr directory = TRY(writable_directory(message.dirfid));
    Name name = TRY(Name::create(message.name));
    if ((message.flags & ~kUnlinkDirectory) != 0) return Errno::kINVAL;
    int flags = (message.flags & kUnlinkDirectory) != 0 ? AT_REMOVEDIR : 0;
    TRY(host::checked(unlinkat(directory->fd.get(), name.c_str(), flags)));
    return Runlinkat{};
}

Result<Rremove> Server::on(const Tremove& message) {
    Fid* fid = TRY(fids_.find(message.fid));
    NodePtr node = fid->node;
    fids_.remove(message.fid);  // also when it fails: remove is a clunk as well
    if (node->tree->readonly) return Errno::kROFS;
    Name name = TRY(Name::create(node->name));
    FileStat now = TRY(stat_fd(node->fd.get()));
    NodePtr parent = TRY(parent_of(*node, now, name));
    TRY(host::checked(unlinkat(parent->fd.get(), name.c_str(), node->type == S_IFDIR ? AT_REMOVEDIR : 0)));
    return Rremove{};
}

}  // namespace kvmsbx::gofer
