#include "gofer/server.hpp"

#include <fcntl.h>

#include <algorithm>
#include <charconv>
#include <cstring>

#include "common/p9/describe.hpp"

namespace kvmsbx::gofer {

using namespace p9;

namespace {

using Requests = MessageList<Tread, Twrite, Twalkattr, Topenfid, Tgetattr, Tclunkmany, Tcreatefid, Tmakenode,
                             Treaddirattr, Tsetattrget, Trenameflags, Tallocate, Tversion, Tauth, Tattach, Tflush,
                             Tclunk, Twalk, Treadlink, Tlink, Trename, Trenameat, Tunlinkat, Tremove, Tlopen, Tlcreate,
                             Tsymlink, Tmknod, Tmkdir, Treaddir, Tfsync, Tsetattr, Tstatfs, Txattrwalk, Txattrcreate>;
constexpr uint8_t kFirstExtension = Twalkattr::kType;

}  // namespace

Server::Server(ServerConfig config)
    : config_(std::move(config)), reopener_(std::move(config_.proc_self_fd)), msize_(config_.max_msize) {}

uint32_t Server::handle(std::span<const uint8_t> request, std::span<uint8_t> reply) {
    uint32_t length = serve_any(request, reply);
    if (config_.trace && length != 0) trace(reply.first(length));
    return length;
}

uint32_t Server::serve_any(std::span<const uint8_t> request, std::span<uint8_t> reply) {
    reply_ = reply.first(std::min<size_t>(reply.size(), msize_));
    if (request.size() < kHeaderSize) return 0;
    memcpy(request_copy_, request.data(), kHeaderSize);
    Header header;
    Decoder(std::span<const uint8_t>(request_copy_, kHeaderSize))(header.size, header.type, header.tag);
    if (header.size < kHeaderSize || header.size > request.size()) return reply_error(header.tag, Errno::kPROTO);
    if (header.size > msize_) return reply_error(header.tag, Errno::kMSGSIZE);
    request = request.first(header.size);
    if (header.type != Twrite::kType) {
        if (header.size > sizeof request_copy_) return reply_error(header.tag, Errno::kMSGSIZE);
        memcpy(request_copy_, request.data(), header.size);
        request = {request_copy_, header.size};
    }
    if (config_.trace) trace(request);
    if (!versioned_ && header.type != Tversion::kType) return reply_error(header.tag, Errno::kPROTO);
    uint32_t length = 0;
    bool known = (header.type < kFirstExtension || extended_) &&
                 Requests::dispatch(header.type, [&]<typename T>() { length = serve<T>(request, header.tag); });
    return known ? length : reply_error(header.tag, Errno::kOPNOTSUPP);
}

template <typename T>
uint32_t Server::serve(std::span<const uint8_t> request, uint16_t tag) {
    T message;
    Result<> decoded;
    if constexpr (std::is_same_v<T, Twrite>)
        decoded = decode_shared(request, message);
    else
        decoded = decode(request, message);
    if (decoded.is_error()) return reply_error(tag, decoded.error());
    auto result = on(message);
    if (result.is_error()) return reply_error(tag, result.error());
    Result<uint32_t> length = encode(reply_, tag, result.value());
    if (length.is_error()) return reply_error(tag, length.error());
    return length.value();
}

uint32_t Server::reply_error(uint16_t tag, Errno error) {
    Result<uint32_t> length = encode(reply_, tag, Rlerror{static_cast<uint32_t>(error)});
    if (length.is_error()) return 0;
    return length.value();
}

void Server::trace(std::span<const uint8_t> message) const {
    char text[1024];
    config_.trace(std::string_view(text, describe(message, text)));
}

std::span<uint8_t> Server::payload(uint32_t offset, uint32_t count) const {
    if (reply_.size() <= offset) return {};
    return reply_.subspan(offset, std::min<size_t>(count, reply_.size() - offset));
}

Result<Rversion> Server::on(const Tversion& message) {
    if (message.msize < kMinimumMsize) return Errno::kINVAL;
    fids_.clear();
    msize_ = std::min(message.msize, config_.max_msize);
    reply_ = reply_.first(std::min<size_t>(reply_.size(), msize_));
    extended_ = message.version == kVersionExtended;
    versioned_ = message.version.starts_with(kVersionBase);
    return Rversion{msize_, extended_ ? kVersionExtended : versioned_ ? kVersionBase : kVersionUnknown};
}

// No authentication: whoever holds the channel is the client. ENOENT is what clients take for "not needed" (diod's).
Result<Rauth> Server::on(const Tauth&) { return Errno::kNOENT; }

Result<Rattach> Server::on(const Tattach& message) {
    if (message.afid != kNoFid) return Errno::kINVAL;
    TRY(fids_.check_free(message.fid));
    int index = Export::kRootIndex;
    if (!message.aname.empty() && message.aname != "/") {
        const char* end = message.aname.data() + message.aname.size();
        auto parsed = std::from_chars(message.aname.data(), end, index);
        if (parsed.ec != std::errc{} || parsed.ptr != end || index < 0) return Errno::kNOENT;
    }
    for (const Export& tree : config_.exports) {
        if (tree.index != index) continue;
        host::Fd fd = TRY(reopener_.open_path(tree.fd.get()));
        Found found = TRY(node_of(std::move(fd), nullptr, &tree, ""));
        Fid fid;
        fid.node = std::move(found.node);
        fid.uid = message.n_uname;
        fids_.put(message.fid, std::move(fid));
        return Rattach{found.attr.qid};
    }
    return Errno::kNOENT;
}

// One message is served at a time: what is to be flushed has been answered already.
Result<Rflush> Server::on(const Tflush&) { return Rflush{}; }

Result<Rclunk> Server::on(const Tclunk& message) {
    Fid* fid = TRY(fids_.find(message.fid));
    Result<> finished = finish_xattr(*fid);
    fids_.remove(message.fid);  // also when an error is reported: clunk always frees the fid
    TRY(std::move(finished));
    return Rclunk{};
}

Result<Rclunkmany> Server::on(const Tclunkmany& message) {
    for (uint32_t number : message.fids) {
        Result<Fid*> fid = fids_.find(number);
        if (fid.is_error()) continue;
        (void)finish_xattr(*fid.value());
        fids_.remove(number);
    }
    return Rclunkmany{};
}

}  // namespace kvmsbx::gofer
