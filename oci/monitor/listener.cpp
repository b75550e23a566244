#include "oci/monitor/listener.hpp"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace kvmsbx::oci {
namespace {

constexpr int kBacklog = 128;

sockaddr_un address_of(const ContainerFolder& folder) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, folder.socket_path().c_str(), sizeof address.sun_path - 1);
    return address;
}

ucred credentials_of(int socket) {
    ucred who{0, static_cast<uid_t>(-1), 0};
    socklen_t size = sizeof who;
    getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &who, &size);
    return who;
}

host::Fd connect_socket(const ContainerFolder& folder) {
    const sockaddr_un address = address_of(folder);
    host::Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    // SAFETY: the way of the socket interface.
    if (socket.is_open() && connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0) {
        const int error = errno;
        socket.reset();
        errno = error;
    }
    return socket;
}

}  // namespace

Outcome<host::Fd> listen_for_control(const ContainerFolder& folder) {
    const sockaddr_un address = address_of(folder);
    host::Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    unlinkat(folder.fd(), "control.sock", 0);
    // SAFETY: the way of the socket interface.
    if (!socket.is_open() || bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0 ||
        fchmodat(folder.fd(), "control.sock", 0600, 0) < 0 || listen(socket.get(), kBacklog) < 0)
        return errno_failure("cannot listen on control.sock of container " + folder.id(), errno);
    return socket;
}

std::optional<Accepted> accept_control(int listener) {
    host::Fd socket(accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!socket.is_open()) return std::nullopt;
    const ucred who = credentials_of(socket.get());
    if (who.uid != 0 && who.uid != geteuid()) return std::nullopt;
    return Accepted{std::move(socket), who.pid};
}

Outcome<ControlConnection> connect_to_monitor(const ContainerFolder& folder) {
    host::Fd socket = connect_socket(folder);
    if (!socket.is_open()) {
        if (errno == ECONNREFUSED || errno == ENOENT) return Failure{"container not running: " + folder.id()};
        return errno_failure("cannot reach the monitor of container " + folder.id(), errno);
    }
    return ControlConnection(std::move(socket), ControlConnection::Mode::kBlocking);
}

pid_t find_monitor(const ContainerFolder& folder) {
    const host::Fd socket = connect_socket(folder);
    return socket.is_open() ? credentials_of(socket.get()).pid : 0;
}

}  // namespace kvmsbx::oci
