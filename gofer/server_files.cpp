// Open files and attributes.
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/statfs.h>

#include "common/host/errno.hpp"
#include "gofer/server.hpp"

namespace kvmsbx::gofer {

using namespace p9;

// Opens what may be opened on the host: regular files and directories.
Result<host::Fd> Server::open_node(const Node& node, uint32_t flags) {
    uint32_t access = flags & kOpenAccessMask;
    bool modifies = access != kOpenReadOnly || (flags & kOpenTruncate) != 0;
    if (access == kOpenAccessMask) return Errno::kINVAL;
    switch (node.type) {
        case S_IFDIR:
            if (modifies) return Errno::kISDIR;
            return host::owned(openat(node.fd.get(), ".", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
        case S_IFREG:
            if ((flags & kOpenDirectory) != 0) return Errno::kNOTDIR;
            if (modifies && node.tree->readonly) return Errno::kROFS;
            return reopener_.open(node.fd.get(), access | (flags & (kOpenTruncate | kOpenAppend)));
        case S_IFLNK: return Errno::kLOOP;
        default: return Errno::kNXIO;  // devices, FIFOs and sockets are the Sentry's own
    }
}

Result<Rlopen> Server::on(const Tlopen& message) {
    Fid* fid = TRY(fids_.find(message.fid));
    if (fid->open.is_open() || fid->xattr) return Errno::kBUSY;
    host::Fd fd = TRY(open_node(*fid->node, message.flags));
    Attr attr = TRY(attributes(fd.get(), *fid->node->tree));
    fid->open = std::move(fd);
    return Rlopen{attr.qid, iounit()};
}

Result<Ropenfid> Server::on(const Topenfid& message) {
    Fid* fid = TRY(fids_.find(message.fid));
    if (fid->xattr) return Errno::kINVAL;
    TRY(fids_.check_free(message.newfid));
    Fid open;
    open.node = message.name.empty() ? fid->node : TRY(walk_one(fid->node, message.name)).node;
    open.uid = fid->uid;
    open.open = TRY(open_node(*open.node, message.flags));
    Ropenfid reply{.iounit = iounit(), .attr = TRY(attributes(open.open.get(), *open.node->tree)), .data = {}};
    bool readable = open.node->type == S_IFREG && (message.flags & kOpenAccessMask) != kOpenWriteOnly;
    if (readable && message.read_count != 0) {
        std::span<uint8_t> out = payload(data_offset<Ropenfid>(), message.read_count);
        reply.data.bytes = out.first(TRY(read_into(open, 0, out)));
    }
    fids_.put(message.newfid, std::move(open));
    return reply;
}

// Reads until `out` is full or the file ends.
Result<uint32_t> Server::read_into(Fid& fid, uint64_t offset, std::span<uint8_t> out) {
    if (offset > LLONG_MAX) return Errno::kINVAL;
    size_t done = 0;
    while (done < out.size()) {
        ssize_t n = pread(fid.open.get(), out.data() + done, out.size() - done, static_cast<off_t>(offset + done));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && done == 0) return host::last_errno();
        if (n <= 0) break;
        done += static_cast<size_t>(n);
    }
    return static_cast<uint32_t>(done);
}

Result<Rread> Server::on(const Tread& message) {
    Fid* fid = TRY(fids_.find(message.fid));
    std::span<uint8_t> out = payload(data_offset<Rread>(), message.count);
    if (fid->xattr) {
        const std::string& value = fid->xattr->value;
        size_t start = std::min<uint64_t>(message.offset, value.size());
        size_t length = std::min(value.size() - start, out.size());
        std::copy_n(value.begin() + static_cast<ptrdiff_t>(start), length, out.begin());
        return Rread{{out.first(length)}};
    }
    if (!fid->open.is_open()) return Errno::kBADF;
    if (fid->node->type == S_IFDIR) return Errno::kISDIR;
    return Rread{{out.first(TRY(read_into(*fid, message.offset, out)))}};
}

Result<Rwrite> Server::on(const Twrite& message) {
    Fid* fid = TRY(fids_.find(message.fid));
    std::span<const uint8_t> in = message.data.bytes;
    if (fid->xattr) {
        XattrValue& xattr = *fid->xattr;
        if (xattr.name.empty()) return Errno::kBADF;
        if (message.offset != xattr.value.size() || in.size() > xattr.size - xattr.value.size()) return Errno::kINVAL;
        xattr.value.append(in.begin(), in.end());
        return Rwrite{static_cast<uint32_t>(in.size())};
    }
    if (!fid->open.is_open()) return Errno::kBADF;
    if (message.offset > LLONG_MAX) return Errno::kINVAL;
    size_t done = 0;
    while (done < in.size()) {
        ssize_t n =
            pwrite(fid->open.get(), in.data() + done, in.size() - done, static_cast<off_t>(message.offset + done));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && done == 0) return host::last_errno();
        if (n <= 0) break;
        done += static_cast<size_t>(n);
    }
    return Rwrite{static_cast<uint32_t>(done)};
}

Result<Rallocate> Server::on(const Tallocate& message) {
    Fid* fid = TRY(fids_.find(message.fid));
    if (!fid->open.is_open()) return Errno::kBADF;
    constexpr uint32_t kModes = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE;
    if ((message.mode & ~kModes) != 0) return Errno::kOPNOTSUPP;
    if (message.offset > LLONG_MAX || message.length > LLONG_MAX) return Errno::kINVAL;
    TRY(host::checked(fallocate(fid->open.get(), static_cast<int>(message.mode), static_cast<off_t>(message.offset),
                                static_cast<off_t>(message.length))));
    return Rallocate{TRY(attributes(fid->open.get(), *fid->node->tree))};
}

Result<Rfsync> Server::on(const Tfsync& message) {
    Fid* fid = TRY(fids_.find(message.fid));
    if (!fid->open.is_open()) return Errno::kBADF;
    TRY(host::checked(message.datasync.value != 0 ? fdatasync(fid->open.get()) : fsync(fid->open.get())));
    return Rfsync{};
}

Result<Rgetattr> Server::on(const Tgetattr& message) {
    Fid* fid = TRY(fids_.find(message.fid));
    return Rgetattr{TRY(attributes(fid->node->fd.get(), *fid->node->tree))};
}

namespace {

Result<timespec> time_to_set(uint32_t valid, uint32_t change, uint32_t explicit_time, uint64_t sec, uint64_t nsec) {
    if ((valid & change) == 0) return timespec{.tv_sec = 0, .tv_nsec = UTIME_OMIT};
    if ((valid & explicit_time) == 0) return timespec{.tv_sec = 0, .tv_nsec = UTIME_NOW};
    if (nsec >= 1'000'000'000) return Errno::kINVAL;
    return timespec{.tv_sec = static_cast<time_t>(sec), .tv_nsec = static_cast<long>(nsec)};
}

}  // namespace

// In the order in which one change does not undo another: chown clears suid bits, truncate changes the times.
Result<> Server::apply(Fid& fid, const SetAttr& set) {
    const Node& node = *fid.node;
    int fd = node.fd.get();
    if (node.tree->readonly) return Errno::kROFS;
    if ((set.valid & kSetSize) != 0 && node.type != S_IFREG)
        return node.type == S_IFDIR ? Errno::kISDIR : Errno::kINVAL;
    if ((set.valid & kSetMode) != 0 && node.type == S_IFLNK) return Errno::kOPNOTSUPP;
    if ((set.valid & kSetSize) != 0 && set.size > LLONG_MAX) return Errno::kINVAL;
    timespec times[2] = {TRY(time_to_set(set.valid, kSetAtime, kSetAtimeSet, set.atime_sec, set.atime_nsec)),
                         TRY(time_to_set(set.valid, kSetMtime, kSetMtimeSet, set.mtime_sec, set.mtime_nsec))};

    if ((set.valid & (kSetUid | kSetGid)) != 0) {
        const OwnerTable& owners = node.tree->owners;
        const uint32_t uid = (set.valid & kSetUid) != 0 ? TRY(owners.uids.to_own(set.uid)) : kNoUid;
        const uint32_t gid = (set.valid & kSetGid) != 0 ? TRY(owners.gids.to_own(set.gid)) : kNoUid;
        TRY(host::checked(fchownat(fd, "", uid, gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW)));
    }
    if ((set.valid & kSetMode) != 0) TRY(reopener_.change_mode(fd, set.mode));
    if ((set.valid & kSetSize) != 0) {
        host::Fd writable = TRY(reopener_.open(fd, O_WRONLY));
        TRY(host::checked(ftruncate(writable.get(), static_cast<off_t>(set.size))));
    }
    if ((set.valid & (kSetAtime | kSetMtime)) != 0)
        TRY(host::checked(utimensat(fd, "", times, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW)));
    return {};
}

Result<Rsetattr> Server::on(const Tsetattr& message) {
    TRY(apply(*TRY(fids_.find(message.fid)), message.set));
    return Rsetattr{};
}

Result<Rsetattrget> Server::on(const Tsetattrget& message) {
    Fid* fid = TRY(fids_.find(message.fid));
    TRY(apply(*fid, message.set));
    return Rsetattrget{TRY(attributes(fid->node->fd.get(), *fid->node->tree))};
}

Result<Rstatfs> Server::on(const Tstatfs& message) {
    Fid* fid = TRY(fids_.find(message.fid));
    struct statfs st;
    TRY(host::checked(fstatfs(fid->node->fd.get(), &st)));
    uint64_t fsid = static_cast<uint32_t>(st.f_fsid.__val[0]) |
                    static_cast<uint64_t>(static_cast<uint32_t>(st.f_fsid.__val[1])) << 32;
    return Rstatfs{.type = static_cast<uint32_t>(st.f_type),
                   .bsize = static_cast<uint32_t>(st.f_bsize),
                   .blocks = st.f_blocks,
                   .bfree = st.f_bfree,
                   .bavail = st.f_bavail,
                   .files = st.f_files,
                   .ffree = st.f_ffree,
                   .fsid = fsid,
                   .namelen = static_cast<uint32_t>(st.f_namelen)};
}

}  // namespace kvmsbx::gofer
