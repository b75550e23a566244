// /proc/PID: numbers that calls give as well.
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <cmath>

#include "tests/guest/proc/proc_text.hpp"

using namespace guest;
using namespace proc;

namespace proc {
int write_error(const std::string& path, const char* text) {
    const int fd = open(path.c_str(), O_WRONLY);
    if (fd < 0) return errno;
    const int error = write(fd, text, strlen(text)) < 0 ? errno : 0;
    close(fd);
    return error;
}
}  // namespace proc

namespace {

constexpr size_t kMegabyte = 1 << 20;

char* touched(size_t size) {
    char* area =
        static_cast<char*>(OK(mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)));
    for (size_t at = 0; at < size; at += 4096) area[at] = 1;
    return area;
}

pid_t sleeping_child() {
    const pid_t child = OK(fork());
    if (child == 0) {
        for (;;) pause();
    }
    for (int i = 0; i < 500 && content(of_process(child, "stat")).find(") S ") == std::string::npos; ++i) sleep_ms(10);
    return child;
}

void become_user() {
    OK(setresgid(1234, 1234, 1234));
    OK(setresuid(1234, 1234, 1234));
}

void* idle_thread(void* tid) {
    __atomic_store_n(static_cast<int*>(tid), static_cast<int>(syscall(SYS_gettid)), __ATOMIC_RELEASE);
    for (;;) pause();
}

int start_thread() {
    static int tid;
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, nullptr, idle_thread, &tid), 0);
    while (__atomic_load_n(&tid, __ATOMIC_ACQUIRE) == 0) sleep_ms(1);
    return tid;
}

}  // namespace

TEST("status_has_linux_rows_in_linux_order") {
    const std::string status = content("/proc/self/status");
    size_t last = 0;
    for (const char* name : {"Name:",
                             "\nUmask:",
                             "\nState:",
                             "\nTgid:",
                             "\nNgid:",
                             "\nPid:",
                             "\nPPid:",
                             "\nTracerPid:",
                             "\nUid:",
                             "\nGid:",
                             "\nFDSize:",
                             "\nGroups:",
                             "\nNStgid:",
                             "\nNSpid:",
                             "\nNSpgid:",
                             "\nNSsid:",
                             "\nVmPeak:",
                             "\nVmSize:",
                             "\nVmLck:",
                             "\nVmPin:",
                             "\nVmHWM:",
                             "\nVmRSS:",
                             "\nRssAnon:",
                             "\nRssFile:",
                             "\nRssShmem:",
                             "\nVmData:",
                             "\nVmStk:",
                             "\nVmExe:",
                             "\nVmLib:",
                             "\nVmPTE:",
                             "\nVmSwap:",
                             "\nThreads:",
                             "\nSigQ:",
                             "\nSigPnd:",
                             "\nShdPnd:",
                             "\nSigBlk:",
                             "\nSigIgn:",
                             "\nSigCgt:",
                             "\nCapInh:",
                             "\nCapPrm:",
                             "\nCapEff:",
                             "\nCapBnd:",
                             "\nCapAmb:",
                             "\nNoNewPrivs:",
                             "\nSeccomp:",
                             "\nCpus_allowed:",
                             "\nCpus_allowed_list:",
                             "\nMems_allowed:",
                             "\nMems_allowed_list:",
                             "\nvoluntary_ctxt_switches:",
                             "\nnonvoluntary_ctxt_switches:"}) {
        const size_t at = status.find(name, last);
        if (at == std::string::npos) fail(__FILE__, __LINE__, "%s is missing or in another place", name);
        last = at;
    }
}

TEST("resident_size_is_the_sum_of_its_kinds") {
    const std::string status = content("/proc/self/status");
    const long long sum =
        number_in(status, "RssAnon:") + number_in(status, "RssFile:") + number_in(status, "RssShmem:");
    CHECK_LE(std::llabs(sum - number_in(status, "VmRSS:")), 1024);
}

TEST("anonymous_memory_counts_as_anonymous") {
    const std::string before = content("/proc/self/status");
    touched(8 * kMegabyte);
    const std::string after = content("/proc/self/status");
    const long long grown = number_in(after, "RssAnon:") - number_in(before, "RssAnon:");
    CHECK_GE(grown, 7 * 1024);
    CHECK_LE(grown, 12 * 1024);
}

