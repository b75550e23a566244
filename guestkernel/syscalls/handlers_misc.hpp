#pragma once
// Names and numbers of the system (misc.cpp), resource limits (limits.cpp), scheduling parameters (scheduling.cpp).
#include "guestkernel/syscalls/syscall.hpp"
#include "guestkernel/task/task.hpp"
#include "guestkernel/task/uts.hpp"

namespace kvmsbx::syscalls {

struct SysInfo {  // struct sysinfo
    int64_t uptime;
    uint64_t loads[3];
    uint64_t total_ram, free_ram, shared_ram, buffer_ram, total_swap, free_swap;
    uint16_t processes, pad;
    uint32_t pad2;
    uint64_t total_high, free_high;
    uint32_t unit;
    uint32_t pad3;
};
static_assert(sizeof(SysInfo) == 112);

struct SchedulingAttributes {  // struct sched_attr
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
    uint32_t utilization_minimum, utilization_maximum;
};
static_assert(sizeof(SchedulingAttributes) == 56);

Result<int64_t> sys_uname(Task& task, UserOut<task::UtsName> out);
Result<int64_t> sys_sethostname(Task& task, UserBuffer name, int32_t length);
Result<int64_t> sys_setdomainname(Task& task, UserBuffer name, int32_t length);
Result<int64_t> sys_sysinfo(Task& task, UserOut<SysInfo> out);
Result<int64_t> sys_getrandom(Task& task, UserBuffer buffer, size_t size, Flags flags);
Result<int64_t> sys_syslog(Task& task, int32_t type, UserBuffer buffer, int32_t size);
Result<int64_t> sys_personality(Task& task, uint32_t persona);
Result<int64_t> sys_arch_prctl(Task& task, int32_t option, uint64_t address);
Result<int64_t> sys_set_tid_address(Task& task, uint64_t address);
Result<int64_t> sys_reboot(Task& task, uint32_t magic1, uint32_t magic2, uint32_t command, uint64_t argument);
Result<int64_t> sys_swapon(Task& task, UserString path, int32_t flags);
Result<int64_t> sys_swapoff(Task& task, UserString path);

Result<int64_t> sys_getrlimit(Task& task, uint32_t resource, UserOut<task::Rlimit> out);
Result<int64_t> sys_setrlimit(Task& task, uint32_t resource, UserIn<task::Rlimit> in);
Result<int64_t> sys_prlimit64(Task& task, Pid pid, uint32_t resource, UserIn<task::Rlimit> in,
                              UserOut<task::Rlimit> out);

Result<int64_t> sys_sched_yield(Task& task);
Result<int64_t> sys_getcpu(Task& task, UserOut<uint32_t> cpu, UserOut<uint32_t> node, uint64_t unused);
Result<int64_t> sys_sched_getaffinity(Task& task, Pid tid, uint32_t size, UserBuffer mask);
Result<int64_t> sys_sched_setaffinity(Task& task, Pid tid, uint32_t size, UserBuffer mask);
Result<int64_t> sys_sched_setparam(Task& task, Pid tid, UserIn<int32_t> priority);
Result<int64_t> sys_sched_getparam(Task& task, Pid tid, UserOut<int32_t> priority);
Result<int64_t> sys_sched_setscheduler(Task& task, Pid tid, int32_t policy, UserIn<int32_t> priority);
Result<int64_t> sys_sched_getscheduler(Task& task, Pid tid);
Result<int64_t> sys_sched_get_priority_max(Task& task, int32_t policy);
Result<int64_t> sys_sched_get_priority_min(Task& task, int32_t policy);
Result<int64_t> sys_sched_setattr(Task& task, Pid tid, UserInOut<SchedulingAttributes> attributes, uint32_t flags);
Result<int64_t> sys_sched_getattr(Task& task, Pid tid, UserOut<SchedulingAttributes> attributes, uint32_t size,
                                  uint32_t flags);
Result<int64_t> sys_ioprio_set(Task& task, int32_t which, int32_t who, int32_t priority);
Result<int64_t> sys_ioprio_get(Task& task, int32_t which, int32_t who);
Result<int64_t> sys_getpriority(Task& task, int32_t which, int32_t who);
Result<int64_t> sys_setpriority(Task& task, int32_t which, int32_t who, int32_t value);

Result<int64_t> sys_rseq(Task& task, uint64_t area, uint32_t length, int32_t flags, uint32_t signature);
Result<int64_t> sys_membarrier(Task& task, int32_t command, uint32_t flags, int32_t cpu);

// privileged.cpp
Result<int64_t> sys_unshare(Task& task, Flags flags);
Result<int64_t> sys_setns(Task& task, Fd fd, int32_t kind);
Result<int64_t> sys_iopl(Task& task, uint32_t level);
Result<int64_t> sys_ioperm(Task& task, uint64_t from, uint64_t count, int32_t on);
Result<int64_t> sys_vhangup(Task& task);
Result<int64_t> sys_acct(Task& task, UserString path);
Result<int64_t> sys_kexec_load(Task& task, uint64_t entry, uint64_t count, uint64_t segments, Flags flags);
Result<int64_t> sys_kexec_file_load(Task& task, Fd kernel, Fd initrd, uint64_t size, uint64_t line, Flags flags);
Result<int64_t> sys_init_module(Task& task, uint64_t image, uint64_t size, uint64_t parameters);
Result<int64_t> sys_finit_module(Task& task, Fd fd, uint64_t parameters, Flags flags);
Result<int64_t> sys_delete_module(Task& task, uint64_t name, Flags flags);
Result<int64_t> sys_bpf(Task& task, int32_t command, uint64_t attributes, uint32_t size);
Result<int64_t> sys_perf_event_open(Task& task, uint64_t attributes, Pid pid, int32_t cpu, Fd group, Flags flags);
Result<int64_t> sys_add_key(Task& task, uint64_t type, uint64_t description, uint64_t payload, size_t size,
                            int32_t keyring);
Result<int64_t> sys_request_key(Task& task, uint64_t type, uint64_t description, uint64_t info, int32_t keyring);
Result<int64_t> sys_keyctl(Task& task, int32_t operation, uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5);
Result<int64_t> sys_landlock_create_ruleset(Task& task, uint64_t attributes, size_t size, Flags flags);
Result<int64_t> sys_landlock_add_rule(Task& task, Fd ruleset, int32_t kind, uint64_t rule, Flags flags);
Result<int64_t> sys_landlock_restrict_self(Task& task, Fd ruleset, Flags flags);

}  // namespace kvmsbx::syscalls
