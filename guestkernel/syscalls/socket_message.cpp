// Messages through sockets: send(2), recv(2) and their longer forms.
#include "guestkernel/syscalls/poll_time.hpp"
#include "guestkernel/syscalls/socket_helpers.hpp"

namespace kvmsbx::syscalls {

using mm::IoBuffer;
using net::Address;
using net::Ancillary;
using net::Socket;

namespace {

constexpr uint32_t kCompat = 0x80000000;  // MSG_CMSG_COMPAT: 32-bit callers' own

uint32_t call_flags(const Socket& socket, Flags flags) {
    return static_cast<uint32_t>(flags) | (socket.nonblocking() ? net::kMsgDontwait : 0);
}

Result<SocketMessage> load_message(Task& task, uint64_t address) {
    SocketMessage message = TRY(UserIn<SocketMessage>{address}.load(task.space()));
    if (message.name == 0) message.name_length = 0;
    if (message.name_length < 0) return Errno::kINVAL;
    if (message.name_length > static_cast<int32_t>(Address::kMax)) message.name_length = Address::kMax;
    return message;
}

Result<IoBuffer> data_of(Task& task, const SocketMessage& message) {
    if (message.iovec_count > mm::kMaxIovecs) return Errno::kMSGSIZE;
    return IoBuffer::user_vector(task.space(), message.iovecs, message.iovec_count);
}

Result<size_t> send_message(Task& task, Socket& socket, uint64_t from, Flags flags) {
    const SocketMessage message = TRY(load_message(task, from));
    const Address to = TRY(load_address(task, {message.name}, message.name_length));
    IoBuffer data = TRY(data_of(task, message));
    Ancillary ancillary;
    if (message.control_length > 0x7fffffff) return Errno::kNOBUFS;
    if (message.control_length > 0)
        TRY(load_ancillary(task, socket, message.control, message.control_length, ancillary));
    net::SendRequest request{data, to.length > 0 ? &to : nullptr, &ancillary, call_flags(socket, flags)};
    return socket.send_with_signal(task, request);
}

Result<size_t> receive_message(Task& task, Socket& socket, uint64_t to, Flags flags) {
    SocketMessage message = TRY(load_message(task, to));
    IoBuffer data = TRY(data_of(task, message));
    Address from;
    Ancillary ancillary;
    net::ReceiveRequest request{data, message.name ? &from : nullptr, &ancillary, call_flags(socket, flags)};
    const size_t size = TRY(socket.receive(task, request));
    const bool close_on_exec = flags & net::kMsgCmsgCloexec;
    request.out_flags |= static_cast<uint32_t>(flags) & net::kMsgCmsgCloexec;
    const uint64_t used =
        store_ancillary(task, ancillary, message.control, message.control_length, close_on_exec, request.out_flags);
    if (message.name) {
        const UserInOut<int32_t> length{to + offsetof(SocketMessage, name_length)};
        TRY(store_address(task, from, {message.name}, length));
    }
    const UserOut<uint32_t> out_flags{to + offsetof(SocketMessage, flags)};
    TRY(out_flags.store(task.space(), request.out_flags));
    const UserOut<uint64_t> control_length{to + offsetof(SocketMessage, control_length)};
    TRY(control_length.store(task.space(), used));
    return size;
}

}  // namespace

Result<int64_t> sys_sendto(Task& task, Fd fd, UserBuffer data, size_t size, Flags flags, UserBuffer address,
                           int32_t length) {
    IoBuffer from = TRY(IoBuffer::user(task.space(), data.address, size));
    const RefPtr<Socket> socket = TRY(socket_of(task, fd));
    Address to;
    if (address.address) to = TRY(load_address(task, address, length));
    net::SendRequest request{from, address.address && length > 0 ? &to : nullptr, nullptr, call_flags(*socket, flags)};
    return static_cast<int64_t>(TRY(socket->send_with_signal(task, request)));
}

Result<int64_t> sys_recvfrom(Task& task, Fd fd, UserBuffer data, size_t size, Flags flags, UserBuffer address,
                             UserInOut<int32_t> length) {
    IoBuffer to = TRY(IoBuffer::user(task.space(), data.address, size));
    const RefPtr<Socket> socket = TRY(socket_of(task, fd));
    Address from;
    net::ReceiveRequest request{to, address.address ? &from : nullptr, nullptr, call_flags(*socket, flags)};
    const size_t received = TRY(socket->receive(task, request));
    if (address.address) TRY(store_address(task, from, address, length));
    return static_cast<int64_t>(received);
}

Result<int64_t> sys_sendmsg(Task& task, Fd fd, UserIn<SocketMessage> message, Flags flags) {
    if (flags & kCompat) return Errno::kINVAL;
    const RefPtr<Socket> socket = TRY(socket_of(task, fd));
    return static_cast<int64_t>(TRY(send_message(task, *socket, message.address, flags)));
}

Result<int64_t> sys_recvmsg(Task& task, Fd fd, UserInOut<SocketMessage> message, Flags flags) {
    if (flags & kCompat) return Errno::kINVAL;
    const RefPtr<Socket> socket = TRY(socket_of(task, fd));
    return static_cast<int64_t>(TRY(receive_message(task, *socket, message.address, flags)));
}

Result<int64_t> sys_sendmmsg(Task& task, Fd fd, UserInOut<SocketMessages> messages, uint32_t count, Flags flags) {
    if (flags & kCompat) return Errno::kINVAL;
    const RefPtr<Socket> socket = TRY(socket_of(task, fd));
    if (count > mm::kMaxIovecs) count = mm::kMaxIovecs;
    for (uint32_t i = 0; i < count; ++i) {
        const uint64_t at = messages.address + i * sizeof(SocketMessages);
        const Result<size_t> sent = send_message(task, *socket, at, flags);
        Result<> stored;
        if (sent.is_ok()) {
            const UserOut<uint32_t> length{at + offsetof(SocketMessages, length)};
            stored = length.store(task.space(), static_cast<uint32_t>(sent.value()));
        }
        if (sent.is_ok() && stored.is_ok()) continue;
        if (i > 0) return int64_t{i};
        return sent.is_error() ? sent.error() : stored.error();
    }
    return int64_t{count};
}

namespace {

// How many messages came; an error after the first one waits for the next call, but for EAGAIN.
Result<int64_t> receive_many(Task& task, Socket& socket, uint64_t messages, uint32_t count, Flags flags,
                             sched::Nanoseconds deadline) {
    if (const int32_t error = socket.take_error()) return static_cast<Errno>(error);
    for (uint32_t i = 0; i < count; ++i) {
        const uint64_t at = messages + i * sizeof(SocketMessages);
        const Flags present{flags & ~uint64_t{net::kMsgWaitforone}};
        Result<size_t> received = receive_message(task, socket, at, present);
        if (received.is_ok()) {
            const UserOut<uint32_t> length{at + offsetof(SocketMessages, length)};
            const Result<> stored = length.store(task.space(), static_cast<uint32_t>(received.value()));
            if (stored.is_error()) received = stored.error();
        }
        if (received.is_error()) {
            if (i == 0) return received.error();
            const Errno error = received.error();
            const bool interrupted = error == Errno::kRESTARTSYS || error == Errno::kINTR;
            if (error != Errno::kAGAIN && !interrupted) socket.set_error(error);
            return int64_t{i};
        }
        if (flags & net::kMsgWaitforone) flags.value |= net::kMsgDontwait;
        if (deadline != sched::kNever && sched::now() >= deadline) return int64_t{i} + 1;
    }
    return int64_t{count};
}

}  // namespace

Result<int64_t> sys_recvmmsg(Task& task, Fd fd, UserInOut<SocketMessages> messages, uint32_t count, Flags flags,
                             UserInOut<PollTimespec> timeout) {
    if (flags & kCompat) return Errno::kINVAL;
    sched::Nanoseconds deadline = sched::kNever;
    if (timeout) deadline = deadline_after(TRY(to_nanoseconds(TRY(timeout.load(task.space())))));
    const RefPtr<Socket> socket = TRY(socket_of(task, fd));
    Result<int64_t> result = receive_many(task, *socket, messages.address, count, flags, deadline);
    if (result.is_ok() && result.value() > 0 && timeout) {
        const sched::Nanoseconds now = sched::now();
        TRY(timeout.store(task.space(), to_timespec(deadline > now ? deadline - now : 0)));
    }
    return result;
}

}  // namespace kvmsbx::syscalls
