#include "guestkernel/ipc/sysv_msg.hpp"

#include <cstring>

namespace kvmsbx::ipc::sysv {

Table<MessageQueue> message_queues;

MessageQueue::~MessageQueue() {
    while (!messages.empty()) {
        Message& message = messages.front();
        message.hook.unlink();
        delete &message;
    }
}

namespace {

Errno interrupted(const Result<>& waited) {
    return waited.error() == Errno::kRESTARTSYS ? Errno::kRESTARTNOHAND : waited.error();
}

// The message that msgrcv(2) with `type` and `flags` takes, or null.
Message* pick(MessageQueue& queue, int64_t type, uint32_t flags) {
    Message* found = nullptr;
    int64_t index = 0;
    const int64_t highest = type == INT64_MIN ? INT64_MAX : -type;
    for (Message& message : queue.messages) {
        if (flags & kCopy) {
            if (index++ == type) return &message;
        } else if (type == 0) {
            return &message;
        } else if (type < 0) {
            if (message.type <= highest && (!found || message.type < found->type)) found = &message;
        } else if ((message.type == type) != ((flags & kExcept) != 0)) {
            return &message;
        }
    }
    return found;
}

Result<OwnPtr<Message>> copy_of(const Message& message) {
    auto copy = TRY(make_own<Message>());
    copy->type = message.type;
    TRY(copy->bytes.resize(message.bytes.size()));
    if (!message.bytes.empty()) memcpy(copy->bytes.data(), message.bytes.data(), message.bytes.size());
    return copy;
}

OwnPtr<Message> take(MessageQueue& queue, Message& message) {
    message.hook.unlink();
    queue.bytes -= message.bytes.size();
    --queue.count;
    queue.received = seconds_now();
    queue.last_receiver = current_process_id();
    queue.senders.wake_all();
    return OwnPtr<Message>(&message);
}

}  // namespace

Result<int32_t> get_queue(const auth::Credentials& who, int32_t key, uint32_t flags) {
    return get(
        message_queues, who, key, flags, [](const MessageQueue&) { return Result<>(); },
        [&]() -> Result<int32_t> {
            return message_queues.add(TRY(make_ref<MessageQueue>(who, key, flags)), limits.msg_queues);
        });
}

Result<> send(const auth::Credentials& who, int32_t id, OwnPtr<Message> message, uint32_t flags) {
    const RefPtr<MessageQueue> queue = TRY(message_queues.find(id));
    const size_t size = message->bytes.size();
    for (;;) {
        if (queue->removed) return Errno::kIDRM;
        TRY(queue->check_access(who, kMayWrite));
        if (queue->has_room(size)) break;
        if (flags & kNoWait) return Errno::kAGAIN;
        const Result<> waited = queue->senders.wait([&] { return queue->removed || queue->has_room(size); });
        if (waited.is_error()) return interrupted(waited);
    }
    queue->messages.push_back(*message.leak());
    queue->bytes += size;
    ++queue->count;
    queue->sent = seconds_now();
    queue->last_sender = current_process_id();
    queue->receivers.wake_all();
    return {};
}

Result<OwnPtr<Message>> receive(const auth::Credentials& who, int32_t id, size_t size, int64_t type, uint32_t flags) {
    if ((flags & kCopy) && ((flags & kExcept) || !(flags & kNoWait))) return Errno::kINVAL;
    const RefPtr<MessageQueue> queue = TRY(message_queues.find(id));
    for (;;) {
        if (queue->removed) return Errno::kIDRM;
        TRY(queue->check_access(who, kMayRead));
        if (Message* found = pick(*queue, type, flags)) {
            if (found->bytes.size() > size && !(flags & kNoError)) return Errno::k2BIG;
            if (flags & kCopy) return copy_of(*found);
            return take(*queue, *found);
        }
        if (flags & kNoWait) return Errno::kNOMSG;
        const Result<> waited = queue->receivers.wait([&] { return queue->removed || pick(*queue, type, flags); });
        if (waited.is_error()) return interrupted(waited);
    }
}

MessageQueueStatus status_of(const MessageQueue& queue) {
    MessageQueueStatus out{};
    out.permissions = queue.shown();
    out.sent = queue.sent, out.received = queue.received, out.changed = queue.changed;
    out.bytes = queue.bytes, out.count = queue.count, out.capacity = queue.capacity;
    out.last_sender = queue.last_sender, out.last_receiver = queue.last_receiver;
    return out;
}

Result<> remove_queue(const auth::Credentials& who, int32_t id) {
    const RefPtr<MessageQueue> queue = TRY(message_queues.find(id));
    TRY(queue->check_owner(who));
    message_queues.remove(*queue);
    queue->senders.wake_all();
    queue->receivers.wake_all();
    return {};
}

Result<> set_queue(const auth::Credentials& who, int32_t id, const UserPermissions& wanted, uint64_t capacity) {
    const RefPtr<MessageQueue> queue = TRY(message_queues.find(id));
    TRY(queue->check_owner(who));
    if (capacity > static_cast<uint64_t>(limits.msg_queue_bytes) && !who.has(auth::Capability::kSysResource))
        return Errno::kPERM;
    TRY(queue->set(wanted));
    queue->capacity = capacity;
    queue->senders.wake_all();
    queue->receivers.wake_all();
    return {};
}

}  // namespace kvmsbx::ipc::sysv
