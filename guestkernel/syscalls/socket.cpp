// Making sockets and connecting them.
#include "guestkernel/net/settings.hpp"
#include "guestkernel/syscalls/socket_helpers.hpp"

namespace kvmsbx::syscalls {

using net::Address;
using net::Socket;

namespace {

constexpr uint32_t kTypeMask = 0xf, kCloexec = vfs::kOCloexec, kNonblock = vfs::kONonblock;  // SOCK_*

Result<> check_type_flags(uint32_t type) {
    return (type & ~kTypeMask) & ~(kCloexec | kNonblock) ? Result<>(Errno::kINVAL) : Result<>();
}

}  // namespace

Result<int64_t> sys_socket(Task& task, int32_t domain, uint32_t type, int32_t protocol) {
    TRY(check_type_flags(type));
    const RefPtr<Socket> socket =
        TRY(net::create_socket(task, domain, static_cast<int>(type & kTypeMask), protocol, type & kNonblock));
    return install_socket(task, *socket, type & kCloexec);
}

Result<int64_t> sys_socketpair(Task& task, int32_t domain, uint32_t type, int32_t protocol, UserOut<SocketPair> fds) {
    TRY(check_type_flags(type));
    TRY(task.files().check_room(task.limit(task::kRlimitNofile)));
    RefPtr<Socket> pair[2];
    TRY(net::create_socket_pair(task, domain, static_cast<int>(type & kTypeMask), protocol, type & kNonblock, pair));
    SocketPair made{};
    made.first = static_cast<int32_t>(TRY(install_socket(task, *pair[0], type & kCloexec)));
    Result<int64_t> second = install_socket(task, *pair[1], type & kCloexec);
    if (second.is_ok()) {
        made.second = static_cast<int32_t>(second.value());
        const Result<> stored = fds.store(task.space(), made);
        if (stored.is_ok()) return int64_t{0};
        ignore(task.files().close(made.second), "another thread may have closed it already");
        second = stored.error();
    }
    ignore(task.files().close(made.first), "another thread may have closed it already");
    return second;
}

Result<int64_t> sys_bind(Task& task, Fd fd, UserBuffer address, int32_t length) {
    const RefPtr<Socket> socket = TRY(socket_of(task, fd));
    return done(socket->bind(task, TRY(load_address(task, address, length))));
}

Result<int64_t> sys_connect(Task& task, Fd fd, UserBuffer address, int32_t length) {
    TRY(file_of(task, fd));
    const Address to = TRY(load_address(task, address, length));
    return done(TRY(socket_of(task, fd))->connect(task, to));
}

Result<int64_t> sys_listen(Task& task, Fd fd, int32_t backlog) {
    const int32_t most = net::settings.somaxconn;
    const RefPtr<Socket> socket = TRY(socket_of(task, fd));
    if (backlog < 0 || backlog > most) backlog = most;
    return done(socket->listen(backlog));
}

Result<int64_t> sys_accept4(Task& task, Fd fd, UserBuffer address, UserInOut<int32_t> length, Flags flags) {
    TRY(file_of(task, fd));
    if (static_cast<uint32_t>(flags) & ~(kCloexec | kNonblock)) return Errno::kINVAL;
    TRY(task.files().check_room(task.limit(task::kRlimitNofile)));
    const RefPtr<Socket> listener = TRY(socket_of(task, fd));
    Address peer;
    const RefPtr<Socket> socket = TRY(listener->accept(flags & kNonblock, address.address ? &peer : nullptr));
    if (address.address) TRY(store_address(task, peer, address, length));
    return install_socket(task, *socket, flags & kCloexec);
}

Result<int64_t> sys_accept(Task& task, Fd fd, UserBuffer address, UserInOut<int32_t> length) {
    return sys_accept4(task, fd, address, length, Flags{0});
}

Result<int64_t> sys_getsockname(Task& task, Fd fd, UserBuffer address, UserInOut<int32_t> length) {
    const RefPtr<Socket> socket = TRY(socket_of(task, fd));
    return done(store_address(task, TRY(socket->local_address()), address, length));
}

Result<int64_t> sys_getpeername(Task& task, Fd fd, UserBuffer address, UserInOut<int32_t> length) {
    const RefPtr<Socket> socket = TRY(socket_of(task, fd));
    return done(store_address(task, TRY(socket->peer_address()), address, length));
}

Result<int64_t> sys_shutdown(Task& task, Fd fd, int32_t how) {
    const RefPtr<Socket> socket = TRY(socket_of(task, fd));
    if (how < 0 || how > static_cast<int32_t>(net::ShutdownHow::kBoth)) return Errno::kINVAL;
    return done(socket->shutdown(static_cast<net::ShutdownHow>(how)));
}

namespace {

constexpr int32_t kSolSocket = 1, kPeerGroups = 59, kPeerPidfd = 77;  // SO_PEERGROUPS, SO_PEERPIDFD
constexpr int32_t kMaxOption = 4096;

// The only option that tells how much room it needs.
Result<int64_t> get_peer_groups(Task& task, const Socket& socket, UserBuffer value, UserInOut<int32_t> length) {
    const RefPtr<auth::Credentials> keep(const_cast<auth::Credentials*>(socket.peer_identity()));
    const int32_t room = TRY(length.load(task.space()));
    if (room < 0) return Errno::kINVAL;
    if (!keep) return Errno::kNODATA;
    const size_t size = keep->groups.size() * sizeof(auth::Gid);
    TRY(length.store(task.space(), static_cast<int32_t>(size)));
    if (static_cast<size_t>(room) < size) return Errno::kRANGE;
    return done(mm::copy_to_user(task.space(), value.address, keep->groups.data(), size));
}

Result<int64_t> get_peer_process(Task& task, const Socket& socket, UserBuffer value, UserInOut<int32_t> length) {
    const int32_t room = TRY(length.load(task.space()));
    if (room < 0) return Errno::kINVAL;
    const RefPtr<task::Process> peer(socket.peer_process());
    if (!peer) return Errno::kNODATA;
    const auto fd = static_cast<int32_t>(TRY(install_process(task, *peer)));
    const size_t size = std::min(sizeof fd, static_cast<size_t>(room));
    Result<> stored = mm::copy_to_user(task.space(), value.address, &fd, size);
    if (stored.is_ok()) stored = length.store(task.space(), static_cast<int32_t>(size));
    if (stored.is_error()) ignore(task.files().close(fd), "another thread may have closed it already");
    return done(std::move(stored));
}

}  // namespace

Result<int64_t> sys_setsockopt(Task& task, Fd fd, int32_t level, int32_t name, UserBuffer value, int32_t length) {
    const RefPtr<Socket> socket = TRY(socket_of(task, fd));
    if (length < 0) return Errno::kINVAL;
    std::byte bytes[kMaxOption / 8];  // longer ones (filters) have no option here
    const size_t size = static_cast<size_t>(length) < sizeof bytes ? static_cast<size_t>(length) : sizeof bytes;
    TRY(mm::copy_from_user(task.space(), bytes, value.address, size));
    return done(socket->set_option(task, level, name, {bytes, size}));
}

Result<int64_t> sys_getsockopt(Task& task, Fd fd, int32_t level, int32_t name, UserBuffer value,
                               UserInOut<int32_t> length) {
    const RefPtr<Socket> socket = TRY(socket_of(task, fd));
    if (level == kSolSocket && name == kPeerGroups) return get_peer_groups(task, *socket, value, length);
    if (level == kSolSocket && name == kPeerPidfd) return get_peer_process(task, *socket, value, length);
    int32_t room = TRY(length.load(task.space()));
    if (room < 0) return Errno::kINVAL;
    if (room > kMaxOption) room = kMaxOption;
    Vector<std::byte> bytes;
    TRY(bytes.resize(static_cast<size_t>(room)));
    const size_t size = TRY(socket->get_option(task, level, name, bytes.span()));
    TRY(mm::copy_to_user(task.space(), value.address, bytes.data(), size));
    return done(length.store(task.space(), static_cast<int32_t>(size)));
}

}  // namespace kvmsbx::syscalls
