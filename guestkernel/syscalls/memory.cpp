#include "guestkernel/syscalls/handlers_memory.hpp"

#include "guestkernel/mm/shared_memory.hpp"
#include "guestkernel/task/task.hpp"

namespace kvmsbx::syscalls {
namespace {

constexpr uint64_t kProtectionMask = mm::kProtRead | mm::kProtWrite | mm::kProtExec;

// mmap of a file: its Mappable, and what the open mode allows.
Result<> map_file(Task& task, Fd fd, uint32_t protection, uint32_t type, mm::MapRequest& request) {
    auto file = TRY(task.files().get(fd));
    if (!file->readable()) return file->flags & vfs::kOPath ? Errno::kBADF : Errno::kACCES;
    if (type != mm::kMapPrivate && !file->writable()) {
        if (protection & mm::kProtWrite) return Errno::kACCES;
        request.max_protection &= ~mm::kProtWrite;
    }
    request.object = TRY(file->mappable());
    if (request.object) request.file = file;
    return {};
}

Result<> populate(Task& task, uint64_t start, uint64_t length, bool write) {
    for (uint64_t at = start; at < start + length; at += mm::kPageSize) {
        const mm::Access access = write ? mm::Access::kWrite : mm::Access::kRead;
        if (task.space().translate(at, access)) continue;
        TRY(task.space().fault(at, access));
    }
    return {};
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
    const uint64_t pages = (length + mm::kPageSize - 1) / mm::kPageSize;
    if (!request.object) {
        request.offset = 0;
        if (type != mm::kMapPrivate) request.object = TRY(make_ref<mm::SharedMemory>(pages));
    }
    const uint64_t start = TRY(task.space().map(request));
    const bool wants = flags.value & (mm::kMapPopulate | mm::kMapLocked);
    if (wants && request.protection)
        (void)populate(task, start, pages * mm::kPageSize, request.protection & mm::kProtWrite).is_ok();
    return static_cast<int64_t>(start);
}

Result<int64_t> sys_munmap(Task& task, Address address, size_t length) {
    TRY(task.space().unmap(address, length));
    return 0;
}

Result<int64_t> sys_mprotect(Task& task, Address address, size_t length, Protection protection) {
    if (protection.value & ~kProtectionMask) return Errno::kINVAL;
    TRY(task.space().protect(address, length, static_cast<uint32_t>(protection.value)));
    return 0;
}

Result<int64_t> sys_mremap(Task& task, Address old_address, size_t old_size, size_t new_size, Flags flags,
                           Address new_address) {
    return static_cast<int64_t>(
        TRY(task.space().remap(old_address, old_size, new_size, static_cast<uint32_t>(flags.value), new_address)));
}

Result<int64_t> sys_madvise(Task& task, Address address, size_t length, int32_t advice) {
    TRY(task.space().advise(address, length, advice));
    return 0;
}

Result<int64_t> sys_brk(Task& task, Address address) {
    return static_cast<int64_t>(task.space().set_break(address, task.limit(task::kRlimitData)));
}

Result<int64_t> sys_msync(Task& task, Address address, size_t length, Flags flags) {
    TRY(task.space().synchronize(address, length, static_cast<uint32_t>(flags.value)));
    return 0;
}

Result<int64_t> sys_mincore(Task& task, Address address, size_t length, UserOut<unsigned char> vector) {
    TRY(task.space().resident(address, length, vector.address));
    return 0;
}

Result<int64_t> sys_mlock(Task& task, Address address, size_t length) {
    const uint64_t start = address.value & ~(mm::kPageSize - 1);
    const uint64_t end = (address.value + length + mm::kPageSize - 1) & ~(mm::kPageSize - 1);
    if (end < start) return Errno::kINVAL;
    if (end - start > task.limit(task::kRlimitMemlock) && !task.credentials().has(auth::Capability::kIpcLock))
        return Errno::kNOMEM;
    for (uint64_t at = start; at < end; at += mm::kPageSize)
        if (!task.space().find(at)) return Errno::kNOMEM;
    if (populate(task, start, end - start, false).is_error()) return Errno::kNOMEM;
    return 0;
}

Result<int64_t> sys_munlock(Task& task, Address address, size_t length) {
    const uint64_t end = address.value + length;
    for (uint64_t at = address.value & ~(mm::kPageSize - 1); at < end; at += mm::kPageSize)
        if (!task.space().find(at)) return Errno::kNOMEM;
    return 0;
}

}  // namespace kvmsbx::syscalls
