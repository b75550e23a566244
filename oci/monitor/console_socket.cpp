#include "oci/monitor/console_socket.hpp"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <termios.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace kvmsbx::oci {
namespace {

Outcome<host::Fd> connect_to(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    // A folder's descriptor makes long paths short.
    const size_t slash = path.find_last_of('/');
    const std::string folder = slash == std::string::npos ? "." : path.substr(0, slash + 1);
    const host::Fd directory(open(folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    const std::string name = "/proc/self/fd/" + std::to_string(directory.get()) + "/" +
                             path.substr(slash == std::string::npos ? 0 : slash + 1);
    if (!directory.is_open()) return errno_failure("--console-socket " + path, errno);
    if (name.size() >= sizeof address.sun_path) return Failure{"--console-socket " + path + ": the name is too long"};
    std::memcpy(address.sun_path, name.c_str(), name.size() + 1);
    host::Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    // SAFETY: the way of the socket interface.
    if (!socket.is_open() || connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) < 0)
        return errno_failure("--console-socket " + path, errno);
    return socket;
}

// As runc: the terminal's name as data, and one descriptor.
Outcome<> send_master(int socket, int master, const char* name) {
    iovec part{const_cast<char*>(name), std::strlen(name)};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(header), &master, sizeof master);
    if (sendmsg(socket, &message, MSG_NOSIGNAL) < 0)
        return errno_failure("sending the terminal to --console-socket", errno);
    return {};
}

}  // namespace

Outcome<host::Fd> open_console(const std::string& socket_path, const ConsoleSize& size) {
    const host::Fd socket = TRY(connect_to(socket_path));
    const host::Fd master(posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
    char name[64];
    if (!master.is_open() || grantpt(master.get()) < 0 || unlockpt(master.get()) < 0 ||
        ptsname_r(master.get(), name, sizeof name) != 0)
        return errno_failure("cannot make a terminal (is /dev/pts mounted?)", errno);
    host::Fd terminal(ioctl(master.get(), TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC));
    if (!terminal.is_open()) terminal = host::Fd(open(name, O_RDWR | O_NOCTTY | O_CLOEXEC));
    if (!terminal.is_open()) return errno_failure(std::string("cannot open the terminal ") + name, errno);
    termios modes{};
    tcgetattr(terminal.get(), &modes);
    cfmakeraw(&modes);
    tcsetattr(terminal.get(), TCSANOW, &modes);
    const winsize window{static_cast<unsigned short>(size.rows), static_cast<unsigned short>(size.columns), 0, 0};
    if (size.rows != 0) ioctl(terminal.get(), TIOCSWINSZ, &window);
    ioctl(terminal.get(), TIOCSCTTY, 0);
    TRY(send_master(socket.get(), master.get(), name));
    return terminal;
}

ConsoleSize terminal_size(int fd) {
    winsize size{};
    if (fd < 0 || ioctl(fd, TIOCGWINSZ, &size) < 0) return {0, 0};
    return {size.ws_row, size.ws_col};
}

}  // namespace kvmsbx::oci
