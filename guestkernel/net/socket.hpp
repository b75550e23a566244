#pragma once
// Sockets: what socket(2) and its family act on, whatever the address family is. Model:
// - A Socket is a File, so that descriptors, poll, epoll, O_NONBLOCK and close are the VFS's. read(2) and write(2) are
//   receive and send without address, flags and ancillary data.
// - Each address family (unix, inet, netlink) derives from it and is made by its create_*() function, which
//   create_socket() finds by the domain. syscalls/socket.cpp decodes struct msghdr, sockaddr and cmsghdr, so that a
//   family never sees user memory but through an IoBuffer.
// - What every family shares is here: the options of SOL_SOCKET that only keep a value, timeouts, shutdown's state, the
//   pending error (SO_ERROR).
// - A socket that a descriptor names has an inode of sockfs (attach_inode); one that waits to be accepted has none yet.
// All with the kernel lock held; a call may block only where its comment says so.
#include <cstddef>
#include <cstdint>
#include <span>

#include "guestkernel/lib/vector.hpp"
#include "guestkernel/task/task.hpp"
#include "guestkernel/vfs/file.hpp"

namespace kvmsbx::net {

inline constexpr int kAfUnix = 1, kAfInet = 2, kAfInet6 = 10, kAfNetlink = 16;
inline constexpr int kSockStream = 1, kSockDgram = 2, kSockRaw = 3, kSockSeqpacket = 5;
// send(2) and recv(2) flags.
inline constexpr uint32_t kMsgOob = 1, kMsgPeek = 2, kMsgDontroute = 4, kMsgCtrunc = 8, kMsgTrunc = 0x20,
                          kMsgDontwait = 0x40, kMsgEor = 0x80, kMsgWaitall = 0x100, kMsgNosignal = 0x4000,
                          kMsgMore = 0x8000, kMsgWaitforone = 0x10000, kMsgCmsgCloexec = 0x40000000;
enum class ShutdownHow : uint8_t { kRead = 0, kWrite = 1, kBoth = 2 };  // SHUT_*

// A struct sockaddr of any family: `length` bytes of it count, and the first two are the family.
struct Address {
    static constexpr size_t kMax = 128;  // sizeof(struct sockaddr_storage)
    alignas(8) std::byte bytes[kMax] = {};
    uint32_t length = 0;
    uint16_t family() const {
        return length < 2 ? 0
                          : static_cast<uint16_t>(std::to_integer<uint16_t>(bytes[0]) |
                                                  std::to_integer<uint16_t>(bytes[1]) << 8);
    }
};

struct Ucred {  // struct ucred
    int32_t pid = 0;
    uint32_t uid = 0, gid = 0;
};

// Ancillary data of one message, out of and into the form of cmsg(3).
struct Ancillary {
    Vector<RefPtr<vfs::File>> files;  // SCM_RIGHTS
    bool has_credentials = false;     // SCM_CREDENTIALS
    Ucred credentials;
    RefPtr<task::Process> process;  // SCM_PIDFD, to the receiver: who sent it
    struct Raw {                    // any other control message, as it stands in the buffer
        int32_t level, type;
        uint32_t size;  // of data
        std::byte data[64];
    };
    Vector<Raw> others;  // IP_TTL, IP_PKTINFO, SO_TIMESTAMP, ...
};

struct SendRequest {
    mm::IoBuffer& data;
    const Address* to = nullptr;     // null: to the peer
    Ancillary* ancillary = nullptr;  // null: none. What is taken is moved out
    uint32_t flags = 0;              // MSG_*; kMsgDontwait is set for O_NONBLOCK sockets already
};

struct ReceiveRequest {
    mm::IoBuffer& data;
    Address* from = nullptr;         // null: not wanted
    Ancillary* ancillary = nullptr;  // null: not wanted; file descriptors that come with the message are closed
    uint32_t flags = 0;              // as in SendRequest
    uint32_t out_flags = 0;          // OUT: MSG_TRUNC, MSG_CTRUNC, MSG_EOR, MSG_OOB, MSG_ERRQUEUE
};

class Socket : public vfs::File {
  public:
    Socket(int domain, int type, int protocol, uint32_t file_flags);

    // Each gives the errors of its man page. EOPNOTSUPP unless the family has it.
    virtual Result<> bind(task::Task& task, const Address& address);
    virtual Result<> connect(task::Task& task, const Address& address);  // may block
    virtual Result<> listen(int backlog);
    // A connected socket; it has `file_flags` (O_NONBLOCK). peer: null if not wanted. May block. listener's credentials
    // etc. are the family's matter.
    virtual Result<RefPtr<Socket>> accept(uint32_t file_flags, Address* peer);
    virtual Result<Address> local_address();
    virtual Result<Address> peer_address();
    virtual Result<> shutdown(ShutdownHow how);
    // The bytes moved (for a datagram with MSG_TRUNC in flags: its whole length). May block. EPIPE comes without the
    // signal: the caller raises SIGPIPE.
    virtual Result<size_t> send(task::Task& task, SendRequest& request) = 0;
    virtual Result<size_t> receive(task::Task& task, ReceiveRequest& request) = 0;
    // setsockopt(2), getsockopt(2): the family's own levels and the SOL_SOCKET options that it makes true; it hands the
    // others to Socket's. get_option writes at most out.size() bytes and gives their count. ENOPROTOOPT, EINVAL.
    virtual Result<> set_option(task::Task& task, int level, int name, std::span<const std::byte> value);
    virtual Result<size_t> get_option(task::Task& task, int level, int name, std::span<std::byte> out);