TEST("shared_anonymous_memory_counts_as_shmem") {
    const std::string before = content("/proc/self/status");
    char* area =
        static_cast<char*>(OK(mmap(nullptr, 4 * kMegabyte, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)));
    memset(area, 1, 4 * kMegabyte);
    const std::string after = content("/proc/self/status");
    CHECK_GE(number_in(after, "RssShmem:") - number_in(before, "RssShmem:"), 3 * 1024);
}

TEST("peaks_stay_when_memory_goes") {
    char* area = touched(16 * kMegabyte);
    const std::string with = content("/proc/self/status");
    OK(munmap(area, 16 * kMegabyte));
    const std::string without = content("/proc/self/status");
    CHECK_GE(number_in(without, "VmPeak:"), number_in(with, "VmSize:"));
    CHECK_GE(number_in(without, "VmHWM:"), number_in(with, "VmRSS:") - 1024);
    CHECK_LT(number_in(without, "VmRSS:"), number_in(with, "VmRSS:") - 12 * 1024);
    CHECK_LT(number_in(without, "VmSize:"), number_in(with, "VmSize:"));
}

TEST("peak_is_seen_though_nobody_looked") {
    char* area = touched(16 * kMegabyte);
    OK(munmap(area, 16 * kMegabyte));
    CHECK_GE(number_in(content("/proc/self/status"), "VmHWM:"), 16 * 1024);
}

TEST("statm_agrees_with_status") {
    const std::string status = content("/proc/self/status");
    long long size = 0, resident = 0, shared = 0, code = 0, library = 0, data = 0, dirty = 0;
    CHECK_EQ(sscanf(content("/proc/self/statm").c_str(), "%lld %lld %lld %lld %lld %lld %lld", &size, &resident,
                    &shared, &code, &library, &data, &dirty),
             7);
    CHECK_LE(std::llabs(size * 4 - number_in(status, "VmSize:")), 512);
    CHECK_LE(std::llabs(resident * 4 - number_in(status, "VmRSS:")), 1024);
    CHECK_EQ(library, 0);
    CHECK_EQ(dirty, 0);
    CHECK_GT(code, 0);
}

TEST("stat_agrees_with_statm_on_sizes") {
    const std::string stat = content("/proc/self/stat");
    long long size = 0, resident = 0;
    CHECK_EQ(sscanf(content("/proc/self/statm").c_str(), "%lld %lld", &size, &resident), 2);
    CHECK_LE(std::llabs(stat_field(stat, 23) / 4096 - size), 128);
    CHECK_LE(std::llabs(stat_field(stat, 24) - resident), 256);
}

TEST("minor_faults_are_counted") {
    const long long before = stat_field(content("/proc/self/stat"), 10);
    char* area = static_cast<char*>(
        OK(mmap(nullptr, 4 * kMegabyte, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)));
    OK(madvise(area, 4 * kMegabyte, MADV_NOHUGEPAGE));
    memset(area, 1, 4 * kMegabyte);
    CHECK_GE(stat_field(content("/proc/self/stat"), 10), before + 8);
}

TEST("faults_of_stat_are_those_of_getrusage") {
    touched(kMegabyte);
    struct rusage usage;
    OK(getrusage(RUSAGE_SELF, &usage));
    const long long faults = stat_field(content("/proc/self/stat"), 10);
    CHECK_GT(usage.ru_minflt, 0);
    CHECK_GE(faults, usage.ru_minflt);
    CHECK_LE(faults, usage.ru_minflt + 200);
}

TEST("childrens_faults_are_added_when_they_are_waited_for") {
    const long long before = stat_field(content("/proc/self/stat"), 11);
    CHECK_EXITED(run_child([] { touched(kMegabyte); }), 0);
    CHECK_GT(stat_field(content("/proc/self/stat"), 11), before);
}

TEST("voluntary_switches_are_counted") {
    const long long before = number_in(content("/proc/self/status"), "voluntary_ctxt_switches:");
    for (int i = 0; i < 5; ++i) sleep_ms(2);
    CHECK_GE(number_in(content("/proc/self/status"), "voluntary_ctxt_switches:"), before + 5);
}

TEST("switches_of_status_are_those_of_getrusage") {
    for (int i = 0; i < 5; ++i) sleep_ms(2);
    struct rusage usage;
    OK(getrusage(RUSAGE_THREAD, &usage));
    const long long switches = number_in(content("/proc/self/status"), "voluntary_ctxt_switches:");
    CHECK_GE(usage.ru_nvcsw, 5);
    CHECK_GE(switches, usage.ru_nvcsw);
    CHECK_LE(switches, usage.ru_nvcsw + 100);
}

