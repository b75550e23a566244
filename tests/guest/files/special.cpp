// /dev and /proc.
#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <algorithm>
#include <string>

#include "tests/guest/guest_test.hpp"

using namespace guest;

namespace {
std::string text_of(const char* path) {
    static char buffer[262144];
    ssize_t n = OK(read_file(path, buffer, sizeof(buffer)));
    return std::string(buffer, static_cast<size_t>(n));
}

std::string field(const std::string& text, const char* name) {
    size_t at = text.find(std::string("\n") + name);
    if (text.compare(0, strlen(name), name) == 0)
        at = 0;
    else if (at == std::string::npos)
        return "(missing)";
    else
        at++;
    size_t end = text.find('\n', at), colon = text.find_first_of(":", at);
    size_t start = text.find_first_not_of(" \t", colon + 1);
    return start == std::string::npos || start > end ? "" : text.substr(start, end - start);
}

bool contains(const std::string& text, const char* part) { return text.find(part) != std::string::npos; }
}  // namespace

TEST("dev_null") {
    int fd = OK(open("/dev/null", O_RDWR));
    char byte;
    CHECK_EQ(read(fd, &byte, 1), 0);
    CHECK_EQ(write(fd, "hello", 5), 5);
    OK(open("/dev/null", O_WRONLY | O_TRUNC | O_CREAT, 0666));
    CHECK_EQ(lseek(fd, 100, SEEK_SET), 0);
}

TEST("dev_zero") {
    int fd = OK(open("/dev/zero", O_RDWR));
    char block[5000];
    memset(block, 1, sizeof(block));
    CHECK_EQ(read(fd, block, sizeof(block)), sizeof(block));
    for (char byte : block) CHECK_EQ(byte, 0);
    CHECK_EQ(write(fd, block, 10), 10);
}

TEST("dev_full") {
    int fd = OK(open("/dev/full", O_RDWR));
    CHECK_ERRNO(write(fd, "x", 1), ENOSPC);
    char byte = 1;
    CHECK_EQ(read(fd, &byte, 1), 1);
    CHECK_EQ(byte, 0);
}

TEST("dev_random_and_urandom") {
    for (const char* path : {"/dev/random", "/dev/urandom"}) {
        int fd = OK(open(path, O_RDONLY));
        unsigned char a[64] = {}, b[64] = {};
        CHECK_EQ(read(fd, a, 64), 64);
        CHECK_EQ(read(fd, b, 64), 64);
        CHECK(memcmp(a, b, 64) != 0);
        struct stat info;
        OK(fstat(fd, &info));
        CHECK(S_ISCHR(info.st_mode));
    }
}

TEST("dev_tty_without_terminal_is_enxio") { CHECK_ERRNO(open("/dev/tty", O_RDWR), ENXIO); }

TEST("dev_fd_and_stdin_links") {
    OK(access("/dev/fd", F_OK));
    char target[100];
    ssize_t n = OK(readlink("/dev/stdin", target, sizeof(target) - 1));
    target[n] = 0;
    CHECK_STREQ(target, "/proc/self/fd/0");
}

TEST("proc_self_is_own_pid") {
    char target[32];
    ssize_t n = OK(readlink("/proc/self", target, sizeof(target) - 1));
    target[n] = 0;
    CHECK_STREQ(target, std::to_string(getpid()).c_str());
}

TEST("proc_status_fields") {
    std::string text = text_of("/proc/self/status");
    CHECK_STREQ(field(text, "Pid").c_str(), std::to_string(getpid()).c_str());
    CHECK_STREQ(field(text, "PPid").c_str(), std::to_string(getppid()).c_str());
    CHECK_STREQ(field(text, "Tgid").c_str(), std::to_string(getpid()).c_str());
    CHECK_STREQ(field(text, "Uid").c_str(), "0\t0\t0\t0");
    CHECK_STREQ(field(text, "Gid").c_str(), "0\t0\t0\t0");
    CHECK_STREQ(field(text, "Threads").c_str(), "1");
    CHECK_STREQ(field(text, "Name").c_str(), "files");
    CHECK_STREQ(field(text, "NoNewPrivs").c_str(), "0");
    CHECK(contains(field(text, "State"), "R"));
    CHECK_NE(field(text, "CapEff").size(), 0u);
    CHECK(contains(field(text, "VmRSS"), "kB"));
    CHECK(contains(field(text, "VmSize"), "kB"));
}

TEST("proc_status_caps_and_signals") {
    CHECK_EXITED(run_child([] {
                     signal(SIGUSR1, SIG_IGN);
                     sigset_t set;
                     sigemptyset(&set);
                     sigaddset(&set, SIGUSR2);
                     sigprocmask(SIG_BLOCK, &set, nullptr);
                     std::string text = text_of("/proc/self/status");
                     CHECK_STREQ(field(text, "SigBlk").c_str(), "0000000000000800");
                     CHECK_EQ(std::stoul(field(text, "SigIgn"), nullptr, 16) & 0x200, 0x200);
                     OK(setresuid(1000, 1000, 1000));
                     CHECK_STREQ(field(text_of("/proc/self/status"), "CapEff").c_str(), "0000000000000000");
                 }),
                 0);
}