    // send(2) as a system call does it: with SIGPIPE for a broken stream, unless MSG_NOSIGNAL.
    Result<size_t> send_with_signal(task::Task& task, SendRequest& request);
    // Before a descriptor names the socket: fstat(2), locks and /proc/PID/fd act on the inode. ENOMEM.
    Result<> attach_inode(const auth::Credentials& owner);
    // What SO_PEERGROUPS tells of; null: nobody.
    const auth::Credentials* peer_identity() const { return peer_identity_.get(); }
    task::Process* peer_process() const { return peer_process_.get(); }  // SO_PEERPIDFD; null: nobody
    int32_t take_error();  // SO_ERROR: gives the pending error and clears it
    void set_error(Errno error) { error_ = static_cast<int32_t>(error); }

    Result<size_t> read(mm::IoBuffer& to) final;
    Result<size_t> write(mm::IoBuffer& from) final;
    Result<size_t> read_at(mm::IoBuffer& to, uint64_t offset) final;  // ESPIPE
    Result<size_t> write_at(mm::IoBuffer& from, uint64_t offset) final;
    Result<uint64_t> seek(int64_t offset, int whence) final;
    Result<> fsync(bool data_only) final;  // EINVAL
    Result<String> describe() final;       // "socket:[INODE]"
    vfs::Inode* inode() final { return inode_.get(); }
    const vfs::Path* path() final;  // in sockfs; made when first asked for
    // A family hands what it does not know to this one. ENOTTY.
    Result<int64_t> ioctl(mm::AddressSpace& space, uint32_t request, uint64_t argument) override;
    const void* class_tag() const override { return &kTag; }
    // Null if the file is no socket (ENOTSOCK).
    static Socket* from(vfs::File& file);

    const int domain, type, protocol;
    const uint64_t inode_number;  // of describe(), fstat(2) and /proc/net

  protected:
    // Adds SCM_TIMESTAMP or SCM_TIMESTAMPNS if it is wanted. time: CLOCK_REALTIME.
    Result<> put_timestamp(sched::Nanoseconds time, Ancillary& to) const;
    // The end of a wait that SO_RCVTIMEO or SO_SNDTIMEO bounds: kNever without one. A wait that ends there is EAGAIN.
    sched::Nanoseconds receive_deadline() const;
    sched::Nanoseconds send_deadline() const;
    // Waits until condition() holds, as calls do that SO_RCVTIMEO or SO_SNDTIMEO bounds: EAGAIN at the deadline; after
    // a signal ERESTARTSYS, but EINTR with a deadline (signal(7)). Not for calls that must not block.
    template <typename Condition>
    static Result<> wait_until(sched::WaitQueue& queue, Condition condition, sched::Nanoseconds deadline) {
        const Result<> waited = queue.wait(condition, sched::Interruptible::kYes, deadline);
        if (waited.is_ok() || deadline == sched::kNever) return waited.is_ok() ? Result<>() : waited.error();
        return waited.error() == Errno::kTIMEDOUT ? Errno::kAGAIN : Errno::kINTR;
    }

    bool listening_ = false;  // SO_ACCEPTCONN
    bool shut_read_ = false, shut_write_ = false;
    int32_t error_ = 0;  // pending error (positive errno), e.g. of a connect that failed in the background
    // SOL_SOCKET options that keep a value; a family acts on those it can.
    bool reuse_address_ = false, reuse_port_ = false, keep_alive_ = false, broadcast_ = false,
         pass_credentials_ = false, pass_process_ = false, dont_route_ = false, oob_inline_ = false, timestamp_ = false,
         timestamp_in_nanoseconds_ = false, bound_to_device_ = false;
    bool linger_ = false;
    int32_t linger_seconds_ = 0;
    uint32_t receive_buffer_ = 212992, send_buffer_ = 212992;    // bytes, as getsockopt shows them
    sched::Nanoseconds receive_timeout_ = 0, send_timeout_ = 0;  // 0: none
    uint32_t priority_ = 0, mark_ = 0, receive_low_water_ = 1;
    Ucred peer_credentials_{0, ~0U, ~0U};  // SO_PEERCRED
    RefPtr<auth::Credentials> peer_identity_;
    RefPtr<task::Process> peer_process_;

  private:
    static const char kTag;
    Result<> set_flag(int name, bool on);
    Result<> bind_to_device(task::Task& task, std::span<const std::byte> value);
    Result<> set_number(task::Task& task, int name, int32_t value);
    RefPtr<vfs::Inode> inode_;
    vfs::Path path_;
};

// socket(2). type without SOCK_NONBLOCK and SOCK_CLOEXEC. EAFNOSUPPORT, EPROTONOSUPPORT, ESOCKTNOSUPPORT, EPERM,
// EINVAL.
Result<RefPtr<Socket>> create_socket(task::Task& task, int domain, int type, int protocol, uint32_t file_flags);
// socketpair(2). EOPNOTSUPP for families without pairs.
Result<> create_socket_pair(task::Task& task, int domain, int type, int protocol, uint32_t file_flags,
                            RefPtr<Socket> (&pair)[2]);

}  // namespace kvmsbx::net
