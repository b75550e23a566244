#pragma once
// Advisory file locks inside the sandbox. Three kinds, as in Linux's fs/locks.c:
// - POSIX record locks (fcntl F_SETLK): owned by a process, that is by its FdTable; gone when it closes any descriptor
//   of the inode. The only kind that looks for deadlocks.
// - OFD record locks (F_OFD_SETLK): owned by the open file description. Both kinds of records stand in each other's
//   way.
// - flock(2) locks: owned by the open file description, of the whole file, and blind to records.
// An inode's locks hang on the inode (Inode::locks); ranges of one owner neither overlap nor touch with the same type.
// Who waits stands in one list, which the deadlock search and /proc/locks read. Nothing here keeps a reference: an
// owner's locks are released before the owner goes.
#include "guestkernel/lib/format.hpp"
#include "guestkernel/vfs/inode.hpp"

namespace kvmsbx::vfs {

enum class LockType : uint16_t { kRead = 0, kWrite = 1, kUnlock = 2 };  // F_RDLCK, F_WRLCK, F_UNLCK
enum class LockKind : uint8_t { kPosix, kOpenFile, kFlock };

struct LockRange {
    LockType type = LockType::kUnlock;
    LockKind kind = LockKind::kPosix;
    uint64_t start = 0, end = ~0ULL;  // bytes, end exclusive
    const void* owner = nullptr;      // only compared
    int32_t pid = 0;                  // for F_GETLK and /proc/locks; -1 for OFD locks
};

enum class LockWait : bool { kNo, kYes };

// F_SETLK / F_SETLKW and their OFD twins: EAGAIN, ERESTARTSYS, EDEADLK, ENOMEM, ENOLCK (too many ranges).
Result<> set_record_lock(Inode& inode, const LockRange& range, LockWait wait);
// F_GETLK: the first lock that stands in the way, or type kUnlock. Looks for any owner's lock when range.type is
// kUnlock and the range is of kind kOpenFile.
LockRange test_record_lock(Inode& inode, const LockRange& range);
// flock(2). EWOULDBLOCK (EAGAIN), ERESTARTSYS, ENOMEM. A lock that is to be converted is given up first.
Result<> set_flock(Inode& inode, const void* owner, int32_t pid, LockType type, LockWait wait);
// close(2): all POSIX locks of that FdTable on the inode; never blocks.
void release_record_locks(Inode& inode, const void* owner);
// The open file description goes: its flock and OFD locks.
void release_file_locks(Inode& inode, const void* owner);
void forget_locks(Inode& inode);

// /proc/locks.
Result<> put_locks(TextSink& sink);
// The "lock:" lines of /proc/PID/fdinfo/N: what the description and the table own of its inode.
Result<> put_locks_of(Inode& inode, const void* file, const void* table, TextSink& sink);

}  // namespace kvmsbx::vfs