TEST("proc_stat_line") {
    std::string text = text_of("/proc/self/stat");
    int pid = 0, ppid = 0, pgrp = 0, session = 0;
    char name[64], state;
    CHECK_EQ(sscanf(text.c_str(), "%d %63s %c %d %d %d", &pid, name, &state, &ppid, &pgrp, &session), 6);
    CHECK_EQ(pid, getpid());
    CHECK_STREQ(name, "(files)");
    CHECK_EQ(state, 'R');
    CHECK_EQ(ppid, getppid());
    CHECK_EQ(pgrp, getpgrp());
    CHECK_EQ(session, getsid(0));
    CHECK_EQ(std::count(text.begin(), text.end(), ' '), 51);
}

TEST("proc_cmdline_has_nul_ends") {
    std::string text = text_of("/proc/self/cmdline");
    CHECK(text.size() > 6);
    CHECK_STREQ(text.c_str(), "/guest/files");
    CHECK_EQ(text.back(), 0);
}

TEST("proc_environ") { CHECK(contains(text_of("/proc/self/environ"), "PATH=")); }

TEST("proc_comm_can_be_written") {
    CHECK_STREQ(text_of("/proc/self/comm").c_str(), "files\n");
    int fd = OK(open("/proc/self/comm", O_WRONLY));
    CHECK_EQ(write(fd, "other", 5), 5);
    CHECK_STREQ(text_of("/proc/self/comm").c_str(), "other\n");
}

TEST("proc_maps") {
    std::string text = text_of("/proc/self/maps");
    CHECK(contains(text, "/guest/files\n"));
    CHECK(contains(text, "[stack]\n"));
    CHECK(contains(text, "[heap]\n"));
    CHECK(contains(text, "[vdso]\n"));
    CHECK(contains(text, "r-xp"));
    char line[200];
    snprintf(line, sizeof(line), "%s", text.c_str());
    unsigned long start, end, offset, inode;
    char permissions[8];
    unsigned major, minor;
    CHECK_EQ(sscanf(line, "%lx-%lx %4s %lx %x:%x %lu", &start, &end, permissions, &offset, &major, &minor, &inode), 7);
    CHECK_LT(start, end);
}

TEST("proc_maps_shows_protection") {
    char* memory = static_cast<char*>(OK(mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)));
    char line[64];
    snprintf(line, sizeof(line), "%lx", reinterpret_cast<unsigned long>(memory));
    std::string text = text_of("/proc/self/maps");
    OK(mprotect(memory, 4096, PROT_NONE));
    CHECK(contains(text_of("/proc/self/maps"), "---p"));
}

TEST("proc_fd_lists_and_links") {
    scratch();
    int fd = OK(open("file", O_RDWR | O_CREAT, 0600));
    char path[64], target[400];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    ssize_t n = OK(readlink(path, target, sizeof(target) - 1));
    target[n] = 0;
    char cwd[300];
    CHECK(getcwd(cwd, sizeof(cwd)) != nullptr);
    CHECK_STREQ(target, (std::string(cwd) + "/file").c_str());
    OK(unlink("file"));
    n = OK(readlink(path, target, sizeof(target) - 1));
    target[n] = 0;
    CHECK_STREQ(target, (std::string(cwd) + "/file (deleted)").c_str());
    CHECK_ERRNO(readlink("/proc/self/fd/199", target, 10), ENOENT);
    int again = OK(open(path, O_RDWR));
    CHECK_EQ(write(again, "x", 1), 1);
    struct stat info;
    OK(fstat(fd, &info));
    CHECK_EQ(info.st_size, 1);
}

TEST("proc_fd_directory") {
    DIR* directory = opendir("/proc/self/fd");
    CHECK(directory != nullptr);
    bool has[3] = {};
    while (dirent* entry = readdir(directory)) {
        int fd = atoi(entry->d_name);
        if (entry->d_name[0] >= '0' && entry->d_name[0] <= '9' && fd < 3) has[fd] = true;
    }
    CHECK(has[0] && has[1] && has[2]);
}

TEST("proc_exe_cwd_root_links") {
    char target[300];
    ssize_t n = OK(readlink("/proc/self/exe", target, sizeof(target) - 1));
    target[n] = 0;
    CHECK_STREQ(target, "/guest/files");
    const char* folder = scratch();
    n = OK(readlink("/proc/self/cwd", target, sizeof(target) - 1));
    target[n] = 0;
    CHECK_STREQ(target, folder);
    n = OK(readlink("/proc/self/root", target, sizeof(target) - 1));
    target[n] = 0;
    CHECK_STREQ(target, "/");
}

