#include "guestkernel/net/taskstats.hpp"

#include <algorithm>

#include "guestkernel/task/clocks.hpp"
#include "guestkernel/task/registry.hpp"
#include "guestkernel/vfs/file.hpp"
#include "guestkernel/vfs/file_system.hpp"

namespace kvmsbx::net {
namespace {

using task::kNsPerMicrosecond;
using task::kNsPerSecond;

constexpr uint16_t kVersion = 13;
constexpr uint8_t kForked = 1, kGroup = 0x20;  // AFORK, AGROUP of acct(5)
constexpr uint64_t kKilobyteMask = ~uint64_t{1023}, kPagesPerKilobyteShift = 2;

uint64_t since(sched::Nanoseconds start) { return (sched::boottime_now() - start) / kNsPerMicrosecond; }

void put_times(Taskstats& to, const task::CpuUsage& usage) {
    to.cpu_run_real = to.run_scaled = to.cpu_run_virtual = usage.user + usage.system;
    to.cpu_count = usage.voluntary_switches + usage.involuntary_switches;
    to.user = to.user_scaled = usage.user / kNsPerMicrosecond;
    to.system = to.system_scaled = usage.system / kNsPerMicrosecond;
    to.voluntary_switches = usage.voluntary_switches, to.involuntary_switches = usage.involuntary_switches;
}

void put_usage(Taskstats& to, const task::CpuUsage& usage) {
    put_times(to, usage);
    to.minor_faults = usage.minor_faults, to.major_faults = usage.major_faults;
    const task::IoUsage& io = usage.io;
    to.read_chars = io.read_chars & kKilobyteMask, to.written_chars = io.written_chars & kKilobyteMask;
    to.read_calls = io.read_calls & kKilobyteMask, to.write_calls = io.write_calls & kKilobyteMask;
    to.read_bytes = io.read_bytes & kKilobyteMask, to.written_bytes = io.written_bytes & kKilobyteMask;
}

void put_process(Taskstats& to, const task::Process& process) {
    to.flags = process.executed ? 0 : kForked;
    to.parent = process.parent ? static_cast<uint32_t>(process.parent->pid) : 0;
    to.group = static_cast<uint32_t>(process.pid);
    to.group_elapsed = since(process.start_time);
}

void put_begin(Taskstats& to, sched::Nanoseconds start) {
    const sched::Nanoseconds passed = sched::boottime_now() - start;
    to.elapsed = passed / kNsPerMicrosecond;
    to.begin64 = (sched::realtime_now() - passed) / kNsPerSecond;
    to.begin = static_cast<uint32_t>(std::min<uint64_t>(to.begin64, ~0U));
}

// May block, as may everything that asks a file: the task may be gone then.
Result<> put_executable(Taskstats& to, RefPtr<RefCounted> executable) {
    // SAFETY: AddressSpace::executable is a vfs::File by its contract.
    const vfs::Path* path = executable ? static_cast<vfs::File*>(executable.get())->path() : nullptr;
    if (!path) return {};
    to.executable_device = path->inode().fs().device;
    to.executable_inode = TRY(path->inode().attributes()).ino;
    return {};
}

Taskstats of_thread(task::Task& task) {
    Taskstats found{};
    put_usage(found, task.usage());
    put_process(found, task.process());
    put_begin(found, task.start_time);
    if (task.tid == task.process().pid) found.flags |= kGroup;
    std::copy_n(task.name, sizeof task.name, found.name);
    found.nice = static_cast<uint8_t>(task.nice), found.scheduling_policy = task.scheduling_policy;
    found.uid = task.credentials().ruid, found.gid = task.credentials().rgid;
    found.pid = static_cast<uint32_t>(task.tid);
    if (task.space_) {
        found.most_resident = task.space().peak_resident_pages() << kPagesPerKilobyteShift;
        found.most_virtual = task.space().peak_mapped / 1024;
    }
    return found;
}

// What is left of a process without threads.
Taskstats of_zombie(const task::Process& process) {
    Taskstats found{};
    put_usage(found, process.dead_threads_usage);
    put_process(found, process);
    put_begin(found, process.start_time);
    found.flags |= kGroup;
    found.exit_code = static_cast<uint32_t>(process.exit_status);
    std::copy_n(process.last_name, sizeof process.last_name, found.name);
    found.uid = process.last_uid, found.pid = static_cast<uint32_t>(process.pid);
    return found;
}

}  // namespace

Result<Taskstats> thread_statistics(int32_t tid) {
    task::Task* task = task::find_task(tid);
    const task::Process* process = task::find_process(tid);
    if (!task && !process) return Errno::kSRCH;
    Taskstats found = task ? of_thread(*task) : of_zombie(*process);
    found.version = kVersion;
    if (task && task->space_) TRY(put_executable(found, task->space().executable));
    return found;
}

Result<Taskstats> group_statistics(int32_t pid) {
    task::Process* process = task::find_process(pid);
    if (!process) return Errno::kSRCH;
    Taskstats found{};
    found.version = kVersion;
    put_times(found, task::usage_of(*process));
    for (const task::Task& task : process->threads) found.elapsed += since(task.start_time);
    return found;
}

}  // namespace kvmsbx::net
