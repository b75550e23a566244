// /proc: what programs read from it (proc(5)).
#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>

#include <cstdlib>
#include <thread>

#include "tests/guest/guest_test.hpp"

using namespace guest;

namespace {

char text[65536];

const char* content(const char* path) {
    OK(read_file(path, text, sizeof text));
    return text;
}

// The value behind "Name:" in a table like status or meminfo.
long value_of(const char* table, const char* name) {
    const char* line = strstr(table, name);
    CHECK(line != nullptr);
    return strtol(line + strlen(name), nullptr, 10);
}

}  // namespace

// Browsers' sandboxes take it for the number of threads.
TEST("links_of_directories_count_what_is_below") {
    struct stat status;
    OK(stat("/proc/self/task", &status));
    CHECK_EQ(status.st_nlink, 3U);
    std::thread([&] {
        OK(stat("/proc/self/task", &status));
        CHECK_EQ(status.st_nlink, 4U);
    }).join();
    OK(stat("/proc/self/fd", &status));
    CHECK_EQ(status.st_nlink, 2U);
    OK(stat("/proc", &status));
    CHECK_GE(status.st_nlink, 3U);
    OK(stat("/sys/devices/system/cpu/cpu0", &status));
    CHECK_GE(status.st_nlink, 4U);
}

TEST("proc_self") {
    char target[64] = {};
    OK(readlink("/proc/self", target, sizeof target - 1));
    CHECK_EQ(atoi(target), getpid());
    CHECK_EXITED(run_child([] {
                     char own[64] = {};
                     OK(readlink("/proc/self", own, sizeof own - 1));
                     CHECK_EQ(atoi(own), getpid());
                     OK(readlink("/proc/thread-self", own, sizeof own - 1));
                     char expected[64];
                     snprintf(expected, sizeof expected, "%d/task/%d", getpid(), getpid());
                     CHECK_STREQ(own, expected);
                 }),
                 0);
    struct statfs fs;
    OK(statfs("/proc", &fs));
    CHECK_EQ(fs.f_type, 0x9fa0);
}

TEST("proc_stat_and_status") {
    OK(prctl(PR_SET_NAME, "a (b) c"));
    int pid, parent, group, session;
    char state;
    const char* stat = content("/proc/self/stat");
    CHECK(strstr(stat, "(a (b) c) R ") != nullptr);
    CHECK_EQ(sscanf(stat, "%d", &pid), 1);
    CHECK_EQ(pid, getpid());
    CHECK_EQ(sscanf(strrchr(stat, ')') + 2, "%c %d %d %d", &state, &parent, &group, &session), 4);
    CHECK_EQ(parent, getppid());
    CHECK_EQ(group, getpgrp());
    CHECK_EQ(session, getsid(0));
    int fields = 2;
    for (const char* c = strrchr(stat, ')'); *c; ++c) fields += *c == ' ';
    CHECK_EQ(fields, 52);
    const char* status = content("/proc/self/status");
    CHECK_EQ(value_of(status, "\nTgid:\t"), getpid());
    CHECK_EQ(value_of(status, "\nPPid:\t"), getppid());
    CHECK_EQ(value_of(status, "\nThreads:\t"), 1);
    CHECK_EQ(value_of(status, "\nUid:\t"), static_cast<long>(getuid()));
    CHECK_GT(value_of(status, "\nVmRSS:\t"), 0);
    CHECK_STREQ(content("/proc/self/comm"), "a (b) c\n");
    const int comm = OK(open("/proc/self/comm", O_WRONLY | O_TRUNC));
    OK(write(comm, "renamed", 7));
    CHECK_STREQ(content("/proc/self/comm"), "renamed\n");
}

TEST("proc_zombie") {
    const pid_t child = OK(fork());
    if (child == 0) _exit(0);
    siginfo_t info;
    OK(waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT));
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/stat", child);
    CHECK(strstr(content(path), ") Z ") != nullptr);
    snprintf(path, sizeof path, "/proc/%d/cmdline", child);
    CHECK_STREQ(content(path), "");
    OK(waitpid(child, nullptr, 0));
    CHECK_ERRNO(open(path, O_RDONLY), ENOENT);
}

TEST("proc_maps") {
    char* area = static_cast<char*>(OK(mmap(nullptr, 8192, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)));
    OK(mprotect(area, 4096, PROT_READ | PROT_WRITE));
    char line[64];
    snprintf(line, sizeof line, "%08lx-%08lx rw-p 00000000 00:00 0 ", reinterpret_cast<unsigned long>(area),
             reinterpret_cast<unsigned long>(area) + 4096);
    const char* maps = content("/proc/self/maps");
    CHECK(strstr(maps, line) != nullptr);
    CHECK(strstr(maps, "[stack]\n") != nullptr);
    CHECK(strstr(maps, "[heap]\n") != nullptr);
    char program[256] = {};
    OK(readlink("/proc/self/exe", program, sizeof program - 1));
    CHECK(strstr(maps, program) != nullptr);
    // The name stands in column 73.
    const char* at = strstr(maps, program);
    const char* start = at;
    while (start > maps && start[-1] != '\n') --start;
    CHECK_EQ(at - start, 73);
}

TEST("proc_cmdline_and_environ") {
    CHECK(strlen(content("/proc/self/cmdline")) > 0);
    OK(read_file("/proc/self/environ", text, sizeof text));
    struct stat status;
    OK(stat("/proc/self/environ", &status));
    CHECK_EQ(status.st_mode & 0777, 0400);
    CHECK_EQ(status.st_size, 0);
}

