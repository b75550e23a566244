// PID 1 of the emulated machine (scripts/hwkvm): mounts, loads the KVM modules, runs one program, and ends the machine
// with its exit status. With a disk (an ext4 file system on the first NVMe drive, "hwkvm.disk" on the kernel's command
// line) the program's root is the disk, and /t on it is the initramfs's.
//
// The program's output and, at the end, a tar of /out leave the machine byte by byte through two debug ports of QEMU:
// no driver, nothing lost, no terminal in between. The exit status is a line on the console, which QEMU writes to the
// kernel log.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <linux/rtc.h>
#include <net/if.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

enum { kOutputPort = 0x1e0, kFilesPort = 0x1e1, kExitPort = 0x501 };
enum { kMaxWords = 1024, kMaxText = 65536 };

static char command_line[4096];
static char **command, **environment;  // of the program

static bool has_word(const char* word) { return strstr(command_line, word) != NULL; }

static void mount_disk(void) {
    mkdir("/disk", 0755);
    for (int tries = 0; mount("/dev/nvme0n1", "/disk", "ext4", MS_NOATIME, NULL) != 0; tries++) {
        if (tries == 100) {
            printf("hwkvm: cannot mount the disk: %s\n", strerror(errno));
            return;
        }
        usleep(50000);
    }
    const char* folders[] = {"/disk/t", "/disk/out", "/disk/dev", "/disk/proc", "/disk/sys", "/disk/tmp"};
    for (unsigned i = 0; i < sizeof folders / sizeof *folders; i++) mkdir(folders[i], 0755);
    mount("/t", "/disk/t", NULL, MS_BIND, NULL);
    if (chdir("/disk") != 0 || mount(".", "/", NULL, MS_MOVE, NULL) != 0 || chroot(".") != 0 || chdir("/") != 0)
        printf("hwkvm: the disk is not the root: %s\n", strerror(errno));
}

// The first root of a machine has no parent mount, and so no program could pivot_root away from it. A bind mount of the
// same files, moved over it, has.
static void leave_first_root(void) {
    mkdir("/root-again", 0755);
    if (mount("/", "/root-again", NULL, MS_BIND, NULL) != 0 || chdir("/root-again") != 0 ||
        mount(".", "/", NULL, MS_MOVE, NULL) != 0 || chroot(".") != 0 || chdir("/") != 0)
        printf("hwkvm: the first root stays: %s\n", strerror(errno));
}

static void mount_all(void) {
    mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
    mount("proc", "/proc", "proc", 0, NULL);
    mount("sysfs", "/sys", "sysfs", 0, NULL);
    mount("tmpfs", "/tmp", "tmpfs", 0, NULL);
    mkdir("/dev/pts", 0755);
    mkdir("/dev/shm", 01777);
    mount("devpts", "/dev/pts", "devpts", 0, NULL);
    mount("tmpfs", "/dev/shm", "tmpfs", 0, NULL);
    mount("cgroup2", "/sys/fs/cgroup", "cgroup2", 0, NULL);
    int console = open("/dev/console", O_RDWR);
    for (int fd = 0; fd < 3; fd++) dup2(console, fd);
}

static ssize_t read_file(const char* path, char* text, size_t size) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    size_t length = 0;
    ssize_t got;
    while (length < size - 1 && (got = read(fd, text + length, size - 1 - length)) > 0) length += got;
    text[length] = 0;
    close(fd);
    return length;
}

// "module.name=value" words of the kernel's command line are that module's parameters.
static void parameters_of(const char* module, char* text, size_t size) {
    char words[sizeof command_line], *rest;
    size_t prefix = strlen(module);
    strcpy(words, command_line);
    text[0] = 0;
    for (char* word = strtok_r(words, " \n", &rest); word; word = strtok_r(NULL, " \n", &rest))
        if (!strncmp(word, module, prefix) && word[prefix] == '.') {
            strncat(text, word + prefix + 1, size - strlen(text) - 2);
            strcat(text, " ");
        }
}

static void load_modules(void) {
    char list[4096], path[256], parameters[1024], *rest;
    read_file("/lib/modules.order", list, sizeof list);
    for (char* module = strtok_r(list, "\n", &rest); module; module = strtok_r(NULL, "\n", &rest)) {
        snprintf(path, sizeof path, "/lib/%s.ko", module);
        parameters_of(module, parameters, sizeof parameters);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (syscall(SYS_finit_module, fd, parameters, 0) != 0 && errno != EEXIST)
            printf("hwkvm: cannot load %s: %s\n", module, strerror(errno));
        close(fd);
    }
}

