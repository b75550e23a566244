// Extended attributes by Txattrwalk and Txattrcreate.
#include "guestkernel/vfs/xattr.hpp"
#include "guestkernel/fs/ninep/nodes.hpp"

namespace kvmsbx::fs::ninep {

Result<Vector<uint8_t>> Client::read_xattr(uint32_t fid, std::string_view name) {
    p9::Txattrwalk message;
    message.fid = fid, message.newfid = transport_.new_fid(), message.name = name;
    p9::Rxattrwalk reply;
    if (Result<> walked = call(message, reply); walked.is_error()) {
        transport_.recycle(message.newfid);
        return walked.error();
    }
    const auto fetch = [&]() -> Result<Vector<uint8_t>> {
        Vector<uint8_t> value;
        if (reply.size > vfs::kMaxXattrValue) return Errno::kIO;
        TRY(value.resize(reply.size));
        for (size_t done = 0; done < value.size();) {
            Call one(transport_);
            const auto bytes = TRY(read(one, message.newfid, done, static_cast<uint32_t>(value.size() - done)));
            if (bytes.empty()) return Errno::kIO;
            memcpy(value.data() + done, bytes.data(), bytes.size());
            done += bytes.size();
        }
        return value;
    };
    Result<Vector<uint8_t>> value = fetch();
    transport_.clunk(message.newfid);
    return value;
}

Result<uint32_t> Client::write_piece(uint32_t fid, uint64_t offset, std::span<const uint8_t> bytes) {
    Call one(transport_);
    TRY(one.take_slot());
    const std::span<uint8_t> payload = one.payload<p9::Twrite>();
    if (bytes.size() > payload.size()) bytes = bytes.first(payload.size());
    memcpy(payload.data(), bytes.data(), bytes.size());
    return write(one, fid, offset, payload.first(bytes.size()));
}

// The attribute is set when the fid is clunked, so that this clunk waits for its answer.
Result<> Client::write_xattr(uint32_t fid, std::string_view name, std::span<const uint8_t> value, uint32_t flags) {
    const uint32_t own = TRY(clone(fid));
    p9::Rxattrcreate created;
    Result<> result = call(p9::Txattrcreate{own, name, value.size(), flags}, created);
    for (size_t done = 0; result.is_ok() && done < value.size();) {
        Result<uint32_t> written = write_piece(own, done, value.subspan(done));
        if (written.is_error())
            result = written.error();
        else
            done += written.value();
    }
    if (result.is_error()) {
        transport_.clunk(own);
        return result;
    }
    p9::Rclunk clunked;
    result = call(p9::Tclunk{own}, clunked);
    transport_.recycle(own);
    return result;
}

Result<Vector<uint8_t>> Node::get_xattr(std::string_view name) {
    const bool capability = name == vfs::kXattrCapability;
    if (capability && no_capability_) return Errno::kNODATA;
    Result<Vector<uint8_t>> value = client().read_xattr(TRY(fid()), name);
    if (capability && value.is_error() && !super().shared) no_capability_ = true;
    return value;
}

Result<> Node::set_xattr(std::string_view name, std::span<const uint8_t> value, uint32_t flags) {
    // For the server a replacement by nothing is a removal.
    if (value.empty() && flags == vfs::kXattrReplace) {
        TRY(client().read_xattr(TRY(fid()), name));
        flags = 0;
    }
    TRY(client().write_xattr(TRY(fid()), name, value, flags));
    ++changes_;
    stale_ = true;
    return {};
}

Result<> Node::remove_xattr(std::string_view name) {
    TRY(client().write_xattr(TRY(fid()), name, {}, vfs::kXattrReplace));
    ++changes_;
    stale_ = true;
    return {};
}

Result<Vector<uint8_t>> Node::list_xattrs() {
    if (type() != vfs::kModeRegular && type() != vfs::kModeDirectory) return Vector<uint8_t>();
    Result<Vector<uint8_t>> names = client().read_xattr(TRY(fid()), "");
    if (names.is_error() && names.error() == Errno::kOPNOTSUPP) return Vector<uint8_t>();
    return names;
}

}  // namespace kvmsbx::fs::ninep