TEST("a_busy_process_is_switched_against_its_will") {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(OK(sched_getcpu()), &one);
    OK(sched_setaffinity(0, sizeof one, &one));
    const pid_t rival = OK(fork());
    if (rival == 0)
        for (;;) __asm__ volatile("");
    const uint64_t end = now_ns() + 15'000'000'000;
    while (number_in(content("/proc/self/status"), "nonvoluntary_ctxt_switches:") == 0) CHECK(now_ns() < end);
    OK(kill(rival, SIGKILL));
}

TEST("cpu_time_of_stat_is_that_of_getrusage") {
    struct rusage usage;
    do {
        for (int i = 0; i < 2'000'000; ++i) __asm__ volatile("");
        OK(getrusage(RUSAGE_SELF, &usage));
    } while (usage.ru_utime.tv_sec * 1000 + usage.ru_utime.tv_usec / 1000 < 60);
    const std::string stat = content("/proc/self/stat");
    OK(getrusage(RUSAGE_SELF, &usage));
    const long long user = usage.ru_utime.tv_sec * 100 + usage.ru_utime.tv_usec / 10'000;
    const long long all = user + usage.ru_stime.tv_sec * 100 + usage.ru_stime.tv_usec / 10'000;
    CHECK_LE(std::llabs(stat_field(stat, 14) + stat_field(stat, 15) - all), 5);
    CHECK_GT(stat_field(stat, 14), 0);
}

TEST("io_counts_what_reads_and_writes_move") {
    const int null = OK(open("/dev/null", O_WRONLY)), zero = OK(open("/dev/zero", O_RDONLY));
    char bytes[1000];
    const std::string before = content("/proc/self/io");
    for (int i = 0; i < 7; ++i) CHECK_EQ(write(null, bytes, 100), 100);
    for (int i = 0; i < 3; ++i) CHECK_EQ(read(zero, bytes, sizeof bytes), 1000);
    CHECK_ERRNO(read(zero, reinterpret_cast<void*>(8), 8), EFAULT);
    CHECK_ERRNO(write(zero, bytes, 8), EBADF);
    const std::string after = content("/proc/self/io");
    const auto grown = [&](const char* row) { return number_in(after, row) - number_in(before, row); };
    CHECK_EQ(grown("wchar:"), 700);
    CHECK_EQ(grown("syscw:"), 7);
    // The first look at the file itself is among them.
    CHECK_EQ(grown("rchar:"), 3000 + static_cast<long long>(before.size()));
    CHECK_GE(grown("syscr:"), 5);
    CHECK_LE(grown("syscr:"), 6);
    CHECK_EQ(number_in(after, "cancelled_write_bytes:"), number_in(before, "cancelled_write_bytes:"));
}

TEST("io_of_threads_and_of_a_process_that_lost_some") {
    const auto body = [](void*) -> void* {
        const int null = OK(open("/dev/null", O_WRONLY));
        const std::string path = "/proc/self/task/" + std::to_string(gettid()) + "/io";
        const long long before = number_in(content(path), "wchar:");
        CHECK_EQ(write(null, "12345", 5), 5);
        CHECK_EQ(number_in(content(path), "wchar:") - before, 5);
        return nullptr;
    };
    const long long before = number_in(content("/proc/self/io"), "wchar:");
    for (int i = 0; i < 3; ++i) {
        pthread_t thread;
        CHECK_EQ(pthread_create(&thread, nullptr, body, nullptr), 0);
        CHECK_EQ(pthread_join(thread, nullptr), 0);
    }
    CHECK_EQ(number_in(content("/proc/self/io"), "wchar:") - before, 15);
    const std::string own = content("/proc/self/task/" + std::to_string(gettid()) + "/io");
    CHECK_EQ(number_in(own, "wchar:"), before);
}

TEST("io_counts_sendfile") {
    const std::string path = "/proc/self/io";
    scratch();
    const int file = OK(open("some", O_RDWR | O_CREAT | O_TRUNC, 0600));
    static char bytes[65536];
    const long long before = number_in(content(path), "wchar:");
    CHECK_EQ(write(file, bytes, sizeof bytes), static_cast<ssize_t>(sizeof bytes));
    OK(fsync(file));
    CHECK_EQ(lseek(file, 0, SEEK_SET), 0);
    const int null = OK(open("/dev/null", O_WRONLY));
    CHECK_EQ(sendfile(null, file, nullptr, sizeof bytes), static_cast<ssize_t>(sizeof bytes));
    CHECK_EQ(number_in(content(path), "wchar:") - before, 2 * 65536);
}

