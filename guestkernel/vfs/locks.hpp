#pragma once
// Advisory file locks inside the sandbox: POSIX record locks (owner: the process's FdTable) and flock locks (owner: the
// open file description).
#include "guestkernel/vfs/inode.hpp"

namespace kvmsbx::vfs {

enum class LockType : uint16_t { kRead = 0, kWrite = 1, kUnlock = 2 };  // F_RDLCK, F_WRLCK, F_UNLCK

struct LockRange {
    LockType type = LockType::kUnlock;
    uint64_t start = 0, end = ~0ULL;  // bytes, end exclusive
    const void* owner = nullptr;      // only compared
    int32_t pid = 0;                  // for F_GETLK
};

// F_SETLK / F_SETLKW: EAGAIN, ERESTARTSYS, ENOMEM.
Result<> set_record_lock(Inode& inode, const LockRange& range, bool wait);
// F_GETLK: the first lock that stands in the way, or type kUnlock.
LockRange test_record_lock(Inode& inode, const LockRange& range);
// flock(2). EWOULDBLOCK (EAGAIN), ERESTARTSYS.
Result<> set_flock(Inode& inode, const void* owner, LockType type, bool wait);
// close(2): all record locks of that owner on the inode; never blocks.
void release_record_locks(Inode& inode, const void* owner);
void release_flock(Inode& inode, const void* owner);
void forget_locks(Inode& inode);

}  // namespace kvmsbx::vfs
