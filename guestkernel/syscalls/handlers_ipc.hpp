#pragma once
// System V IPC (sysvipc(7)) and POSIX message queues (mq_overview(7)).
#include "guestkernel/ipc/mqueue.hpp"
#include "guestkernel/ipc/sysv_sem.hpp"
#include "guestkernel/syscalls/handlers_memory.hpp"
#include "guestkernel/syscalls/handlers_poll.hpp"
#include "guestkernel/syscalls/syscall.hpp"

namespace kvmsbx::syscalls {

using IpcFlags = Mode;  // IPC_* flags and mode bits, both octal

struct MqSigevent {  // struct sigevent
    uint64_t value;
    int32_t signal, notify;
    uint64_t rest[6];
};
static_assert(sizeof(MqSigevent) == 64);

Result<int64_t> sys_shmget(Task& task, int32_t key, size_t size, IpcFlags flags);
Result<int64_t> sys_shmat(Task& task, int32_t id, Address address, IpcFlags flags);
Result<int64_t> sys_shmctl(Task& task, int32_t id, int32_t command, UserBuffer buffer);
Result<int64_t> sys_shmdt(Task& task, Address address);

Result<int64_t> sys_semget(Task& task, int32_t key, int32_t count, IpcFlags flags);
Result<int64_t> sys_semop(Task& task, int32_t id, UserIn<ipc::sysv::SemaphoreOperation> operations, uint32_t count);
Result<int64_t> sys_semctl(Task& task, int32_t id, int32_t number, int32_t command, UserBuffer argument);
Result<int64_t> sys_semtimedop(Task& task, int32_t id, UserIn<ipc::sysv::SemaphoreOperation> operations, uint32_t count,
                               UserIn<PollTimespec> timeout);

Result<int64_t> sys_msgget(Task& task, int32_t key, IpcFlags flags);
Result<int64_t> sys_msgsnd(Task& task, int32_t id, UserBuffer message, int64_t size, IpcFlags flags);
Result<int64_t> sys_msgrcv(Task& task, int32_t id, UserBuffer message, int64_t size, int64_t type, IpcFlags flags);
Result<int64_t> sys_msgctl(Task& task, int32_t id, int32_t command, UserBuffer buffer);

Result<int64_t> sys_mq_open(Task& task, UserString name, OpenFlags flags, Mode mode,
                            UserIn<ipc::MqAttributes> attributes);
Result<int64_t> sys_mq_unlink(Task& task, UserString name);
Result<int64_t> sys_mq_timedsend(Task& task, Fd queue, UserBuffer message, size_t size, uint32_t priority,
                                 UserIn<PollTimespec> timeout);
Result<int64_t> sys_mq_timedreceive(Task& task, Fd queue, UserBuffer message, size_t size, UserOut<uint32_t> priority,
                                    UserIn<PollTimespec> timeout);
Result<int64_t> sys_mq_notify(Task& task, Fd queue, UserIn<MqSigevent> event);
Result<int64_t> sys_mq_getsetattr(Task& task, Fd queue, UserIn<ipc::MqAttributes> wanted,
                                  UserOut<ipc::MqAttributes> old);

}  // namespace kvmsbx::syscalls
