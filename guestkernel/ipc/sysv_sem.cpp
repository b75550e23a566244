#include "guestkernel/ipc/sysv_sem.hpp"

#include "guestkernel/task/task.hpp"

namespace kvmsbx::task {

Result<RefPtr<RefCounted>> make_semaphore_undo() { return RefPtr<RefCounted>(TRY(make_ref<ipc::sysv::UndoList>())); }

}  // namespace kvmsbx::task

namespace kvmsbx::ipc::sysv {

namespace {

constexpr int32_t kMaxAdjustment = 32767;  // SEMAEM
int64_t semaphore_count;

}  // namespace

Table<SemaphoreSet> semaphore_sets;

int64_t total_semaphores() { return semaphore_count; }

// --- undo

Result<UndoEntry*> UndoList::entry_of(SemaphoreSet& set) {
    for (UndoEntry& entry : entries_)
        if (entry.set == &set) return &entry;
    auto entry = TRY(make_own<UndoEntry>());
    entry->set = &set;
    TRY(entry->adjustments.resize(set.semaphores.size()));
    entries_.push_back(*entry);
    set.undos.push_back(*entry);
    return entry.leak();
}

UndoList::~UndoList() {
    while (!entries_.empty()) {
        OwnPtr<UndoEntry> entry(&entries_.front());
        RefPtr<SemaphoreSet> set(*entry->set);
        entry->list_hook.unlink();
        entry->set_hook.unlink();
        for (size_t i = 0; i < entry->adjustments.size(); ++i) {
            if (entry->adjustments[i] == 0) continue;
            Semaphore& semaphore = set->semaphores[i];
            const int32_t value = semaphore.value + entry->adjustments[i];
            semaphore.value = value < 0 ? 0 : value > kSemMaximum ? kSemMaximum : value;
            semaphore.process = current_process_id();
        }
        set->serve_pending();
    }
}

void SemaphoreSet::forget_undo(size_t number) {
    for (UndoEntry& entry : undos) entry.adjustments[number] = 0;
}

SemaphoreSet::~SemaphoreSet() {
    while (!undos.empty()) {
        UndoEntry& entry = undos.front();
        entry.list_hook.unlink();
        entry.set_hook.unlink();
        delete &entry;
    }
    semaphore_count -= static_cast<int64_t>(semaphores.size());
}

// --- operations

Result<SemaphoreSet::Outcome> SemaphoreSet::attempt(PendingOperations& request) {
    Result<Outcome> result = Outcome::kDone;
    size_t applied = 0;
    for (; applied < request.operations.size(); ++applied) {
        const SemaphoreOperation& operation = request.operations[applied];
        Semaphore& semaphore = semaphores[operation.number];
        const int32_t value = semaphore.value + operation.change;
        if (operation.change == 0 ? semaphore.value != 0 : value < 0) {
            request.waits_for = operation.number;
            request.for_zero = operation.change == 0;
            result = operation.flags & kNoWait ? Result<Outcome>(Errno::kAGAIN) : Result<Outcome>(Outcome::kBlocks);
            break;
        }
        if (value > kSemMaximum) {
            result = Errno::kRANGE;
            break;
        }
        if (operation.flags & kUndo) {
            int32_t& adjustment = request.undo->adjustments[operation.number];
            const int32_t wanted = adjustment - operation.change;
            if (wanted < -kMaxAdjustment - 1 || wanted > kMaxAdjustment) {
                result = Errno::kRANGE;
                break;
            }
            adjustment = wanted;
        }
        semaphore.value = value;
    }
    if (result.is_ok() && result.value() == Outcome::kDone) {
        for (const SemaphoreOperation& operation : request.operations)
            semaphores[operation.number].process = request.process;
        operated = seconds_now();
        return result;
    }
    while (applied-- > 0) {
        const SemaphoreOperation& operation = request.operations[applied];
        semaphores[operation.number].value -= operation.change;
        if (operation.flags & kUndo) request.undo->adjustments[operation.number] += operation.change;
    }
    return result;
}

void SemaphoreSet::serve_pending() {
    for (auto it = pending.begin(); it != pending.end();) {
        PendingOperations& request = *it++;
        const Result<Outcome> outcome = attempt(request);
        if (outcome.is_ok() && outcome.value() == Outcome::kBlocks) continue;
        if (outcome.is_error()) request.result = outcome.error();
        bool alters = false;
        for (const SemaphoreOperation& operation : request.operations) alters |= operation.change != 0;
        request.done = true;
        request.hook.unlink();
        request.finished.wake_all();
        if (alters && outcome.is_ok()) it = pending.begin();
    }
}

void SemaphoreSet::end_pending(Errno error) {
    while (!pending.empty()) {
        PendingOperations& request = pending.front();
        request.result = error;
        request.done = true;
        request.hook.unlink();
        request.finished.wake_all();
    }
}

int32_t SemaphoreSet::waiting_for(uint16_t number, bool zero) const {
    int32_t count = 0;
    for (const PendingOperations& request : pending) count += request.waits_for == number && request.for_zero == zero;
    return count;
}

namespace {

struct Needs {
    uint16_t highest = 0;
    bool undo = false, alters = false;
};

Needs needs_of(std::span<const SemaphoreOperation> operations) {
    Needs needs;
    for (const SemaphoreOperation& operation : operations) {
        if (operation.number > needs.highest) needs.highest = operation.number;
        needs.undo |= operation.flags & kUndo;
        needs.alters |= operation.change != 0;
    }
    return needs;
}

Result<UndoEntry*> current_undo(SemaphoreSet& set) {
    task::Task& task = task::current();
    if (!task.semaphore_undo) task.semaphore_undo = TRY(task::make_semaphore_undo());
    // SAFETY: Task::semaphore_undo is made by task::make_semaphore_undo() alone.
    return static_cast<UndoList&>(*task.semaphore_undo).entry_of(set);
}

}  // namespace

Result<> operate(const auth::Credentials& who, int32_t id, std::span<const SemaphoreOperation> operations,
                 sched::Nanoseconds deadline) {
    const Needs needs = needs_of(operations);
    const RefPtr<SemaphoreSet> set = TRY(semaphore_sets.find(id));
    if (needs.highest >= set->semaphores.size()) return Errno::kFBIG;
    TRY(set->check_access(who, needs.alters ? kMayWrite : kMayRead));
    PendingOperations request;
    request.operations = operations;
    request.process = current_process_id();
    if (needs.undo) request.undo = TRY(current_undo(*set));
    if (TRY(set->attempt(request)) == SemaphoreSet::Outcome::kDone) {
        if (needs.alters) set->serve_pending();
        return {};
    }
    set->pending.push_back(request);
    const Result<> waited = request.finished.wait([&] { return request.done; }, sched::Interruptible::kYes, deadline);
    if (request.done) return request.result;
    request.hook.unlink();
    return waited.error() == Errno::kTIMEDOUT ? Errno::kAGAIN : Errno::kINTR;
}

// --- get and control

Result<int32_t> get_semaphores(const auth::Credentials& who, int32_t key, int32_t count, uint32_t flags) {
    if (count < 0 || count > limits.sem_per_set) return Errno::kINVAL;
    const auto check = [count](const SemaphoreSet& found) {
        return static_cast<size_t>(count) > found.semaphores.size() ? Result<>(Errno::kINVAL) : Result<>();
    };
    return get(semaphore_sets, who, key, flags, check, [&]() -> Result<int32_t> {
        if (count == 0) return Errno::kINVAL;
        if (semaphore_count + count > limits.sem_total) return Errno::kNOSPC;
        auto set = TRY(make_ref<SemaphoreSet>(who, key, flags));
        TRY(set->semaphores.resize(static_cast<size_t>(count)));
        semaphore_count += count;
        return semaphore_sets.add(std::move(set), limits.sem_sets);
    });
}

SemaphoreSetStatus status_of(const SemaphoreSet& set) {
    SemaphoreSetStatus out{};
    out.permissions = set.shown();
    out.operated = set.operated;
    out.changed = set.changed;
    out.count = set.semaphores.size();
    return out;
}

Result<> remove_semaphores(const auth::Credentials& who, int32_t id) {
    const RefPtr<SemaphoreSet> set = TRY(semaphore_sets.find(id));
    TRY(set->check_owner(who));
    semaphore_sets.remove(*set);
    set->end_pending(Errno::kIDRM);
    return {};
}

Result<> set_semaphores(const auth::Credentials& who, int32_t id, const UserPermissions& wanted) {
    const RefPtr<SemaphoreSet> set = TRY(semaphore_sets.find(id));
    TRY(set->check_owner(who));
    return set->set(wanted);
}

Result<> set_value(const auth::Credentials& who, int32_t id, int32_t number, int32_t value) {
    if (value < 0 || value > kSemMaximum) return Errno::kRANGE;
    const RefPtr<SemaphoreSet> set = TRY(semaphore_sets.find(id));
    if (number < 0 || static_cast<size_t>(number) >= set->semaphores.size()) return Errno::kINVAL;
    TRY(set->check_access(who, kMayWrite));
    const size_t index = static_cast<size_t>(number);
    set->forget_undo(index);
    set->semaphores[index] = {value, current_process_id()};
    set->changed = seconds_now();
    set->serve_pending();
    return {};
}

Result<> set_values(SemaphoreSet& set, std::span<const uint16_t> values) {
    for (const uint16_t value : values)
        if (value > kSemMaximum) return Errno::kRANGE;
    for (size_t i = 0; i < values.size(); ++i) {
        set.forget_undo(i);
        set.semaphores[i] = {values[i], current_process_id()};
    }
    set.changed = seconds_now();
    set.serve_pending();
    return {};
}

}  // namespace kvmsbx::ipc::sysv
