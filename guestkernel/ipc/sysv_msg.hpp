#pragma once
// Message queues of System V (msgget(2), msgsnd(2)). A message is one allocation that travels from the sender's call to
// the queue and on to the receiver's call. Senders and receivers that wait look again whenever the queue changes.
#include "guestkernel/ipc/sysv.hpp"
#include "guestkernel/lib/list.hpp"
#include "guestkernel/sched/sched.hpp"

namespace kvmsbx::ipc::sysv {

inline constexpr uint32_t kNoError = 010000, kExcept = 020000, kCopy = 040000;  // MSG_*

struct Message {
    int64_t type = 0;
    Vector<std::byte> bytes;
    ListHook hook;
};

class MessageQueue final : public RefCounted, public Identity {
  public:
    MessageQueue(const auth::Credentials& creator, int32_t object_key, uint32_t flags)
        : Identity(creator, object_key, flags), capacity(static_cast<uint64_t>(limits.msg_queue_bytes)) {}
    ~MessageQueue() override;
    bool has_room(size_t size) const { return bytes + size <= capacity && count + 1 <= capacity; }

    uint64_t capacity, bytes = 0, count = 0;
    int64_t sent = 0, received = 0;
    int32_t last_sender = 0, last_receiver = 0;
    List<Message, &Message::hook> messages;
    sched::WaitQueue senders, receivers;
};

extern Table<MessageQueue> message_queues;

struct MessageQueueStatus {  // struct msqid64_ds
    UserPermissions permissions;
    int64_t sent, received, changed;
    uint64_t bytes, count, capacity;
    int32_t last_sender, last_receiver;
    uint64_t unused[2];
};
static_assert(sizeof(MessageQueueStatus) == 120);

Result<int32_t> get_queue(const auth::Credentials& who, int32_t key, uint32_t flags);
// EAGAIN, EIDRM, ERESTARTNOHAND.
Result<> send(const auth::Credentials& who, int32_t id, OwnPtr<Message> message, uint32_t flags);
// A message of `type` (msgrcv(2)) of at most `size` bytes, or one that is to be cut (MSG_NOERROR). With MSG_COPY a
// copy. ENOMSG, E2BIG, EIDRM, ERESTARTNOHAND.
Result<OwnPtr<Message>> receive(const auth::Credentials& who, int32_t id, size_t size, int64_t type, uint32_t flags);
MessageQueueStatus status_of(const MessageQueue& queue);
Result<> remove_queue(const auth::Credentials& who, int32_t id);
Result<> set_queue(const auth::Credentials& who, int32_t id, const UserPermissions& wanted, uint64_t capacity);

}  // namespace kvmsbx::ipc::sysv
