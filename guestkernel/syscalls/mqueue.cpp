// POSIX message queues (mq_overview(7)).
#include "guestkernel/ipc/mqueue.hpp"

#include "guestkernel/net/socket.hpp"
#include "guestkernel/syscalls/file_helpers.hpp"
#include "guestkernel/syscalls/handlers_ipc.hpp"
#include "guestkernel/syscalls/poll_time.hpp"

namespace kvmsbx::syscalls {

using ipc::MqAttributes;
using ipc::MqNotification;
using ipc::PosixQueueFile;

namespace {

// A queue's descriptor and the file that it is.
struct Opened {
    RefPtr<vfs::File> file;
    PosixQueueFile* queue_file;
    ipc::PosixQueue& queue() const { return queue_file->queue(); }
};

Result<Opened> queue_of(Task& task, int fd) {
    Opened opened{TRY(file_of(task, fd)), nullptr};
    opened.queue_file = PosixQueueFile::from(*opened.file);
    if (!opened.queue_file) return Errno::kBADF;
    return opened;
}

// The timeouts are absolute times of CLOCK_REALTIME, which is never set in here.
Result<sched::Nanoseconds> deadline_of(Task& task, UserIn<PollTimespec> timeout) {
    if (!timeout) return sched::kNever;
    const sched::Nanoseconds wanted = TRY(to_nanoseconds(TRY(timeout.load(task.space()))));
    const sched::Nanoseconds now = sched::realtime_now();
    return wanted > now ? deadline_after(wanted - now) : sched::now();
}

}  // namespace

Result<int64_t> sys_mq_open(Task& task, UserString name, OpenFlags flags, Mode mode, UserIn<MqAttributes> attributes) {
    MqAttributes wanted{};
    const bool has_attributes = attributes && (flags & vfs::kOCreat);
    if (has_attributes) wanted = TRY(attributes.load(task.space()));
    const String text = TRY(name.load(task.space()));
    TRY(task.files().check_room(task.limit(task::kRlimitNofile)));
    auto file = TRY(ipc::open_queue(task, text, flags, mode, has_attributes ? &wanted : nullptr));
    return install(task, std::move(file), true);
}

Result<int64_t> sys_mq_unlink(Task& task, UserString name) {
    return done(ipc::unlink_queue(task, TRY(name.load(task.space()))));
}

Result<int64_t> sys_mq_timedsend(Task& task, Fd fd, UserBuffer message, size_t size, uint32_t priority,
                                 UserIn<PollTimespec> timeout) {
    const sched::Nanoseconds deadline = TRY(deadline_of(task, timeout));
    if (priority >= ipc::kMqMaxPriority) return Errno::kINVAL;
    const Opened opened = TRY(queue_of(task, fd));
    if (!opened.file->writable()) return Errno::kBADF;
    if (size > static_cast<size_t>(opened.queue().message_size)) return Errno::kMSGSIZE;
    auto copy = TRY(make_own<ipc::PosixMessage>());
    copy->priority = priority;
    TRY(copy->bytes.resize(size));
    TRY(mm::copy_from_user(task.space(), copy->bytes.data(), message.address, size));
    return done(opened.queue().send(std::move(copy), opened.file->nonblocking(), deadline));
}

Result<int64_t> sys_mq_timedreceive(Task& task, Fd fd, UserBuffer message, size_t size, UserOut<uint32_t> priority,
                                    UserIn<PollTimespec> timeout) {
    const sched::Nanoseconds deadline = TRY(deadline_of(task, timeout));
    const Opened opened = TRY(queue_of(task, fd));
    if (!opened.file->readable()) return Errno::kBADF;
    if (size < static_cast<size_t>(opened.queue().message_size)) return Errno::kMSGSIZE;
    const auto taken = TRY(opened.queue().receive(opened.file->nonblocking(), deadline));
    if (priority) TRY(priority.store(task.space(), taken->priority));
    TRY(mm::copy_to_user(task.space(), message.address, taken->bytes.data(), taken->bytes.size()));
    return static_cast<int64_t>(taken->bytes.size());
}

Result<int64_t> sys_mq_notify(Task& task, Fd fd, UserIn<MqSigevent> event) {
    constexpr int32_t kSignal = 0, kNone = 1, kThread = 2;  // SIGEV_*
    MqNotification wanted;
    if (event) {
        const MqSigevent asked = TRY(event.load(task.space()));
        if (asked.notify != kSignal && asked.notify != kNone && asked.notify != kThread) return Errno::kINVAL;
        if (asked.notify == kSignal && (asked.signal < 0 || asked.signal > task::kSigMax)) return Errno::kINVAL;
        wanted.how = asked.notify == kSignal ? MqNotification::How::kSignal : MqNotification::How::kNone;
        if (asked.notify == kThread) {  // by a netlink socket, which `signal` names
            TRY(mm::copy_from_user(task.space(), wanted.cookie, asked.value, sizeof wanted.cookie));
            wanted.how = MqNotification::How::kThread;
            wanted.netlink = TRY(file_of(task, asked.signal));
            const net::Socket* socket = net::Socket::from(*wanted.netlink);
            if (!socket) return Errno::kNOTSOCK;
            if (socket->domain != net::kAfNetlink) return Errno::kINVAL;
        }
        wanted.signal = asked.signal;
        wanted.value = asked.value;
        wanted.process = task.process_;
    }
    const Opened opened = TRY(queue_of(task, fd));
    if (event) return done(opened.queue().request_notification(std::move(wanted)));
    opened.queue().cancel_notification(task.process());
    return int64_t{0};
}

Result<int64_t> sys_mq_getsetattr(Task& task, Fd fd, UserIn<MqAttributes> wanted, UserOut<MqAttributes> old) {
    MqAttributes asked{};
    if (wanted) {
        asked = TRY(wanted.load(task.space()));
        if (asked.flags & ~int64_t{vfs::kONonblock}) return Errno::kINVAL;
    }
    const Opened opened = TRY(queue_of(task, fd));
    MqAttributes shown{};
    shown.flags = opened.file->flags & vfs::kONonblock;
    shown.maximum = opened.queue().maximum;
    shown.message_size = opened.queue().message_size;
    shown.current = opened.queue().count();
    if (wanted) opened.file->flags = (opened.file->flags & ~vfs::kONonblock) | static_cast<uint32_t>(asked.flags);
    if (old) TRY(old.store(task.space(), shown));
    return int64_t{0};
}

}  // namespace kvmsbx::syscalls
