// Files of the control group (Documentation/admin-guide/cgroup-v2.rst).
#include <algorithm>
#include <cstdlib>

#include "guestkernel/fs/proc/nodes.hpp"
#include "guestkernel/fs/proc/sysvipc.hpp"
#include "guestkernel/fs/sys/sys.hpp"
#include "guestkernel/mm/frame.hpp"
#include "guestkernel/platform/cpu.hpp"
#include "guestkernel/platform/host.hpp"
#include "guestkernel/sched/cpu.hpp"
#include "guestkernel/sched/quota.hpp"
#include "guestkernel/task/clocks.hpp"
#include "guestkernel/task/oom.hpp"
#include "guestkernel/task/pids.hpp"
#include "guestkernel/task/registry.hpp"
#include "guestkernel/task/signal_delivery.hpp"
#include "guestkernel/vfs/file_system.hpp"

namespace kvmsbx::fs {
namespace {

constexpr uint64_t kCgroup2Magic = 0x63677270, kRootIno = 1;
uint64_t cpu_weight = 100;

Result<> put_limit(TextSink& sink, uint64_t value) {
    if (value)
        format_to(sink, "{}\n", value);
    else
        sink.put("max\n");
    return {};
}
Result<> put_number(TextSink& sink, uint64_t value) {
    format_to(sink, "{}\n", value);
    return {};
}
Result<> refuse(std::string_view) { return Errno::kPERM; }

Result<> put_processes(TextSink& sink) {
    task::for_each_process([&](task::Process& process) {
        if (process.state == task::Process::State::kAlive) format_to(sink, "{}\n", process.pid);
    });
    return {};
}
Result<> put_threads(TextSink& sink) {
    task::for_each_process([&](task::Process& process) {
        for (const task::Task& task : process.threads) format_to(sink, "{}\n", task.tid);
    });
    return {};
}
Result<> put_pids_current(TextSink& sink) { return put_number(sink, task::pids_statistics().current); }
Result<> put_pids_peak(TextSink& sink) { return put_number(sink, task::pids_statistics().peak); }
Result<> put_pids_max(TextSink& sink) { return put_limit(sink, task::pids_statistics().limit); }
Result<> put_pids_events(TextSink& sink) {
    format_to(sink, "max {}\n", task::pids_statistics().refused);
    return {};
}

Result<> put_cpu_max(TextSink& sink) {
    const uint64_t quota = sched::cpu_quota().quota() / task::kNsPerMicrosecond;
    const uint64_t period = sched::cpu_quota().period() / task::kNsPerMicrosecond;
    if (quota)
        format_to(sink, "{} {}\n", quota, period);
    else
        format_to(sink, "max {}\n", period);
    return {};
}
Result<> put_cpu_stat(TextSink& sink) {
    const task::CpuUsage sum = task::usage_of_all();
    const uint64_t user = sum.user / task::kNsPerMicrosecond, system = sum.system / task::kNsPerMicrosecond;
    const sched::QuotaAccount::Statistics quota = sched::cpu_quota().statistics(sched::now());
    format_to(sink, "usage_usec {}\nuser_usec {}\nsystem_usec {}\n", user + system, user, system);
    format_to(sink, "nr_periods {}\nnr_throttled {}\nthrottled_usec {}\nnr_bursts 0\nburst_usec 0\n", quota.periods,
              quota.throttled_periods, quota.throttled_time / task::kNsPerMicrosecond);
    return {};
}
Result<> put_cpus(TextSink& sink) {
    const unsigned count = platform::boot_info().cpu_count;
    put_cpu_list(sink, count >= 64 ? ~0ULL : (1ULL << count) - 1);
    sink.put("\n");
    return {};
}

Result<> put_memory_max(TextSink& sink) { return put_limit(sink, group_usage().memory_limit); }
Result<> put_memory_current(TextSink& sink) { return put_number(sink, group_usage().memory); }
Result<> put_memory_peak(TextSink& sink) { return put_number(sink, group_usage().memory_peak); }
Result<> put_memory_events(TextSink& sink) {
    const uint64_t kills = task::oom_kills();
    format_to(sink, "low 0\nhigh 0\nmax {}\noom {}\noom_kill {}\noom_group_kill 0\n", group_usage().memory_failures,
              kills, kills);
    return {};
}
// What the memory is used for, in bytes.
struct MemoryKinds {
    uint64_t anonymous = 0, file = 0, stacks = 0, tables = 0;
};
MemoryKinds memory_kinds(const GroupUsage& usage) {
    MemoryKinds kinds;
    kinds.file = usage.file_memory;
    kinds.stacks = usage.threads * platform::kStackSize;
    task::for_each_process([&](task::Process& process) {
        if (task::Task* leader = process.leader(); leader && leader->space_)
            kinds.tables += leader->space().table_bytes();
    });
    kinds.anonymous = usage.memory - std::min(usage.memory, kinds.file + kinds.stacks + kinds.tables);
    return kinds;
}
Result<> put_memory_stat(TextSink& sink) {
    const GroupUsage usage = group_usage();
    const MemoryKinds kinds = memory_kinds(usage);
    format_to(sink, "anon {}\nfile {}\nkernel_stack {}\npagetables {}\nswapcached 0\n", kinds.anonymous, kinds.file,
              kinds.stacks, kinds.tables);
    format_to(sink, "inactive_anon 0\nactive_anon {}\ninactive_file 0\nactive_file {}\nunevictable 0\n",
              kinds.anonymous, kinds.file);
    format_to(sink, "pgfault {}\npgmajfault {}\n", usage.cpu.minor_faults + usage.cpu.major_faults,
              usage.cpu.major_faults);
    return {};
}

// All memory is on node 0.
Result<> put_memory_numa_stat(TextSink& sink) {
    const MemoryKinds kinds = memory_kinds(group_usage());
    format_to(sink, "anon N0={}\nfile N0={}\nkernel_stack N0={}\npagetables N0={}\nswapcached N0=0\n", kinds.anonymous,
              kinds.file, kinds.stacks, kinds.tables);
    format_to(sink, "inactive_anon N0=0\nactive_anon N0={}\ninactive_file N0=0\nactive_file N0={}\nunevictable N0=0\n",
              kinds.anonymous, kinds.file);
    return {};
}

Result<> no_reading(TextSink&) { return Errno::kINVAL; }
// cgroup_kill_write: all of the group, also its first process.
Result<> kill_all(std::string_view text) {
    uint64_t value[1];
    TRY(parse_numbers(text, value, ~0ULL));
    if (value[0] != 1) return Errno::kRANGE;
    task::for_each_process([](task::Process& process) {
        task::send_signal_from_host(process, task::kSigKill, task::FirstProcess::kCanBeEnded);
    });
    return {};
}

constexpr StaticEntry limit_entry(std::string_view name, Generator generate) {
    return text_entry(name, generate, 0644, refuse);
}
Result<> put_zero(TextSink& sink) { return put_number(sink, 0); }
Result<> put_no_limit(TextSink& sink) { return put_limit(sink, 0); }
Result<> put_nothing(TextSink& sink) {
    sink.put("\n");
    return {};
}
// A line for each block device.
Result<> put_no_device(TextSink&) { return {}; }
Result<> put_member(TextSink& sink) {
    sink.put("member\n");
    return {};
}
Result<> put_weight(TextSink& sink) { return put_number(sink, cpu_weight); }
// cpu_weight_nice_read_s64: the nice value whose weight is nearest.
Result<> put_weight_as_nice(TextSink& sink) {
    constexpr int kLeastNice = -20, kMostNice = 19;
    const auto wanted = static_cast<int64_t>((cpu_weight * 1024 + 50) / 100);
    int nice = kLeastNice;
    auto distance = [&](int of) { return std::abs(int64_t{sched::nice_weight(of)} - wanted); };
    while (nice < kMostNice && distance(nice + 1) < distance(nice)) ++nice;
    format_to(sink, "{}\n", nice);
    return {};
}

// There are no huge pages of hugetlbfs to be had.
constexpr StaticEntry kFiles[] = {
    constant_entry("cgroup.controllers", "cpuset cpu io memory hugetlb pids\n"),
    constant_entry("cgroup.events", "populated 1\nfrozen 0\n"),
    limit_entry("cgroup.freeze", put_zero),
    text_entry("cgroup.kill", no_reading, 0200, kill_all),
    limit_entry("cgroup.max.depth", put_no_limit),
    limit_entry("cgroup.max.descendants", put_no_limit),
    limit_entry("cgroup.procs", put_processes),
    constant_entry("cgroup.stat", "nr_descendants 0\nnr_dying_descendants 0\n"),
    limit_entry("cgroup.subtree_control", put_nothing),
    limit_entry("cgroup.threads", put_threads),
    constant_entry("cgroup.type", "domain\n"),
    limit_entry("cpu.idle", put_zero),
    limit_entry("cpu.max", put_cpu_max),
    limit_entry("cpu.max.burst", put_zero),
    text_entry("cpu.stat", put_cpu_stat),
    limit_entry("cpu.weight", put_weight),
    limit_entry("cpu.weight.nice", put_weight_as_nice),
    limit_entry("cpuset.cpus", put_nothing),
    text_entry("cpuset.cpus.effective", put_cpus),
    limit_entry("cpuset.cpus.partition", put_member),
    limit_entry("cpuset.mems", put_nothing),
    constant_entry("cpuset.mems.effective", "0\n"),
    text_entry("hugetlb.2MB.current", put_zero),
    constant_entry("hugetlb.2MB.events", "max 0\n"),
    constant_entry("hugetlb.2MB.events.local", "max 0\n"),
    limit_entry("hugetlb.2MB.max", put_no_limit),
    constant_entry("hugetlb.2MB.numa_stat", "total=0 N0=0\n"),
    text_entry("hugetlb.2MB.rsvd.current", put_zero),
    limit_entry("hugetlb.2MB.rsvd.max", put_no_limit),
    limit_entry("io.max", put_no_device),
    text_entry("io.stat", put_no_device),
    text_entry("memory.current", put_memory_current),
    text_entry("memory.events", put_memory_events),
    text_entry("memory.events.local", put_memory_events),
    limit_entry("memory.high", put_no_limit),
    limit_entry("memory.low", put_zero),
    limit_entry("memory.max", put_memory_max),
    limit_entry("memory.min", put_zero),
    text_entry("memory.numa_stat", put_memory_numa_stat),
    limit_entry("memory.oom.group", put_zero),
    text_entry("memory.peak", put_memory_peak),
    text_entry("memory.stat", put_memory_stat),
    constant_entry("memory.swap.current", "0\n"),
    constant_entry("memory.swap.events", "high 0\nmax 0\nfail 0\n"),
    limit_entry("memory.swap.high", put_no_limit),
    limit_entry("memory.swap.max", put_zero),
    text_entry("pids.current", put_pids_current),
    text_entry("pids.events", put_pids_events),
    limit_entry("pids.max", put_pids_max),
    text_entry("pids.peak", put_pids_peak),
};
constexpr StaticEntry kGroup = directory_entry("", kFiles);

// They are about groups below, about moving processes and about what a hierarchy of version 1 has.
constexpr std::string_view kOptions = "nsdelegate,favordynmods,nofavordynmods,memory_localevents,memory_recursiveprot";
constexpr std::string_view kOldOptions =
    "nsdelegate,favordynmods,nofavordynmods,memory_localevents,memory_recursiveprot,all,none,xattr,name,cpuset,cpu,"
    "cpuacct,blkio,memory,devices,freezer,net_cls,net_prio,perf_event,hugetlb,pids,rdma,misc";

Result<RefPtr<vfs::Inode>> make_cgroup(const vfs::MountOptions&) {
    auto file_system = TRY(make_ref<SyntheticFileSystem>("cgroup2", kCgroup2Magic));
    return make_static_node(std::move(file_system), kGroup, kRootIno);
}

}  // namespace

GroupUsage group_usage() {
    const mm::MemoryStatistics memory = mm::memory_statistics();
    GroupUsage usage;
    usage.cpu = task::usage_of_all();
    usage.memory = memory.total - memory.free;
    usage.memory_peak = std::max(mm::peak_memory(), usage.memory);
    usage.memory_limit = mm::memory_limit();
    usage.file_memory = memory.cached;
    usage.memory_failures = mm::failed_for_the_limit();
    usage.threads = task::pids_statistics().current;
    return usage;
}

// The conversion that runtimes have agreed on: 2 to 262144 become 1 to 10000.
void set_cpu_shares(uint64_t shares) {
    constexpr uint64_t kLeast = 2, kMost = 262'144, kDefaultWeight = 100;
    cpu_weight = shares ? 1 + (std::clamp(shares, kLeast, kMost) - kLeast) * 9999 / (kMost - kLeast) : kDefaultWeight;
}

Result<> register_cgroup() {
    TRY(vfs::register_file_system("cgroup", make_cgroup, kOldOptions));
    return vfs::register_file_system("cgroup2", make_cgroup, kOptions);
}

}  // namespace kvmsbx::fs
