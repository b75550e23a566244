#include "guestkernel/fs/proc/sysvipc.hpp"

#include "guestkernel/ipc/aio.hpp"
#include "guestkernel/ipc/dnotify.hpp"
#include "guestkernel/ipc/inotify.hpp"
#include "guestkernel/ipc/mqueue.hpp"
#include "guestkernel/ipc/sysv_msg.hpp"
#include "guestkernel/ipc/sysv_sem.hpp"
#include "guestkernel/ipc/sysv_shm.hpp"

namespace kvmsbx::fs {
namespace {

namespace sysv = ipc::sysv;

void put_identity(TextSink& sink, const sysv::Identity& identity) {
    format_to(sink, "{10} {10}  ", identity.key, identity.id);
    for (uint32_t digit = 01000; digit > 1 && identity.mode < digit; digit >>= 3) sink.put(" ");  // %4o
    put_octal(sink, identity.mode);
}

void put_owners(TextSink& sink, const sysv::Identity& identity) {
    format_to(sink, " {5} {5} {5} {5}", identity.uid, identity.gid, identity.creator_uid, identity.creator_gid);
}

Result<> put_segments(TextSink& sink) {
    sink.put(
        "       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid  cgid      atime      "
        "dtime      ctime                   rss                  swap\n");
    sysv::segments.for_each([&sink](const sysv::Segment& segment) {
        put_identity(sink, segment);
        format_to(sink, " {21} {5} {5}  {5}", segment.size, segment.creator, segment.last, segment.attachments);
        put_owners(sink, segment);
        format_to(sink, " {10} {10} {10} {21} {21}\n", segment.attached, segment.detached, segment.changed,
                  segment.resident_pages() * mm::kPageSize, 0);
    });
    return {};
}

Result<> put_semaphores(TextSink& sink) {
    sink.put("       key      semid perms      nsems   uid   gid  cuid  cgid      otime      ctime\n");
    sysv::semaphore_sets.for_each([&sink](const sysv::SemaphoreSet& set) {
        put_identity(sink, set);
        format_to(sink, " {10}", set.semaphores.size());
        put_owners(sink, set);
        format_to(sink, " {10} {10}\n", set.operated, set.changed);
    });
    return {};
}

Result<> put_queues(TextSink& sink) {
    sink.put(
        "       key      msqid perms      cbytes       qnum lspid lrpid   uid   gid  cuid  cgid      stime      rtime "
        "     ctime\n");
    sysv::message_queues.for_each([&sink](const sysv::MessageQueue& queue) {
        put_identity(sink, queue);
        format_to(sink, "  {10} {10} {5} {5}", queue.bytes, queue.count, queue.last_sender, queue.last_receiver);
        put_owners(sink, queue);
        format_to(sink, " {10} {10} {10}\n", queue.sent, queue.received, queue.changed);
    });
    return {};
}

constexpr StaticEntry kEntries[] = {text_entry("msg", put_queues), text_entry("sem", put_semaphores),
                                    text_entry("shm", put_segments)};

template <typename T>
Result<> put_number(TextSink& sink, T value) {
    format_to(sink, "{}\n", value);
    return {};
}

template <typename T>
Result<> store_number(std::string_view text, T& limit, uint64_t maximum, uint64_t minimum = 0) {
    uint64_t value[1];
    TRY(parse_numbers(text, value, maximum));
    if (value[0] < minimum) return Errno::kINVAL;
    limit = static_cast<T>(value[0]);
    return {};
}

constexpr uint64_t kMaxInt = 0x7fffffff, kMaxObjects = 32768;

}  // namespace

constinit const StaticEntry kSysvipcDirectory = directory_entry("sysvipc", kEntries);

Result<> parse_numbers(std::string_view text, std::span<uint64_t> out, uint64_t maximum) {
    size_t at = 0;
    for (uint64_t& number : out) {
        while (at < text.size() && (text[at] == ' ' || text[at] == '\t')) ++at;
        const size_t start = at;
        uint64_t value = 0;
        for (; at < text.size() && text[at] >= '0' && text[at] <= '9'; ++at)
            if (__builtin_mul_overflow(value, uint64_t{10}, &value) ||
                __builtin_add_overflow(value, static_cast<uint64_t>(text[at] - '0'), &value))
                return Errno::kINVAL;
        if (at == start || value > maximum) return Errno::kINVAL;
        number = value;
    }
    return trimmed(text.substr(at)).empty() ? Result<>() : Result<>(Errno::kINVAL);
}

Result<> put_aio_maximum(TextSink& sink) { return put_number(sink, ipc::aio_maximum); }
Result<> put_aio_requests(TextSink& sink) { return put_number(sink, ipc::aio_requests()); }
Result<> store_aio_maximum(std::string_view text) { return store_number(text, ipc::aio_maximum, kMaxInt); }
Result<> put_directory_notification(TextSink& sink) { return put_number(sink, ipc::directory_notification); }
// Any int, as Linux takes it.
Result<> store_directory_notification(std::string_view text) {
    text = trimmed(text);
    const bool negative = text.starts_with('-');
    uint64_t value[1];
    TRY(parse_numbers(text.substr(negative), value, kMaxInt + negative));
    ipc::directory_notification = static_cast<int32_t>(negative ? -value[0] : value[0]);
    return {};
}
Result<> put_inotify_events(TextSink& sink) { return put_number(sink, ipc::inotify_limits.queued_events); }
Result<> put_inotify_instances(TextSink& sink) { return put_number(sink, ipc::inotify_limits.instances); }
Result<> put_inotify_watches(TextSink& sink) { return put_number(sink, ipc::inotify_limits.watches); }
Result<> store_inotify_events(std::string_view text) {
    return store_number(text, ipc::inotify_limits.queued_events, kMaxInt);
}
Result<> store_inotify_instances(std::string_view text) {
    return store_number(text, ipc::inotify_limits.instances, kMaxInt);
}
Result<> store_inotify_watches(std::string_view text) {
    return store_number(text, ipc::inotify_limits.watches, kMaxInt);
}

Result<> put_mq_default_messages(TextSink& sink) { return put_number(sink, ipc::mqueue_limits.default_messages); }
Result<> store_mq_default_messages(std::string_view text) {
    return store_number(text, ipc::mqueue_limits.default_messages, 65536, 1);
}
Result<> put_mq_messages(TextSink& sink) { return put_number(sink, ipc::mqueue_limits.messages); }
Result<> store_mq_messages(std::string_view text) { return store_number(text, ipc::mqueue_limits.messages, 65536, 1); }
Result<> put_mq_default_size(TextSink& sink) { return put_number(sink, ipc::mqueue_limits.default_message_size); }
Result<> store_mq_default_size(std::string_view text) {
    return store_number(text, ipc::mqueue_limits.default_message_size, 16 << 20, 128);
}
Result<> put_mq_size(TextSink& sink) { return put_number(sink, ipc::mqueue_limits.message_size); }
Result<> store_mq_size(std::string_view text) {
    return store_number(text, ipc::mqueue_limits.message_size, 16 << 20, 128);
}
Result<> put_mq_queues(TextSink& sink) { return put_number(sink, ipc::mqueue_limits.queues); }
Result<> store_mq_queues(std::string_view text) { return store_number(text, ipc::mqueue_limits.queues, kMaxInt, 0); }

Result<> put_shmmax(TextSink& sink) { return put_number(sink, sysv::limits.shm_max); }
Result<> put_shmall(TextSink& sink) { return put_number(sink, sysv::limits.shm_all); }
Result<> put_shmmni(TextSink& sink) { return put_number(sink, sysv::limits.shm_segments); }
Result<> put_msgmax(TextSink& sink) { return put_number(sink, sysv::limits.msg_size); }
Result<> put_msgmnb(TextSink& sink) { return put_number(sink, sysv::limits.msg_queue_bytes); }
Result<> put_msgmni(TextSink& sink) { return put_number(sink, sysv::limits.msg_queues); }
Result<> put_sem(TextSink& sink) {
    const sysv::Limits& now = sysv::limits;
    format_to(sink, "{}\t{}\t{}\t{}\n", now.sem_per_set, now.sem_total, now.sem_operations, now.sem_sets);
    return {};
}

Result<> store_shmmax(std::string_view text) { return store_number(text, sysv::limits.shm_max, ~0ULL); }
Result<> store_shmall(std::string_view text) { return store_number(text, sysv::limits.shm_all, ~0ULL); }
Result<> store_shmmni(std::string_view text) { return store_number(text, sysv::limits.shm_segments, kMaxObjects); }
Result<> put_shm_rmid_forced(TextSink& sink) { return put_number(sink, sysv::limits.shm_destroys_orphans ? 1 : 0); }
Result<> store_shm_rmid_forced(std::string_view text) {
    TRY(store_number(text, sysv::limits.shm_destroys_orphans, 1));
    sysv::destroy_orphans();
    return {};
}
Result<> store_msgmax(std::string_view text) { return store_number(text, sysv::limits.msg_size, kMaxInt); }
Result<> store_msgmnb(std::string_view text) { return store_number(text, sysv::limits.msg_queue_bytes, kMaxInt); }
Result<> store_msgmni(std::string_view text) { return store_number(text, sysv::limits.msg_queues, kMaxObjects); }
Result<> store_sem(std::string_view text) {
    uint64_t values[4];
    TRY(parse_numbers(text, values, kMaxInt));
    if (values[3] > kMaxObjects) return Errno::kINVAL;
    sysv::limits.sem_per_set = static_cast<int32_t>(values[0]);
    sysv::limits.sem_total = static_cast<int32_t>(values[1]);
    sysv::limits.sem_operations = static_cast<int32_t>(values[2]);
    sysv::limits.sem_sets = static_cast<int32_t>(values[3]);
    return {};
}

}  // namespace kvmsbx::fs
