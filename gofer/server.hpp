#pragma once
// The 9P2000.L server: one message in, one reply out. It knows files by descriptors only (host_files.hpp), so that no
// message can name anything outside of what was attached; the transports are serve_ring.cpp and serve_socket.cpp.
//
// Rules. Every byte of a request is hostile: fixed parts are copied before they are decoded, decoding checks all
// bounds, names are single components, fids are capped (FidTable::kMaxFids) and so are descriptors (RLIMIT_NOFILE).
// Permissions of users are not checked here: the client is the Sentry, which has checked them; this server decides only
// what may be reached at all, and refuses every change in a read-only export. What could block is never opened: of
// devices, FIFOs and sockets only attributes and names are served. File contents go straight between file and message
// buffer; Tread and Twrite allocate nothing. umask is 0 in the process: modes are applied as given. A failed request
// leaves the fids as they were.
//
// Single-threaded; the transports call handle() one message at a time. Each on(T) below serves one message: it gives
// the reply, or the errno for Rlerror.
#include <functional>

#include "common/p9/codec.hpp"
#include "gofer/fids.hpp"
#include "gofer/qid_map.hpp"

namespace kvmsbx::gofer {

struct ServerConfig {
    std::vector<Export> exports;  // the root and the bind mounts; they outlive all fids
    host::Fd proc_self_fd;        // /proc/self/fd, opened O_PATH
    uint32_t max_msize = 0x21000;
    std::function<void(std::string_view)> trace;  // with --debug: gets each message and reply as text
};

class Server {
  public:
    explicit Server(ServerConfig config);

    // Serves the message in `request` (which the client may change meanwhile) and writes the reply; gives its size. 0:
    // not even an error fits into `reply`, or the request has no header; then there is nobody to answer.
    uint32_t handle(std::span<const uint8_t> request, std::span<uint8_t> reply);

    // The most that may come and go in one message, as negotiated; before Tversion the configured maximum.
    uint32_t msize() const { return msize_; }
    size_t fid_count() const { return fids_.size(); }

  private:
    uint32_t serve_any(std::span<const uint8_t> request, std::span<uint8_t> reply);
    template <typename T>
    uint32_t serve(std::span<const uint8_t> request, uint16_t tag);
    uint32_t reply_error(uint16_t tag, Errno error);
    void trace(std::span<const uint8_t> message) const;

    // session (server.cpp)
    Result<p9::Rversion> on(const p9::Tversion&);
    Result<p9::Rauth> on(const p9::Tauth&);
    Result<p9::Rattach> on(const p9::Tattach&);
    Result<p9::Rflush> on(const p9::Tflush&);
    Result<p9::Rclunk> on(const p9::Tclunk&);
    Result<p9::Rclunkmany> on(const p9::Tclunkmany&);

    // names (server_names.cpp)
    Result<p9::Rwalk> on(const p9::Twalk&);
    Result<p9::Rwalkattr> on(const p9::Twalkattr&);
    Result<p9::Rreadlink> on(const p9::Treadlink&);
    Result<p9::Rlink> on(const p9::Tlink&);
    Result<p9::Rrename> on(const p9::Trename&);
    Result<p9::Rrenameat> on(const p9::Trenameat&);
    Result<p9::Rrenameflags> on(const p9::Trenameflags&);
    Result<p9::Runlinkat> on(const p9::Tunlinkat&);
    Result<p9::Rremove> on(const p9::Tremove&);

    // creation (server_create.cpp)
    Result<p9::Rlcreate> on(const p9::Tlcreate&);
    Result<p9::Rcreatefid> on(const p9::Tcreatefid&);
    Result<p9::Rsymlink> on(const p9::Tsymlink&);
    Result<p9::Rmknod> on(const p9::Tmknod&);
    Result<p9::Rmkdir> on(const p9::Tmkdir&);
    Result<p9::Rmakenode> on(const p9::Tmakenode&);

    // files (server_files.cpp)
    Result<p9::Rlopen> on(const p9::Tlopen&);
    Result<p9::Ropenfid> on(const p9::Topenfid&);
    Result<p9::Rread> on(const p9::Tread&);
    Result<p9::Rwrite> on(const p9::Twrite&);
    Result<p9::Rallocate> on(const p9::Tallocate&);
    Result<p9::Rfsync> on(const p9::Tfsync&);
    Result<p9::Rgetattr> on(const p9::Tgetattr&);
    Result<p9::Rsetattr> on(const p9::Tsetattr&);
    Result<p9::Rsetattrget> on(const p9::Tsetattrget&);
    Result<p9::Rstatfs> on(const p9::Tstatfs&);

    // directories (server_readdir.cpp)
    Result<p9::Rreaddir> on(const p9::Treaddir&);
    Result<p9::Rreaddirattr> on(const p9::Treaddirattr&);

    // extended attributes (server_xattr.cpp)
    Result<p9::Rxattrwalk> on(const p9::Txattrwalk&);
    Result<p9::Rxattrcreate> on(const p9::Txattrcreate&);
    Result<> finish_xattr(Fid& fid);

    using NodePtr = std::shared_ptr<const Node>;
    struct Found {
        NodePtr node;
        p9::Attr attr;
    };
    struct Owner {
        uint32_t uid, gid;  // kNoUid: as the kernel gave
    };
    struct NewNode {
        uint32_t mode;  // with the type
        uint32_t major = 0, minor = 0;
        std::string_view target = {};
    };

    // As the client sees them.
    Result<p9::Attr> attributes(int fd, const Export& tree);
    Result<Found> node_of(host::Fd fd, const NodePtr& parent, const Export* tree, const char* name);
    Result<Found> walk_one(const NodePtr& parent, std::string_view name);
    // The node of a fid in which names may be created, changed and removed. kROFS, kNOTDIR.
    Result<NodePtr> writable_directory(uint32_t fid);
    Result<host::Fd> open_node(const Node& node, uint32_t flags);
    Result<host::Fd> create_open(const Fid& directory, std::string_view name, uint32_t flags, uint32_t mode,
                                 Owner owner);
    Result<Found> node_of_created(const NodePtr& directory, int fd, std::string_view name);
    Result<Found> make_node(const Fid& directory, std::string_view name, const NewNode& what, Owner owner);
    // Gives a new file to the client's `owner`; `host` is how it was made.
    Result<> set_owner(int fd, const p9::Attr& host, Owner owner, const Export& tree);
    Result<> apply(Fid& fid, const p9::SetAttr& set);
    Result<uint32_t> read_into(Fid& fid, uint64_t offset, std::span<uint8_t> out);
    template <typename Entry>
    Result<p9::Data> read_directory(uint32_t number, uint64_t offset, uint32_t count, uint32_t data_offset);
    // Where the payload of the reply being made goes, limited to `count`, msize and the reply's buffer.
    std::span<uint8_t> payload(uint32_t offset, uint32_t count) const;
    uint32_t iounit() const { return msize_ - 24; }

    ServerConfig config_;
    Reopener reopener_;
    QidMap qids_;
    size_t live_xattrs_ = 0;  // of fids_, below
    FidTable fids_;
    uint32_t msize_;
    bool versioned_ = false;
    bool extended_ = false;
    std::span<uint8_t> reply_;  // of the message being served
    uint8_t request_copy_[p9::kMaxControlSize];
    char link_target_[4096];
    alignas(8) uint8_t entries_[32 * 1024];  // of getdents64
};

}  // namespace kvmsbx::gofer
