#pragma once
// A stopped tracee's registers as ptrace(2) shows them: struct user_regs_struct, FXSAVE and XSAVE areas, struct user.
#include "guestkernel/task/trace.hpp"

namespace kvmsbx::task {

struct UserRegisters {  // struct user_regs_struct
    uint64_t r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi;
    uint64_t orig_rax, rip, cs, eflags, rsp, ss, fs_base, gs_base, ds, es, fs, gs;
};
static_assert(sizeof(UserRegisters) == 27 * 8);
inline constexpr size_t kUserAreaSize = 928, kDebugRegisters = 848;  // struct user, and u_debugreg in it

UserRegisters get_registers(const Task& tracee);
Result<> set_registers(Task& tracee, const UserRegisters& registers);  // EIO
// The number of the system call that the tracee is in, or -1.
int64_t syscall_of(const Task& task);

size_t floating_size(bool extended);
// `out` has floating_size(extended) bytes.
void get_floating(const Task& tracee, bool extended, char* out);
Result<> set_floating(Task& tracee, bool extended, const char* in);  // EINVAL

}  // namespace kvmsbx::task
