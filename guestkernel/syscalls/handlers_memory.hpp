#pragma once
// Memory: mmap(2), munmap(2), mprotect(2), mremap(2), madvise(2), brk(2), msync(2), mincore(2), mlock(2).
#include "guestkernel/syscalls/syscall.hpp"

namespace kvmsbx::syscalls {

using Protection = Named<struct ProtectionTag, uint64_t>;
using MapFlags = Named<struct MapFlagsTag, uint32_t>;
void print_argument(TextSink& sink, Task& task, Protection value);
void print_argument(TextSink& sink, Task& task, MapFlags value);

// An address that the call does not read or write by itself.
using Address = Named<struct AddressTag, uint64_t>;
inline void print_argument(TextSink& sink, Task&, Address value) { print_address(sink, value.value); }

Result<int64_t> sys_mmap(Task&, Address address, size_t length, Protection protection, MapFlags flags, Fd fd,
                         uint64_t offset);
Result<int64_t> sys_munmap(Task&, Address address, size_t length);
Result<int64_t> sys_mprotect(Task&, Address address, size_t length, Protection protection);
Result<int64_t> sys_mremap(Task&, Address old_address, size_t old_size, size_t new_size, Flags flags,
                           Address new_address);
Result<int64_t> sys_madvise(Task&, Address address, size_t length, int32_t advice);
Result<int64_t> sys_brk(Task&, Address address);
Result<int64_t> sys_msync(Task&, Address address, size_t length, Flags flags);
Result<int64_t> sys_mincore(Task&, Address address, size_t length, UserOut<unsigned char> vector);
Result<int64_t> sys_mlock(Task&, Address address, size_t length);
Result<int64_t> sys_munlock(Task&, Address address, size_t length);

}  // namespace kvmsbx::syscalls
