// mlock(2) and kin, mseal(2).
#include "guestkernel/syscalls/handlers_memory.hpp"
#include "guestkernel/task/task.hpp"

namespace kvmsbx::syscalls {
namespace {

constexpr uint64_t kPageMask = mm::kPageSize - 1;

bool privileged(const Task& task) { return task.credentials().has(auth::Capability::kIpcLock); }

// The range that mlock(2) means: whole pages that hold any byte of it.
struct Range {
    uint64_t start, end;
};
Result<Range> range_of(uint64_t address, uint64_t length) {
    const uint64_t start = address & ~kPageMask;
    const uint64_t size = (length + (address & kPageMask) + kPageMask) & ~kPageMask;
    if (start + size < start) return Errno::kINVAL;
    return Range{start, start + size};
}

Result<int64_t> lock(Task& task, uint64_t address, uint64_t length, bool on_fault) {
    mm::AddressSpace& space = task.space();
    const uint64_t limit = task.limit(task::kRlimitMemlock);
    if (limit == 0 && !privileged(task)) return Errno::kPERM;
    const Range range = TRY(range_of(address, length));
    const uint64_t size = range.end - range.start;
    if (!privileged(task) && limit != task::kRlimInfinity) {
        const uint64_t locked = space.locked_bytes() - space.locked_bytes(range.start, range.end);
        if (size > limit || locked > limit - size) return Errno::kNOMEM;
    }
    TRY(space.lock(range.start, range.end, true, on_fault));
    if (on_fault) return 0;
    for (uint64_t at = range.start; at < range.end;) {
        const mm::Vma* vma = space.find(at);
        if (!vma) return Errno::kNOMEM;
        const bool copies = (vma->protection & mm::kProtWrite) && !vma->shared;
        const uint64_t end = vma->end < range.end ? vma->end : range.end;
        const auto made = space.populate(at, end, copies ? mm::Access::kWrite : mm::Access::kRead);
        if (made.is_error()) return made.error() == Errno::kNOMEM ? Errno::kAGAIN : Errno::kNOMEM;
        at = end;
    }
    return 0;
}

}  // namespace

Result<int64_t> sys_mlock(Task& task, Address address, size_t length) { return lock(task, address, length, false); }

Result<int64_t> sys_mlock2(Task& task, Address address, size_t length, Flags flags) {
    constexpr uint64_t kOnFault = 1;
    if (static_cast<uint32_t>(flags.value) & ~kOnFault) return Errno::kINVAL;
    return lock(task, address, length, flags.value & kOnFault);
}

Result<int64_t> sys_munlock(Task& task, Address address, size_t length) {
    const Range range = TRY(range_of(address, length));
    TRY(task.space().lock(range.start, range.end, false, false));
    return 0;
}

Result<int64_t> sys_mlockall(Task& task, Flags flags) {
    constexpr uint32_t kCurrent = 1, kFuture = 2, kOnFault = 4;
    const auto how = static_cast<uint32_t>(flags.value);
    if (how == 0 || (how & ~(kCurrent | kFuture | kOnFault)) || how == kOnFault) return Errno::kINVAL;
    const uint64_t limit = task.limit(task::kRlimitMemlock);
    if (limit == 0 && !privileged(task)) return Errno::kPERM;
    mm::AddressSpace& space = task.space();
    if ((how & kCurrent) && !privileged(task) && space.mapped_bytes() > limit) return Errno::kNOMEM;
    space.lock_future = !(how & kFuture) ? mm::LockFuture::kNo
                        : how & kOnFault ? mm::LockFuture::kOnFault
                                         : mm::LockFuture::kYes;
    if (!(how & kCurrent)) return 0;
    space.lock_all(true, how & kOnFault);
    if (how & kOnFault) return 0;
    // What cannot be had now is left to its first access, as Linux ignores it here.
    for (mm::Vma* vma = space.find_from(0); vma;) {
        const uint64_t end = vma->end;
        const bool writes = (vma->protection & mm::kProtWrite) && !vma->shared;
        if (vma->protection)
            ignore(space.populate(vma->start, end, writes ? mm::Access::kWrite : mm::Access::kRead),
                   "a page that cannot be had now fails at its first access");
        vma = space.find_from(end);
    }
    return 0;
}

Result<int64_t> sys_munlockall(Task& task) {
    task.space().lock_future = mm::LockFuture::kNo;
    task.space().lock_all(false, false);
    return 0;
}

Result<int64_t> sys_mseal(Task& task, Address address, size_t length, Flags flags) {
    if (flags.value) return Errno::kINVAL;
    if (address.value & kPageMask) return Errno::kINVAL;
    const uint64_t size = (length + kPageMask) & ~kPageMask, end = address.value + size;
    if ((length && !size) || end < address.value) return Errno::kINVAL;
    if (size) TRY(task.space().seal(address, end));
    return 0;
}

}  // namespace kvmsbx::syscalls
