#include "guestkernel/net/socket.hpp"

#include "guestkernel/lib/format.hpp"
#include "guestkernel/net/inet.hpp"
#include "guestkernel/net/interface.hpp"
#include "guestkernel/net/netlink.hpp"
#include "guestkernel/net/sockfs.hpp"
#include "guestkernel/net/unix.hpp"
#include "guestkernel/task/registry.hpp"

namespace kvmsbx::net {

const char Socket::kTag = 0;

Socket::Socket(int socket_domain, int socket_type, int socket_protocol, uint32_t file_flags)
    : File(vfs::kORdwr | file_flags),
      domain(socket_domain),
      type(socket_type),
      protocol(socket_protocol),
      inode_number(next_inode_number()) {}

// SAFETY: the tag is this class's own.
Socket* Socket::from(vfs::File& file) { return file.class_tag() == &kTag ? static_cast<Socket*>(&file) : nullptr; }

Result<> Socket::attach_inode(const auth::Credentials& owner) {
    inode_ = TRY(make_socket_inode(inode_number, owner));
    return {};
}

const vfs::Path* Socket::path() {
    if (!path_.is_set() && inode_) {
        Result<vfs::Path> made = socket_path(inode_);
        if (made.is_ok()) path_ = std::move(made.value());
    }
    return path_.is_set() ? &path_ : nullptr;
}

Result<> Socket::bind(task::Task&, const Address&) { return Errno::kOPNOTSUPP; }
Result<> Socket::connect(task::Task&, const Address&) { return Errno::kOPNOTSUPP; }
Result<> Socket::listen(int) { return Errno::kOPNOTSUPP; }
Result<RefPtr<Socket>> Socket::accept(uint32_t, Address*) { return Errno::kOPNOTSUPP; }
Result<Address> Socket::local_address() { return Errno::kOPNOTSUPP; }
Result<Address> Socket::peer_address() { return Errno::kOPNOTSUPP; }
Result<> Socket::shutdown(ShutdownHow) { return Errno::kOPNOTSUPP; }

Result<size_t> Socket::send_with_signal(task::Task& task, SendRequest& request) {
    Result<size_t> sent = send(task, request);
    if (sent.is_error() && sent.error() == Errno::kPIPE && type == kSockStream && !(request.flags & kMsgNosignal))
        task::send_signal(task, task::kernel_signal(task::kSigPipe));
    return sent;
}

Result<size_t> Socket::read(mm::IoBuffer& to) {
    if (to.empty()) return size_t{0};
    ReceiveRequest request{to};
    if (nonblocking()) request.flags |= kMsgDontwait;
    return receive(task::current(), request);
}

Result<size_t> Socket::write(mm::IoBuffer& from) {
    SendRequest request{from};
    if (nonblocking()) request.flags |= kMsgDontwait;
    if (type == kSockSeqpacket) request.flags |= kMsgEor;
    return send_with_signal(task::current(), request);
}

Result<size_t> Socket::read_at(mm::IoBuffer&, uint64_t) { return Errno::kSPIPE; }
Result<size_t> Socket::write_at(mm::IoBuffer&, uint64_t) { return Errno::kSPIPE; }
Result<uint64_t> Socket::seek(int64_t, int) { return Errno::kSPIPE; }
Result<> Socket::fsync(bool) { return Errno::kINVAL; }

// Any socket answers for the interfaces (netdevice(7)): if_nametoindex(3) asks an AF_UNIX one.
Result<int64_t> Socket::ioctl(mm::AddressSpace& space, uint32_t request, uint64_t argument) {
    return interface_ioctl(space, request, argument);
}

Result<String> Socket::describe() {
    StringText text;
    format_to(text, "socket:[{}]", inode_number);
    return text.take();
}

namespace {

sched::Nanoseconds deadline_after(sched::Nanoseconds timeout) {
    return timeout == 0 ? sched::kNever : sched::now() + timeout;
}

}  // namespace

sched::Nanoseconds Socket::receive_deadline() const { return deadline_after(receive_timeout_); }
sched::Nanoseconds Socket::send_deadline() const { return deadline_after(send_timeout_); }

int32_t Socket::take_error() { return std::exchange(error_, 0); }

Result<RefPtr<Socket>> create_socket(task::Task& task, int domain, int type, int protocol, uint32_t file_flags) {
    constexpr int kFamilies = 46, kTypes = 11;  // AF_MAX, SOCK_MAX
    if (domain < 0 || domain >= kFamilies) return Errno::kAFNOSUPPORT;
    if (type < 0 || type >= kTypes) return Errno::kINVAL;
    switch (domain) {
        case kAfUnix: return create_unix(task, type, protocol, file_flags);
        case kAfInet:
        case kAfInet6: return create_inet(task, domain, type, protocol, file_flags);
        case kAfNetlink: return create_netlink(task, type, protocol, file_flags);
        default: return Errno::kAFNOSUPPORT;
    }
}

Result<> create_socket_pair(task::Task& task, int domain, int type, int protocol, uint32_t file_flags,
                            RefPtr<Socket> (&pair)[2]) {
    if (domain == kAfUnix) return create_unix_pair(task, type, protocol, file_flags, pair);
    TRY(create_socket(task, domain, type, protocol, file_flags));
    return Errno::kOPNOTSUPP;
}

}  // namespace kvmsbx::net
