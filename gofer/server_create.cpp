// Everything that makes a new inode. What is made gets its owner by descriptor; when that fails it is removed again.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "common/host/errno.hpp"
#include "gofer/server.hpp"

namespace kvmsbx::gofer {

using namespace p9;

namespace {

constexpr uint32_t kSetIdBits = S_ISUID | S_ISGID;

}  // namespace

// chown(2) clears suid and sgid of files: the caller sets the mode again where it has them.
Result<> Server::set_owner(int fd, const Attr& host, Owner owner, const Export& tree) {
    uint32_t uid = owner.uid == kNoUid ? kNoUid : TRY(tree.owners.uids.to_own(owner.uid));
    uint32_t gid = owner.gid == kNoUid ? kNoUid : TRY(tree.owners.gids.to_own(owner.gid));
    if (uid == host.uid) uid = kNoUid;
    if (gid == host.gid) gid = kNoUid;
    if (uid == kNoUid && gid == kNoUid) return {};
    return host::checked(fchownat(fd, "", uid, gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW));
}

Result<host::Fd> Server::create_open(const Fid& directory, std::string_view component, uint32_t flags, uint32_t mode,
                                     Owner owner) {
    if (directory.node->type != S_IFDIR) return Errno::kNOTDIR;
    if (directory.node->tree->readonly) return Errno::kROFS;
    if ((flags & kOpenAccessMask) == kOpenAccessMask) return Errno::kINVAL;
    Name name = TRY(Name::create(component));
    uint32_t access = flags & (kOpenAccessMask | kOpenAppend);
    host::Fd fd = TRY(create_file(directory.node->fd.get(), name, access, mode));
    auto finish = [&]() -> Result<> {
        FileStat st = TRY(stat_fd(fd.get()));
        TRY(set_owner(fd.get(), st.attr, owner, *directory.node->tree));
        if ((mode & kSetIdBits) != 0) TRY(host::checked(fchmod(fd.get(), mode & 07777)));
        return {};
    };
    if (Result<> finished = finish(); finished.is_error()) {
        unlinkat(directory.node->fd.get(), name.c_str(), 0);
        return finished.error();
    }
    return fd;
}

// The node of a file that create_open() made. If there is none to be had (descriptors ran out), the file goes again.
Result<Server::Found> Server::node_of_created(const NodePtr& directory, int fd, std::string_view component) {
    Name name = TRY(Name::create(component));
    auto find = [&]() -> Result<Found> {
        host::Fd path = TRY(reopener_.open_path(fd));
        return node_of(std::move(path), directory, directory->tree, name.c_str());
    };
    Result<Found> found = find();
    if (found.is_error()) unlinkat(directory->fd.get(), name.c_str(), 0);
    return found;
}

// Like open(2) with O_CREAT: without O_EXCL in the flags a file that is there already is opened.
Result<Rlcreate> Server::on(const Tlcreate& message) {
    Fid* fid = TRY(fids_.find(message.fid));
    if (fid->open.is_open()) return Errno::kBUSY;
    NodePtr directory = fid->node;
    Result<host::Fd> fd = create_open(*fid, message.name, message.flags, message.mode, {fid->uid, message.gid});
    Found found;
    if (fd.is_ok()) {
        found = TRY(node_of_created(directory, fd->get(), message.name));
    } else {
        if (fd.error() != Errno::kEXIST || (message.flags & kOpenExclusive) != 0) return fd.error();
        found = TRY(walk_one(directory, message.name));
        fd = open_node(*found.node, message.flags);
        if (fd.is_error()) return fd.error();
    }
    fid->node = std::move(found.node);
    fid->open = fd.release_value();
    return Rlcreate{found.attr.qid, iounit()};
}

Result<Rcreatefid> Server::on(const Tcreatefid& message) {
    Fid* fid = TRY(fids_.find(message.dfid));
    TRY(fids_.check_free(message.nodefid));
    TRY(fids_.check_free(message.openfid));
    if (message.nodefid == message.openfid) return Errno::kINVAL;
    uint32_t uid = message.uid != kNoUid ? message.uid : fid->uid;
    host::Fd fd = TRY(create_open(*fid, message.name, message.flags, message.mode, {uid, message.gid}));
    Found found = TRY(node_of_created(fid->node, fd.get(), message.name));
    Fid node, open;
    node.node = open.node = found.node;
    node.uid = open.uid = fid->uid;
    open.open = std::move(fd);
    fids_.put(message.nodefid, std::move(node));
    fids_.put(message.openfid, std::move(open));
    return Rcreatefid{iounit(), found.attr};
}

Result<Server::Found> Server::make_node(const Fid& directory, std::string_view component, const NewNode& what,
                                        Owner owner) {
    const NodePtr& parent = directory.node;
    if (parent->type != S_IFDIR) return Errno::kNOTDIR;
    if (parent->tree->readonly) return Errno::kROFS;
    Name name = TRY(Name::create(component));
    uint32_t type = what.mode & S_IFMT;
    uint32_t permissions = what.mode & 07777;
    int at = parent->fd.get();
    switch (type) {
        case S_IFDIR: TRY(host::checked(mkdirat(at, name.c_str(), permissions))); break;
        case S_IFLNK: TRY(host::checked(symlinkat(TRY(Target::create(what.target)).c_str(), at, name.c_str()))); break;
        case S_IFREG:
        case S_IFIFO:
        case S_IFSOCK: TRY(host::checked(mknodat(at, name.c_str(), type | permissions, 0))); break;
        case S_IFCHR:
        case S_IFBLK:
            TRY(host::checked(mknodat(at, name.c_str(), type | permissions, makedev(what.major, what.minor))));
            break;
        default: return Errno::kINVAL;
    }
    auto finish = [&]() -> Result<Found> {
        host::Fd fd = TRY(open_component(at, name));
        Attr attr = TRY(stat_fd(fd.get())).attr;
        if ((attr.mode & S_IFMT) != type) return Errno::kSTALE;  // somebody on the host put another thing there
        TRY(set_owner(fd.get(), attr, owner, *parent->tree));
        if (type != S_IFDIR && type != S_IFLNK && (permissions & kSetIdBits) != 0)
            TRY(reopener_.change_mode(fd.get(), permissions));
        return node_of(std::move(fd), parent, parent->tree, name.c_str());
    };
    Result<Found> found = finish();
    if (found.is_error() && found.error() != Errno::kSTALE)
        unlinkat(at, name.c_str(), type == S_IFDIR ? AT_REMOVEDIR : 0);
    return found;
}

Result<Rmakenode> Server::on(const Tmakenode& message) {
    Fid* fid = TRY(fids_.find(message.dfid));
    TRY(fids_.check_free(message.newfid));
    NewNode what{message.mode, message.major, message.minor, message.target};
    uint32_t uid = message.uid != kNoUid ? message.uid : fid->uid;
    Found found = TRY(make_node(*fid, message.name, what, {uid, message.gid}));
    Fid made;
    made.node = std::move(found.node);
    made.uid = fid->uid;
    fids_.put(message.newfid, std::move(made));
    return Rmakenode{found.attr};
}

Result<Rsymlink> Server::on(const Tsymlink& message) {
    Fid* fid = TRY(fids_.find(message.dfid));
    NewNode what{.mode = S_IFLNK | 0777, .target = message.target};
    return Rsymlink{TRY(make_node(*fid, message.name, what, {fid->uid, message.gid})).attr.qid};
}

Result<Rmknod> Server::on(const Tmknod& message) {
    Fid* fid = TRY(fids_.find(message.dfid));
    uint32_t mode = message.mode;
    if ((mode & S_IFMT) == 0) mode |= S_IFREG;  // mknod(2)
    if ((mode & S_IFMT) == S_IFDIR || (mode & S_IFMT) == S_IFLNK) return Errno::kINVAL;
    NewNode what{.mode = mode, .major = message.major, .minor = message.minor};
    return Rmknod{TRY(make_node(*fid, message.name, what, {fid->uid, message.gid})).attr.qid};
}

Result<Rmkdir> Server::on(const Tmkdir& message) {
    Fid* fid = TRY(fids_.find(message.dfid));
    NewNode what{.mode = S_IFDIR | (message.mode & 07777)};
    return Rmkdir{TRY(make_node(*fid, message.name, what, {fid->uid, message.gid})).attr.qid};
}

}  // namespace kvmsbx::gofer
