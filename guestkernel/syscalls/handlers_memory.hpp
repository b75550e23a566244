#pragma once
// Memory: mmap(2), munmap(2), mprotect(2), mremap(2), madvise(2), brk(2), msync(2), mincore(2), mlock(2), mseal(2),
// numa(7), pkeys(7).
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
Result<int64_t> sys_mlock2(Task&, Address address, size_t length, Flags flags);
Result<int64_t> sys_mlockall(Task&, Flags flags);
Result<int64_t> sys_munlockall(Task&);
Result<int64_t> sys_mseal(Task&, Address address, size_t length, Flags flags);
Result<int64_t> sys_remap_file_pages(Task&, Address address, size_t size, Protection protection, size_t page,
                                     MapFlags flags);
Result<int64_t> sys_set_mempolicy(Task&, int32_t mode, UserIn<uint64_t> mask, uint64_t maximum);
Result<int64_t> sys_get_mempolicy(Task&, UserOut<int32_t> mode, UserOut<uint64_t> mask, uint64_t maximum,
                                  Address address, Flags flags);
Result<int64_t> sys_mbind(Task&, Address start, size_t length, int32_t mode, UserIn<uint64_t> mask, uint64_t maximum,
                          Flags flags);
Result<int64_t> sys_migrate_pages(Task&, Pid pid, uint64_t maximum, UserIn<uint64_t> from, UserIn<uint64_t> to);
Result<int64_t> sys_move_pages(Task&, Pid pid, uint64_t count, UserIn<uint64_t> pages, UserIn<int32_t> nodes,
                               UserOut<int32_t> status, Flags flags);
Result<int64_t> sys_pkey_alloc(Task&, Flags flags, uint64_t rights);
Result<int64_t> sys_pkey_free(Task&, int32_t key);
Result<int64_t> sys_pkey_mprotect(Task&, Address address, size_t length, Protection protection, int32_t key);
Result<int64_t> sys_userfaultfd(Task&, Flags flags);

}  // namespace kvmsbx::syscalls
