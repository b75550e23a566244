#include "guestkernel/fs/proc/system_text.hpp"

#include <algorithm>

#include "guestkernel/fs/proc/nodes.hpp"
#include "guestkernel/mm/frame.hpp"
#include "guestkernel/platform/cpu.hpp"
#include "guestkernel/platform/host.hpp"
#include "guestkernel/sched/load.hpp"
#include "guestkernel/task/clocks.hpp"
#include "guestkernel/task/life.hpp"
#include "guestkernel/task/uts.hpp"
#include "guestkernel/vfs/file_system.hpp"

namespace kvmsbx::fs {
namespace {

constexpr uint64_t kKilobyte = 1024, kSecond = 1'000'000'000, kHundredth = 10'000'000;

struct ThreadCounts {
    unsigned total = 0, running = 0, blocked = 0;
    int32_t last_pid = 0;
};

ThreadCounts count_threads() {
    ThreadCounts counts;
    task::for_each_process([&](task::Process& process) {
        for (const task::Task& task : process.threads) {
            ++counts.total;
            counts.last_pid = std::max(counts.last_pid, task.tid);
            if (task.state() == sched::Thread::State::kBlocked && !task.awaits_quota) {
                if (!task.interruptible()) ++counts.blocked;
            } else {
                ++counts.running;
            }
        }
    });
    return counts;
}

// user and system of a vCPU: its busy time is its own, the parts are those of all applications together.
void put_ticks(TextSink& sink, const sched::CpuTimes& times, const task::CpuUsage& usage) {
    const uint64_t busy = times.busy / task::kNsPerTick, idle = times.idle / task::kNsPerTick;
    const uint64_t user = usage.user / task::kNsPerTick, system = usage.system / task::kNsPerTick;
    const uint64_t own_user = user + system ? busy * user / (user + system) : 0;
    format_to(sink, " {} 0 {} {} 0 0 0 0 0 0\n", own_user, busy - own_user, idle);
}

uint64_t interrupts_of(platform::Event kind) {
    uint64_t sum = 0;
    for (unsigned cpu = 0; cpu < platform::boot_info().cpu_count; ++cpu) sum += sched::interrupts(cpu, kind);
    return sum;
}

struct InterruptRow {
    platform::Event kind;
    std::string_view label, text;
};
constexpr InterruptRow kInterrupts[] = {
    {platform::Event::kChannel, "  1:", "   kvmsbx   gofer"},
    {platform::Event::kHostEvent, "  2:", "   kvmsbx   host"},
    {platform::Event::kTimer, "LOC:", "   Local timer interrupts"},
    {platform::Event::kOtherCpu, "RES:", "   Rescheduling interrupts"},
};

void put_cpu_heads(TextSink& sink) {
    sink.put("    ");
    for (unsigned cpu = 0; cpu < platform::boot_info().cpu_count; ++cpu) {
        FixedText<16> name;
        format_to(name, "CPU{}", cpu);
        sink.put("       ");
        put_left(sink, name.view(), 4);
    }
    sink.put("\n");
}

// Private memory that could be written, of all processes: what they might come to use.
uint64_t committed_memory() {
    uint64_t sum = 0;
    task::for_each_process([&](task::Process& process) {
        task::Task* leader = process.leader();
        if (!leader || !leader->space_) return;
        mm::AddressSpace& space = leader->space();
        for (mm::Vma* vma = space.find_from(0); vma; vma = space.next(*vma))
            if (!vma->shared && vma->protection & mm::kProtWrite) sum += vma->end - vma->start;
    });
    return sum;
}

uint64_t page_table_memory() {
    uint64_t sum = 0;
    task::for_each_process([&](task::Process& process) {
        if (task::Task* leader = process.leader(); leader && leader->space_) sum += leader->space().table_bytes();
    });
    return sum;
}

}  // namespace

// Memory that is no file's, stack's or page table's counts as anonymous; nothing ages, so all of it is active.
Result<> put_meminfo(TextSink& sink) {
    const mm::MemoryStatistics memory = mm::memory_statistics();
    const uint64_t stacks = count_threads().total * platform::kStackSize, tables = page_table_memory();
    const uint64_t used = memory.total - std::min(memory.total, memory.free + memory.cached + stacks + tables);
    constexpr uint64_t kVmallocTotal = 32ULL << 40;
    const struct {
        std::string_view name;
        uint64_t bytes;
    } rows[] = {
        {"MemTotal:       ", memory.total},
        {"MemFree:        ", memory.free},
        {"MemAvailable:   ", std::min(memory.total, memory.free + memory.cached + mm::kept_table_bytes())},
        {"Buffers:        ", 0},
        {"Cached:         ", memory.cached},
        {"SwapCached:     ", 0},
        {"Active:         ", used + memory.cached},
        {"Inactive:       ", 0},
        {"Active(anon):   ", used},
        {"Inactive(anon): ", 0},
        {"Active(file):   ", memory.cached},
        {"Inactive(file): ", 0},
        {"Unevictable:    ", 0},
        {"Mlocked:        ", 0},
        {"SwapTotal:      ", 0},
        {"SwapFree:       ", 0},
        {"AnonPages:      ", used},
        {"KernelStack:    ", stacks},
        {"PageTables:     ", tables},
        {"Bounce:         ", 0},
        {"CommitLimit:    ", memory.total / 2},
        {"Committed_AS:   ", committed_memory()},
        {"VmallocTotal:   ", kVmallocTotal},
        {"VmallocUsed:    ", 0},
        {"VmallocChunk:   ", 0},
    };
    for (const auto& row : rows) format_to(sink, "{}{8} kB\n", row.name, row.bytes / kKilobyte);
    sink.put(
        "HugePages_Total:       0\nHugePages_Free:        0\nHugePages_Rsvd:        0\nHugePages_Surp:        "
        "0\nHugepagesize:       2048 kB\nHugetlb:               0 kB\n");
    return {};
}

Result<> put_system_stat(TextSink& sink) {
    const unsigned cpus = platform::boot_info().cpu_count;
    const task::CpuUsage usage = task::usage_of_all();
    sched::CpuTimes all;
    for (unsigned cpu = 0; cpu < cpus; ++cpu) {
        const sched::CpuTimes times = sched::cpu_times(cpu);
        all.busy += times.busy;
        all.idle += times.idle;
    }
    sink.put("cpu ");
    put_ticks(sink, all, usage);
    for (unsigned cpu = 0; cpu < cpus; ++cpu) {
        format_to(sink, "cpu{}", cpu);
        put_ticks(sink, sched::cpu_times(cpu), usage);
    }
    uint64_t interrupts = 0;
    for (const InterruptRow& row : kInterrupts) interrupts += interrupts_of(row.kind);
    format_to(sink, "intr {} 0 {} {}\n", interrupts, interrupts_of(platform::Event::kChannel),
              interrupts_of(platform::Event::kHostEvent));
    const ThreadCounts threads = count_threads();
    format_to(sink, "ctxt {}\nbtime {}\nprocesses {}\nprocs_running {}\nprocs_blocked {}\n", sched::context_switches(),
              (sched::realtime_now() - sched::boottime_now()) / kSecond, task::tasks_started(), threads.running,
              threads.blocked);
    sink.put("softirq 0 0 0 0 0 0 0 0 0 0 0\n");
    return {};
}

Result<> put_uptime(TextSink& sink) {
    const uint64_t up = sched::boottime_now();
    uint64_t idle = 0;
    for (unsigned cpu = 0; cpu < platform::boot_info().cpu_count; ++cpu) idle += sched::cpu_times(cpu).idle;
    format_to(sink, "{}.{02} {}.{02}\n", up / kSecond, up % kSecond / kHundredth, idle / kSecond,
              idle % kSecond / kHundredth);
    return {};
}

Result<> put_loadavg(TextSink& sink) {
    const ThreadCounts threads = count_threads();
    const sched::LoadAverages load = sched::load_averages();
    for (uint64_t average : load.fixed) {
        average += sched::kLoadOne / 200;  // rounds to hundredths
        format_to(sink, "{}.{02} ", average >> sched::kLoadShift,
                  (average & (sched::kLoadOne - 1)) * 100 >> sched::kLoadShift);
    }
    format_to(sink, "{}/{} {}\n", threads.running, threads.total, threads.last_pid);
    return {};
}

// What there is of vmstat(8)'s counters; there is no disk and no swap.
Result<> put_vmstat(TextSink& sink) {
    const mm::MemoryStatistics memory = mm::memory_statistics();
    const task::CpuUsage usage = task::usage_of_all();
    const struct {
        std::string_view name;
        uint64_t value;
    } rows[] = {
        {"nr_free_pages", memory.free / mm::kPageSize},
        {"nr_file_pages", memory.cached / mm::kPageSize},
        {"nr_active_file", memory.cached / mm::kPageSize},
        {"nr_inactive_file", 0},
        {"nr_mlock", 0},
        {"nr_page_table_pages", page_table_memory() / mm::kPageSize},
        {"nr_kernel_stack", count_threads().total * platform::kStackSize / kKilobyte},
        {"pgpgin", 0},
        {"pgpgout", 0},
        {"pswpin", 0},
        {"pswpout", 0},
        {"pgfault", usage.minor_faults + usage.major_faults},
        {"pgmajfault", usage.major_faults},
    };
    for (const auto& row : rows) format_to(sink, "{} {}\n", row.name, row.value);
    return {};
}

Result<> put_interrupts(TextSink& sink) {
    put_cpu_heads(sink);
    for (const InterruptRow& row : kInterrupts) {
        sink.put(row.label);
        for (unsigned cpu = 0; cpu < platform::boot_info().cpu_count; ++cpu)
            format_to(sink, " {10}", sched::interrupts(cpu, row.kind));
        format_to(sink, "{}\n", row.text);
    }
    return {};
}

// The Sentry has no deferred interrupt work.
Result<> put_softirqs(TextSink& sink) {
    put_cpu_heads(sink);
    constexpr std::string_view kKinds[] = {"HI",       "TIMER",   "NET_TX", "NET_RX",  "BLOCK",
                                           "IRQ_POLL", "TASKLET", "SCHED",  "HRTIMER", "RCU"};
    for (std::string_view kind : kKinds) {
        for (size_t i = kind.size(); i < 12; ++i) sink.put(" ");
        format_to(sink, "{}:", kind);
        for (unsigned cpu = 0; cpu < platform::boot_info().cpu_count; ++cpu) sink.put("          0");
        sink.put("\n");
    }
    return {};
}

Result<> put_cgroups(TextSink& sink) {
    sink.put("#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpuset\t0\t1\t1\ncpu\t0\t1\t1\n");
    sink.put("blkio\t0\t1\t1\nmemory\t0\t1\t1\nhugetlb\t0\t1\t1\npids\t0\t1\t1\n");
    return {};
}

Result<> refuse_reading(TextSink&) { return Errno::kPERM; }

Result<> put_version(TextSink& sink) {
    const task::UtsName& name = task::uts();
    format_to(sink, "{} version {} {}\n", std::string_view(name.sysname), std::string_view(name.release),
              std::string_view(name.version));
    return {};
}

Result<> put_filesystems(TextSink& sink) {
    for (const vfs::FileSystemType& type : vfs::file_system_types())
        format_to(sink, "{}\t{}\n", type.needs_device ? std::string_view() : std::string_view("nodev"), type.name);
    return {};
}

Result<> put_devices(TextSink& sink) {
    sink.put("Character devices:\n  1 mem\n  5 /dev/tty\n  5 /dev/console\n  5 /dev/ptmx\n136 pts\n\nBlock devices:\n");
    return {};
}

}  // namespace kvmsbx::fs
