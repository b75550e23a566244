// Ancillary data: what sendmsg(2) takes and recvmsg(2) gives besides bytes (net/core/scm.c).
#include <cstring>

#include "guestkernel/net/control_message.hpp"
#include "guestkernel/syscalls/socket_helpers.hpp"
#include "guestkernel/task/pidfd.hpp"
#include "guestkernel/task/registry.hpp"

namespace kvmsbx::syscalls {

using net::Ancillary;
using net::ControlHeader;
using net::ControlMessage;

namespace {

constexpr uint64_t kMaxControl = 128 * 1024;  // net.core.optmem_max

Result<> take_files(Task& task, const ControlMessage& message, Ancillary& out) {
    const size_t count = message.data.size() / sizeof(int32_t);
    if (count + out.files.size() > net::kScmMaxFiles) return Errno::kINVAL;
    for (size_t i = 0; i < count; ++i) {
        int32_t fd;
        memcpy(&fd, message.data.data() + i * sizeof fd, sizeof fd);
        TRY(out.files.push_back(TRY(file_or_path_of(task, fd))));
    }
    return {};
}

// credentials(7): one may claim one's own ids, or any with the capability.
Result<> check_claim(Task& task, const net::Ucred& claimed) {
    using auth::Capability;
    const auth::Credentials& own = task.credentials();
    if (claimed.pid != task.process().pid && !own.has(Capability::kSysAdmin)) return Errno::kPERM;
    if (claimed.uid != own.ruid && claimed.uid != own.euid && claimed.uid != own.suid && !own.has(Capability::kSetuid))
        return Errno::kPERM;
    if (claimed.gid != own.rgid && claimed.gid != own.egid && claimed.gid != own.sgid && !own.has(Capability::kSetgid))
        return Errno::kPERM;
    return {};
}

Result<> take_credentials(Task& task, const ControlMessage& message, Ancillary& out) {
    net::Ucred claimed;
    if (message.data.size() != sizeof claimed) return Errno::kINVAL;
    memcpy(&claimed, message.data.data(), sizeof claimed);
    if (claimed.uid == ~0U || claimed.gid == ~0U) return Errno::kINVAL;
    TRY(check_claim(task, claimed));
    if (claimed.pid != task.process().pid && !task::find_task(claimed.pid)) return Errno::kSRCH;
    out.has_credentials = true;
    out.credentials = claimed;
    return {};
}

Result<> take_raw(const ControlMessage& message, Ancillary& out) {
    Ancillary::Raw raw{message.level, message.type, static_cast<uint32_t>(message.data.size()), {}};
    if (message.data.size() > sizeof raw.data) return Errno::kINVAL;
    memcpy(raw.data, message.data.data(), message.data.size());
    return out.others.push_back(raw);
}

Result<> take(Task& task, const net::Socket& socket, const ControlMessage& message, Ancillary& out) {
    if (socket.domain != net::kAfUnix && socket.domain != net::kAfNetlink) return take_raw(message, out);
    if (message.level != net::kSolSocket) return {};
    switch (message.type) {
        case net::kScmRights:
            return socket.domain == net::kAfUnix ? take_files(task, message, out) : Result<>(Errno::kINVAL);
        case net::kScmCredentials: return take_credentials(task, message, out);
        default: return Errno::kINVAL;
    }
}

// Writes control messages to user memory one after the other. A bad address loses them, as on Linux.
class ControlWriter {
  public:
    ControlWriter(Task& task, uint64_t at, uint64_t room, uint32_t& flags)
        : task_(task), at_(at), room_(at ? room : 0), flags_(flags) {}
    uint64_t used() const { return used_; }
    uint64_t data_room() const { return room_ > sizeof(ControlHeader) ? room_ - sizeof(ControlHeader) : 0; }
    uint64_t data_at() const { return at_ + sizeof(ControlHeader); }

    void put(int32_t level, int32_t type, const void* data, size_t size) {
        if (room_ < sizeof(ControlHeader)) return truncated();
        if (size > data_room()) {
            truncated();
            size = data_room();
        }
        if (mm::copy_to_user(task_.space(), data_at(), data, size).is_ok()) finish(level, type, size);
    }
    // The data stand there already.
    void finish(int32_t level, int32_t type, size_t size) {
        const ControlHeader header{net::control_length(size), level, type};
        if (mm::copy_to_user(task_.space(), at_, &header, sizeof header).is_error()) return;
        const uint64_t step = net::control_space(size) < room_ ? net::control_space(size) : room_;
        at_ += step, room_ -= step, used_ += step;
    }
    void truncated() { flags_ |= net::kMsgCtrunc; }

  private:
    Task& task_;
    uint64_t at_, room_, used_ = 0;
    uint32_t& flags_;
};

void put_files(Task& task, Ancillary& ancillary, ControlWriter& writer, bool close_on_exec) {
    const uint64_t room = writer.data_room() / sizeof(int32_t);
    size_t count = 0;
    while (count < room && count < ancillary.files.size()) {
        const Result<int64_t> fd = install(task, ancillary.files[count], close_on_exec);
        if (fd.is_error()) break;
        const auto number = static_cast<int32_t>(fd.value());
        const uint64_t at = writer.data_at() + count * sizeof number;
        if (mm::copy_to_user(task.space(), at, &number, sizeof number).is_error()) {
            ignore(task.files().close(number), "another thread may have closed it already");
            break;
        }
        ++count;
    }
    if (count < ancillary.files.size()) writer.truncated();
    if (count > 0) writer.finish(net::kSolSocket, net::kScmRights, count * sizeof(int32_t));
    ancillary.files.clear();
}

void put_process(Task& task, task::Process& process, ControlWriter& writer) {
    if (writer.data_room() < sizeof(int32_t)) return writer.truncated();
    const Result<int64_t> fd = install_process(task, process);
    if (fd.is_error()) return;
    const auto number = static_cast<int32_t>(fd.value());
    writer.put(net::kSolSocket, net::kScmPidfd, &number, sizeof number);
}

}  // namespace

Result<int64_t> install_process(Task& task, task::Process& process) {
    return install(task, TRY(task::PidFd::of_process(process, 0)), true);
}

Result<> load_ancillary(Task& task, const net::Socket& socket, uint64_t control, uint64_t length, Ancillary& out) {
    if (length > kMaxControl) return Errno::kNOBUFS;
    Vector<std::byte> bytes;
    TRY(bytes.resize(length));
    TRY(mm::copy_from_user(task.space(), bytes.data(), control, length));
    net::ControlReader reader(bytes.span());
    ControlMessage message;
    while (TRY(reader.next(message))) TRY(take(task, socket, message, out));
    return {};
}

uint64_t store_ancillary(Task& task, Ancillary& ancillary, uint64_t control, uint64_t room, bool close_on_exec,
                         uint32_t& flags) {
    ControlWriter writer(task, control, room, flags);
    for (const Ancillary::Raw& raw : ancillary.others) writer.put(raw.level, raw.type, raw.data, raw.size);
    if (ancillary.has_credentials)
        writer.put(net::kSolSocket, net::kScmCredentials, &ancillary.credentials, sizeof ancillary.credentials);
    if (!ancillary.files.empty()) put_files(task, ancillary, writer, close_on_exec);
    if (ancillary.process) put_process(task, *ancillary.process, writer);
    return writer.used();
}

}  // namespace kvmsbx::syscalls
