// Extended attributes of regular files and directories: those named "user." and the POSIX ACLs, and security.capability
// for reading. ACLs name ids inside their values: there are none where ids are mapped.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "common/host/errno.hpp"
#include "gofer/server.hpp"

namespace kvmsbx::gofer {

using namespace p9;

namespace {

constexpr size_t kMaxValue = 64 * 1024;  // XATTR_SIZE_MAX

bool may_write(std::string_view name, const Export& tree) {
    return name.starts_with("user.") || (name.starts_with("system.posix_acl_") && tree.owners.is_plain());
}
bool may_read(std::string_view name, const Export& tree) {
    return may_write(name, tree) || name == "security.capability";
}

Result<std::string> value_of(int fd, const std::string& name) {
    std::string value(kMaxValue, '\0');
    ssize_t length = fgetxattr(fd, name.c_str(), value.data(), value.size());
    if (length < 0) return host::last_errno();
    value.resize(static_cast<size_t>(length));
    value.shrink_to_fit();
    return value;
}

Result<std::string> names_of(int fd, const Export& tree) {
    std::string all(kMaxValue, '\0');
    ssize_t length = flistxattr(fd, all.data(), all.size());
    if (length < 0) return host::last_errno();
    std::string shown;
    for (size_t at = 0; at < static_cast<size_t>(length);) {
        std::string_view name = all.c_str() + at;
        if (may_read(name, tree)) shown.append(name).push_back('\0');
        at += name.size() + 1;
    }
    return shown;
}

bool malformed(std::string_view name) { return name.size() > kMaxName || name.find('\0') != name.npos; }

}  // namespace

Result<Rxattrwalk> Server::on(const Txattrwalk& message) {
    Fid* fid = TRY(fids_.find(message.fid));
    TRY(fids_.check_free(message.newfid));
    if (malformed(message.name)) return Errno::kRANGE;
    if (fid->node->type != S_IFREG && fid->node->type != S_IFDIR) return Errno::kOPNOTSUPP;
    if (!message.name.empty() && !may_read(message.name, *fid->node->tree)) return Errno::kOPNOTSUPP;
    if (live_xattrs_ >= XattrValue::kMaxLive) return Errno::kNFILE;
    host::Fd fd = TRY(open_node(*fid->node, kOpenReadOnly));
    auto value = std::make_unique<XattrValue>(live_xattrs_);
    std::string name(message.name);
    value->value = name.empty() ? TRY(names_of(fd.get(), *fid->node->tree)) : TRY(value_of(fd.get(), name));
    Rxattrwalk reply{value->value.size()};
    Fid walked;
    walked.node = fid->node;
    walked.uid = fid->uid;
    walked.xattr = std::move(value);
    fids_.put(message.newfid, std::move(walked));
    return reply;
}

Result<Rxattrcreate> Server::on(const Txattrcreate& message) {
    Fid* fid = TRY(fids_.find(message.fid));
    if (fid->open.is_open() || fid->xattr) return Errno::kBUSY;
    if (malformed(message.name) || message.name.empty()) return Errno::kRANGE;
    if (message.attr_size > kMaxValue) return Errno::k2BIG;
    if ((message.flags & ~uint32_t{XATTR_CREATE | XATTR_REPLACE}) != 0) return Errno::kINVAL;
    if (fid->node->tree->readonly) return Errno::kROFS;
    if (fid->node->type != S_IFREG && fid->node->type != S_IFDIR) return Errno::kOPNOTSUPP;
    if (!may_write(message.name, *fid->node->tree)) return Errno::kOPNOTSUPP;
    if (live_xattrs_ >= XattrValue::kMaxLive) return Errno::kNFILE;
    auto value = std::make_unique<XattrValue>(live_xattrs_);
    value->name = message.name;
    value->size = message.attr_size;
    value->flags = message.flags;
    fid->xattr = std::move(value);
    return Rxattrcreate{};
}

Result<> Server::finish_xattr(Fid& fid) {
    if (!fid.xattr || fid.xattr->name.empty()) return {};
    const XattrValue& xattr = *fid.xattr;
    if (xattr.value.size() != xattr.size) return Errno::kIO;
    host::Fd fd = TRY(open_node(*fid.node, kOpenReadOnly));
    if (xattr.size == 0 && xattr.flags == XATTR_REPLACE)
        return host::checked(fremovexattr(fd.get(), xattr.name.c_str()));
    return host::checked(
        fsetxattr(fd.get(), xattr.name.c_str(), xattr.value.data(), xattr.value.size(), static_cast<int>(xattr.flags)));
}

}  // namespace kvmsbx::gofer
