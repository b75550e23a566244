#include "guestkernel/fs/proc/system_text.hpp"

#include "guestkernel/mm/frame.hpp"
#include "guestkernel/task/clocks.hpp"
#include "guestkernel/task/life.hpp"
#include "guestkernel/task/uts.hpp"
#include "guestkernel/vfs/file_system.hpp"

namespace kvmsbx::fs {
namespace {

constexpr uint64_t kKilobyte = 1024, kSecond = 1'000'000'000, kHundredth = 10'000'000;

// All CPU time of the sandbox: of processes that live, and of those that were waited for.
sched::Nanoseconds used_time() {
    sched::Nanoseconds used = 0;
    task::for_each_process([&](task::Process& process) {
        const task::CpuUsage own = task::usage_of(process);
        used += own.user + own.system + process.children_usage.user + process.children_usage.system;
    });
    return used;
}

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
            if (task.state() == sched::Thread::State::kBlocked) {
                if (!task.interruptible()) ++counts.blocked;
            } else {
                ++counts.running;
            }
        }
    });
    return counts;
}

void put_ticks(TextSink& sink, uint64_t user, uint64_t idle) {
    format_to(sink, " {} 0 0 {} 0 0 0 0 0 0\n", user, idle);
}

}  // namespace

Result<> put_meminfo(TextSink& sink) {
    const mm::MemoryStatistics memory = mm::memory_statistics();
    const struct {
        std::string_view name;
        uint64_t bytes;
    } rows[] = {
        {"MemTotal:       ", memory.total},
        {"MemFree:        ", memory.free},
        {"MemAvailable:   ", std::min(memory.total, memory.free + memory.cached)},
        {"Buffers:        ", 0},
        {"Cached:         ", memory.cached},
        {"SwapCached:     ", 0},
        {"SwapTotal:      ", 0},
        {"SwapFree:       ", 0},
    };
    for (const auto& row : rows) format_to(sink, "{}{8} kB\n", row.name, row.bytes / kKilobyte);
    sink.put(
        "HugePages_Total:       0\nHugePages_Free:        0\nHugePages_Rsvd:        0\nHugePages_Surp:        "
        "0\nHugepagesize:       2048 kB\n");
    return {};
}

// Time is counted per thread, not per vCPU, so the lines of single CPUs have an even share.
Result<> put_system_stat(TextSink& sink) {
    const unsigned cpus = arch::boot_info().cpu_count;
    const uint64_t used = used_time() / task::kNsPerTick;
    const uint64_t all = sched::boottime_now() / task::kNsPerTick * cpus;
    const uint64_t idle = all > used ? all - used : 0;
    sink.put("cpu ");
    put_ticks(sink, used, idle);
    for (unsigned cpu = 0; cpu < cpus; ++cpu) {
        format_to(sink, "cpu{}", cpu);
        put_ticks(sink, used / cpus, idle / cpus);
    }
    const ThreadCounts threads = count_threads();
    format_to(sink, "btime {}\nprocesses {}\nprocs_running {}\nprocs_blocked {}\n",
              (sched::realtime_now() - sched::boottime_now()) / kSecond, task::tasks_started(), threads.running,
              threads.blocked);
    return {};
}

Result<> put_uptime(TextSink& sink) {
    const uint64_t up = sched::boottime_now(), all = up * arch::boot_info().cpu_count, used = used_time();
    const uint64_t idle = all > used ? all - used : 0;
    format_to(sink, "{}.{02} {}.{02}\n", up / kSecond, up % kSecond / kHundredth, idle / kSecond,
              idle % kSecond / kHundredth);
    return {};
}

// Load is not sampled (that would wake idle vCPUs): the averages stay 0.
Result<> put_loadavg(TextSink& sink) {
    const ThreadCounts threads = count_threads();
    format_to(sink, "0.00 0.00 0.00 {}/{} {}\n", threads.running, threads.total, threads.last_pid);
    return {};
}

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
