#include "guestkernel/fs/ninep/client.hpp"

#include "guestkernel/vfs/dentry.hpp"
#include "guestkernel/vfs/device.hpp"

namespace kvmsbx::fs::ninep {

namespace {
constexpr uint32_t kPermissionBits = 07777;
constexpr uint64_t kAnyNumber = ~0ULL;
}  // namespace

vfs::Attributes to_attributes(const p9::Attr& attr) {
    vfs::Attributes to;
    const auto time = [](uint64_t seconds, uint64_t nanoseconds) {
        return vfs::Timestamp{static_cast<int64_t>(seconds), static_cast<uint32_t>(nanoseconds % 1'000'000'000)};
    };
    to.ino = attr.qid.path, to.mode = attr.mode, to.nlink = static_cast<uint32_t>(attr.nlink);
    to.uid = attr.uid, to.gid = attr.gid, to.rdev = attr.rdev;
    to.size = attr.size, to.blocks = attr.blocks;
    to.block_size = attr.blksize ? static_cast<uint32_t>(attr.blksize) : 4096;
    to.atime = time(attr.atime_sec, attr.atime_nsec), to.mtime = time(attr.mtime_sec, attr.mtime_nsec);
    to.ctime = time(attr.ctime_sec, attr.ctime_nsec), to.btime = time(attr.btime_sec, attr.btime_nsec);
    return to;
}

Result<> Client::negotiate() {
    p9::Rversion reply;
    Call one(transport_);
    transport_.msize = abi::kSlotBufferSize;
    TRY(one.exchange(p9::Tversion{abi::kSlotBufferSize, p9::kVersionExtended}, reply));
    transport_.extended = reply.version == p9::kVersionExtended;
    if (!transport_.extended && reply.version != p9::kVersionBase) return Errno::kPROTO;
    if (reply.msize < p9::kMinimumMsize || reply.msize > abi::kSlotBufferSize) return Errno::kPROTO;
    transport_.msize = reply.msize;
    return {};
}

Result<p9::Attr> Client::attach(uint32_t fid, std::string_view aname) {
    p9::Rattach reply;
    p9::Tattach message;
    message.fid = fid, message.aname = aname, message.n_uname = 0;
    TRY(call(message, reply));
    return get_attributes(fid);
}

Result<p9::Attr> Client::get_attributes(uint32_t fid) {
    p9::Rgetattr reply;
    TRY(call(p9::Tgetattr{fid}, reply));
    return reply.attr;
}

Result<p9::Attr> Client::set_attributes(uint32_t fid, const p9::SetAttr& set) {
    if (transport_.extended) {
        p9::Rsetattrget reply;
        TRY(call(p9::Tsetattrget{fid, set}, reply));
        return reply.attr;
    }
    p9::Rsetattr reply;
    TRY(call(p9::Tsetattr{fid, set}, reply));
    return get_attributes(fid);
}

// From then on fewer names are kept than led to this.
bool Client::free_descriptors() {
    const size_t unused = vfs::Dentry::count_unused();
    vfs::Dentry::limit_unused(unused / 2);
    transport_.send_clunks();
    return unused > 0;
}

template <typename Attempt>
auto Client::with_descriptors(Attempt attempt) {
    const auto ran_out = [](Errno error) { return error == Errno::kMFILE || error == Errno::kNFILE; };
    auto result = attempt();
    while (result.is_error() && ran_out(result.error()) && free_descriptors()) result = attempt();
    return result;
}

Result<Client::Walked> Client::walk(uint32_t directory, std::string_view name) {
    return with_descriptors(
        [=, this] { return transport_.extended ? walk_extended(directory, name) : walk_plain(directory, name); });
}

Result<Client::Walked> Client::walk_extended(uint32_t directory, std::string_view name) {
    p9::Twalkattr message;
    message.fid = directory, message.newfid = transport_.new_fid();
    message.names.push(name);
    p9::Rwalkattr reply;
    Result<> result = call(message, reply);
    if (result.is_ok() && reply.error != 0) result = reply.error <= 133 ? static_cast<Errno>(reply.error) : Errno::kIO;
    if (result.is_ok() && reply.attrs.count != 1) result = Errno::kIO;
    if (result.is_ok()) return Walked{message.newfid, reply.attrs[0]};
    transport_.recycle(message.newfid);
    return result.error();
}

Result<Client::Walked> Client::walk_plain(uint32_t directory, std::string_view name) {
    p9::Twalk message;
    message.fid = directory, message.newfid = transport_.new_fid();
    message.names.push(name);
    p9::Rwalk reply;
    Result<> walked = call(message, reply);
    if (walked.is_ok() && reply.qids.count != 1) walked = Errno::kIO;
    if (walked.is_error()) {
        transport_.recycle(message.newfid);
        return walked.error();
    }
    Result<p9::Attr> attr = get_attributes(message.newfid);
    if (attr.is_ok()) return Walked{message.newfid, attr.value()};
    transport_.clunk(message.newfid);
    return attr.error();
}

Result<uint32_t> Client::clone(uint32_t fid) {
    p9::Twalk message;
    message.fid = fid, message.newfid = transport_.new_fid();
    p9::Rwalk reply;
    Result<> walked = call(message, reply);
    if (walked.is_ok()) return message.newfid;
    transport_.recycle(message.newfid);
    return walked.error();
}

Result<Client::Opened> Client::open(Call& call, uint32_t fid, uint32_t flags, uint32_t read_count) {
    return with_descriptors([=, this, &call] {
        return transport_.extended ? open_extended(call, {fid, 0, flags, read_count}, kAnyNumber)
                                   : open_plain(fid, flags);
    });
}

Result<Client::Opened> Client::open_entry(Call& call, uint32_t directory, std::string_view name, uint64_t number,
                                          uint32_t flags, uint32_t read_count) {
    return with_descriptors([=, this, &call] {
        return open_extended(call, {directory, 0, flags, read_count, name}, number);
    });
}

Result<Client::Opened> Client::open_extended(Call& call, p9::Topenfid message, uint64_t number) {
    message.newfid = transport_.new_fid();
    if (message.read_count > read_limit()) message.read_count = read_limit();
    p9::Ropenfid reply;
    Result<> result = call.exchange(message, reply);
    if (result.is_error()) {
        transport_.recycle(message.newfid);
        return result.error();
    }
    if (number != kAnyNumber && reply.attr.qid.path != number) {
        transport_.clunk(message.newfid);
        return Errno::kSTALE;
    }
    if (reply.data.bytes.size() > message.read_count) reply.data.bytes = reply.data.bytes.first(message.read_count);
    return Opened{message.newfid, reply.data.bytes, message.read_count > 0};
}

Result<Client::Opened> Client::open_plain(uint32_t fid, uint32_t flags) {
    const uint32_t opened = TRY(clone(fid));
    p9::Rlopen reply;
    Result<> result = call(p9::Tlopen{opened, flags}, reply);
    if (result.is_ok()) return Opened{opened, {}};
    transport_.clunk(opened);
    return result.error();
}

Result<Client::Created> Client::create(uint32_t directory, std::string_view name, const vfs::NewNode& node) {
    return with_descriptors([=, this, &node] {
        return transport_.extended ? create_extended(directory, name, node) : create_plain(directory, name, node);
    });
}

Result<Client::Created> Client::create_extended(uint32_t directory, std::string_view name, const vfs::NewNode& node) {
    p9::Tcreatefid message;
    message.dfid = directory, message.nodefid = transport_.new_fid(), message.openfid = transport_.new_fid();
    message.name = name, message.flags = p9::kOpenReadWrite;
    message.mode = node.mode & kPermissionBits, message.uid = node.uid, message.gid = node.gid;
    p9::Rcreatefid reply;
    Result<> result = call(message, reply);
    if (result.is_ok()) return Created{{message.nodefid, message.openfid}, reply.attr};
    transport_.recycle(message.nodefid);
    transport_.recycle(message.openfid);
    return result.error();
}

Result<Client::Created> Client::create_plain(uint32_t directory, std::string_view name, const vfs::NewNode& node) {
    const uint32_t opened = TRY(clone(directory));
    p9::Rlcreate reply;
    Result<> result =
        call(p9::Tlcreate{opened, name, p9::kOpenReadWrite | p9::kOpenExclusive, node.mode & kPermissionBits, node.gid},
             reply);
    if (result.is_error()) {
        transport_.clunk(opened);
        return result.error();
    }
    Walked made = TRY(walk_plain(directory, name));
    p9::SetAttr owner;
    owner.valid = p9::kSetUid | p9::kSetGid, owner.uid = node.uid, owner.gid = node.gid;
    made.attr = TRY(set_attributes(made.fid, owner));
    return Created{{made.fid, opened}, made.attr};
}

Result<Client::Walked> Client::make_node(uint32_t directory, std::string_view name, std::string_view target,
                                         const vfs::NewNode& node) {
    return with_descriptors([=, this, &node] {
        return transport_.extended ? make_node_extended(directory, name, target, node)
                                   : make_node_plain(directory, name, target, node);
    });
}

Result<Client::Walked> Client::make_node_extended(uint32_t directory, std::string_view name, std::string_view target,
                                                  const vfs::NewNode& node) {
    p9::Tmakenode message;
    message.dfid = directory, message.newfid = transport_.new_fid(), message.name = name, message.target = target;
    message.mode = node.mode, message.uid = node.uid, message.gid = node.gid;
    message.major = vfs::major_of(node.rdev), message.minor = vfs::minor_of(node.rdev);
    p9::Rmakenode reply;
    Result<> result = call(message, reply);
    if (result.is_ok()) return Walked{message.newfid, reply.attr};
    transport_.recycle(message.newfid);
    return result.error();
}

Result<Client::Walked> Client::make_node_plain(uint32_t directory, std::string_view name, std::string_view target,
                                               const vfs::NewNode& node) {
    const uint32_t type = node.mode & vfs::kModeTypeMask;
    if (type == vfs::kModeDirectory) {
        p9::Rmkdir reply;
        TRY(call(p9::Tmkdir{directory, name, node.mode & kPermissionBits, node.gid}, reply));
    } else if (type == vfs::kModeLink) {
        p9::Rsymlink reply;
        TRY(call(p9::Tsymlink{directory, name, target, node.gid}, reply));
    } else {
        p9::Rmknod reply;
        TRY(call(p9::Tmknod{directory, name, node.mode, vfs::major_of(node.rdev), vfs::minor_of(node.rdev), node.gid},
                 reply));
    }
    Walked made = TRY(walk_plain(directory, name));
    p9::SetAttr owner;
    owner.valid = p9::kSetUid | p9::kSetGid, owner.uid = node.uid, owner.gid = node.gid;
    made.attr = TRY(set_attributes(made.fid, owner));
    return made;
}

Result<std::span<const uint8_t>> Client::read(Call& call, uint32_t fid, uint64_t offset, uint32_t count) {
    if (count > read_limit()) count = read_limit();
    p9::Rread reply;
    TRY(call.exchange(p9::Tread{fid, offset, count}, reply));
    if (reply.data.bytes.size() > count) return Errno::kIO;
    return reply.data.bytes;
}

Result<uint32_t> Client::write(Call& call, uint32_t fid, uint64_t offset, std::span<const uint8_t> bytes) {
    p9::Rwrite reply;
    TRY(call.exchange(p9::Twrite{fid, offset, {bytes}}, reply));
    if (reply.count == 0 || reply.count > bytes.size()) return Errno::kIO;
    return reply.count;
}

namespace {

Result<Vector<uint8_t>> copy_of(std::span<const uint8_t> bytes) {
    Vector<uint8_t> copy;
    TRY(copy.resize(bytes.size()));
    if (!bytes.empty()) memcpy(copy.data(), bytes.data(), bytes.size());
    return copy;
}

}  // namespace

Result<Vector<uint8_t>> Client::read_directory(uint32_t fid, uint64_t offset, uint32_t count, Entries entries) {
    Call one(transport_);
    if (entries == Entries::kPlain) {
        p9::Rreaddir reply;
        TRY(one.exchange(p9::Treaddir{fid, offset, count}, reply));
        return copy_of(reply.data.bytes);
    }
    p9::Rreaddirattr reply;
    TRY(one.exchange(p9::Treaddirattr{fid, offset, count}, reply));
    return copy_of(reply.data.bytes);
}

Result<String> Client::read_link(uint32_t fid) {
    Call one(transport_);
    p9::Rreadlink reply;
    TRY(one.exchange(p9::Treadlink{fid}, reply));
    return String::create(reply.target);
}

Result<> Client::link(uint32_t directory, uint32_t fid, std::string_view name) {
    p9::Rlink reply;
    return call(p9::Tlink{directory, fid, name}, reply);
}

Result<p9::Attr> Client::allocate(uint32_t fid, uint32_t mode, uint64_t offset, uint64_t length) {
    if (!transport_.extended) return Errno::kOPNOTSUPP;
    p9::Rallocate reply;
    TRY(call(p9::Tallocate{fid, mode, offset, length}, reply));
    return reply.attr;
}

Result<> Client::rename(uint32_t from, std::string_view name, uint32_t to, std::string_view new_name, uint32_t flags) {
    if (flags != 0) {
        if (!transport_.extended) return Errno::kINVAL;
        p9::Rrenameflags reply;
        return call(p9::Trenameflags{from, name, to, new_name, flags}, reply);
    }
    p9::Rrenameat reply;
    return call(p9::Trenameat{from, name, to, new_name}, reply);
}

Result<> Client::unlink(uint32_t directory, std::string_view name, bool is_directory) {
    p9::Runlinkat reply;
    return call(p9::Tunlinkat{directory, name, is_directory ? p9::kUnlinkDirectory : 0}, reply);
}

Result<> Client::fsync(uint32_t fid, bool data_only) {
    p9::Rfsync reply;
    return call(p9::Tfsync{fid, {data_only ? 1U : 0U}}, reply);
}

Result<p9::Rstatfs> Client::statistics(uint32_t fid) {
    p9::Rstatfs reply;
    TRY(call(p9::Tstatfs{fid}, reply));
    return reply;
}

}  // namespace kvmsbx::fs::ninep
