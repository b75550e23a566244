#pragma once
// A 9P client for the tests: encodes a request, hands it to a transport, decodes the reply.
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <cstring>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "common/p9/codec.hpp"
#include "gofer/server.hpp"

namespace kvmsbx::gofer {

template <typename T>
struct ReplyOf;
#define KVMSBX_REPLY(name)        \
    template <>                   \
    struct ReplyOf<p9::T##name> { \
        using type = p9::R##name; \
    }
KVMSBX_REPLY(version);
KVMSBX_REPLY(auth);
KVMSBX_REPLY(attach);
KVMSBX_REPLY(flush);
KVMSBX_REPLY(clunk);
KVMSBX_REPLY(walk);
KVMSBX_REPLY(readlink);
KVMSBX_REPLY(symlink);
KVMSBX_REPLY(mknod);
KVMSBX_REPLY(mkdir);
KVMSBX_REPLY(link);
KVMSBX_REPLY(rename);
KVMSBX_REPLY(renameat);
KVMSBX_REPLY(unlinkat);
KVMSBX_REPLY(remove);
KVMSBX_REPLY(lopen);
KVMSBX_REPLY(lcreate);
KVMSBX_REPLY(read);
KVMSBX_REPLY(write);
KVMSBX_REPLY(readdir);
KVMSBX_REPLY(fsync);
KVMSBX_REPLY(getattr);
KVMSBX_REPLY(setattr);
KVMSBX_REPLY(statfs);
KVMSBX_REPLY(xattrwalk);
KVMSBX_REPLY(xattrcreate);
KVMSBX_REPLY(lock);
KVMSBX_REPLY(walkattr);
KVMSBX_REPLY(openfid);
KVMSBX_REPLY(createfid);
KVMSBX_REPLY(makenode);
KVMSBX_REPLY(clunkmany);
KVMSBX_REPLY(readdirattr);
KVMSBX_REPLY(setattrget);
KVMSBX_REPLY(allocate);
KVMSBX_REPLY(renameflags);
#undef KVMSBX_REPLY

class Client {
  public:
    // Takes a request, gives the bytes of the reply.
    using Transport = std::function<std::span<const uint8_t>(std::span<const uint8_t>)>;
    explicit Client(Transport transport) : transport_(std::move(transport)) {}

    // Strings and data of the reply are valid until the next call.
    template <typename T>
    Result<typename ReplyOf<T>::type> call(const T& request) {
        std::span<const uint8_t> reply =
            transport_(std::span<const uint8_t>(buffer_).first(p9::encode(buffer_, 1, request).value()));
        typename ReplyOf<T>::type decoded;
        TRY(p9::decode_reply(reply, decoded));
        return decoded;
    }
    template <typename T>
    Errno error(const T& request) {
        auto result = call(request);
        return result.is_error() ? result.error() : Errno{};
    }

    void attach(uint32_t fid = 0, std::string_view aname = "", std::string_view version = p9::kVersionExtended) {
        ASSERT_EQ(call(p9::Tversion{0x21000, version}).value().version, version);
        ASSERT_TRUE(call(p9::Tattach{.fid = fid, .uname = "", .aname = aname}).is_ok());
    }
    // Walks "a/b/c" with the base protocol.
    Errno walk(uint32_t fid, uint32_t newfid, std::string_view path) {
        p9::Twalk request{.fid = fid, .newfid = newfid, .names = names(path)};
        auto reply = call(request);
        if (reply.is_error()) return reply.error();
        return reply.value().qids.count == request.names.count ? Errno{} : Errno::kNOENT;
    }
    static p9::Names names(std::string_view path) {
        p9::Names names;
        while (!path.empty()) {
            size_t end = std::min(path.find('/'), path.size());
            names.push(path.substr(0, end));
            path.remove_prefix(std::min(end + 1, path.size()));
        }
        return names;
    }
    std::string read(uint32_t fid, uint64_t offset = 0, uint32_t count = 128 * 1024) {
        auto reply = call(p9::Tread{fid, offset, count});
        if (reply.is_error()) return "error " + std::to_string(static_cast<int>(reply.error()));
        return std::string(reply.value().data.bytes.begin(), reply.value().data.bytes.end());
    }
    static p9::Data data(std::string_view text) {
        return {{reinterpret_cast<const uint8_t*>(text.data()), text.size()}};
    }

  private:
    Transport transport_;
    std::vector<uint8_t> buffer_ = std::vector<uint8_t>(256 * 1024);
};

// A server over a fresh folder: <temp>/root and <temp>/outside, with the root exported and, if asked, more.
class ServerFixture {
  public:
    ServerFixture() {
        char path[] = "/tmp/gofer-test-XXXXXX";
        base_ = mkdtemp(path);
        std::filesystem::create_directory(base_ / "root");
        std::filesystem::create_directory(base_ / "outside");
    }
    ~ServerFixture() {
        server_.reset();
        std::error_code ignored;
        std::filesystem::remove_all(base_, ignored);
    }
    std::filesystem::path root() const { return base_ / "root"; }
    std::filesystem::path outside() const { return base_ / "outside"; }

    void add_export(int index, const std::filesystem::path& path, bool readonly, OwnerTable owners = {}) {
        exports_.push_back({index, host::Fd(open_path(path)), readonly, std::move(owners)});
    }
    void start(bool readonly_root = false) {
        umask(0);
        ServerConfig config;
        config.exports = std::move(exports_);
        config.exports.insert(config.exports.begin(),
                              Export{Export::kRootIndex, host::Fd(open_path(root())), readonly_root});
        config.proc_self_fd = host::Fd(open_path("/proc/self/fd"));
        server_ = std::make_unique<Server>(std::move(config));
    }
    Server& server() { return *server_; }
    Client::Transport transport() {
        return [this](std::span<const uint8_t> request) -> std::span<const uint8_t> {
            return std::span<const uint8_t>(reply_).first(server_->handle(request, reply_));
        };
    }

  private:
    static int open_path(const std::filesystem::path& path);

    std::filesystem::path base_;
    std::vector<Export> exports_;
    std::unique_ptr<Server> server_;
    std::vector<uint8_t> reply_ = std::vector<uint8_t>(0x21000);
};

}  // namespace kvmsbx::gofer

#include <fcntl.h>

inline int kvmsbx::gofer::ServerFixture::open_path(const std::filesystem::path& path) {
    return open(path.c_str(), O_PATH | O_CLOEXEC);
}