TEST("io_of_others_needs_permission") {
    const pid_t child = OK(fork());
    if (child == 0) pause();
    const int file = OK(open(of_process(child, "io").c_str(), O_RDONLY));
    char text[256];
    CHECK_GE(read(file, text, sizeof text), 50);
    const int status = run_child([&] {
        OK(setresgid(1234, 1234, 1234));
        OK(setresuid(1234, 1234, 1234));
        CHECK_ERRNO(open(of_process(child, "io").c_str(), O_RDONLY), EACCES);
        CHECK_EQ(lseek(file, 0, SEEK_SET), 0);
        CHECK_ERRNO(read(file, text, sizeof text), EACCES);
    });
    CHECK_EXITED(status, 0);
    OK(kill(child, SIGKILL));
}

TEST("a_zombie_keeps_its_name") {
    const pid_t child = OK(fork());
    if (child == 0) {
        OK(prctl(PR_SET_NAME, "was here"));
        _exit(0);
    }
    siginfo_t info;
    OK(waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT));
    CHECK_STREQ(content(of_process(child, "comm")).c_str(), "was here\n");
    CHECK(content(of_process(child, "stat")).find(" (was here) Z ") != std::string::npos);
    CHECK(has_line(content(of_process(child, "status")), "Name:\twas here"));
}

TEST("start_time_of_a_thread_is_its_own") {
    static long long started;
    const auto body = [](void*) -> void* {
        started = stat_field(content("/proc/self/task/" + std::to_string(gettid()) + "/stat"), 22);
        return nullptr;
    };
    const long long leader = stat_field(content("/proc/self/stat"), 22);
    sleep_ms(50);
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, nullptr, body, nullptr), 0);
    CHECK_EQ(pthread_join(thread, nullptr), 0);
    CHECK_GE(started, leader + 4);
    CHECK_EQ(stat_field(content("/proc/self/stat"), 22), leader);
}

TEST("start_time_is_between_boot_and_now") {
    double up = 0;
    CHECK_EQ(sscanf(content("/proc/uptime").c_str(), "%lf", &up), 1);
    const long long start = stat_field(content("/proc/self/stat"), 22);
    CHECK_GE(start, 0);
    CHECK_LE(static_cast<double>(start) / 100, up + 1);
}

TEST("nice_and_priority_of_stat") {
    OK(setpriority(PRIO_PROCESS, 0, 7));
    const std::string stat = content("/proc/self/stat");
    CHECK_EQ(stat_field(stat, 18), 27);
    CHECK_EQ(stat_field(stat, 19), 7);
}

TEST("signal_masks_of_status") {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGRTMIN + 3);
    OK(sigprocmask(SIG_SETMASK, &set, nullptr));
    signal(SIGUSR2, SIG_IGN);
    signal(SIGHUP, [](int) {});
    OK(raise(SIGUSR1));
    const std::string status = content("/proc/self/status");
    auto mask_of = [&](const char* name) {
        return strtoull(status.c_str() + status.find(name) + strlen(name), nullptr, 16);
    };
    CHECK_EQ(mask_of("\nSigBlk:\t"), 1ULL << (SIGUSR1 - 1) | 1ULL << (SIGRTMIN + 2));
    CHECK_EQ(mask_of("\nSigIgn:\t") & 1ULL << (SIGUSR2 - 1), 1ULL << (SIGUSR2 - 1));
    CHECK_EQ(mask_of("\nSigCgt:\t") & 1ULL << (SIGHUP - 1), 1ULL << (SIGHUP - 1));
    CHECK_EQ((mask_of("\nSigPnd:\t") | mask_of("\nShdPnd:\t")) & 1ULL << (SIGUSR1 - 1), 1ULL << (SIGUSR1 - 1));
}

TEST("threads_are_counted_and_listed") {
    const int tid = start_thread();
    CHECK_EQ(number_in(content("/proc/self/status"), "Threads:"), 2);
    CHECK_EQ(stat_field(content("/proc/self/stat"), 20), 2);
    const std::string own = "/proc/self/task/" + std::to_string(tid);
    CHECK_EQ(number_in(content(own + "/status"), "Pid:"), tid);
    CHECK_EQ(number_in(content(own + "/status"), "Tgid:"), getpid());
    struct stat status;
    OK(stat("/proc/self/task", &status));
    CHECK_EQ(status.st_mode & 07777, 0555);
}

