#pragma once
// Users, groups, capabilities (creds.cpp) and prctl(2) (prctl.cpp).
#include "guestkernel/auth/credentials.hpp"
#include "guestkernel/syscalls/syscall.hpp"

namespace kvmsbx::syscalls {

struct CapHeader {  // struct __user_cap_header_struct
    uint32_t version;
    int32_t pid;
};
struct CapData {  // struct __user_cap_data_struct
    uint32_t effective, permitted, inheritable;
};

Result<int64_t> sys_getuid(Task& task);
Result<int64_t> sys_getgid(Task& task);
Result<int64_t> sys_geteuid(Task& task);
Result<int64_t> sys_getegid(Task& task);
Result<int64_t> sys_setuid(Task& task, uint32_t uid);
Result<int64_t> sys_setgid(Task& task, uint32_t gid);
Result<int64_t> sys_setreuid(Task& task, uint32_t real, uint32_t effective);
Result<int64_t> sys_setregid(Task& task, uint32_t real, uint32_t effective);
Result<int64_t> sys_getgroups(Task& task, int32_t size, UserOut<uint32_t> list);
Result<int64_t> sys_setgroups(Task& task, int32_t size, UserIn<uint32_t> list);
Result<int64_t> sys_setresuid(Task& task, uint32_t real, uint32_t effective, uint32_t saved);
Result<int64_t> sys_getresuid(Task& task, UserOut<uint32_t> real, UserOut<uint32_t> effective, UserOut<uint32_t> saved);
Result<int64_t> sys_setresgid(Task& task, uint32_t real, uint32_t effective, uint32_t saved);
Result<int64_t> sys_getresgid(Task& task, UserOut<uint32_t> real, UserOut<uint32_t> effective, UserOut<uint32_t> saved);
Result<int64_t> sys_setfsuid(Task& task, uint32_t uid);
Result<int64_t> sys_setfsgid(Task& task, uint32_t gid);
Result<int64_t> sys_capget(Task& task, UserInOut<CapHeader> header, UserOut<CapData> data);
Result<int64_t> sys_capset(Task& task, UserInOut<CapHeader> header, UserIn<CapData> data);
Result<int64_t> sys_seccomp(Task& task, uint32_t operation, uint32_t flags, uint64_t argument);
// PR_SET_SECCOMP.
Result<int64_t> set_seccomp_by_prctl(Task& task, uint64_t mode, uint64_t filter);
Result<int64_t> sys_prctl(Task& task, int32_t option, uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5);

}  // namespace kvmsbx::syscalls
