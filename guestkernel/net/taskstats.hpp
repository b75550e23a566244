#pragma once
// What TASKSTATS tells of a thread or process (Linux: include/uapi/linux/taskstats.h, version 13). Delays and the sums
// of memory over time are not counted: 0, as where Linux was built or booted without them.
#include "guestkernel/task/task.hpp"

namespace kvmsbx::net {

struct alignas(8) Taskstats {  // struct taskstats
    uint16_t version;
    uint32_t exit_code;
    uint8_t flags, nice;
    uint64_t cpu_count, cpu_delay, block_io_count, block_io_delay, swap_in_count, swap_in_delay;
    uint64_t cpu_run_real, cpu_run_virtual;  // ns
    char name[32];
    alignas(8) uint8_t scheduling_policy;
    uint8_t pad[3];
    alignas(8) uint32_t uid;
    uint32_t gid, pid, parent;
    uint32_t begin;                  // s since 1970
    uint64_t elapsed, user, system;  // us
    uint64_t minor_faults, major_faults;
    uint64_t resident_time, virtual_time;  // MB x us
    uint64_t most_resident, most_virtual;  // KiB
    uint64_t read_chars, written_chars, read_calls, write_calls;
    uint64_t read_bytes, written_bytes, cancelled_bytes;
    uint64_t voluntary_switches, involuntary_switches;
    uint64_t user_scaled, system_scaled, run_scaled;
    uint64_t reclaim_count, reclaim_delay, thrashing_count, thrashing_delay;
    uint64_t begin64;  // s
    uint64_t compact_count, compact_delay;
    uint32_t group;
    alignas(8) uint64_t group_elapsed;  // us
    uint64_t executable_device, executable_inode;
    uint64_t copy_count, copy_delay;
};
static_assert(sizeof(Taskstats) == 416);

// Of one thread. ESRCH.
Result<Taskstats> thread_statistics(int32_t tid);
// Of all threads of a process; only their times and switches are summed. ESRCH.
Result<Taskstats> group_statistics(int32_t pid);

}  // namespace kvmsbx::net
