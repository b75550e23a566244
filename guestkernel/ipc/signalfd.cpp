#include "guestkernel/ipc/signalfd.hpp"

#include "guestkernel/task/signal_delivery.hpp"

namespace kvmsbx::ipc {
namespace {

struct SignalFdInfo {  // struct signalfd_siginfo
    uint32_t signo;
    int32_t error, code;
    uint32_t pid, uid;
    int32_t fd;
    uint32_t tid, band, overrun, trapno;
    int32_t status, value_int;
    uint64_t value, utime, stime, address;
    uint16_t address_lsb, pad16;
    int32_t syscall;
    uint64_t call_address;
    uint32_t arch;
    uint8_t pad[28];
};
static_assert(sizeof(SignalFdInfo) == 128);

SignalFdInfo convert(const task::SigInfo& info) {
    SignalFdInfo out{};
    out.signo = static_cast<uint32_t>(info.signo);
    out.error = info.error;
    out.code = info.code;
    const bool fault = info.code > 0 && info.code != task::kSiKernel &&
                       (info.signo == task::kSigSegv || info.signo == task::kSigBus || info.signo == task::kSigIll ||
                        info.signo == task::kSigFpe || info.signo == task::kSigTrap);
    if (fault) {
        out.address = info.fault.address;
    } else if (info.code == task::kSiTimer) {
        out.tid = static_cast<uint32_t>(info.timer.timer_id);
        out.overrun = static_cast<uint32_t>(info.timer.overrun);
        out.value = info.timer.value;
        out.value_int = static_cast<int32_t>(info.timer.value);
    } else {
        out.pid = static_cast<uint32_t>(info.from.pid);
        out.uid = info.from.uid;
        if (info.signo == task::kSigChld && info.code > 0) {
            out.status = info.from.status;
            out.utime = static_cast<uint64_t>(info.from.utime);
            out.stime = static_cast<uint64_t>(info.from.stime);
        } else if (info.code < 0) {
            out.value = info.from.value;
            out.value_int = static_cast<int32_t>(info.from.value);
        }
    }
    return out;
}

}  // namespace

void SignalFd::set_mask(task::SignalSet mask) {
    mask.remove(task::kSigKill);
    mask.remove(task::kSigStop);
    mask_ = mask;
}

const char SignalFd::kTag = 0;

// SAFETY: the tag is this class's own.
SignalFd* SignalFd::from(vfs::File& file) {
    return file.class_tag() == &kTag ? static_cast<SignalFd*>(&file) : nullptr;
}

Result<size_t> SignalFd::read(mm::IoBuffer& to) {
    if (to.remaining() < sizeof(SignalFdInfo)) return Errno::kINVAL;
    task::Task& task = task::current();
    task::SigInfo info;
    if (!task::take_signal(task, mask_, info)) {
        if (nonblocking()) return Errno::kAGAIN;
        TRY(task.process().signal_arrived.wait([&] { return task::take_signal(task, mask_, info); }));
    }
    size_t done = 0;
    do {
        const SignalFdInfo out = convert(info);
        const auto copied = to.put(&out, sizeof out);
        if (copied.is_error() || copied.value() != sizeof out) return done ? Result<size_t>(done) : Errno::kFAULT;
        done += sizeof out;
    } while (to.remaining() >= sizeof(SignalFdInfo) && task::take_signal(task, mask_, info));
    return done;
}

vfs::PollState SignalFd::poll() {
    task::Task& task = task::current();
    const uint64_t pending = (task.pending.set.bits | task.process().pending.set.bits) & mask_.bits;
    return {pending ? vfs::kPollIn : 0, &task.process().signal_arrived};
}

}  // namespace kvmsbx::ipc
