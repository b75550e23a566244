#include "guestkernel/ipc/mqueue.hpp"

#include "guestkernel/net/netlink.hpp"
#include "guestkernel/task/registry.hpp"

namespace kvmsbx::ipc {

PosixQueue::~PosixQueue() {
    end_charge();
    while (!messages_.empty()) {
        PosixMessage& message = messages_.front();
        message.hook.unlink();
        delete &message;
    }
}

Result<> PosixQueue::set_attributes(const vfs::AttributeChange& change) {
    if (change.valid & vfs::AttributeChange::kSize) return Errno::kINVAL;
    vfs::apply_change(change, attributes_);
    return {};
}

Result<RefPtr<vfs::File>> PosixQueue::open(const vfs::Path& path, uint32_t flags) {
    return RefPtr<vfs::File>(TRY(make_ref<PosixQueueFile>(path, flags, String())));
}

// --- messages

void PosixQueue::insert(PosixMessage& message) {
    auto place = messages_.begin();
    while (place != messages_.end() && place->priority >= message.priority) ++place;
    messages_.insert(place, message);
    bytes_ += static_cast<int64_t>(message.bytes.size());
    ++count_;
}

Result<> PosixQueue::send(OwnPtr<PosixMessage> message, bool nonblocking, sched::Nanoseconds deadline) {
    if (is_full()) {
        if (nonblocking) return Errno::kAGAIN;
        TRY(senders_.wait([this] { return !is_full(); }, sched::Interruptible::kYes, deadline));
    }
    insert(*message.leak());
    if (waiting_receivers_ == 0 && count_ == 1) notify();
    receivers_.wake_one();
    changed.wake_all(vfs::kPollIn | vfs::kPollRdNorm);
    return {};
}

Result<OwnPtr<PosixMessage>> PosixQueue::receive(bool nonblocking, sched::Nanoseconds deadline) {
    if (is_empty()) {
        if (nonblocking) return Errno::kAGAIN;
        ++waiting_receivers_;
        const Result<> waited = receivers_.wait([this] { return !is_empty(); }, sched::Interruptible::kYes, deadline);
        --waiting_receivers_;
        TRY(waited);
    }
    OwnPtr<PosixMessage> first(&messages_.front());
    first->hook.unlink();
    bytes_ -= static_cast<int64_t>(first->bytes.size());
    --count_;
    senders_.wake_one();
    if (!is_empty()) receivers_.wake_one();
    changed.wake_all(vfs::kPollOut | vfs::kPollWrNorm);
    return first;
}

// --- notification

Result<> PosixQueue::request_notification(MqNotification wanted) {
    if (notification_.process) return Errno::kBUSY;
    notification_ = std::move(wanted);
    return {};
}

void PosixQueue::cancel_notification(const task::Process& process) {
    constexpr uint8_t kRemoved = 2;  // NOTIFY_REMOVED
    if (notification_.process != &process) return;
    MqNotification gone = std::exchange(notification_, MqNotification());
    if (gone.how == MqNotification::How::kThread) send_cookie(gone, kRemoved);
}

void PosixQueue::send_cookie(MqNotification& told, uint8_t what) {
    told.cookie[sizeof told.cookie - 1] = std::byte{what};
    net::send_to_netlink(*net::Socket::from(*told.netlink), told.cookie);
}

void PosixQueue::notify() {
    constexpr int32_t kSiMesgq = -3;  // SI_MESGQ
    constexpr uint8_t kWokenUp = 1;   // NOTIFY_WOKENUP
    if (!notification_.process) return;
    MqNotification told = std::exchange(notification_, MqNotification());
    if (told.how == MqNotification::How::kThread) return send_cookie(told, kWokenUp);
    if (told.how != MqNotification::How::kSignal || told.signal == 0) return;
    task::SigInfo info;
    info.signo = told.signal;
    info.code = kSiMesgq;
    info.from.pid = task::current().process().pid;
    info.from.uid = task::current().credentials().ruid;
    info.from.value = told.value;
    task::send_signal(*told.process, info);
}

void PosixQueue::describe_state(TextSink& sink) const {
    const auto put_left = [&sink](int64_t value, size_t width) {
        FixedText<24> text;
        format_to(text, "{}", value);
        sink.put(text.view());
        for (size_t i = text.view().size(); i < width; ++i) sink.put(" ");
    };
    const bool waits = static_cast<bool>(notification_.process);
    const bool by_signal = waits && notification_.how == MqNotification::How::kSignal;
    sink.put("QSIZE:");
    put_left(bytes_, 10);
    sink.put(" NOTIFY:");
    put_left(waits && !by_signal ? 1 : 0, 5);
    sink.put(" SIGNO:");
    put_left(by_signal ? notification_.signal : 0, 5);
    sink.put(" NOTIFY_PID:");
    put_left(waits ? notification_.process->pid : 0, 6);
    sink.put("\n");
}

// --- descriptors

const char PosixQueueFile::kTag = 0;

// SAFETY: the tag is this class's own.
PosixQueueFile* PosixQueueFile::from(vfs::File& file) {
    return file.class_tag() == &kTag ? static_cast<PosixQueueFile*>(&file) : nullptr;
}

Result<size_t> PosixQueueFile::read_at(mm::IoBuffer& to, uint64_t offset) {
    FixedText<128> text;
    queue().describe_state(text);
    const std::string_view all = text.view();
    if (offset >= all.size()) return size_t{0};
    return to.put(all.data() + offset, std::min<size_t>(all.size() - offset, to.remaining()));
}

vfs::PollState PosixQueueFile::poll() {
    uint32_t events = 0;
    if (!queue().is_empty()) events |= vfs::kPollIn | vfs::kPollRdNorm;
    if (!queue().is_full()) events |= vfs::kPollOut | vfs::kPollWrNorm;
    return {events, &queue().changed};
}

Result<> PosixQueueFile::flush() {
    queue().cancel_notification(task::current().process());
    return {};
}

Result<String> PosixQueueFile::describe() {
    if (name_.empty()) return InodeFile::describe();
    String text = TRY(String::create("/"));
    TRY(text.append(name_.view()));
    return text;
}

}  // namespace kvmsbx::ipc
