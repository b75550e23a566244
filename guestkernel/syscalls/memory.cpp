#include "guestkernel/syscalls/handlers_memory.hpp"

#include "guestkernel/mm/shared_memory.hpp"
#include "guestkernel/task/task.hpp"

namespace kvmsbx::syscalls {
namespace {

constexpr uint64_t kProtectionMask = mm::kProtRead | mm::kProtWrite | mm::kProtExec;
constexpr uint64_t kProtSem = 8, kProtGrowsdown = 0x0100'0000, kProtGrowsup = 0x0200'0000;
constexpr uint64_t kMostFilePages = ~0ULL >> 12;

// mmap of a file: its Mappable, and what the open mode allows.
Result<> map_file(Task& task, Fd fd, uint32_t protection, uint32_t type, mm::MapRequest& request) {
    auto file = TRY(task.files().get(fd));
    if (!file->readable()) return file->flags & vfs::kOPath ? Errno::kBADF : Errno::kACCES;
    if (type != mm::kMapPrivate && !file->writable()) {
        if (protection & mm::kProtWrite) return Errno::kACCES;
        request.max_protection &= ~mm::kProtWrite;
    }
    request.object = TRY(file->mappable());
    if (!request.object) return {};
    request.file = file;
    return type == mm::kMapPrivate ? Result<>() : request.object->check_shared(protection, request.max_protection);
}

// mlock_future_ok: more locked memory, by mmap, mremap or brk.
Result<> check_lock(Task& task, uint64_t more, bool asked) {
    const bool privileged = task.credentials().has(auth::Capability::kIpcLock);
    const uint64_t limit = task.limit(task::kRlimitMemlock);
    if (asked && limit == 0 && !privileged) return Errno::kPERM;
    if (privileged || limit == task::kRlimInfinity) return {};
    return task.space().locked_bytes() + more > limit ? Result<>(Errno::kAGAIN) : Result<>();
}

uint64_t pages_up(uint64_t length) { return (length + mm::kPageSize - 1) & ~(mm::kPageSize - 1); }

// MAP_POPULATE and locked memory; failures show at the first access.
void populate(Task& task, uint64_t start, uint64_t length, uint64_t protection) {
    const mm::Access access = protection & mm::kProtWrite ? mm::Access::kWrite : mm::Access::kRead;
    if (protection)
        ignore(task.space().populate(start, start + length, access),
               "a page that cannot be had now fails at its first access");
}

// PROT_GROWSDOWN: from the start of the stack that it is.
Result<uint64_t> start_of_stack(Task& task, uint64_t address) {
    mm::Vma* vma = task.space().find(address);
    if (!vma) return Errno::kNOMEM;
    if (!vma->grows_down) return Errno::kINVAL;
    return vma->start;
}

}  // namespace

Result<int64_t> sys_mmap(Task& task, Address address, size_t length, Protection protection, MapFlags flags, Fd fd,
                         uint64_t offset) {
    if (offset % mm::kPageSize) return Errno::kINVAL;
    const uint32_t type = flags.value & 0x0f;
    if (type != mm::kMapShared && type != mm::kMapPrivate && type != mm::kMapSharedValidate) return Errno::kINVAL;
    if (flags.value & mm::kMapHugetlb) return Errno::kINVAL;
    if (length == 0) return Errno::kINVAL;
    mm::MapRequest request;
    request.address = address;
    request.length = length;
    request.protection = protection.value & kProtectionMask;
    request.flags = (flags.value & ~0x0fU) | (type == mm::kMapPrivate ? mm::kMapPrivate : mm::kMapShared);
    request.offset = offset;
    if (flags.value & mm::kMapAnonymous)
        request.offset = 0;
    else
        TRY(map_file(task, fd, request.protection, type, request));
    const uint64_t pages = pages_up(length) / mm::kPageSize;
    if (offset / mm::kPageSize > kMostFilePages - pages) return Errno::kOVERFLOW;
    const bool locks = (flags.value & mm::kMapLocked) || task.space().lock_future != mm::LockFuture::kNo;
    if (locks) TRY(check_lock(task, pages * mm::kPageSize, flags.value & mm::kMapLocked));
    if (!request.object) {
        request.offset = 0;
        if (type != mm::kMapPrivate) request.object = TRY(make_ref<mm::SharedMemory>(pages));
    }
    const uint64_t start = TRY(task.space().map(request));
    const bool wants = flags.value & (mm::kMapPopulate | mm::kMapLocked);
    if (wants || task.space().lock_future == mm::LockFuture::kYes)
        populate(task, start, pages * mm::kPageSize, request.protection);
    return static_cast<int64_t>(start);
}

Result<int64_t> sys_munmap(Task& task, Address address, size_t length) {
    TRY(task.space().unmap(address, length));
    return 0;
}

Result<int64_t> sys_mprotect(Task& task, Address address, size_t length, Protection protection) {
    const uint64_t grows = protection.value & (kProtGrowsdown | kProtGrowsup);
    if (grows == (kProtGrowsdown | kProtGrowsup)) return Errno::kINVAL;
    if (address.value % mm::kPageSize) return Errno::kINVAL;
    if (length == 0) return 0;
    uint64_t start = address.value;
    const uint64_t end = start + pages_up(length);
    if (end <= start) return Errno::kNOMEM;
    if (protection.value & ~(kProtectionMask | kProtSem | kProtGrowsdown | kProtGrowsup)) return Errno::kINVAL;
    if (grows == kProtGrowsup) return task.space().find(start) ? Errno::kINVAL : Errno::kNOMEM;
    if (grows) start = TRY(start_of_stack(task, start));
    TRY(task.space().protect(start, end - start, static_cast<uint32_t>(protection.value & kProtectionMask)));
    return 0;
}

Result<int64_t> sys_mremap(Task& task, Address old_address, size_t old_size, size_t new_size, Flags flags,
                           Address new_address) {
    mm::Vma* vma = task.space().find(old_address);
    const bool grows_locked = vma && vma->locked && !vma->lock_on_fault && new_size > old_size;
    if (vma && vma->locked && new_size > old_size)
        TRY(check_lock(task, pages_up(new_size) - pages_up(old_size), false));
    const uint64_t protection = vma ? vma->protection : 0;
    const uint64_t made =
        TRY(task.space().remap(old_address, old_size, new_size, static_cast<uint32_t>(flags.value), new_address));
    if (grows_locked) populate(task, made + pages_up(old_size), pages_up(new_size) - pages_up(old_size), protection);
    return static_cast<int64_t>(made);
}

Result<int64_t> sys_madvise(Task& task, Address address, size_t length, int32_t advice) {
    constexpr int32_t kHwpoison = 100, kSoftOffline = 101;
    if (advice == kHwpoison || advice == kSoftOffline)
        return task.credentials().has(auth::Capability::kSysAdmin) ? Errno::kINVAL : Errno::kPERM;
    TRY(task.space().advise(address, length, advice));
    return 0;
}

Result<int64_t> sys_brk(Task& task, Address address) {
    mm::AddressSpace& space = task.space();
    const uint64_t before = space.break_end;
    const bool grows = space.lock_future != mm::LockFuture::kNo && address > before;
    if (grows && check_lock(task, address - before, false).is_error()) return static_cast<int64_t>(before);
    const uint64_t now = space.set_break(address, task.limit(task::kRlimitData));
    if (grows && space.lock_future == mm::LockFuture::kYes)
        populate(task, before & ~(mm::kPageSize - 1), pages_up(now) - (before & ~(mm::kPageSize - 1)), mm::kProtWrite);
    return static_cast<int64_t>(now);
}

Result<int64_t> sys_msync(Task& task, Address address, size_t length, Flags flags) {
    TRY(task.space().synchronize(address, length, static_cast<uint32_t>(flags.value)));
    return 0;
}

Result<int64_t> sys_mincore(Task& task, Address address, size_t length, UserOut<unsigned char> vector) {
    TRY(task.space().resident(address, length, vector.address));
    return 0;
}

// The mapping is made anew with another offset, as Linux does it since 4.0.
Result<int64_t> sys_remap_file_pages(Task& task, Address address, size_t size, Protection protection, size_t page,
                                     MapFlags flags) {
    if (protection.value) return Errno::kINVAL;
    const uint64_t start = address.value & ~(mm::kPageSize - 1), length = size & ~(mm::kPageSize - 1);
    if (start + length <= start || page + length / mm::kPageSize < page) return Errno::kINVAL;
    mm::Vma* vma = task.space().find(start);
    if (!vma || !vma->shared || !vma->object || start + length > vma->end) return Errno::kINVAL;
    mm::MapRequest request;
    request.address = start, request.length = length;
    request.protection = vma->protection, request.max_protection = vma->max_protection;
    request.flags = mm::kMapShared | mm::kMapFixed | mm::kMapPopulate | (vma->locked ? mm::kMapLocked : 0);
    request.object = vma->object;
    request.offset = page * mm::kPageSize;
    request.file = vma->file;
    request.traits = *vma;
    TRY(task.space().map(request));
    if (!(flags.value & 0x10000)) populate(task, start, length, request.protection);  // MAP_NONBLOCK
    return 0;
}

}  // namespace kvmsbx::syscalls
