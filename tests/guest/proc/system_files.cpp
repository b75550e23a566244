// /proc: files about the whole system.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>

#include <ctime>

#include <cmath>

#include "tests/guest/proc/proc_text.hpp"

using namespace guest;
using namespace proc;

namespace {

int lines_of(const std::string& text) {
    int lines = 0;
    for (char c : text) lines += c == '\n';
    return lines;
}

std::string sysctl(const char* name) { return content(std::string("/proc/sys/") + name); }

}  // namespace

TEST("stat_has_a_line_for_each_cpu") {
    const std::string stat = content("/proc/stat");
    CHECK_EQ(stat.compare(0, 5, "cpu  "), 0);
    const std::string last = "cpu" + std::to_string(get_nprocs_conf() - 1) + " ";
    CHECK(has_line(stat, last));
    for (const char* name : {"intr ", "ctxt ", "btime ", "processes ", "procs_running ", "procs_blocked ", "softirq "})
        CHECK(has_line(stat, name));
}

TEST("stat_cpu_line_has_ten_numbers") {
    unsigned long long n[10];
    CHECK_EQ(sscanf(content("/proc/stat").c_str(), "cpu %llu %llu %llu %llu %llu %llu %llu %llu %llu %llu", n, n + 1,
                    n + 2, n + 3, n + 4, n + 5, n + 6, n + 7, n + 8, n + 9),
             10);
    CHECK_GT(n[0] + n[2] + n[3], 0u);
}

TEST("stat_times_go_on") {
    auto total = [] {
        unsigned long long user = 0, nice = 0, system = 0, idle = 0;
        sscanf(content("/proc/stat").c_str(), "cpu %llu %llu %llu %llu", &user, &nice, &system, &idle);
        return user + nice + system + idle;
    };
    const unsigned long long before = total();
    sleep_ms(100);
    CHECK_GT(total(), before);
}

TEST("stat_counts_switches_and_processes") {
    const std::string before = content("/proc/stat");
    CHECK_EXITED(run_child([] {}), 0);
    sleep_ms(5);
    const std::string after = content("/proc/stat");
    CHECK_GT(number_in(after, "ctxt "), number_in(before, "ctxt "));
    CHECK_GT(number_in(after, "processes "), number_in(before, "processes "));
    CHECK_GE(number_in(after, "procs_running "), 1);
}

TEST("boot_time_is_now_less_uptime") {
    struct timespec now, up;
    OK(clock_gettime(CLOCK_REALTIME, &now));
    OK(clock_gettime(CLOCK_BOOTTIME, &up));
    CHECK_LE(std::llabs(number_in(content("/proc/stat"), "btime ") - (now.tv_sec - up.tv_sec)), 2);
}

TEST("uptime_is_that_of_sysinfo") {
    double up = 0, idle = -1;
    CHECK_EQ(sscanf(content("/proc/uptime").c_str(), "%lf %lf\n", &up, &idle), 2);
    struct sysinfo info;
    OK(sysinfo(&info));
    CHECK(std::fabs(up - static_cast<double>(info.uptime)) < 3);
    CHECK(idle >= 0);
}

TEST("meminfo_agrees_with_sysinfo") {
    const std::string table = content("/proc/meminfo");
    struct sysinfo info;
    OK(sysinfo(&info));
    CHECK_EQ(number_in(table, "MemTotal:"), static_cast<long long>(info.totalram * info.mem_unit / 1024));
    CHECK_EQ(number_in(table, "SwapTotal:"), static_cast<long long>(info.totalswap * info.mem_unit / 1024));
    CHECK_LE(number_in(table, "MemFree:"), number_in(table, "MemTotal:"));
    CHECK_LE(number_in(table, "MemAvailable:"), number_in(table, "MemTotal:"));
    CHECK_GT(number_in(table, "MemAvailable:"), 0);
}

TEST("meminfo_has_what_tools_read") {
    const std::string table = content("/proc/meminfo");
    for (const char* name : {"MemTotal:", "MemFree:", "MemAvailable:", "Buffers:", "Cached:", "SwapCached:", "Active:",
                             "Inactive:", "SwapTotal:", "SwapFree:", "AnonPages:", "KernelStack:", "PageTables:",
                             "CommitLimit:", "Committed_AS:", "HugePages_Total:", "Hugepagesize:"})
        CHECK(has_line(table, name));
}