TEST("proc_descriptors") {
    const int fd = OK(open("/tmp/proc_fd_test", O_RDWR | O_CREAT | O_TRUNC, 0600));
    OK(write(fd, "abc", 3));
    char link[64], target[256] = {};
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    OK(readlink(link, target, sizeof target - 1));
    CHECK_STREQ(target, "/tmp/proc_fd_test");
    struct stat status;
    OK(lstat(link, &status));
    CHECK_EQ(status.st_mode, S_IFLNK | 0700);
    CHECK_EQ(status.st_size, 64);
    const int again = OK(open(link, O_RDONLY));
    char buffer[8];
    CHECK_EQ(OK(read(again, buffer, 8)), 3);
    OK(unlink("/tmp/proc_fd_test"));
    OK(readlink(link, target, sizeof target - 1));
    CHECK_STREQ(target, "/tmp/proc_fd_test (deleted)");
    OK(open(link, O_RDONLY));
    snprintf(link, sizeof link, "/proc/self/fdinfo/%d", fd);
    CHECK_EQ(value_of(content(link), "pos:\t"), 3);
    int pipe_ends[2];
    OK(pipe(pipe_ends));
    snprintf(link, sizeof link, "/proc/self/fd/%d", pipe_ends[0]);
    memset(target, 0, sizeof target);
    OK(readlink(link, target, sizeof target - 1));
    CHECK_EQ(strncmp(target, "pipe:[", 6), 0);
    OK(close(fd));
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    CHECK_ERRNO(readlink(link, target, sizeof target), ENOENT);
}

TEST("proc_fd_directory") {
    DIR* directory = opendir("/proc/self/fd");
    CHECK(directory != nullptr);
    int found = 0;
    while (dirent* entry = readdir(directory)) {
        if (entry->d_name[0] == '.') continue;
        CHECK_EQ(entry->d_type, DT_LNK);
        ++found;
    }
    CHECK_GE(found, 4);
    closedir(directory);
}

TEST("proc_lists_processes") {
    const pid_t child = OK(fork());
    if (child == 0) {
        pause();
        _exit(0);
    }
    bool self = false, other = false, version = false;
    DIR* directory = opendir("/proc");
    CHECK(directory != nullptr);
    while (dirent* entry = readdir(directory)) {
        self |= atoi(entry->d_name) == getpid();
        other |= atoi(entry->d_name) == child;
        version |= !strcmp(entry->d_name, "version");
    }
    closedir(directory);
    CHECK(self);
    CHECK(other);
    CHECK(version);
    OK(kill(child, SIGKILL));
}

TEST("proc_places") {
    char target[256] = {};
    OK(chdir("/tmp"));
    OK(readlink("/proc/self/cwd", target, sizeof target - 1));
    CHECK_STREQ(target, "/tmp");
    memset(target, 0, sizeof target);
    OK(readlink("/proc/self/root", target, sizeof target - 1));
    CHECK_STREQ(target, "/");
    struct stat by_link, by_name;
    OK(stat("/proc/self/cwd", &by_link));
    OK(stat("/tmp", &by_name));
    CHECK_EQ(by_link.st_ino, by_name.st_ino);
    OK(chdir("/proc/self"));
    CHECK(getcwd(target, sizeof target) != nullptr);
    char expected[64];
    snprintf(expected, sizeof expected, "/proc/%d", getpid());
    CHECK_STREQ(target, expected);
    OK(access("status", R_OK));
}

TEST("proc_system_files") {
    CHECK_GT(value_of(content("/proc/meminfo"), "MemTotal:"), 0);
    CHECK_EQ(strncmp(content("/proc/stat"), "cpu  ", 5), 0);
    CHECK(strstr(text, "\nbtime ") != nullptr);
    CHECK_EQ(strncmp(content("/proc/version"), "Linux version ", 14), 0);
    double up = 0, idle = 0, load = 0;
    CHECK_EQ(sscanf(content("/proc/uptime"), "%lf %lf", &up, &idle), 2);
    CHECK(up > 0);
    CHECK_EQ(sscanf(content("/proc/loadavg"), "%lf", &load), 1);
    CHECK(strstr(content("/proc/filesystems"), "nodev\tproc\n") != nullptr);
    CHECK(strstr(content("/proc/mounts"), " /proc proc ") != nullptr);
    CHECK(strstr(content("/proc/self/mountinfo"), " /proc ") != nullptr);
    CHECK(strstr(content("/proc/cpuinfo"), "processor\t: 0\n") != nullptr);
    CHECK(strstr(content("/proc/self/limits"), "Max open files            ") != nullptr);
    CHECK_STREQ(content("/proc/sys/kernel/ostype"), "Linux\n");
    CHECK_EQ(strlen(content("/proc/sys/kernel/random/uuid")), 37);
    char first[64];
    snprintf(first, sizeof first, "%s", content("/proc/sys/kernel/random/boot_id"));
    CHECK_STREQ(content("/proc/sys/kernel/random/boot_id"), first);
}

TEST("proc_reads_go_on_and_rewind") {
    const int fd = OK(open("/proc/self/status", O_RDONLY));
    char one[5000] = {}, two[5000] = {};
    size_t size = 0;
    for (ssize_t got; (got = OK(read(fd, one + size, 7))) > 0;) size += static_cast<size_t>(got);
    CHECK_GT(size, 300u);
    OK(lseek(fd, 0, SEEK_SET));
    OK(read(fd, two, 100));
    CHECK_EQ(memcmp(one, two, 20), 0);
    CHECK_GT(OK(pread(fd, two, 10, 5)), 0);
}

TEST("proc_refuses_changes") {
    CHECK_ERRNO(mkdir("/proc/x", 0777), ENOENT);
    CHECK_ERRNO(open("/proc/nothing", O_RDONLY), ENOENT);
    CHECK_ERRNO(unlink("/proc/version"), EPERM);
}
