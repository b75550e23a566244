// Directories. The cookie of an entry is the host file system's own (d_off, what telldir gives): it stays valid while
// entries come and go. Treaddir gives
// "." and ".." as the host does, the latter with the directory's own qid, so that nothing is said about what lies above
// the export; Treaddirattr gives both without attributes.
#include <dirent.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <cstring>

#include "common/host/errno.hpp"
#include "gofer/server.hpp"

namespace kvmsbx::gofer {

using namespace p9;

namespace {

struct HostEntry {  // linux_dirent64, getdents(2)
    uint64_t inode;
    uint64_t offset;
    uint16_t length;
    uint8_t type;
    std::string_view name;
};

HostEntry entry_at(const uint8_t* p) {
    HostEntry entry{};
    memcpy(&entry.inode, p, 8);
    memcpy(&entry.offset, p + 8, 8);
    memcpy(&entry.length, p + 16, 2);
    entry.type = p[18];
    // SAFETY: the kernel's record: a NUL-terminated name at 19.
    entry.name = reinterpret_cast<const char*>(p + 19);
    return entry;
}

bool is_dot(std::string_view name) { return name == "." || name == ".."; }

Result<FileStat> stat_entry(int directory, std::string_view text) {
    const Name name = TRY(Name::create(text));
    return stat_name(directory, name);
}

uint8_t qid_type(uint8_t type) { return type == DT_DIR ? kQidDirectory : type == DT_LNK ? kQidSymlink : kQidFile; }

}  // namespace

template <typename Entry>
Result<Data> Server::read_directory(uint32_t number, uint64_t offset, uint32_t count, uint32_t data_offset) {
    Fid* fid = TRY(fids_.find(number));
    if (!fid->open.is_open()) return Errno::kBADF;
    if (fid->node->type != S_IFDIR) return Errno::kNOTDIR;
    int fd = fid->open.get();
    constexpr uint64_t kUnknown = ~uint64_t{0};
    if (offset != fid->directory_position || offset == 0) {
        fid->directory_position = kUnknown;
        TRY(host::checked(lseek(fd, static_cast<off_t>(offset), SEEK_SET)));
    }
    uint64_t device = TRY(stat_fd(fd)).device;
    std::span<uint8_t> out = payload(data_offset, count);
    Encoder encoder(out);
    size_t filled = 0;  // entries that are in whole
    for (;;) {
        long bytes = syscall(SYS_getdents64, fd, entries_, sizeof entries_);
        if (bytes < 0 && filled == 0) return host::last_errno();
        if (bytes <= 0) break;
        for (long at = 0; at < bytes;) {
            HostEntry host = entry_at(entries_ + at);
            at += host.length;
            Entry entry;
            entry.offset = host.offset;
            entry.type = host.type;
            entry.name = host.name;
            Qid qid{qid_type(host.type), 0, host.name == ".." ? fid->node->qid_path : qids_.path(device, host.inode)};
            if constexpr (std::is_same_v<Entry, DirEntryAttr>) {
                Result<FileStat> st = is_dot(host.name) ? Result<FileStat>(Errno::kINVAL) : stat_entry(fd, host.name);
                if (st.is_ok() && st->device == device) {
                    entry.attr = st->attr;
                    entry.attr.uid = fid->node->tree->owners.uids.to_client(st->attr.uid);
                    entry.attr.gid = fid->node->tree->owners.gids.to_client(st->attr.gid);
                    qid = qids_.qid(st->device, st->inode, st->attr);
                }
                entry.attr.qid = qid;
            } else {
                entry.qid = qid;
            }
            encoder.put(entry);
            if (encoder.overflow()) {
                fid->directory_position = kUnknown;     // the host's position is past what was given out
                if (filled == 0) return Errno::kINVAL;  // getdents(2): the buffer is too small for one entry
                return Data{out.first(filled)};
            }
            filled = encoder.position();
            fid->directory_position = host.offset;
        }
    }
    return Data{out.first(filled)};
}

Result<Rreaddir> Server::on(const Treaddir& message) {
    return Rreaddir{TRY(read_directory<DirEntry>(message.fid, message.offset, message.count, data_offset<Rreaddir>()))};
}

Result<Rreaddirattr> Server::on(const Treaddirattr& message) {
    return Rreaddirattr{
        TRY(read_directory<DirEntryAttr>(message.fid, message.offset, message.count, data_offset<Rreaddirattr>()))};
}

}  // namespace kvmsbx::gofer
