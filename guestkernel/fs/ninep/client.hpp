#pragma once
// 9P requests as functions. Where the server has the extension one message does; else several of plain 9P2000.L. Errors
// are the server's errno, or EIO.
#include "guestkernel/fs/ninep/transport.hpp"
#include "guestkernel/vfs/inode.hpp"

namespace kvmsbx::fs::ninep {

struct NewFids {
    uint32_t node = p9::kNoFid, open = p9::kNoFid;
};

class Client {
  public:
    explicit Client(Transport& transport) : transport_(transport) {}
    // Tversion; once per connection.
    Result<> negotiate();
    Result<p9::Attr> attach(uint32_t fid, std::string_view aname);
    Result<p9::Attr> get_attributes(uint32_t fid);
    Result<p9::Attr> set_attributes(uint32_t fid, const p9::SetAttr& set);
    // A new fid for a name in a directory, and its attributes. ENOENT.
    struct Walked {
        uint32_t fid;
        p9::Attr attr;
    };
    Result<Walked> walk(uint32_t directory, std::string_view name);

    // Opens the inode as a new fid. The first bytes of a regular file come along if the extension is there: `data`
    // lives as long as `call`.
    struct Opened {
        uint32_t fid;
        std::span<const uint8_t> data;
        bool has_data = false;  // data was asked for and is the file's start; shorter than asked: the file ends there
    };
    Result<Opened> open(Call& call, uint32_t fid, uint32_t flags, uint32_t read_count);
    // The same of an entry of the directory fid: one message where the extension is there. ESTALE: the name stands for
    // another inode than that of `number`.
    Result<Opened> open_entry(Call& call, uint32_t directory, std::string_view name, uint64_t number, uint32_t flags,
                              uint32_t read_count);
    bool opens_by_name() const { return transport_.extended; }
    // Creates and opens (read and write) a regular file.
    struct Created {
        NewFids fids;
        p9::Attr attr;
    };
    Result<Created> create(uint32_t directory, std::string_view name, const vfs::NewNode& node);
    // Directories, links, devices, FIFOs, sockets.
    Result<Walked> make_node(uint32_t directory, std::string_view name, std::string_view target,
                             const vfs::NewNode& node);

    // At most `count` bytes, which live as long as `call`; fewer only at the end of the file.
    Result<std::span<const uint8_t>> read(Call& call, uint32_t fid, uint64_t offset, uint32_t count);
    // The bytes lie at call.payload<p9::Twrite>() already. Gives how many were written, at least 1.
    Result<uint32_t> write(Call& call, uint32_t fid, uint64_t offset, std::span<const uint8_t> bytes);
    // The bytes of Rreaddir, or of Rreaddirattr with attributes.
    enum class Entries : uint8_t { kPlain, kWithAttributes };
    Result<Vector<uint8_t>> read_directory(uint32_t fid, uint64_t offset, uint32_t count, Entries entries);
    bool has_entry_attributes() const { return transport_.extended; }
    // xattr.cpp. name "": the names of all.
    Result<Vector<uint8_t>> read_xattr(uint32_t fid, std::string_view name);
    Result<> write_xattr(uint32_t fid, std::string_view name, std::span<const uint8_t> value, uint32_t flags);
    Result<String> read_link(uint32_t fid);
    Result<> link(uint32_t directory, uint32_t fid, std::string_view name);
    // flags: RENAME_NOREPLACE, RENAME_EXCHANGE; EINVAL where the server has no such request.
    Result<> rename(uint32_t from, std::string_view name, uint32_t to, std::string_view new_name, uint32_t flags);
    // fallocate(2) of an open fid. EOPNOTSUPP where the server has no such request.
    Result<p9::Attr> allocate(uint32_t fid, uint32_t mode, uint64_t offset, uint64_t length);
    Result<> unlink(uint32_t directory, std::string_view name, bool is_directory);
    Result<> fsync(uint32_t fid, bool data_only);
    Result<p9::Rstatfs> statistics(uint32_t fid);

    uint32_t read_limit() const { return transport_.msize - 256 < kMaxData ? transport_.msize - 256 : kMaxData; }
    Transport& transport() const { return transport_; }
    static constexpr uint32_t kMaxData = 128 * 1024;

  private:
    // Makes attempt() again when the server had no descriptor left for it: those of unused names are given back.
    template <typename Attempt>
    auto with_descriptors(Attempt attempt);
    bool free_descriptors();
    Result<Walked> walk_extended(uint32_t directory, std::string_view name);
    Result<Opened> open_extended(Call& call, p9::Topenfid message, uint64_t number);
    Result<Created> create_extended(uint32_t directory, std::string_view name, const vfs::NewNode& node);
    Result<Walked> make_node_extended(uint32_t directory, std::string_view name, std::string_view target,
                                      const vfs::NewNode& node);
    Result<Walked> walk_plain(uint32_t directory, std::string_view name);
    Result<Opened> open_plain(uint32_t fid, uint32_t flags);
    Result<Created> create_plain(uint32_t directory, std::string_view name, const vfs::NewNode& node);
    Result<Walked> make_node_plain(uint32_t directory, std::string_view name, std::string_view target,
                                   const vfs::NewNode& node);
    Result<uint32_t> clone(uint32_t fid);
    Result<uint32_t> write_piece(uint32_t fid, uint64_t offset, std::span<const uint8_t> bytes);
    template <typename M, typename R>
    Result<> call(const M& message, R& reply) {
        Call one(transport_);
        return one.exchange(message, reply);
    }
    Transport& transport_;
};

vfs::Attributes to_attributes(const p9::Attr& attr);

}  // namespace kvmsbx::fs::ninep
