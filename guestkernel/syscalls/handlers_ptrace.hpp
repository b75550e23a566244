#pragma once
// ptrace(2), process_vm_readv(2), process_vm_writev(2), kcmp(2).
#include "guestkernel/syscalls/syscall.hpp"

namespace kvmsbx::syscalls {

using TraceRequest = Named<struct TraceRequestTag, int64_t>;
void print_argument(TextSink& sink, Task& task, TraceRequest value);

Result<int64_t> sys_ptrace(Task&, TraceRequest request, Pid pid, uint64_t address, uint64_t data);
Result<int64_t> sys_process_vm_readv(Task&, Pid pid, UserIn<mm::UserIovec> local, size_t local_count,
                                     UserIn<mm::UserIovec> remote, size_t remote_count, Flags flags);
Result<int64_t> sys_process_vm_writev(Task&, Pid pid, UserIn<mm::UserIovec> local, size_t local_count,
                                      UserIn<mm::UserIovec> remote, size_t remote_count, Flags flags);
Result<int64_t> sys_kcmp(Task&, Pid first, Pid second, int32_t type, uint64_t index1, uint64_t index2);

}  // namespace kvmsbx::syscalls
