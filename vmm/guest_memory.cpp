#include "vmm/guest_memory.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>

#include "common/host/errno.hpp"

namespace kvmsbx::vmm {

Result<GuestMemory> GuestMemory::create(const host::Log& log, uint64_t size) {
    // One huge page more than needed, so that guest huge pages can lie on host huge pages.
    uint64_t reserve = size + abi::kHugePageSize;
    void* got = mmap(nullptr, reserve, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (got == MAP_FAILED)
        return log.fail(host::last_errno(),
                        "cannot reserve %llu MiB of address space for guest RAM: %m; set a smaller --memory",
                        static_cast<unsigned long long>(size >> 20));
    // SAFETY: pointer arithmetic inside the mapping just made.
    auto start = reinterpret_cast<uintptr_t>(got);
    uintptr_t aligned = (start + abi::kHugePageSize - 1) & ~(abi::kHugePageSize - 1);
    if (aligned != start) munmap(got, aligned - start);
    uintptr_t tail = start + reserve - (aligned + size);
    if (tail != 0) munmap(reinterpret_cast<void*>(aligned + size), tail);
    auto* base = reinterpret_cast<std::byte*>(aligned);
    if (madvise(base, size, MADV_HUGEPAGE) != 0) log.debug("no huge pages for guest RAM: %m");
    madvise(base, size, MADV_DONTDUMP);
    return GuestMemory(base, size, -1);
}

Result<GuestMemory> GuestMemory::map_file(const host::Log& log, int fd, uint64_t address, uint64_t size) {
    if (ftruncate(fd, static_cast<off_t>(size)) != 0)
        return log.fail(host::last_errno(), "cannot make a file of %llu MiB for RAM: %m",
                        static_cast<unsigned long long>(size >> 20));
    void* at = reinterpret_cast<void*>(address);
    void* got = mmap(at, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED_NOREPLACE | MAP_NORESERVE, fd, 0);
    if (got != at) {
        if (got != MAP_FAILED) munmap(got, size);
        return log.fail(host::last_errno(), "cannot map %llu MiB of RAM: %m; set a smaller --memory",
                        static_cast<unsigned long long>(size >> 20));
    }
    madvise(got, size, MADV_HUGEPAGE);  // a memfd on a host that has shmem_enabled=advise
    madvise(got, size, MADV_DONTDUMP);
    return GuestMemory(static_cast<std::byte*>(got), size, fd);
}

GuestMemory::GuestMemory(GuestMemory&& other) noexcept : base_(other.base_), size_(other.size_), file_(other.file_) {
    other.base_ = nullptr;
}

GuestMemory::~GuestMemory() {
    if (base_ != nullptr) munmap(base_, size_);
}

Result<std::byte*> GuestMemory::locate(GuestPhys at, uint64_t length) const {
    if (at.value < abi::kRamGpa) return Errno::kFAULT;
    uint64_t offset = at.value - abi::kRamGpa;
    if (offset > size_ || length > size_ - offset) return Errno::kFAULT;
    return base_ + offset;
}

Result<> GuestMemory::copy_in(GuestPhys from, std::span<std::byte> to) const {
    memcpy(to.data(), TRY(locate(from, to.size())), to.size());
    return {};
}

Result<> GuestMemory::copy_out(GuestPhys to, std::span<const std::byte> from) const {
    memcpy(TRY(locate(to, from.size())), from.data(), from.size());
    return {};
}

Result<> GuestMemory::release(GuestPhys from, uint64_t length) const {
    if (from.value % abi::kPageSize != 0 || length % abi::kPageSize != 0) return Errno::kINVAL;
    auto where = locate(from, length);
    if (where.is_error()) return Errno::kINVAL;
    if (length == 0) return {};
    int released = file_ < 0 ? madvise(*where, length, MADV_DONTNEED)
                             : fallocate(file_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                         static_cast<off_t>(from.value - abi::kRamGpa), static_cast<off_t>(length));
    if (released != 0) return host::last_errno();
    return {};
}

Result<GuestPhys> BootMemory::allocate(uint64_t bytes, uint64_t alignment) {
    uint64_t start = (used_ + alignment - 1) & ~(alignment - 1);
    uint64_t length = (bytes + abi::kPageSize - 1) & ~(abi::kPageSize - 1);
    if (start > memory_.size() || length > memory_.size() - start) return Errno::kNOMEM;
    used_ = start + length;
    return GuestPhys{abi::kRamGpa + start};
}

std::byte* BootMemory::at(GuestPhys address) const { return memory_.base_ + (address.value - abi::kRamGpa); }

}  // namespace kvmsbx::vmm