TEST("proc_of_child_and_gone_child") {
    int go[2];
    OK(pipe(go));
    pid_t pid = OK(fork());
    if (pid == 0) {
        close(go[1]);
        char byte;
        _exit(read(go[0], &byte, 1) == 0 ? 0 : 1);
    }
    std::string path = "/proc/" + std::to_string(pid);
    CHECK_STREQ(field(text_of((path + "/status").c_str()), "PPid").c_str(), std::to_string(getpid()).c_str());
    int fd = OK(open((path + "/status").c_str(), O_RDONLY));
    close(go[1]);
    siginfo_t info;
    OK(waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT));
    CHECK(contains(field(text_of((path + "/status").c_str()), "State"), "Z"));
    OK(waitpid(pid, nullptr, 0));
    CHECK_ERRNO(access(path.c_str(), F_OK), ENOENT);
    char byte;
    CHECK_ERRNO(read(fd, &byte, 1), ESRCH);
}

TEST("proc_lists_processes") {
    DIR* directory = opendir("/proc");
    CHECK(directory != nullptr);
    bool self = false, one = false;
    while (dirent* entry = readdir(directory)) {
        self = self || atoi(entry->d_name) == getpid();
        one = one || strcmp(entry->d_name, "1") == 0;
    }
    CHECK(self);
    CHECK(one);
}

TEST("proc_task_directory") {
    std::string path = "/proc/self/task/" + std::to_string(getpid()) + "/comm";
    CHECK_STREQ(text_of(path.c_str()).c_str(), "files\n");
}

TEST("proc_meminfo") {
    std::string text = text_of("/proc/meminfo");
    long total = 0, free = 0, available = 0;
    CHECK_EQ(sscanf(field(text, "MemTotal").c_str(), "%ld kB", &total), 1);
    CHECK_EQ(sscanf(field(text, "MemFree").c_str(), "%ld kB", &free), 1);
    CHECK_EQ(sscanf(field(text, "MemAvailable").c_str(), "%ld kB", &available), 1);
    CHECK_GT(total, 1000);
    CHECK_LE(free, total);
    CHECK_LE(available, total);
}

TEST("proc_cpuinfo_has_a_block_per_cpu") {
    std::string text = text_of("/proc/cpuinfo");
    long blocks = 0;
    for (size_t at = 0; (at = text.find("processor\t", at)) != std::string::npos; at++) blocks++;
    CHECK_EQ(blocks, sysconf(_SC_NPROCESSORS_ONLN));
    CHECK(contains(text, "model name"));
    CHECK(contains(text, "flags"));
}

TEST("proc_stat_has_cpu_lines") {
    std::string text = text_of("/proc/stat");
    CHECK_EQ(text.compare(0, 4, "cpu "), 0);
    CHECK(contains(text, "\ncpu0 "));
    CHECK(contains(text, "\nbtime "));
    CHECK(contains(text, "\nprocesses "));
}

TEST("proc_uptime_loadavg_version") {
    double up = -1, idle = -1;
    CHECK_EQ(sscanf(text_of("/proc/uptime").c_str(), "%lf %lf", &up, &idle), 2);
    CHECK(up >= 0);
    CHECK_EQ(text_of("/proc/version").compare(0, 14, "Linux version "), 0);
    double one;
    CHECK_EQ(sscanf(text_of("/proc/loadavg").c_str(), "%lf", &one), 1);
}

TEST("proc_mounts_lists_mounts") {
    std::string text = text_of("/proc/mounts");
    CHECK(contains(text, " / "));
    CHECK(contains(text, " /proc proc "));
    CHECK(contains(text, " /tmp tmpfs "));
    CHECK(text_of("/proc/self/mounts") == text);
}

TEST("proc_filesystems") { CHECK(contains(text_of("/proc/filesystems"), "nodev\tproc")); }

TEST("proc_reads_in_pieces") {
    int fd = OK(open("/proc/self/maps", O_RDONLY));
    std::string pieces;
    char part[7];
    for (ssize_t n; (n = read(fd, part, sizeof(part))) > 0;) pieces.append(part, static_cast<size_t>(n));
    CHECK_GT(pieces.size(), 200u);
    CHECK_EQ(pieces.back(), '\n');
    CHECK_EQ(lseek(fd, 0, SEEK_SET), 0);
    CHECK_EQ(read(fd, part, 7), 7);
    CHECK_EQ(memcmp(part, pieces.data(), 7), 0);
}

TEST("proc_files_cannot_be_made_or_removed") {
    CHECK_ERRNO(open("/proc/newfile", O_WRONLY | O_CREAT, 0600), ENOENT);
    CHECK_ERRNO(unlink("/proc/version"), EPERM);
    CHECK_ERRNO(mkdir("/proc/folder", 0700), ENOENT);
    int fd = OK(open("/proc/version", O_RDONLY));
    CHECK_ERRNO(write(fd, "x", 1), EBADF);
}

TEST("proc_sys_kernel_files") {
    CHECK_STREQ(text_of("/proc/sys/kernel/hostname").c_str(), "kvmsbx-test\n");
    CHECK_STREQ(text_of("/proc/sys/kernel/ostype").c_str(), "Linux\n");
    CHECK_GT(std::stol(text_of("/proc/sys/kernel/pid_max")), 1000);
}

TEST("dev_shm_is_a_tmpfs") {
    CHECK(write_file("/dev/shm/file", "x"));
    struct stat info;
    OK(stat("/dev/shm", &info));
    CHECK_EQ(info.st_mode & 07777, 01777);
    OK(unlink("/dev/shm/file"));
}