TEST("a_threads_name_is_its_own") {
    const int tid = start_thread();
    const std::string comm = "/proc/self/task/" + std::to_string(tid) + "/comm";
    CHECK_EQ(write_error(comm, "worker-7"), 0);
    CHECK_STREQ(content(comm).c_str(), "worker-7\n");
    CHECK(content("/proc/self/comm") != "worker-7\n");
}

TEST("comm_is_cut_at_15_bytes") {
    CHECK_EQ(write_error("/proc/self/comm", "0123456789abcdefgh"), 0);
    CHECK_STREQ(content("/proc/self/comm").c_str(), "0123456789abcde\n");
    char name[16];
    OK(prctl(PR_GET_NAME, name));
    CHECK_STREQ(name, "0123456789abcde");
}

TEST("comm_of_another_process_cannot_be_written") {
    const pid_t child = sleeping_child();
    CHECK_EQ(write_error(of_process(child, "comm"), "x"), EINVAL);
    OK(kill(child, SIGKILL));
}

TEST("children_of_a_thread") {
    const pid_t child = sleeping_child();
    const std::string path = "/proc/self/task/" + std::to_string(getpid()) + "/children";
    if (access(path.c_str(), F_OK) < 0) SKIP("this kernel has no CONFIG_PROC_CHILDREN");
    CHECK_STREQ(content(path).c_str(), (std::to_string(child) + " ").c_str());
    OK(kill(child, SIGKILL));
    OK(waitpid(child, nullptr, 0));
    CHECK_STREQ(content(path).c_str(), "");
    CHECK_ERRNO(access("/proc/self/children", F_OK), ENOENT);
}

TEST("coredump_filter_can_be_set_and_is_inherited") {
    if (access("/proc/self/coredump_filter", F_OK) < 0) SKIP("this kernel has no core dumps");
    CHECK_STREQ(content("/proc/self/coredump_filter").c_str(), "00000033\n");
    CHECK_EQ(write_error("/proc/self/coredump_filter", "0x7"), 0);
    CHECK_STREQ(content("/proc/self/coredump_filter").c_str(), "00000007\n");
    CHECK_EXITED(run_child([] { CHECK_STREQ(content("/proc/self/coredump_filter").c_str(), "00000007\n"); }), 0);
    CHECK_EQ(write_error("/proc/self/coredump_filter", "x"), EINVAL);
}

