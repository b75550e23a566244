#include "guestkernel/vfs/locks.hpp"

#include "guestkernel/lib/vector.hpp"
#include "guestkernel/vfs/device.hpp"

namespace kvmsbx::vfs {

// The locks of one inode.
class LockList {
  public:
    explicit LockList(Inode& of) : inode(of) {}
    Inode& inode;
    Vector<LockRange> records, flocks;
    sched::WaitQueue released;
    ListHook hook;
};

namespace {

constexpr size_t kMaxRanges = 16384;  // of one inode
constexpr unsigned kDeadlockDepth = 10;

List<LockList, &LockList::hook> all_lists;

// A task that waits for a lock.
struct WaitingLock {
    const LockList* list;
    const LockRange& wanted;
    const void* blocker = nullptr;  // the owner of what stands in the way
    ListHook hook;
};
List<WaitingLock, &WaitingLock::hook> waiting;

bool same_owner(const LockRange& a, const LockRange& b) { return a.owner == b.owner && a.kind == b.kind; }
bool overlap(const LockRange& a, const LockRange& b) { return a.start < b.end && b.start < a.end; }
bool touch(const LockRange& a, const LockRange& b) { return a.start <= b.end && b.start <= a.end; }
bool conflict(const LockRange& held, const LockRange& wanted) {
    return !same_owner(held, wanted) && overlap(held, wanted) &&
           (held.type == LockType::kWrite || wanted.type == LockType::kWrite);
}

const LockRange* blocker(const Vector<LockRange>& held, const LockRange& wanted) {
    if (wanted.type == LockType::kUnlock) return nullptr;
    const LockRange* first = nullptr;
    for (const LockRange& range : held)
        if (conflict(range, wanted) && (!first || range.start < first->start)) first = &range;
    return first;
}

Result<LockList*> list_of(Inode& inode) {
    if (inode.locks) return inode.locks;
    inode.locks = TRY(make_own<LockList>(inode)).leak();
    all_lists.push_back(*inode.locks);
    return inode.locks;
}

// Puts `range` in place of what its owner held there, and merges it with its neighbours of the same type.
Result<> replace(Vector<LockRange>& held, LockRange range) {
    Vector<LockRange> result;
    TRY(result.reserve(held.size() + 2));  // nothing below can fail: all or nothing
    for (const LockRange& old : held) {
        const bool own = same_owner(old, range);
        if (own && range.type != LockType::kUnlock && old.type == range.type && touch(old, range)) {
            if (old.start < range.start) range.start = old.start;
            if (old.end > range.end) range.end = old.end;
            continue;
        }
        if (!own || !overlap(old, range)) {
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
    if (result.size() > kMaxRanges && result.size() > held.size()) return Errno::kNOLCK;
    held = std::move(result);
    return {};
}

// Whether whom we would wait for waits, in the end, for us (posix_locks_deadlock of Linux).
bool would_deadlock(const LockRange& wanted, const void* holder) {
    if (wanted.kind != LockKind::kPosix) return false;
    for (unsigned depth = 0; depth < kDeadlockDepth; ++depth) {
        const WaitingLock* next = nullptr;
        for (const WaitingLock& one : waiting)
            if (one.wanted.kind == LockKind::kPosix && one.wanted.owner == holder) next = &one;
        if (!next) return false;
        holder = next->blocker;
        if (holder == wanted.owner) return true;
    }
    return false;
}

Result<> wait_until_free(LockList& list, const Vector<LockRange>& held, const LockRange& wanted) {
    WaitingLock own{&list, wanted, nullptr, {}};
    for (;;) {
        const LockRange* in_the_way = blocker(held, wanted);
        if (!in_the_way) return {};
        if (in_the_way->kind == LockKind::kPosix && would_deadlock(wanted, in_the_way->owner)) return Errno::kDEADLK;
        own.blocker = in_the_way->owner;
        if (!own.hook.is_linked()) waiting.push_back(own);
        TRY(list.released.wait([&] {
            const LockRange* now = blocker(held, wanted);
            return !now || now->owner != own.blocker;
        }));
    }
}

Result<> set(Inode& inode, Vector<LockRange> LockList::*member, const LockRange& range, LockWait wait) {
    RefPtr<Inode> keep(inode);
    if (range.type == LockType::kUnlock && !inode.locks) return {};
    LockList* list = TRY(list_of(inode));
    if (blocker(list->*member, range)) {
        if (wait == LockWait::kNo) return Errno::kAGAIN;
        TRY(wait_until_free(*list, list->*member, range));
    }
    TRY(replace(list->*member, range));
    list->released.wake_all();
    return {};
}

void release(Inode& inode, Vector<LockRange> LockList::*member, LockKind kind, const void* owner) {
    if (!inode.locks) return;
    Vector<LockRange>& held = inode.locks->*member;
    size_t kept = 0;
    for (size_t i = 0; i < held.size(); ++i)
        if (held[i].owner != owner || held[i].kind != kind) held[kept++] = held[i];
    if (kept == held.size()) return;
    while (held.size() > kept) held.pop_back();
    inode.locks->released.wake_all();
}

void put_lock(TextSink& sink, const LockRange& range, Inode& inode, bool blocked) {
    constexpr std::string_view kKinds[] = {"POSIX ", "OFDLCK", "FLOCK "};
    const Result<Attributes> attributes = inode.attributes();
    const uint64_t device = inode.fs().device;
    format_to(sink, "{}{} ADVISORY  {} {} {02x}:{02x}:{} {} ", blocked ? "-> " : "",
              kKinds[static_cast<size_t>(range.kind)], range.type == LockType::kWrite ? "WRITE" : "READ", range.pid,
              major_of(device), minor_of(device), attributes.is_ok() ? attributes.value().ino : 0, range.start);
    if (range.end == ~0ULL)
        sink.put("EOF\n");
    else
        format_to(sink, "{}\n", range.end - 1);
}

}  // namespace

Result<> set_record_lock(Inode& inode, const LockRange& range, LockWait wait) {
    return set(inode, &LockList::records, range, wait);
}

LockRange test_record_lock(Inode& inode, const LockRange& range) {
    LockRange none = range;
    none.type = LockType::kUnlock;
    if (!inode.locks) return none;
    if (range.type != LockType::kUnlock) {
        const LockRange* found = blocker(inode.locks->records, range);
        return found ? *found : none;
    }
    for (const LockRange& held : inode.locks->records)
        if (overlap(held, range) && same_owner(held, range)) return held;
    return none;
}

Result<> set_flock(Inode& inode, const void* owner, int32_t pid, LockType type, LockWait wait) {
    const LockRange range{type, LockKind::kFlock, 0, ~0ULL, owner, pid};
    if (inode.locks)
        for (const LockRange& held : inode.locks->flocks)
            if (held.owner == owner && held.type == type) return {};
    release(inode, &LockList::flocks, LockKind::kFlock, owner);
    return set(inode, &LockList::flocks, range, wait);
}

void release_record_locks(Inode& inode, const void* owner) {
    release(inode, &LockList::records, LockKind::kPosix, owner);
}

void release_file_locks(Inode& inode, const void* owner) {
    release(inode, &LockList::flocks, LockKind::kFlock, owner);
    release(inode, &LockList::records, LockKind::kOpenFile, owner);
}

void forget_locks(Inode& inode) {
    delete inode.locks;
    inode.locks = nullptr;
}

Result<> put_locks(TextSink& sink) {
    // Attributes may ask a server, which blocks: what is shown is copied first.
    struct Shown {
        LockRange range;
        RefPtr<Inode> inode;
        size_t number;
        bool blocked;
    };
    Vector<Shown> shown;
    size_t number = 0;
    for (LockList& list : all_lists) {
        for (const auto* held : {&list.records, &list.flocks})
            for (const LockRange& range : *held) {
                TRY(shown.push_back({range, RefPtr<Inode>(list.inode), ++number, false}));
                for (const WaitingLock& one : waiting)
                    if (one.list == &list && one.blocker == range.owner && conflict(range, one.wanted))
                        TRY(shown.push_back({one.wanted, RefPtr<Inode>(list.inode), number, true}));
            }
    }
    for (const Shown& one : shown) {
        format_to(sink, "{}: ", one.number);
        put_lock(sink, one.range, *one.inode, one.blocked);
    }
    return {};
}

Result<> put_locks_of(Inode& inode, const void* file, const void* table, TextSink& sink) {
    if (!inode.locks) return {};
    Vector<LockRange> own;
    for (const auto* held : {&inode.locks->records, &inode.locks->flocks})
        for (const LockRange& range : *held)
            if (range.owner == file || range.owner == table) TRY(own.push_back(range));
    for (size_t i = 0; i < own.size(); ++i) {
        format_to(sink, "lock:\t{}: ", i + 1);
        put_lock(sink, own[i], inode, false);
    }
    return {};
}

}  // namespace kvmsbx::vfs