// The first VM made and the last one closed switch SVM on and off and patch the kernel's code, after which QEMU 7.2 can
// run stale code and hang on two CPUs. A VM that is never closed avoids it.
static void keep_a_vm(void) {
    int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (kvm >= 0 && ioctl(kvm, KVM_CREATE_VM, 0) >= 0) return;
    printf("hwkvm: no usable /dev/kvm: %s\n", strerror(errno));
}

// QEMU 7.2 can forget that an interrupt is pending while a guest of the machine runs: the CPU then stays in that guest
// for ever, since the timer, whose interrupt it was, is not set again. Any other interrupt wakes it: the real-time
// clock's, once a second.
static void start_second_clock(void) {
    int clock = open("/dev/rtc0", O_RDONLY | O_CLOEXEC);
    if (clock < 0 || ioctl(clock, RTC_UIE_ON, 0) != 0)
        printf("hwkvm: no interrupts of the real-time clock: %s\n", strerror(errno));
}

static void loopback_up(void) {
    struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &request) != 0) printf("hwkvm: no loopback network: %s\n", strerror(errno));
    close(fd);
}

// NUL-separated words of a file as a NULL-terminated array.
static char** words_of(const char* path) {
    static char text[2][kMaxText];
    static char* words[2][kMaxWords];
    static int used;
    int slot = used++ & 1, count = 0;
    ssize_t length = read_file(path, text[slot], kMaxText);
    for (char* p = text[slot]; p < text[slot] + length && count < kMaxWords - 1; p += strlen(p) + 1)
        words[slot][count++] = p;
    words[slot][count] = NULL;
    return words[slot];
}

// Starts a program with its output in a pipe; the reading end.
static int start(char** command, char** environment, const char* folder, pid_t* pid) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return -1;
    *pid = fork();
    if (*pid == 0) {
        setsid();
        dup2(open("/dev/null", O_RDONLY), 0);
        dup2(ends[1], 1);
        dup2(ends[1], 2);
        if (chdir(folder) != 0) _exit(127);
        setenv("PATH", "/bin:/sbin:/usr/bin:/usr/sbin:/t", 1);
        setenv("HOME", "/tmp", 1);
        for (; environment && *environment; environment++) putenv(*environment);
        execvp(command[0], command);
        fprintf(stderr, "hwkvm: cannot run %s: %s\n", command[0], strerror(errno));
        _exit(127);
    }
    close(ends[1]);
    return ends[0];
}

static void pump(int from, unsigned short port) {
    static char bytes[kMaxText];
    ssize_t got;
    while ((got = read(from, bytes, sizeof bytes)) > 0) outsb(port, bytes, got);
    close(from);
}

// Output may be held open by a grandchild that outlives the program: its exit ends the pump a little later.
static pid_t program;
static void on_child(int signal) {
    (void)signal;
    siginfo_t info = {0};
    if (waitid(P_PID, program, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == program) alarm(1);
}
static void on_alarm(int signal) { (void)signal; }

static int run_program(void) {
    struct sigaction child = {.sa_handler = on_child, .sa_flags = SA_RESTART}, alarm_action = {.sa_handler = on_alarm};
    sigaction(SIGCHLD, &child, NULL);
    sigaction(SIGALRM, &alarm_action, NULL);
    int output = start(command, environment, "/t", &program);
    pump(output, kOutputPort);
    int status = 0;
    while (waitpid(program, &status, 0) < 0 && errno == EINTR) {}
    alarm(0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void send_files(void) {
    char* archive[] = {"tar", "-cf", "-", "-C", "/out", ".", NULL};
    pid_t pid;
    pump(start(archive, NULL, "/", &pid), kFilesPort);
}

int main(void) {
    mount("proc", "/proc", "proc", 0, NULL);
    read_file("/proc/cmdline", command_line, sizeof command_line);
    command = words_of("/hwkvm.command");
    environment = words_of("/hwkvm.environment");
    mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
    load_modules();
    if (has_word("hwkvm.disk"))
        mount_disk();
    else
        leave_first_root();
    mount_all();
    keep_a_vm();
    start_second_clock();
    loopback_up();
    if (iopl(3) != 0) printf("hwkvm: no access to ports: %s\n", strerror(errno));
    int status = run_program();
    send_files();
    printf("\nhwkvm: exit status %d\n", status);
    fflush(stdout);
    tcdrain(1);
    outb(0, kExitPort);
    reboot(RB_POWER_OFF);
    for (;;) pause();
}
