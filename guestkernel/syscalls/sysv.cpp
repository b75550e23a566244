// System V IPC: shared memory and message queues. sysv_sem.cpp has semaphores.
#include "guestkernel/ipc/sysv_msg.hpp"
#include "guestkernel/ipc/sysv_shm.hpp"
#include "guestkernel/syscalls/file_helpers.hpp"
#include "guestkernel/syscalls/handlers_ipc.hpp"

namespace kvmsbx::syscalls {

namespace sysv = ipc::sysv;

namespace {

constexpr int32_t kShmLock = 11, kShmUnlock = 12, kShmStat = 13, kShmInfo = 14, kShmStatAny = 15;
constexpr int32_t kMsgStat = 11, kMsgInfo = 12, kMsgStatAny = 13;

struct ShmLimits {  // struct shminfo64
    uint64_t maximum, minimum, segments, segments_per_process, pages, unused[4];
};
struct ShmUsage {  // struct shm_info
    int32_t used, pad;
    uint64_t total, resident, swapped, swap_attempts, swap_successes;
};
struct MsgLimits {  // struct msginfo
    int32_t pool, map, size, queue_bytes, queues, segment_size, messages;
    uint16_t segments, pad;
};
static_assert(sizeof(ShmLimits) == 72 && sizeof(ShmUsage) == 48 && sizeof(MsgLimits) == 32);

template <typename T>
Result<int64_t> store_and_give(Task& task, UserBuffer to, const T& value, int32_t result) {
    TRY(UserOut<T>{to.address}.store(task.space(), value));
    return int64_t{result};
}

Result<int64_t> shm_limits(Task& task, UserBuffer buffer) {
    ShmLimits out{};
    out.maximum = sysv::limits.shm_max;
    out.minimum = 1;
    out.segments = out.segments_per_process = static_cast<uint64_t>(sysv::limits.shm_segments);
    out.pages = sysv::limits.shm_all;
    return store_and_give(task, buffer, out, sysv::segments.highest_index());
}

Result<int64_t> shm_usage(Task& task, UserBuffer buffer) {
    ShmUsage out{};
    out.used = sysv::segments.used();
    out.total = sysv::total_segment_pages();
    sysv::segments.for_each([&out](const sysv::Segment& segment) { out.resident += segment.resident_pages(); });
    return store_and_give(task, buffer, out, sysv::segments.highest_index());
}

Result<int64_t> shm_status(Task& task, int32_t id, int32_t command, UserBuffer buffer) {
    const RefPtr<sysv::Segment> segment = TRY(sysv::segments.find(id, command != sysv::kStat));
    if (command != kShmStatAny) TRY(segment->check_access(task.credentials(), sysv::kMayRead));
    return store_and_give(task, buffer, status_of(*segment), command == sysv::kStat ? 0 : segment->id);
}

}  // namespace

Result<int64_t> sys_shmget(Task& task, int32_t key, size_t size, IpcFlags flags) {
    return int64_t{TRY(sysv::get_segment(task.credentials(), key, size, flags))};
}

Result<int64_t> sys_shmat(Task& task, int32_t id, Address address, IpcFlags flags) {
    return static_cast<int64_t>(TRY(sysv::attach(task.space(), task.credentials(), id, address, flags)));
}

Result<int64_t> sys_shmdt(Task& task, Address address) { return done(sysv::detach(task.space(), address)); }

Result<int64_t> sys_shmctl(Task& task, int32_t id, int32_t command, UserBuffer buffer) {
    if (command < 0 || id < 0) return Errno::kINVAL;
    switch (command) {
        case sysv::kInfo: return shm_limits(task, buffer);
        case kShmInfo: return shm_usage(task, buffer);
        case sysv::kStat:
        case kShmStat:
        case kShmStatAny: return shm_status(task, id, command, buffer);
        case sysv::kRmid: return done(sysv::remove_segment(task.credentials(), id));
        case sysv::kSet: {
            const auto wanted = TRY(UserIn<sysv::SegmentStatus>{buffer.address}.load(task.space()));
            return done(sysv::set_segment(task.credentials(), id, wanted.permissions));
        }
        case kShmLock:
        case kShmUnlock:
            return done(
                sysv::lock_segment(task.credentials(), id, command == kShmLock, task.limit(task::kRlimitMemlock)));
        default: return Errno::kINVAL;
    }
}

// --- message queues

namespace {

Result<int64_t> msg_limits(Task& task, int32_t command, UserBuffer buffer) {
    MsgLimits out{};
    out.size = sysv::limits.msg_size;
    out.queue_bytes = sysv::limits.msg_queue_bytes;
    out.queues = sysv::limits.msg_queues;
    out.segment_size = 16;
    out.segments = 0xffff;
    if (command == sysv::kInfo) {
        out.pool = 512'000;
        out.map = out.messages = 16384;
    } else {
        out.pool = sysv::message_queues.used();
        sysv::message_queues.for_each([&out](const sysv::MessageQueue& queue) {
            out.map += static_cast<int32_t>(queue.count);
            out.messages += static_cast<int32_t>(queue.bytes);
        });
    }
    return store_and_give(task, buffer, out, sysv::message_queues.highest_index());
}

Result<int64_t> msg_status(Task& task, int32_t id, int32_t command, UserBuffer buffer) {
    const RefPtr<sysv::MessageQueue> queue = TRY(sysv::message_queues.find(id, command != sysv::kStat));
    if (command != kMsgStatAny) TRY(queue->check_access(task.credentials(), sysv::kMayRead));
    return store_and_give(task, buffer, status_of(*queue), command == sysv::kStat ? 0 : queue->id);
}

}  // namespace

Result<int64_t> sys_msgget(Task& task, int32_t key, IpcFlags flags) {
    return int64_t{TRY(sysv::get_queue(task.credentials(), key, flags))};
}

Result<int64_t> sys_msgsnd(Task& task, int32_t id, UserBuffer message, int64_t size, IpcFlags flags) {
    const int64_t type = TRY(UserIn<int64_t>{message.address}.load(task.space()));
    if (size < 0 || size > sysv::limits.msg_size || id < 0 || type < 1) return Errno::kINVAL;
    auto copy = TRY(make_own<sysv::Message>());
    copy->type = type;
    TRY(copy->bytes.resize(static_cast<size_t>(size)));
    TRY(mm::copy_from_user(task.space(), copy->bytes.data(), message.address + sizeof type, copy->bytes.size()));
    return done(sysv::send(task.credentials(), id, std::move(copy), flags));
}

Result<int64_t> sys_msgrcv(Task& task, int32_t id, UserBuffer message, int64_t size, int64_t type, IpcFlags flags) {
    if (id < 0 || size < 0) return Errno::kINVAL;
    const auto taken = TRY(sysv::receive(task.credentials(), id, static_cast<size_t>(size), type, flags));
    TRY(UserOut<int64_t>{message.address}.store(task.space(), taken->type));
    const size_t count = std::min(taken->bytes.size(), static_cast<size_t>(size));
    TRY(mm::copy_to_user(task.space(), message.address + sizeof type, taken->bytes.data(), count));
    return static_cast<int64_t>(count);
}

Result<int64_t> sys_msgctl(Task& task, int32_t id, int32_t command, UserBuffer buffer) {
    if (command < 0 || id < 0) return Errno::kINVAL;
    switch (command) {
        case sysv::kInfo:
        case kMsgInfo: return msg_limits(task, command, buffer);
        case sysv::kStat:
        case kMsgStat:
        case kMsgStatAny: return msg_status(task, id, command, buffer);
        case sysv::kRmid: return done(sysv::remove_queue(task.credentials(), id));
        case sysv::kSet: {
            const auto wanted = TRY(UserIn<sysv::MessageQueueStatus>{buffer.address}.load(task.space()));
            return done(sysv::set_queue(task.credentials(), id, wanted.permissions, wanted.capacity));
        }
        default: return Errno::kINVAL;
    }
}

}  // namespace kvmsbx::syscalls
