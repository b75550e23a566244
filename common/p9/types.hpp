#pragma once
// The data types of 9P2000.L on the wire (diod's protocol.md, Linux's net/9p/9p.h). Integers are little-endian and
// unaligned; a string is a 16-bit length and that many bytes, without NUL. Strings and data in a decoded message point
// into the buffer that was decoded.
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "common/wire/fields.hpp"

namespace kvmsbx::p9 {

inline constexpr uint32_t kNoFid = ~0u;
inline constexpr uint16_t kNoTag = 0xffff;
inline constexpr uint32_t kNoUid = ~0u;     // "unspecified" in n_uname, uid and gid
inline constexpr uint32_t kHeaderSize = 7;  // size[4] type[1] tag[2]
inline constexpr uint32_t kMinimumMsize = 4096;
inline constexpr uint32_t kMaxWalk = 16;  // MAXWELEM
inline constexpr uint32_t kMaxClunk = 64;
inline constexpr uint32_t kMaxName = 255;  // NAME_MAX
// No T-message but Twrite, and no R-message but those with data, is larger than this: copy that much in, decode the
// copy.
inline constexpr uint32_t kMaxControlSize = 8192;

inline constexpr std::string_view kVersionBase = "9P2000.L";
inline constexpr std::string_view kVersionExtended = "9P2000.L.kvmsbx.2";  // and messages 160 to 177
inline constexpr std::string_view kVersionUnknown = "unknown";

enum QidType : uint8_t { kQidDirectory = 0x80, kQidSymlink = 0x02, kQidFile = 0x00 };

struct Qid {
    uint8_t type = 0;
    uint32_t version = 0;  // changes whenever the file's contents or attributes do
    uint64_t path = 0;     // unique per inode, for the life of the connection
    KVMSBX_WIRE_FIELDS(type, version, path)
    bool operator==(const Qid&) const = default;
};

template <typename T, size_t kMax>
struct List {  // count[2], then the elements
    uint16_t count = 0;
    std::array<T, kMax> items{};
    bool push(const T& item) {
        if (count == kMax) return false;
        items[count++] = item;
        return true;
    }
    const T* begin() const { return items.data(); }
    const T* end() const { return items.data() + count; }
    const T& operator[](size_t i) const { return items[i]; }
    bool operator==(const List& other) const {
        if (count != other.count) return false;
        for (uint16_t i = 0; i < count; i++)
            if (!(items[i] == other.items[i])) return false;
        return true;
    }
};

using Names = List<std::string_view, kMaxWalk>;

struct Data {  // count[4], then the bytes; always the last field
    std::span<const uint8_t> bytes;
};

// A 32-bit field at the end of a message that older implementations leave out; then it is 0.
struct OptionalWord {
    uint32_t value = 0;
    bool operator==(const OptionalWord&) const = default;
};

// Bits of Tgetattr's request_mask and Attr::valid.
inline constexpr uint64_t kGetattrBasic = 0x7ff, kGetattrBtime = 0x800, kGetattrAll = 0x3fff;

struct Attr {
    uint64_t valid = 0;
    Qid qid;
    uint32_t mode = 0;  // st_mode, with the type
    uint32_t uid = 0, gid = 0;
    uint64_t nlink = 0;
    uint64_t rdev = 0;                           // Linux's 64-bit dev_t (makedev of glibc)
    uint64_t size = 0, blksize = 0, blocks = 0;  // blocks of 512 bytes
    uint64_t atime_sec = 0, atime_nsec = 0, mtime_sec = 0, mtime_nsec = 0;
    uint64_t ctime_sec = 0, ctime_nsec = 0, btime_sec = 0, btime_nsec = 0;
    uint64_t gen = 0, data_version = 0;
    KVMSBX_WIRE_FIELDS(valid, qid, mode, uid, gid, nlink, rdev, size, blksize, blocks, atime_sec, atime_nsec, mtime_sec,
                       mtime_nsec, ctime_sec, ctime_nsec, btime_sec, btime_nsec, gen, data_version)
    bool operator==(const Attr&) const = default;
};

// Bits of SetAttr::valid (P9_SETATTR_*). Without the _SET bit a time is set to now.
inline constexpr uint32_t kSetMode = 1, kSetUid = 2, kSetGid = 4, kSetSize = 8, kSetAtime = 0x10, kSetMtime = 0x20,
                          kSetCtime = 0x40, kSetAtimeSet = 0x80, kSetMtimeSet = 0x100;

struct SetAttr {
    uint32_t valid = 0;
    uint32_t mode = 0;  // permission bits, suid, sgid, sticky
    uint32_t uid = 0, gid = 0;
    uint64_t size = 0;
    uint64_t atime_sec = 0, atime_nsec = 0, mtime_sec = 0, mtime_nsec = 0;
    KVMSBX_WIRE_FIELDS(valid, mode, uid, gid, size, atime_sec, atime_nsec, mtime_sec, mtime_nsec)
    bool operator==(const SetAttr&) const = default;
};

// Entries of Rreaddir's data, one after the other.
struct DirEntry {
    Qid qid;
    uint64_t offset = 0;  // cookie of the entry after this one, for Treaddir
    uint8_t type = 0;     // DT_*
    std::string_view name;
    KVMSBX_WIRE_FIELDS(qid, offset, type, name)
};

// Entries of Rreaddirattr's data.
struct DirEntryAttr {
    // Of the entry itself (symlinks are not followed); valid == 0: it could not be read, only the qid stands.
    Attr attr;
    uint64_t offset = 0;
    uint8_t type = 0;
    std::string_view name;
    KVMSBX_WIRE_FIELDS(attr, offset, type, name)
};

// Flags of Tlopen and kin: Linux's O_* of x86-64. Tunlinkat: AT_REMOVEDIR.
inline constexpr uint32_t kOpenReadOnly = 0, kOpenWriteOnly = 1, kOpenReadWrite = 2, kOpenAccessMask = 3,
                          kOpenExclusive = 0200, kOpenTruncate = 01000, kOpenAppend = 02000, kOpenDirectory = 0200000;
inline constexpr uint32_t kUnlinkDirectory = 0x200;

}  // namespace kvmsbx::p9