TEST("timer_slack") {
    OK(prctl(PR_SET_TIMERSLACK, 70'000));
    CHECK_STREQ(content("/proc/self/timerslack_ns").c_str(), "70000\n");
    CHECK_EQ(write_error("/proc/self/timerslack_ns", "1234567"), 0);
    CHECK_EQ(prctl(PR_GET_TIMERSLACK), 1'234'567);
    CHECK_EQ(write_error("/proc/self/timerslack_ns", "abc"), EINVAL);
}

TEST("timer_slack_of_others_needs_a_capability") {
    const pid_t child = sleeping_child();
    CHECK_EXITED(run_child([&] {
                     become_user();
                     const int fd = OK(open(of_process(child, "timerslack_ns").c_str(), O_RDONLY));
                     char text[32];
                     CHECK_ERRNO(read(fd, text, sizeof text), EPERM);
                 }),
                 0);
    OK(kill(child, SIGKILL));
}

TEST("personality_and_syscall_are_for_the_owner_alone") {
    const pid_t child = sleeping_child();
    CHECK_EXITED(run_child([&] {
                     become_user();
                     for (const char* name : {"personality", "syscall", "auxv", "environ", "stack"})
                         CHECK_ERRNO(open(of_process(child, name).c_str(), O_RDONLY), EACCES);
                 }),
                 0);
    OK(kill(child, SIGKILL));
}

TEST("links_and_descriptors_of_others_are_hidden") {
    const pid_t child = sleeping_child();
    CHECK_EXITED(run_child([&] {
                     become_user();
                     char target[64];
                     for (const char* name : {"exe", "cwd", "root", "ns/net"})
                         CHECK_ERRNO(readlink(of_process(child, name).c_str(), target, sizeof target), EACCES);
                     CHECK_ERRNO(open(of_process(child, "fd").c_str(), O_RDONLY | O_DIRECTORY), EACCES);
                 }),
                 0);
    OK(kill(child, SIGKILL));
}

TEST("stat_and_status_of_others_can_be_read") {
    const pid_t child = sleeping_child();
    CHECK_EXITED(run_child([&] {
                     become_user();
                     CHECK_EQ(number_in(content(of_process(child, "status")), "Pid:"), child);
                     CHECK_EQ(stat_field(content(of_process(child, "stat")), 4), getppid());
                     // Addresses are not for everybody.
                     CHECK_EQ(stat_field(content(of_process(child, "stat")), 28), 0);
                     CHECK(!content(of_process(child, "cmdline")).empty());
                 }),
                 0);
    OK(kill(child, SIGKILL));
}

TEST("files_belong_to_the_processes_user") {
    const pid_t child = OK(fork());
    if (child == 0) {
        become_user();
        OK(prctl(PR_SET_DUMPABLE, 1));
        for (;;) pause();
    }
    struct stat status;
    for (int i = 0; i < 500; ++i) {
        OK(stat(of_process(child, "status").c_str(), &status));
        if (status.st_uid == 1234) break;
        sleep_ms(10);
    }
    CHECK_EQ(status.st_uid, 1234);
    CHECK_EQ(status.st_gid, 1234);
    OK(kill(child, SIGKILL));
}

TEST("files_of_one_who_may_not_be_dumped_belong_to_root") {
    CHECK_EXITED(run_child([] {
                     become_user();
                     OK(prctl(PR_SET_DUMPABLE, 0));
                     struct stat status;
                     OK(stat("/proc/self/status", &status));
                     CHECK_EQ(status.st_uid, 0);
                 }),
                 0);
}

TEST("syscall_of_a_blocked_process") {
    if (access("/proc/self/syscall", F_OK) < 0) SKIP("this kernel has no CONFIG_HAVE_ARCH_TRACEHOOK");
    const pid_t child = sleeping_child();
    const std::string path = of_process(child, "syscall");
    const int fd = open(path.c_str(), O_RDONLY);
    char text[256] = {};
    if (fd < 0 || read(fd, text, sizeof text - 1) < 0) SKIP("may not look into another process here");
    long long number = -1;
    int fields = 1;
    for (const char* c = text; *c; ++c) fields += *c == ' ';
    CHECK_EQ(sscanf(text, "%lld", &number), 1);
    CHECK_EQ(number, SYS_pause);
    CHECK_EQ(fields, 9);
    OK(kill(child, SIGKILL));
}

TEST("stack_is_refused") {
    const int fd = open("/proc/self/stack", O_RDONLY);
    if (fd < 0 && errno == ENOENT) SKIP("this kernel has no CONFIG_STACKTRACE");
    char text[64];
    CHECK_ERRNO(read(OK(fd), text, sizeof text), EACCES);
}

TEST("id_maps_and_setgroups") {
    unsigned long long inside = 1, outside = 1, count = 0;
    CHECK_EQ(sscanf(content("/proc/self/uid_map").c_str(), "%llu %llu %llu", &inside, &outside, &count), 3);
    CHECK_EQ(inside, 0);
    CHECK_GT(count, 0);
    CHECK_EQ(content("/proc/self/uid_map").size(), 33u);
    CHECK_STREQ(content("/proc/self/setgroups").c_str(), "allow\n");
}

TEST("cgroup_of_a_process") {
    const std::string cgroup = content("/proc/self/cgroup");
    CHECK(cgroup.find(":/") != std::string::npos);
    CHECK_EQ(cgroup.back(), '\n');
}

TEST("wchan_has_no_line_feed") { CHECK_STREQ(content("/proc/self/wchan").c_str(), "0"); }

TEST("auxv_is_what_getauxval_reads") {
    const int fd = OK(open("/proc/self/auxv", O_RDONLY));
    unsigned long words[2];
    bool page_size = false;
    while (read(fd, words, sizeof words) == sizeof words && words[0] != 0)
        page_size |= words[0] == 6 && words[1] == 4096;
    CHECK(page_size);
    CHECK_EQ(words[0], 0);
}

TEST("limits_show_setrlimit") {
    const struct rlimit limit = {111, 222};
    OK(setrlimit(RLIMIT_NOFILE, &limit));
    CHECK(has_line(content("/proc/self/limits"),
                   "Max open files            111                  222                  files     \n"));
}

TEST("a_process_that_ends_while_it_is_read_is_esrch") {
    const pid_t child = sleeping_child();
    const int fd = OK(open(of_process(child, "stat").c_str(), O_RDONLY));
    OK(kill(child, SIGKILL));
    OK(waitpid(child, nullptr, 0));
    char text[64];
    CHECK_ERRNO(read(fd, text, sizeof text), ESRCH);
}