TEST("available_memory_falls_when_memory_is_touched") {
    // MemAvailable, for a machine full of page cache may keep MemFree level by dropping some. Others on the machine
    // give memory back meanwhile: one of some attempts must show it.
    constexpr size_t kSize = 128 << 20;
    const auto available = [] {
        return static_cast<size_t>(number_in(content("/proc/meminfo"), "MemAvailable:")) * 1024;
    };
    for (int attempt = 0; attempt < 10; ++attempt) {
        const size_t before = available();
        const int status = run_child([&] {
            char* area = static_cast<char*>(malloc(kSize));
            CHECK(area != nullptr);
            for (size_t i = 0; i < kSize; i += 4096) *const_cast<volatile char*>(area + i) = 1;
            _exit(available() + kSize / 4 < before ? 0 : 1);
        });
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return;
        usleep(100'000 * attempt);
    }
    fail(__FILE__, __LINE__, "available memory never fell");
}

TEST("loadavg_has_five_fields") {
    double one, five, fifteen;
    int running, total, last;
    CHECK_EQ(sscanf(content("/proc/loadavg").c_str(), "%lf %lf %lf %d/%d %d\n", &one, &five, &fifteen, &running, &total,
                    &last),
             6);
    CHECK(one >= 0 && five >= 0 && fifteen >= 0);
    CHECK_GE(running, 1);
    CHECK_GE(total, running);
    CHECK_GT(last, 0);
}

TEST("load_averages_of_the_library_and_of_sysinfo") {
    double averages[3] = {-1, -1, -1};
    CHECK_EQ(getloadavg(averages, 3), 3);
    struct sysinfo info;
    OK(sysinfo(&info));
    for (int i = 0; i < 3; ++i) {
        CHECK(averages[i] >= 0);
        CHECK(std::fabs(averages[i] - static_cast<double>(info.loads[i]) / 65536) < 0.5);
    }
}

TEST("load_rises_with_work") {
    const pid_t worker = OK(fork());
    if (worker == 0)
        for (;;) __asm__ volatile("");
    const uint64_t end = now_ns() + 14'000'000'000;
    double one = 0;
    while (getloadavg(&one, 1), one <= 0) {
        CHECK(now_ns() < end);
        sleep_ms(250);
    }
    OK(kill(worker, SIGKILL));
}

TEST("sysinfo_counts_threads") {
    struct sysinfo before, after;
    OK(sysinfo(&before));
    for (int i = 0; i < 20; ++i)
        if (OK(fork()) == 0)
            for (;;) pause();
    OK(sysinfo(&after));
    CHECK_GE(after.procs, 21);
    CHECK_GT(after.totalram, 0u);
    CHECK_ERRNO(sysinfo(reinterpret_cast<struct sysinfo*>(8)), EFAULT);
}

TEST("version_names_the_release") {
    struct utsname name;
    OK(uname(&name));
    const std::string start = std::string("Linux version ") + name.release + " ";
    CHECK_EQ(content("/proc/version").compare(0, start.size(), start), 0);
}

TEST("vmstat_counts_faults") {
    const long long before = number_in(content("/proc/vmstat"), "pgfault ");
    void* const memory = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED);
    *static_cast<volatile char*>(memory) = 1;
    const std::string after = content("/proc/vmstat");
    CHECK_GT(number_in(after, "pgfault "), before);
    for (const char* name : {"nr_free_pages ", "pgpgin ", "pgpgout ", "pswpin ", "pswpout ", "pgmajfault "})
        CHECK(has_line(after, name));
}

TEST("interrupts_has_a_column_for_each_cpu") {
    const std::string table = content("/proc/interrupts");
    CHECK(table.find("CPU0") < table.find('\n'));
    CHECK(has_line(table, "LOC:") || has_line(table, " LOC:"));
    CHECK_GT(lines_of(table), 2);
}

TEST("softirqs_has_rows_of_linux") {
    const std::string table = content("/proc/softirqs");
    for (const char* name : {"HI:", "TIMER:", "NET_TX:", "NET_RX:", "BLOCK:", "SCHED:", "RCU:"})
        CHECK(table.find(name) != std::string::npos);
}

TEST("heads_of_tables_of_disks_and_swap") {
    const std::string partitions = content("/proc/partitions");
    CHECK(partitions.empty() || partitions.compare(0, 28, "major minor  #blocks  name\n\n") == 0);
    CHECK_EQ(content("/proc/swaps").compare(0, 12, "Filename\t\t\t\t"), 0);
    (void)content("/proc/diskstats");
    (void)content("/proc/misc");
}

TEST("devices_names_kinds") {
    const std::string table = content("/proc/devices");
    CHECK_EQ(table.compare(0, 19, "Character devices:\n"), 0);
    CHECK(has_line(table, "  1 mem\n"));
    CHECK(has_line(table, "136 pts\n"));
    CHECK(has_line(table, "Block devices:\n"));
}

TEST("cgroups_names_controllers") {
    if (access("/proc/cgroups", F_OK) < 0) SKIP("this kernel has no /proc/cgroups");
    const std::string table = content("/proc/cgroups");
    CHECK_EQ(table.compare(0, 13, "#subsys_name\t"), 0);
    CHECK(has_line(table, "cpu\t"));
}

