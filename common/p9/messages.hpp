#pragma once
// The messages of 9P2000.L and of its extension 9P2000.L.kvmsbx.2. Boundary 3. Each struct is the one declaration of
// its message: common/p9/codec.hpp encodes and decodes it, common/p9/describe.hpp prints it, AllMessages lists it for
// dispatch, tests and fuzzers.
//
// The extension only saves round trips. It is negotiated: the client offers kVersionExtended in Tversion and uses the
// messages from 160 on only when the server answers with it. Errors come as Rlerror with Linux's errno, whatever the
// request.
#include "common/p9/types.hpp"

namespace kvmsbx::p9 {

#define KVMSBX_P9_MESSAGE(name, number)      \
    static constexpr uint8_t kType = number; \
    static constexpr const char* kName = #name

struct Rlerror {
    KVMSBX_P9_MESSAGE(Rlerror, 7);
    uint32_t ecode = 0;
    KVMSBX_WIRE_FIELDS(ecode)
};

// ---- session

struct Tversion {
    KVMSBX_P9_MESSAGE(Tversion, 100);
    uint32_t msize = 0;
    std::string_view version = {};
    KVMSBX_WIRE_FIELDS(msize, version)
};
struct Rversion {
    KVMSBX_P9_MESSAGE(Rversion, 101);
    uint32_t msize = 0;
    std::string_view version = {};
    KVMSBX_WIRE_FIELDS(msize, version)
};

struct Tauth {
    KVMSBX_P9_MESSAGE(Tauth, 102);
    uint32_t afid = 0;
    std::string_view uname = {}, aname = {};
    uint32_t n_uname = 0;
    KVMSBX_WIRE_FIELDS(afid, uname, aname, n_uname)
};
struct Rauth {
    KVMSBX_P9_MESSAGE(Rauth, 103);
    Qid aqid = {};
    KVMSBX_WIRE_FIELDS(aqid)
};

// aname: "" is the root, a decimal number the bind mount with that index in config.json's mounts. n_uname owns what
// plain messages create.
struct Tattach {
    KVMSBX_P9_MESSAGE(Tattach, 104);
    uint32_t fid = 0, afid = kNoFid;
    std::string_view uname = {}, aname = {};
    uint32_t n_uname = kNoUid;
    KVMSBX_WIRE_FIELDS(fid, afid, uname, aname, n_uname)
};
struct Rattach {
    KVMSBX_P9_MESSAGE(Rattach, 105);
    Qid qid = {};
    KVMSBX_WIRE_FIELDS(qid)
};

struct Tflush {
    KVMSBX_P9_MESSAGE(Tflush, 108);
    uint16_t oldtag = 0;
    KVMSBX_WIRE_FIELDS(oldtag)
};
struct Rflush {
    KVMSBX_P9_MESSAGE(Rflush, 109);
    KVMSBX_WIRE_FIELDS()
};

struct Tclunk {
    KVMSBX_P9_MESSAGE(Tclunk, 120);
    uint32_t fid = 0;
    KVMSBX_WIRE_FIELDS(fid)
};
struct Rclunk {
    KVMSBX_P9_MESSAGE(Rclunk, 121);
    KVMSBX_WIRE_FIELDS()
};

// ---- names

struct Twalk {
    KVMSBX_P9_MESSAGE(Twalk, 110);
    uint32_t fid = 0, newfid = 0;
    Names names = {};
    KVMSBX_WIRE_FIELDS(fid, newfid, names)
};
struct Rwalk {
    KVMSBX_P9_MESSAGE(Rwalk, 111);
    List<Qid, kMaxWalk> qids = {};
    KVMSBX_WIRE_FIELDS(qids)
};

struct Treadlink {
    KVMSBX_P9_MESSAGE(Treadlink, 22);
    uint32_t fid = 0;
    KVMSBX_WIRE_FIELDS(fid)
};
struct Rreadlink {
    KVMSBX_P9_MESSAGE(Rreadlink, 23);
    std::string_view target = {};
    KVMSBX_WIRE_FIELDS(target)
};

struct Tsymlink {
    KVMSBX_P9_MESSAGE(Tsymlink, 16);
    uint32_t dfid = 0;
    std::string_view name = {}, target = {};
    uint32_t gid = kNoUid;
    KVMSBX_WIRE_FIELDS(dfid, name, target, gid)
};
struct Rsymlink {
    KVMSBX_P9_MESSAGE(Rsymlink, 17);
    Qid qid = {};
    KVMSBX_WIRE_FIELDS(qid)
};

struct Tmknod {
    KVMSBX_P9_MESSAGE(Tmknod, 18);
    uint32_t dfid = 0;
    std::string_view name = {};
    uint32_t mode = 0, major = 0, minor = 0, gid = kNoUid;
    KVMSBX_WIRE_FIELDS(dfid, name, mode, major, minor, gid)
};
struct Rmknod {
    KVMSBX_P9_MESSAGE(Rmknod, 19);
    Qid qid = {};
    KVMSBX_WIRE_FIELDS(qid)
};

struct Tmkdir {
    KVMSBX_P9_MESSAGE(Tmkdir, 72);
    uint32_t dfid = 0;
    std::string_view name = {};
    uint32_t mode = 0, gid = kNoUid;
    KVMSBX_WIRE_FIELDS(dfid, name, mode, gid)
};
struct Rmkdir {
    KVMSBX_P9_MESSAGE(Rmkdir, 73);
    Qid qid = {};
    KVMSBX_WIRE_FIELDS(qid)
};

struct Tlink {
    KVMSBX_P9_MESSAGE(Tlink, 70);
    uint32_t dfid = 0, fid = 0;
    std::string_view name = {};
    KVMSBX_WIRE_FIELDS(dfid, fid, name)
};
struct Rlink {
    KVMSBX_P9_MESSAGE(Rlink, 71);
    KVMSBX_WIRE_FIELDS()
};

struct Trename {
    KVMSBX_P9_MESSAGE(Trename, 20);
    uint32_t fid = 0, dfid = 0;
    std::string_view name = {};
    KVMSBX_WIRE_FIELDS(fid, dfid, name)
};
struct Rrename {
    KVMSBX_P9_MESSAGE(Rrename, 21);
    KVMSBX_WIRE_FIELDS()
};

struct Trenameat {
    KVMSBX_P9_MESSAGE(Trenameat, 74);
    uint32_t olddirfid = 0;
    std::string_view oldname = {};
    uint32_t newdirfid = 0;
    std::string_view newname = {};
    KVMSBX_WIRE_FIELDS(olddirfid, oldname, newdirfid, newname)
};
struct Rrenameat {
    KVMSBX_P9_MESSAGE(Rrenameat, 75);
    KVMSBX_WIRE_FIELDS()
};

struct Tunlinkat {
    KVMSBX_P9_MESSAGE(Tunlinkat, 76);
    uint32_t dirfid = 0;
    std::string_view name = {};
    uint32_t flags = 0;
    KVMSBX_WIRE_FIELDS(dirfid, name, flags)
};
struct Runlinkat {
    KVMSBX_P9_MESSAGE(Runlinkat, 77);
    KVMSBX_WIRE_FIELDS()
};

struct Tremove {
    KVMSBX_P9_MESSAGE(Tremove, 122);
    uint32_t fid = 0;
    KVMSBX_WIRE_FIELDS(fid)
};
struct Rremove {
    KVMSBX_P9_MESSAGE(Rremove, 123);
    KVMSBX_WIRE_FIELDS()
};

// ---- files

struct Tlopen {
    KVMSBX_P9_MESSAGE(Tlopen, 12);
    uint32_t fid = 0, flags = 0;
    KVMSBX_WIRE_FIELDS(fid, flags)
};
struct Rlopen {
    KVMSBX_P9_MESSAGE(Rlopen, 13);
    Qid qid = {};
    uint32_t iounit = 0;
    KVMSBX_WIRE_FIELDS(qid, iounit)
};

// fid is the directory before and the open file after.
struct Tlcreate {
    KVMSBX_P9_MESSAGE(Tlcreate, 14);
    uint32_t fid = 0;
    std::string_view name = {};
    uint32_t flags = 0, mode = 0, gid = kNoUid;
    KVMSBX_WIRE_FIELDS(fid, name, flags, mode, gid)
};
struct Rlcreate {
    KVMSBX_P9_MESSAGE(Rlcreate, 15);
    Qid qid = {};
    uint32_t iounit = 0;
    KVMSBX_WIRE_FIELDS(qid, iounit)
};

struct Tread {
    KVMSBX_P9_MESSAGE(Tread, 116);
    uint32_t fid = 0;
    uint64_t offset = 0;
    uint32_t count = 0;
    KVMSBX_WIRE_FIELDS(fid, offset, count)
};
struct Rread {
    KVMSBX_P9_MESSAGE(Rread, 117);
    Data data = {};
    KVMSBX_WIRE_FIELDS(data)
};

struct Twrite {
    KVMSBX_P9_MESSAGE(Twrite, 118);
    uint32_t fid = 0;
    uint64_t offset = 0;
    Data data = {};
    KVMSBX_WIRE_FIELDS(fid, offset, data)
};
struct Rwrite {
    KVMSBX_P9_MESSAGE(Rwrite, 119);
    uint32_t count = 0;
    KVMSBX_WIRE_FIELDS(count)
};

struct Treaddir {
    KVMSBX_P9_MESSAGE(Treaddir, 40);
    uint32_t fid = 0;
    uint64_t offset = 0;
    uint32_t count = 0;
    KVMSBX_WIRE_FIELDS(fid, offset, count)
};
struct Rreaddir {
    KVMSBX_P9_MESSAGE(Rreaddir, 41);
    Data data = {};
    KVMSBX_WIRE_FIELDS(data)
};

struct Tfsync {
    KVMSBX_P9_MESSAGE(Tfsync, 50);
    uint32_t fid = 0;
    OptionalWord datasync = {};
    KVMSBX_WIRE_FIELDS(fid, datasync)
};
struct Rfsync {
    KVMSBX_P9_MESSAGE(Rfsync, 51);
    KVMSBX_WIRE_FIELDS()
};

struct Tgetattr {
    KVMSBX_P9_MESSAGE(Tgetattr, 24);
    uint32_t fid = 0;
    uint64_t request_mask = kGetattrAll;
    KVMSBX_WIRE_FIELDS(fid, request_mask)
};
struct Rgetattr {
    KVMSBX_P9_MESSAGE(Rgetattr, 25);
    Attr attr = {};
    KVMSBX_WIRE_FIELDS(attr)
};

struct Tsetattr {
    KVMSBX_P9_MESSAGE(Tsetattr, 26);
    uint32_t fid = 0;
    SetAttr set = {};
    KVMSBX_WIRE_FIELDS(fid, set)
};
struct Rsetattr {
    KVMSBX_P9_MESSAGE(Rsetattr, 27);
    KVMSBX_WIRE_FIELDS()
};

struct Tstatfs {
    KVMSBX_P9_MESSAGE(Tstatfs, 8);
    uint32_t fid = 0;
    KVMSBX_WIRE_FIELDS(fid)
};
struct Rstatfs {
    KVMSBX_P9_MESSAGE(Rstatfs, 9);
    uint32_t type = 0, bsize = 0;
    uint64_t blocks = 0, bfree = 0, bavail = 0, files = 0, ffree = 0, fsid = 0;
    uint32_t namelen = 0;
    KVMSBX_WIRE_FIELDS(type, bsize, blocks, bfree, bavail, files, ffree, fsid, namelen)
};

// A fid for the value of an extended attribute (read it by Tread), or for the list of their names when name is "".
struct Txattrwalk {
    KVMSBX_P9_MESSAGE(Txattrwalk, 30);
    uint32_t fid = 0, newfid = 0;
    std::string_view name = {};
    KVMSBX_WIRE_FIELDS(fid, newfid, name)
};
struct Rxattrwalk {
    KVMSBX_P9_MESSAGE(Rxattrwalk, 31);
    uint64_t size = 0;
    KVMSBX_WIRE_FIELDS(size)
};

// Turns fid into a place for the value of an attribute: Twrite fills it, Tclunk sets it. Size 0 removes the attribute
// (as Linux's client asks it).
struct Txattrcreate {
    KVMSBX_P9_MESSAGE(Txattrcreate, 32);
    uint32_t fid = 0;
    std::string_view name = {};
    uint64_t attr_size = 0;
    uint32_t flags = 0;
    KVMSBX_WIRE_FIELDS(fid, name, attr_size, flags)
};
struct Rxattrcreate {
    KVMSBX_P9_MESSAGE(Rxattrcreate, 33);
    KVMSBX_WIRE_FIELDS()
};

struct Tlock {
    KVMSBX_P9_MESSAGE(Tlock, 52);
    uint32_t fid = 0;
    uint8_t type = 0;
    uint32_t flags = 0;
    uint64_t start = 0, length = 0;
    uint32_t proc_id = 0;
    std::string_view client_id = {};
    KVMSBX_WIRE_FIELDS(fid, type, flags, start, length, proc_id, client_id)
};
struct Rlock {
    KVMSBX_P9_MESSAGE(Rlock, 53);
    uint8_t status = 0;
    KVMSBX_WIRE_FIELDS(status)
};

struct Tgetlock {
    KVMSBX_P9_MESSAGE(Tgetlock, 54);
    uint32_t fid = 0;
    uint8_t type = 0;
    uint64_t start = 0, length = 0;
    uint32_t proc_id = 0;
    std::string_view client_id = {};
    KVMSBX_WIRE_FIELDS(fid, type, start, length, proc_id, client_id)
};
struct Rgetlock {
    KVMSBX_P9_MESSAGE(Rgetlock, 55);
    uint8_t type = 0;
    uint64_t start = 0, length = 0;
    uint32_t proc_id = 0;
    std::string_view client_id = {};
    KVMSBX_WIRE_FIELDS(type, start, length, proc_id, client_id)
};

// ---- 9P2000.L.kvmsbx.2

// Walks up to kMaxWalk names and gives the attributes of each inode met; the n-th (from 0) gets a fid of its own,
// newfid + n. The walk ends after a symlink (the client resolves it) and before a name that fails: `error` is then its
// errno, else 0. Rlerror only when fid is bad, newfid..newfid+n-1 are not all free, or a name is malformed; no fid is
// made then. Without names: newfid becomes a copy of fid, attrs has its attributes.
struct Twalkattr {
    KVMSBX_P9_MESSAGE(Twalkattr, 160);
    uint32_t fid = 0, newfid = 0;
    Names names = {};
    KVMSBX_WIRE_FIELDS(fid, newfid, names)
};
struct Rwalkattr {
    KVMSBX_P9_MESSAGE(Rwalkattr, 161);
    uint32_t error = 0;
    List<Attr, kMaxWalk> attrs = {};
    KVMSBX_WIRE_FIELDS(error, attrs)
};

// Opens the inode of fid, or the one of that name in the directory fid, as newfid (fid stays a fid to walk from), with
// its attributes and, of a regular file opened for reading, its first min(read_count, msize - 256) bytes: fewer mean
// end of file. Replaces walk, lopen, getattr, read. ELOOP: the name is a symlink's.
struct Topenfid {
    KVMSBX_P9_MESSAGE(Topenfid, 162);
    uint32_t fid = 0, newfid = 0, flags = 0, read_count = 0;
    std::string_view name = {};  // empty: fid's own inode
    KVMSBX_WIRE_FIELDS(fid, newfid, flags, read_count, name)
};
struct Ropenfid {
    KVMSBX_P9_MESSAGE(Ropenfid, 163);
    uint32_t iounit = 0;
    Attr attr = {};
    Data data = {};
    KVMSBX_WIRE_FIELDS(iounit, attr, data)
};

// Creates a regular file in the directory dfid: nodefid becomes a fid to walk from, openfid the open file. The file
// must not exist (EEXIST), whatever the flags. mode is applied as it is; uid and gid own it (kNoUid: the attach's user;
// the gid that Linux would give).
struct Tcreatefid {
    KVMSBX_P9_MESSAGE(Tcreatefid, 164);
    uint32_t dfid = 0, nodefid = 0, openfid = 0;
    std::string_view name = {};
    uint32_t flags = 0, mode = 0, uid = kNoUid, gid = kNoUid;
    KVMSBX_WIRE_FIELDS(dfid, nodefid, openfid, name, flags, mode, uid, gid)
};
struct Rcreatefid {
    KVMSBX_P9_MESSAGE(Rcreatefid, 165);
    uint32_t iounit = 0;
    Attr attr = {};
    KVMSBX_WIRE_FIELDS(iounit, attr)
};

// Creates a directory, symlink (to target), device, FIFO, socket or regular file, by mode's type, and a fid for it.
struct Tmakenode {
    KVMSBX_P9_MESSAGE(Tmakenode, 166);
    uint32_t dfid = 0, newfid = 0;
    std::string_view name = {}, target = {};
    uint32_t mode = 0, major = 0, minor = 0, uid = kNoUid, gid = kNoUid;
    KVMSBX_WIRE_FIELDS(dfid, newfid, name, target, mode, major, minor, uid, gid)
};
struct Rmakenode {
    KVMSBX_P9_MESSAGE(Rmakenode, 167);
    Attr attr = {};
    KVMSBX_WIRE_FIELDS(attr)
};

// Clunks them all; unknown fids are ignored.
struct Tclunkmany {
    KVMSBX_P9_MESSAGE(Tclunkmany, 168);
    List<uint32_t, kMaxClunk> fids = {};
    KVMSBX_WIRE_FIELDS(fids)
};
struct Rclunkmany {
    KVMSBX_P9_MESSAGE(Rclunkmany, 169);
    KVMSBX_WIRE_FIELDS()
};

// Treaddir with attributes: data is DirEntryAttr after DirEntryAttr. "." and "..", and what is mounted on the host,
// come without.
struct Treaddirattr {
    KVMSBX_P9_MESSAGE(Treaddirattr, 170);
    uint32_t fid = 0;
    uint64_t offset = 0;
    uint32_t count = 0;
    KVMSBX_WIRE_FIELDS(fid, offset, count)
};
struct Rreaddirattr {
    KVMSBX_P9_MESSAGE(Rreaddirattr, 171);
    Data data = {};
    KVMSBX_WIRE_FIELDS(data)
};

// Tsetattr, and the attributes after it.
struct Tsetattrget {
    KVMSBX_P9_MESSAGE(Tsetattrget, 172);
    uint32_t fid = 0;
    SetAttr set = {};
    KVMSBX_WIRE_FIELDS(fid, set)
};
struct Rsetattrget {
    KVMSBX_P9_MESSAGE(Rsetattrget, 173);
    Attr attr = {};
    KVMSBX_WIRE_FIELDS(attr)
};

// renameat2(2): Trenameat with RENAME_NOREPLACE (1) or RENAME_EXCHANGE (2).
struct Trenameflags {
    KVMSBX_P9_MESSAGE(Trenameflags, 174);
    uint32_t olddirfid = 0;
    std::string_view oldname = {};
    uint32_t newdirfid = 0;
    std::string_view newname = {};
    uint32_t flags = 0;
    KVMSBX_WIRE_FIELDS(olddirfid, oldname, newdirfid, newname, flags)
};
struct Rrenameflags {
    KVMSBX_P9_MESSAGE(Rrenameflags, 175);
    KVMSBX_WIRE_FIELDS()
};

// fallocate(2) of a file that is open for writing, and the attributes after it. mode: as there; what moves the bytes
// behind the range (FALLOC_FL_COLLAPSE_RANGE, FALLOC_FL_INSERT_RANGE) is EOPNOTSUPP.
struct Tallocate {
    KVMSBX_P9_MESSAGE(Tallocate, 176);
    uint32_t fid = 0, mode = 0;
    uint64_t offset = 0, length = 0;
    KVMSBX_WIRE_FIELDS(fid, mode, offset, length)
};
struct Rallocate {
    KVMSBX_P9_MESSAGE(Rallocate, 177);
    Attr attr = {};
    KVMSBX_WIRE_FIELDS(attr)
};

#undef KVMSBX_P9_MESSAGE

// ---- all of them, for dispatch

template <typename... M>
struct MessageList {
    // Calls visitor.template operator()<M>() for the message of that type; false if there is none.
    template <typename V>
    static constexpr bool dispatch(uint8_t type, V&& visitor) {
        return ((M::kType == type ? (visitor.template operator()<M>(), true) : false) || ...);
    }
    template <typename V>
    static constexpr void for_each(V&& visitor) {
        (visitor.template operator()<M>(), ...);
    }
};

using AllMessages =
    MessageList<Rlerror, Tstatfs, Rstatfs, Tlopen, Rlopen, Tlcreate, Rlcreate, Tsymlink, Rsymlink, Tmknod, Rmknod,
                Trename, Rrename, Treadlink, Rreadlink, Tgetattr, Rgetattr, Tsetattr, Rsetattr, Txattrwalk, Rxattrwalk,
                Txattrcreate, Rxattrcreate, Treaddir, Rreaddir, Tfsync, Rfsync, Tlock, Rlock, Tgetlock, Rgetlock, Tlink,
                Rlink, Tmkdir, Rmkdir, Trenameat, Rrenameat, Tunlinkat, Runlinkat, Tversion, Rversion, Tauth, Rauth,
                Tattach, Rattach, Tflush, Rflush, Twalk, Rwalk, Tread, Rread, Twrite, Rwrite, Tclunk, Rclunk, Tremove,
                Rremove, Twalkattr, Rwalkattr, Topenfid, Ropenfid, Tcreatefid, Rcreatefid, Tmakenode, Rmakenode,
                Tclunkmany, Rclunkmany, Treaddirattr, Rreaddirattr, Tsetattrget, Rsetattrget, Trenameflags,
                Rrenameflags, Tallocate, Rallocate>;

// The reply of T is the next number; the type of a reply tells it from Rlerror.
template <typename T>
inline constexpr uint8_t kReplyType = T::kType + 1;

}  // namespace kvmsbx::p9
