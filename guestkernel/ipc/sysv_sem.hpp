#pragma once
// Semaphore sets (semget(2), semop(2)).
//
// Model. A call's operations are tried as one. If they cannot be done now, a PendingOperations on the caller's stack
// stands in the set's list, in order of arrival; whoever changes a value goes through that list and carries out, for
// the waiting tasks, all that can be done (so nobody overtakes between a change and a wake-up), then wakes them.
// Adjustments for SEM_UNDO stand in an UndoList, one per task or per group of threads that share it (CLONE_SYSVSEM); a
// list's end (the last sharer's exit) applies them. Each UndoEntry is linked in its list and in its set, and goes with
// either.
#include "guestkernel/ipc/sysv.hpp"
#include "guestkernel/lib/list.hpp"
#include "guestkernel/sched/sched.hpp"

namespace kvmsbx::ipc::sysv {

inline constexpr uint16_t kUndo = 0x1000;  // SEM_UNDO
inline constexpr int32_t kSemMaximum = 32767;

struct SemaphoreOperation {  // struct sembuf
    uint16_t number;
    int16_t change;
    uint16_t flags;
};

class SemaphoreSet;

struct UndoEntry {
    SemaphoreSet* set = nullptr;
    Vector<int32_t> adjustments;
    ListHook list_hook, set_hook;
};

class UndoList final : public RefCounted {
  public:
    ~UndoList() override;
    // The entry of a set, made if it is not there. ENOMEM.
    Result<UndoEntry*> entry_of(SemaphoreSet& set);

  private:
    List<UndoEntry, &UndoEntry::list_hook> entries_;
};

class PendingOperations {
  public:
    std::span<const SemaphoreOperation> operations;
    UndoEntry* undo = nullptr;
    int32_t process = 0;
    uint16_t waits_for = 0;  // the semaphore that keeps it
    bool for_zero = false;   // and what it wants of it
    bool done = false;
    Result<> result{};
    sched::WaitQueue finished;
    ListHook hook;
};

struct Semaphore {
    int32_t value = 0, process = 0;  // who changed it last
};

class SemaphoreSet final : public RefCounted, public Identity {
  public:
    SemaphoreSet(const auth::Credentials& creator, int32_t object_key, uint32_t flags)
        : Identity(creator, object_key, flags) {}
    ~SemaphoreSet() override;
    enum class Outcome : uint8_t { kDone, kBlocks };
    // Carries the operations out if all can be. ERANGE, EAGAIN (IPC_NOWAIT).
    Result<Outcome> attempt(PendingOperations& request);
    void serve_pending();
    void end_pending(Errno error);
    void forget_undo(size_t number);
    int32_t waiting_for(uint16_t number, bool zero) const;

    Vector<Semaphore> semaphores;
    int64_t operated = 0;
    List<PendingOperations, &PendingOperations::hook> pending;
    List<UndoEntry, &UndoEntry::set_hook> undos;
};

extern Table<SemaphoreSet> semaphore_sets;
int64_t total_semaphores();

struct SemaphoreSetStatus {  // struct semid64_ds
    UserPermissions permissions;
    int64_t operated;
    uint64_t unused1;
    int64_t changed;
    uint64_t unused2, count, unused[2];
};
static_assert(sizeof(SemaphoreSetStatus) == 104);

Result<int32_t> get_semaphores(const auth::Credentials& who, int32_t key, int32_t count, uint32_t flags);
// semtimedop(2) on the current task's behalf. EINTR, EAGAIN after the deadline, EIDRM.
Result<> operate(const auth::Credentials& who, int32_t id, std::span<const SemaphoreOperation> operations,
                 sched::Nanoseconds deadline);
SemaphoreSetStatus status_of(const SemaphoreSet& set);
Result<> remove_semaphores(const auth::Credentials& who, int32_t id);
Result<> set_semaphores(const auth::Credentials& who, int32_t id, const UserPermissions& wanted);
Result<> set_value(const auth::Credentials& who, int32_t id, int32_t number, int32_t value);
// values: as many as there are semaphores; the caller has checked access. ERANGE.
Result<> set_values(SemaphoreSet& set, std::span<const uint16_t> values);

}  // namespace kvmsbx::ipc::sysv
