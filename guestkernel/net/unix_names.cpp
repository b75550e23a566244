// Names of AF_UNIX sockets: in the file system, abstract, or made up by the kernel.
#include <algorithm>

#include "guestkernel/lib/random.hpp"
#include "guestkernel/net/unix_socket.hpp"
#include "guestkernel/vfs/namei.hpp"

namespace kvmsbx::net {

namespace {

constexpr uint32_t kPathOffset = 2, kMaxLength = 110;  // of sun_path; sizeof(struct sockaddr_un)

// Abstract names are per type.
struct AbstractKey {
    int type;
    std::string_view bytes;
    friend bool operator<(const AbstractKey& a, const AbstractKey& b) {
        return a.type != b.type ? a.type < b.type : a.bytes < b.bytes;
    }
};
struct KeyOfName {
    using type = AbstractKey;
    type operator()(const UnixName& name) const { return {name.type, name.bytes()}; }
};
Tree<UnixName, &UnixName::table_hook, boost::intrusive::key_of_value<KeyOfName>> abstract_names;

std::string_view chars_of(const Address& address) {
    // SAFETY: bytes seen as chars.
    return {reinterpret_cast<const char*>(address.bytes) + kPathOffset, address.length - kPathOffset};
}

bool is_path(const Address& address) { return address.bytes[kPathOffset] != std::byte{0}; }

std::string_view path_of(const Address& address) {
    const std::string_view chars = chars_of(address);
    return chars.substr(0, std::min(chars.find('\0'), chars.size()));
}

Result<> check(const Address& address) {
    if (address.length <= kPathOffset || address.length > kMaxLength) return Errno::kINVAL;
    return address.family() == kAfUnix ? Result<>() : Result<>(Errno::kINVAL);
}

Result<RefPtr<UnixName>> make_name(UnixSocket& socket, const Address& address) {
    auto name = TRY(make_ref<UnixName>());
    name->address = address;
    name->type = socket.type;
    name->socket = &socket;
    return name;
}

Address family_alone() {
    Address address;
    address.bytes[0] = std::byte{kAfUnix};
    address.length = kPathOffset;
    return address;
}

}  // namespace

std::string_view UnixName::bytes() const { return chars_of(address); }

Result<> UnixSocket::bind(task::Task& task, const Address& address) {
    if (address.length == kPathOffset && address.family() == kAfUnix) return autobind();
    TRY(check(address));
    return is_path(address) ? bind_path(task, address) : bind_abstract(address);
}

Result<> UnixSocket::bind_path(task::Task& task, const Address& address) {
    Address kept = address;
    const std::string_view path = path_of(address);
    kept.length = kPathOffset + static_cast<uint32_t>(path.size()) + 1;  // with the NUL
    kept.bytes[kept.length - 1] = std::byte{0};
    RefPtr<UnixName> name = TRY(make_name(*this, kept));
    uint32_t mode = 0777;
    if (inode()) mode = TRY(inode()->attributes()).mode & 07777;
    const vfs::Path base = task.fs().cwd;
    Result<vfs::Path> made = vfs::make_node(task.caller(), base, path, vfs::kModeSocket | mode, 0);
    if (made.is_error()) return made.error() == Errno::kEXIST ? Errno::kADDRINUSE : made.error();
    if (name_) {
        ignore(vfs::unlink(task.caller(), base, path), "another process may have removed the name already");
        return Errno::kINVAL;
    }
    vfs::Inode& inode = made.value().inode();
    inode.attachment = name;
    bound_inode_ = RefPtr<vfs::Inode>(inode);
    name_ = std::move(name);
    return {};
}

Result<> UnixSocket::bind_abstract(const Address& address) {
    if (name_) return Errno::kINVAL;
    RefPtr<UnixName> name = TRY(make_name(*this, address));
    if (!abstract_names.insert(*name).second) return Errno::kADDRINUSE;
    name_ = std::move(name);
    return {};
}

// unix(7): a NUL and five hexadecimal digits.
Result<> UnixSocket::autobind() {
    if (name_) return {};
    constexpr uint32_t kNames = 1U << 20;
    constexpr unsigned kDigits = 5;
    Address address = family_alone();
    address.length += 1 + kDigits;
    const auto first = static_cast<uint32_t>(random::next64());
    for (uint32_t i = 0; i < kNames; ++i) {
        const uint32_t number = (first + i) % kNames;
        for (unsigned digit = 0; digit < kDigits; ++digit)
            address.bytes[kPathOffset + 1 + digit] =
                static_cast<std::byte>("0123456789abcdef"[number >> (4 * (kDigits - 1 - digit)) & 0xf]);
        const Result<> bound = bind_abstract(address);
        if (bound.is_ok() || bound.error() != Errno::kADDRINUSE) return bound;
    }
    return Errno::kNOSPC;
}

// The socket that an address names now. May block; the socket is looked at after that.
Result<RefPtr<UnixSocket>> UnixSocket::find(task::Task& task, const Address& address) const {
    TRY(check(address));
    if (!is_path(address)) {
        const auto found = abstract_names.find(AbstractKey{type, chars_of(address)});
        if (found == abstract_names.end()) return Errno::kCONNREFUSED;
        return RefPtr<UnixSocket>(*found->socket);
    }
    const vfs::Path path = TRY(vfs::walk(task.caller(), task.fs().cwd, path_of(address), vfs::Follow::kYes));
    vfs::Inode& inode = path.inode();
    constexpr uint32_t kWrite = 2;
    TRY(vfs::check_permission(task.credentials(), inode, kWrite));
    if (inode.type() != vfs::kModeSocket || !inode.attachment) return Errno::kCONNREFUSED;
    // SAFETY: what is attached to the inode of a socket is its name.
    UnixSocket* socket = static_cast<UnixName&>(*inode.attachment).socket;
    if (!socket) return Errno::kCONNREFUSED;
    if (socket->type != type) return Errno::kPROTOTYPE;
    return RefPtr<UnixSocket>(*socket);
}

Result<Address> UnixSocket::local_address() { return name_ ? name_->address : family_alone(); }

Result<Address> UnixSocket::peer_address() {
    if (peer_) return peer_->name_ ? peer_->name_->address : family_alone();
    if (is_stream_like() ? state_ != State::kConnected : !peer_refused_) return Errno::kNOTCONN;
    return peer_name_ ? peer_name_->address : family_alone();
}

}  // namespace kvmsbx::net
