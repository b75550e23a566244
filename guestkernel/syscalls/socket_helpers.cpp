#include "guestkernel/syscalls/socket_helpers.hpp"

namespace kvmsbx::syscalls {

using net::Address;
using net::Socket;

Result<RefPtr<Socket>> socket_of(Task& task, int fd) {
    const RefPtr<vfs::File> file = TRY(file_of(task, fd));
    Socket* socket = Socket::from(*file);
    if (!socket) return Errno::kNOTSOCK;
    return RefPtr<Socket>(*socket);
}

Result<int64_t> install_socket(Task& task, Socket& socket, bool close_on_exec) {
    TRY(socket.attach_inode(task.credentials()));
    return install(task, RefPtr<vfs::File>(socket), close_on_exec);
}

Result<Address> load_address(Task& task, UserBuffer from, int32_t length) {
    if (length < 0 || static_cast<size_t>(length) > Address::kMax) return Errno::kINVAL;
    Address address;
    address.length = static_cast<uint32_t>(length);
    if (length > 0) TRY(mm::copy_from_user(task.space(), address.bytes, from.address, address.length));
    return address;
}

Result<> store_address(Task& task, const Address& address, UserBuffer to, UserInOut<int32_t> length) {
    const int32_t room = TRY(length.load(task.space()));
    if (room < 0) return Errno::kINVAL;
    const size_t size = address.length < static_cast<uint32_t>(room) ? address.length : static_cast<uint32_t>(room);
    if (size > 0) TRY(mm::copy_to_user(task.space(), to.address, address.bytes, size));
    return length.store(task.space(), static_cast<int32_t>(address.length));
}

}  // namespace kvmsbx::syscalls
