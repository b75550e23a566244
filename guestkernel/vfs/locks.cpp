#include "guestkernel/vfs/locks.hpp"

#include "guestkernel/lib/vector.hpp"

namespace kvmsbx::vfs {

// The locks of one inode. Ranges of one owner never overlap.
class LockList {
  public:
    Vector<LockRange> records, flocks;
    sched::WaitQueue released;
};

namespace {

bool overlap(const LockRange& a, const LockRange& b) { return a.start < b.end && b.start < a.end; }
bool conflict(const LockRange& held, const LockRange& wanted) {
    return held.owner != wanted.owner && overlap(held, wanted) &&
           (held.type == LockType::kWrite || wanted.type == LockType::kWrite);
}

const LockRange* blocker(const Vector<LockRange>& held, const LockRange& wanted) {
    if (wanted.type == LockType::kUnlock) return nullptr;
    for (const LockRange& range : held)
        if (conflict(range, wanted)) return &range;
    return nullptr;
}

Result<LockList*> list_of(Inode& inode) {
    if (!inode.locks) inode.locks = TRY(make_own<LockList>())
    .leak();
    return inode.locks;
}

// Puts `range` in place of what its owner held there; neighbours of the same type need not be merged for correctness.
Result<> replace(Vector<LockRange>& held, const LockRange& range) {
    Vector<LockRange> result;
    TRY(result.reserve(held.size() + 2));  // nothing below can fail: all or nothing
    for (const LockRange& old : held) {
        if (old.owner != range.owner || !overlap(old, range)) {
            TRY(result.push_back(old));
            continue;
        }
        LockRange part = old;
        part.end = range.start;
        if (old.start < range.start) TRY(result.push_back(part));
        part = old;
        part.start = range.end;
        if (old.end > range.end) TRY(result.push_back(part));
    }
    if (range.type != LockType::kUnlock) TRY(result.push_back(range));
    held = std::move(result);
    return {};
}

Result<> set(Inode& inode, Vector<LockRange> LockList::*member, const LockRange& range, bool wait) {
    RefPtr<Inode> keep(inode);
    if (range.type == LockType::kUnlock && !inode.locks) return {};
    LockList* list = TRY(list_of(inode));
    if (blocker(list->*member, range)) {
        if (!wait) return Errno::kAGAIN;
        TRY(list->released.wait([&] { return !blocker(list->*member, range); }));
    }
    TRY(replace(list->*member, range));
    list->released.wake_all();
    return {};
}

void release(Inode& inode, Vector<LockRange> LockList::*member, const void* owner) {
    Vector<LockRange>& held = inode.locks->*member;
    bool any = false;
    for (size_t i = held.size(); i-- > 0;) {
        if (held[i].owner != owner) continue;
        held.erase(i);
        any = true;
    }
    if (any) inode.locks->released.wake_all();
}

}  // namespace

Result<> set_record_lock(Inode& inode, const LockRange& range, bool wait) {
    return set(inode, &LockList::records, range, wait);
}

LockRange test_record_lock(Inode& inode, const LockRange& range) {
    const LockRange* found = inode.locks ? blocker(inode.locks->records, range) : nullptr;
    if (found) return *found;
    LockRange none = range;
    none.type = LockType::kUnlock;
    return none;
}

Result<> set_flock(Inode& inode, const void* owner, LockType type, bool wait) {
    return set(inode, &LockList::flocks, {type, 0, ~0ULL, owner, 0}, wait);
}

void release_record_locks(Inode& inode, const void* owner) {
    if (inode.locks) release(inode, &LockList::records, owner);
}
void release_flock(Inode& inode, const void* owner) {
    if (inode.locks) release(inode, &LockList::flocks, owner);
}
void forget_locks(Inode& inode) {
    delete inode.locks;
    inode.locks = nullptr;
}

}  // namespace kvmsbx::vfs
