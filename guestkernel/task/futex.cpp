#include "guestkernel/task/futex.hpp"

#include "guestkernel/platform/host.hpp"
#include "guestkernel/task/signal_delivery.hpp"

namespace kvmsbx::task {
namespace {

using mm::AddressSpace;
using mm::FutexKey;

struct Waiter {
    FutexKey key;
    uint32_t bitset;
    Task& task;
    bool woken = false;
    ListHook hook;
};
using Bucket = List<Waiter, &Waiter::hook>;

constexpr size_t kBuckets = 256;

Bucket& bucket_of(const FutexKey& key) {
    static Bucket buckets[kBuckets];
    uint64_t hash =
        static_cast<uint64_t>(__builtin_bit_cast(uintptr_t, key.object)) ^ key.offset * 0x9e3779b97f4a7c15ULL;
    hash ^= hash >> 32;
    hash *= 0x9e3779b97f4a7c15ULL;
    return buckets[hash >> 56];
}

Result<FutexKey> key_of(AddressSpace& space, UserAddress address, bool shared) {
    return futex_key_of(space, address, shared);
}

void wake(Waiter& waiter) {
    waiter.hook.unlink();
    waiter.woken = true;
    sched::wake(waiter.task);
}

int64_t wake_key(const FutexKey& key, int32_t count, uint32_t bitset) {
    Bucket& bucket = bucket_of(key);
    int32_t woken = 0;
    for (auto it = bucket.begin(); it != bucket.end();) {
        Waiter& waiter = *it++;
        if (!(waiter.key == key) || !(waiter.bitset & bitset)) continue;
        wake(waiter);
        if (++woken >= count) break;
    }
    return woken;
}

Result<int64_t> resume_wait(Task& task) {
    const auto& r = task.restart;
    return futex_wait(task, {r.arguments[0], r.arguments[3] != 0, static_cast<uint32_t>(r.arguments[1]),
                             static_cast<uint32_t>(r.arguments[2]), r.deadline});
}

Result<int64_t> interrupted_wait(Task& task, const FutexWait& wait) {
    if (wait.deadline == sched::kNever) return Errno::kRESTARTSYS;
    task.restart.kind = Task::Restart::kFutex;
    task.restart.deadline = wait.deadline;
    task.restart.arguments[0] = wait.address;
    task.restart.arguments[1] = wait.expected;
    task.restart.arguments[2] = wait.bitset;
    task.restart.arguments[3] = wait.shared;
    task.restart.resume = resume_wait;
    return Errno::kRESTART_RESTARTBLOCK;
}

// FUTEX_WAKE_OP's operation on the old value; ENOSYS.
Result<uint32_t> apply(unsigned operation, uint32_t old, uint32_t argument) {
    switch (operation) {
        case 0: return argument;
        case 1: return old + argument;
        case 2: return old | argument;
        case 3: return old & ~argument;
        case 4: return old ^ argument;
        default: return Errno::kNOSYS;
    }
}

Result<bool> compare(unsigned comparison, int32_t old, int32_t argument) {
    switch (comparison) {
        case 0: return old == argument;
        case 1: return old != argument;
        case 2: return old < argument;
        case 3: return old <= argument;
        case 4: return old > argument;
        case 5: return old >= argument;
        default: return Errno::kNOSYS;
    }
}

constexpr int32_t sign_extend_12(uint32_t value) { return static_cast<int32_t>(value << 20) >> 20; }

// Changes the word as encoded; whether the comparison holds for what it was.
Result<bool> operate(AddressSpace& space, UserAddress address, uint32_t encoded) {
    constexpr uint32_t kShift = 0x8000'0000;
    const unsigned operation = encoded >> 28 & 7, comparison = encoded >> 24 & 15;
    uint32_t argument = static_cast<uint32_t>(sign_extend_12(encoded >> 12 & 0xfff));
    if (encoded & kShift) argument = 1U << (argument & 31);
    TRY(apply(operation, 0, argument));
    uint32_t old = TRY(load_user_word(space, address));
    while (!TRY(exchange_user_word(space, address, old, TRY(apply(operation, old, argument))))) {}
    return compare(comparison, static_cast<int32_t>(old), sign_extend_12(encoded & 0xfff));
}

}  // namespace

Result<FutexKey> futex_key_of(AddressSpace& space, UserAddress address, bool shared) {
    if (address % sizeof(uint32_t) != 0) return Errno::kINVAL;
    if (address >= platform::user_end) return Errno::kFAULT;
    auto key = space.futex_key(address, shared);
    if (key.is_error()) return Errno::kFAULT;
    return key.value();
}

Result<int64_t> futex_wait(Task& task, const FutexWait& wait) {
    if (wait.bitset == 0) return Errno::kINVAL;
    Waiter waiter{TRY(key_of(task.space(), wait.address, wait.shared)), wait.bitset, task, false, {}};
    if (TRY(load_user_word(task.space(), wait.address)) != wait.expected) return Errno::kAGAIN;
    bucket_of(waiter.key).push_back(waiter);
    while (!waiter.woken) {
        if (wait.deadline != sched::kNever && sched::now() >= wait.deadline) break;
        if (has_pending_signal(task)) break;
        sched::block(sched::Interruptible::kYes, wait.deadline);
    }
    if (waiter.woken) return 0;
    waiter.hook.unlink();
    if (wait.deadline != sched::kNever && sched::now() >= wait.deadline) return Errno::kTIMEDOUT;
    return interrupted_wait(task, wait);
}

Result<int64_t> futex_wake(AddressSpace& space, UserAddress address, bool shared, int32_t count, uint32_t bitset) {
    if (bitset == 0) return Errno::kINVAL;
    return wake_key(TRY(key_of(space, address, shared)), count, bitset);
}

Result<int64_t> futex_requeue(AddressSpace& space, UserAddress from, UserAddress to, bool shared, int32_t wake_count,
                              int32_t move_count, const uint32_t* expected) {
    if (wake_count < 0 || move_count < 0) return Errno::kINVAL;
    const FutexKey source = TRY(key_of(space, from, shared));
    const FutexKey target = TRY(key_of(space, to, shared));
    if (expected && TRY(load_user_word(space, from)) != *expected) return Errno::kAGAIN;
    Bucket &bucket = bucket_of(source), &target_bucket = bucket_of(target);
    Bucket moved;
    int64_t count = 0;
    for (auto it = bucket.begin(); it != bucket.end() && count - wake_count < move_count;) {
        Waiter& waiter = *it++;
        if (!(waiter.key == source)) continue;
        if (++count <= wake_count) {
            wake(waiter);
            continue;
        }
        waiter.hook.unlink();
        waiter.key = target;
        moved.push_back(waiter);
    }
    target_bucket.splice(target_bucket.end(), moved);
    return count;
}

Result<int64_t> futex_wake_op(AddressSpace& space, UserAddress first, UserAddress second, bool shared,
                              int32_t wake_first, int32_t wake_second, uint32_t operation) {
    const FutexKey key1 = TRY(key_of(space, first, shared));
    const FutexKey key2 = TRY(key_of(space, second, shared));
    const bool holds = TRY(operate(space, second, operation));
    int64_t woken = wake_key(key1, wake_first, kFutexAnyBit);
    if (holds) woken += wake_key(key2, wake_second, kFutexAnyBit);
    return woken;
}

namespace {

struct WaiterSet {
    Vector<OwnPtr<Waiter>> waiters;
    int64_t woken() const {
        for (size_t i = 0; i < waiters.size(); ++i)
            if (waiters[i]->woken) return static_cast<int64_t>(i);
        return -1;
    }
    ~WaiterSet() {
        for (auto& waiter : waiters)
            if (waiter->hook.is_linked()) waiter->hook.unlink();
    }
};

// Queues at every word; a look at a word may block, so what was woken meanwhile counts.
Result<> queue_at_all(Task& task, std::span<const FutexWait> waits, WaiterSet& set) {
    for (const FutexWait& wait : waits) {
        const FutexKey key = TRY(key_of(task.space(), wait.address, wait.shared));
        auto waiter = TRY(make_own<Waiter>(key, wait.bitset, task, false, ListHook{}));
        Waiter& queued = *waiter;
        TRY(set.waiters.push_back(std::move(waiter)));
        const uint32_t value = TRY(load_user_word(task.space(), wait.address));
        if (value != wait.expected) return Errno::kAGAIN;
        bucket_of(key).push_back(queued);
    }
    return {};
}

}  // namespace

Result<int64_t> futex_wait_multiple(Task& task, std::span<const FutexWait> waits, sched::Nanoseconds deadline) {
    WaiterSet set;
    auto queued = queue_at_all(task, waits, set);
    for (;;) {
        if (const int64_t woken = set.woken(); woken >= 0) return woken;
        if (queued.is_error()) return queued.error();
        if (deadline != sched::kNever && sched::now() >= deadline) return Errno::kTIMEDOUT;
        if (has_pending_signal(task)) return Errno::kRESTARTSYS;
        sched::block(sched::Interruptible::kYes, deadline);
    }
}

}  // namespace kvmsbx::task