TEST("kmsg_is_refused") {
    const int fd = open("/proc/kmsg", O_RDONLY | O_NONBLOCK);
    char text[16];
    if (fd < 0)
        CHECK_EQ(errno, EPERM);
    else
        CHECK_ERRNO(read(fd, text, sizeof text), EPERM);
}

TEST("filesystems_marks_those_without_device") {
    const std::string table = content("/proc/filesystems");
    for (const char* name :
         {"nodev\tsysfs\n", "nodev\ttmpfs\n", "nodev\tproc\n", "nodev\tcgroup2\n", "nodev\tdevpts\n"})
        CHECK(has_line(table, name));
}

TEST("sysctl_kernel_is_what_uname_says") {
    struct utsname name;
    OK(uname(&name));
    CHECK_STREQ(sysctl("kernel/ostype").c_str(), (std::string(name.sysname) + "\n").c_str());
    CHECK_STREQ(sysctl("kernel/osrelease").c_str(), (std::string(name.release) + "\n").c_str());
    CHECK_STREQ(sysctl("kernel/version").c_str(), (std::string(name.version) + "\n").c_str());
    CHECK_STREQ(sysctl("kernel/hostname").c_str(), (std::string(name.nodename) + "\n").c_str());
}

TEST("sysctl_numbers_are_numbers") {
    for (const char* name :
         {"kernel/pid_max", "kernel/threads-max", "kernel/cap_last_cap", "kernel/ngroups_max", "kernel/overflowuid",
          "kernel/overflowgid", "kernel/random/entropy_avail", "kernel/random/poolsize", "kernel/randomize_va_space",
          "kernel/tainted", "vm/overcommit_memory", "vm/overcommit_ratio", "vm/max_map_count", "vm/swappiness",
          "vm/nr_hugepages", "fs/file-max", "fs/nr_open", "fs/pipe-max-size", "fs/suid_dumpable"}) {
        const std::string text = sysctl(name);
        if (text.empty() || text.back() != '\n' || text.find_first_not_of("0123456789") != text.size() - 1)
            fail(__FILE__, __LINE__, "%s: %s", name, text.c_str());
    }
}

TEST("sysctl_overflow_ids") {
    CHECK_STREQ(sysctl("kernel/overflowuid").c_str(), "65534\n");
    CHECK_STREQ(sysctl("kernel/overflowgid").c_str(), "65534\n");
    CHECK_STREQ(sysctl("kernel/ngroups_max").c_str(), "65536\n");
}

TEST("sysctl_file_nr_has_three_numbers") {
    unsigned long long open_files = 0, unused = 1, most = 0;
    CHECK_EQ(sscanf(sysctl("fs/file-nr").c_str(), "%llu\t%llu\t%llu\n", &open_files, &unused, &most), 3);
    CHECK_GT(open_files, 0u);
    CHECK_EQ(unused, 0);
    CHECK_GT(most, open_files);
}

TEST("uuids_differ_and_the_boots_stays") {
    const std::string one = sysctl("kernel/random/uuid"), two = sysctl("kernel/random/uuid");
    CHECK_EQ(one.size(), 37u);
    CHECK(one != two);
    CHECK_EQ(one[14], '4');
    CHECK_STREQ(sysctl("kernel/random/boot_id").c_str(), sysctl("kernel/random/boot_id").c_str());
}

TEST("hostname_is_written_by_root_alone") {
    const std::string before = sysctl("kernel/hostname");
    CHECK_EQ(write_error("/proc/sys/kernel/hostname", "other\n"), 0);
    struct utsname name;
    OK(uname(&name));
    CHECK_STREQ(name.nodename, "other");
    CHECK_EQ(write_error("/proc/sys/kernel/hostname", before.c_str()), 0);
    CHECK_EXITED(run_child([] {
                     OK(setuid(1234));
                     CHECK_ERRNO(open("/proc/sys/kernel/hostname", O_WRONLY), EACCES);
                 }),
                 0);
}

TEST("modes_of_system_files") {
    struct stat status;
    for (const char* name : {"/proc/stat", "/proc/meminfo", "/proc/version", "/proc/loadavg", "/proc/uptime"}) {
        OK(stat(name, &status));
        CHECK_EQ(status.st_mode, S_IFREG | 0444);
        CHECK_EQ(status.st_size, 0);
        CHECK_EQ(status.st_uid, 0);
    }
    OK(stat("/proc", &status));
    CHECK_EQ(status.st_mode, S_IFDIR | 0555);
}

TEST("cpuinfo_has_an_entry_for_each_cpu") {
    const std::string table = content("/proc/cpuinfo");
    int processors = 0;
    for (size_t at = 0; (at = table.find("processor\t: ", at)) != std::string::npos; ++at) ++processors;
    CHECK_EQ(processors, get_nprocs());
    for (const char* name : {"vendor_id\t: ", "model name\t: ", "flags\t\t: ", "cpu MHz\t\t: ", "address sizes\t: "})
        CHECK(has_line(table, name));
}
