// System V semaphores.
#include "guestkernel/ipc/sysv_sem.hpp"

#include "guestkernel/syscalls/file_helpers.hpp"
#include "guestkernel/syscalls/handlers_ipc.hpp"
#include "guestkernel/syscalls/poll_time.hpp"

namespace kvmsbx::syscalls {

namespace sysv = ipc::sysv;
using sysv::SemaphoreOperation;
using sysv::SemaphoreSet;

namespace {

enum Command : int32_t {
    kGetPid = 11,
    kGetValue = 12,
    kGetAll = 13,
    kGetWaitingForMore = 14,
    kGetWaitingForZero = 15,
    kSetValue = 16,
    kSetAll = 17,
    kSemStat = 18,
    kSemInfo = 19,
    kSemStatAny = 20,
};

struct SemLimits {  // struct seminfo
    int32_t map, sets, total, undo, per_set, operations, undo_per_process, undo_size, maximum, adjustment;
};

Result<int64_t> operate(Task& task, int32_t id, UserIn<SemaphoreOperation> operations, uint32_t count,
                        sched::Nanoseconds deadline) {
    if (count < 1 || id < 0) return Errno::kINVAL;
    if (count > static_cast<uint32_t>(sysv::limits.sem_operations)) return Errno::k2BIG;
    Vector<SemaphoreOperation> wanted;
    TRY(wanted.resize(count));
    TRY(operations.load_array(task.space(), wanted.span()));
    return done(sysv::operate(task.credentials(), id, wanted.span(), deadline));
}

Result<int64_t> limits(Task& task, int32_t command, UserBuffer buffer) {
    const sysv::Limits& now = sysv::limits;
    SemLimits out{};
    out.map = out.total = out.undo = now.sem_total;
    out.sets = now.sem_sets;
    out.per_set = now.sem_per_set;
    out.operations = now.sem_operations;
    out.undo_per_process = 500;
    out.maximum = sysv::kSemMaximum;
    out.undo_size = command == kSemInfo ? sysv::semaphore_sets.used() : 20;
    out.adjustment = command == kSemInfo ? static_cast<int32_t>(sysv::total_semaphores()) : 32767;
    TRY(UserOut<SemLimits>{buffer.address}.store(task.space(), out));
    return int64_t{sysv::semaphore_sets.highest_index()};
}

Result<int64_t> status(Task& task, int32_t id, int32_t command, UserBuffer buffer) {
    const RefPtr<SemaphoreSet> set = TRY(sysv::semaphore_sets.find(id, command != sysv::kStat));
    if (command != kSemStatAny) TRY(set->check_access(task.credentials(), sysv::kMayRead));
    const int32_t result = command == sysv::kStat ? 0 : set->id;
    TRY(UserOut<sysv::SemaphoreSetStatus>{buffer.address}.store(task.space(), status_of(*set)));
    return int64_t{result};
}

Result<int64_t> get_all(Task& task, const SemaphoreSet& set, UserBuffer buffer) {
    Vector<uint16_t> values;
    TRY(values.resize(set.semaphores.size()));
    for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<uint16_t>(set.semaphores[i].value);
    return done(UserOut<uint16_t>{buffer.address}.store_array(task.space(), values.span()));
}

Result<int64_t> set_all(Task& task, SemaphoreSet& set, UserBuffer buffer) {
    Vector<uint16_t> values;
    TRY(values.resize(set.semaphores.size()));
    TRY(UserIn<uint16_t>{buffer.address}.load_array(task.space(), values.span()));
    if (set.removed) return Errno::kIDRM;
    return done(sysv::set_values(set, values.span()));
}

Result<int64_t> access_values(Task& task, int32_t id, int32_t number, int32_t command, UserBuffer argument) {
    const RefPtr<SemaphoreSet> set = TRY(sysv::semaphore_sets.find(id));
    TRY(set->check_access(task.credentials(), command == kSetAll ? sysv::kMayWrite : sysv::kMayRead));
    if (command == kGetAll) return get_all(task, *set, argument);
    if (command == kSetAll) return set_all(task, *set, argument);
    if (number < 0 || static_cast<size_t>(number) >= set->semaphores.size()) return Errno::kINVAL;
    const sysv::Semaphore& semaphore = set->semaphores[static_cast<size_t>(number)];
    switch (command) {
        case kGetValue: return int64_t{semaphore.value};
        case kGetPid: return int64_t{semaphore.process};
        default: return int64_t{set->waiting_for(static_cast<uint16_t>(number), command == kGetWaitingForZero)};
    }
}

}  // namespace

Result<int64_t> sys_semget(Task& task, int32_t key, int32_t count, IpcFlags flags) {
    return int64_t{TRY(sysv::get_semaphores(task.credentials(), key, count, flags))};
}

Result<int64_t> sys_semop(Task& task, int32_t id, UserIn<SemaphoreOperation> operations, uint32_t count) {
    return operate(task, id, operations, count, sched::kNever);
}

Result<int64_t> sys_semtimedop(Task& task, int32_t id, UserIn<SemaphoreOperation> operations, uint32_t count,
                               UserIn<PollTimespec> timeout) {
    sched::Nanoseconds deadline = sched::kNever;
    if (timeout) deadline = deadline_after(TRY(to_nanoseconds(TRY(timeout.load(task.space())))));
    return operate(task, id, operations, count, deadline);
}

Result<int64_t> sys_semctl(Task& task, int32_t id, int32_t number, int32_t command, UserBuffer argument) {
    if (id < 0) return Errno::kINVAL;
    switch (command) {
        case sysv::kInfo:
        case kSemInfo: return limits(task, command, argument);
        case sysv::kStat:
        case kSemStat:
        case kSemStatAny: return status(task, id, command, argument);
        case kGetAll:
        case kGetValue:
        case kGetPid:
        case kGetWaitingForMore:
        case kGetWaitingForZero:
        case kSetAll: return access_values(task, id, number, command, argument);
        case kSetValue:
            return done(sysv::set_value(task.credentials(), id, number, static_cast<int32_t>(argument.address)));
        case sysv::kSet: {
            const auto wanted = TRY(UserIn<sysv::SemaphoreSetStatus>{argument.address}.load(task.space()));
            return done(sysv::set_semaphores(task.credentials(), id, wanted.permissions));
        }
        case sysv::kRmid: return done(sysv::remove_semaphores(task.credentials(), id));
        default: return Errno::kINVAL;
    }
}

}  // namespace kvmsbx::syscalls
