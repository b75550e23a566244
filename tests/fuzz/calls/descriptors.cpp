// Descriptors of every kind, most of them in a state in which something can happen to them.
#include <fcntl.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <time.h>

#include <cstdio>
#include <initializer_list>

#include "tests/fuzz/calls/calls.hpp"

namespace calls {
namespace {

int open_file(const char* path, int flags) { return (int)call(SYS_openat, AT_FDCWD, path, flags, 0666); }

// Into the range of its kind, where another is closed for it.
int keep(World& world, Kind kind, long fd) {
    if (fd < 0) return -1;
    const long kept = call(SYS_dup3, fd, range_of(kind) + world.random.below(kRange), 0);
    if (!one_in(world.random, 4)) call(SYS_close, fd);
    return (int)(kept < 0 ? fd : kept);
}

void open_own_file(World& world) {
    char path[32];
    sprintf(path, "%sf%u", world.random.below(3) ? "" : "/tmp/", (unsigned)world.random.below(5));
    const int fd = open_file(path, O_RDWR | O_CREAT | O_NONBLOCK);
    if (world.random.below(2)) call(SYS_ftruncate, fd, world.random.below(40000));
    call(SYS_write, fd, kWork, 100);
}

void open_path(World& world) {
    char path[8192];
    make_path(world, path);
    open_file(path, (int)make_value(world, Kind::kOpenFlags) & ~O_CREAT);
}

void open_special(World& world) {
    static constexpr const char* kFiles[] = {"/dev/null",
                                             "/dev/zero",
                                             "/dev/full",
                                             "/dev/urandom",
                                             "/dev/ptmx",
                                             "/dev/shm/s1",
                                             "/proc/self/mem",
                                             "/proc/self/maps",
                                             "/proc/self/mountinfo",
                                             "/proc/stat",
                                             "/proc/self/fd",
                                             "/proc",
                                             "/proc/self/task",
                                             "/sys/devices/system/cpu",
                                             "/sys/fs/cgroup/cgroup.procs",
                                             ".",
                                             "/",
                                             "/dev",
                                             "/tmp",
                                             "/bin/busybox",
                                             "/proc/self/pagemap",
                                             "/proc/net/tcp",
                                             "/proc/self/ns/pid"};
    const char* file = kFiles[world.random.below(sizeof kFiles / sizeof kFiles[0])];
    if (open_file(file, O_RDWR | O_NONBLOCK) < 0)
        open_file(file, world.random.below(3) ? O_RDONLY | O_NONBLOCK : O_PATH);
}

void open_pipe(World& world) {
    int ends[2];
    if (call(SYS_pipe2, ends, world.random.below(4) ? O_NONBLOCK : 0) != 0) return;
    if (world.random.below(2)) call(SYS_write, ends[1], kWork, world.random.below(5000));
}

void open_socket_pair(World& world) {
    int ends[2];
    static constexpr int kTypes[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET};
    if (call(SYS_socketpair, AF_UNIX, kTypes[world.random.below(3)] | SOCK_NONBLOCK, 0, ends) == 0 &&
        world.random.below(2))
        call(SYS_write, ends[0], kWork, world.random.below(500));
    for (const int end : ends) keep(world, Kind::kSocketFd, end);
}

void open_socket(World& world) {
    const int family = (int)make_value(world, Kind::kFamily), type = 1 + (int)world.random.below(3);
    const int fd = keep(world, Kind::kSocketFd, call(SYS_socket, family, type | SOCK_NONBLOCK, 0));
    if (world.random.below(2)) call(SYS_bind, fd, make_value(world, Kind::kSocketAddress), 16);
    if (world.random.below(2)) call(SYS_listen, fd, world.random.below(5));
}

// A connection through loopback, and its listener.
void open_connection(World& world) {
    sockaddr_in address = {};
    uint32_t size = sizeof address;
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const int listener = keep(world, Kind::kSocketFd, call(SYS_socket, AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
    call(SYS_bind, listener, &address, sizeof address);
    call(SYS_listen, listener, 4);
    call(SYS_getsockname, listener, &address, &size);
    const int client = keep(world, Kind::kSocketFd, call(SYS_socket, AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
    call(SYS_connect, client, &address, sizeof address);
    if (world.random.below(2)) keep(world, Kind::kSocketFd, call(SYS_accept4, listener, 0, 0, SOCK_NONBLOCK));
    call(SYS_write, client, kWork, world.random.below(500));
}

void open_epoll(World& world) {
    const int fd = keep(world, Kind::kEpollFd, call(SYS_epoll_create1, 0));
    for (unsigned i = 0; i < 4; i++) {
        epoll_event event = {.events = (uint32_t)(EPOLLIN | EPOLLOUT | (world.random.below(2) ? (uint32_t)EPOLLET : 0)),
                             .data = {.u64 = i}};
        call(SYS_epoll_ctl, fd, EPOLL_CTL_ADD, random_fd(world.random), &event);
    }
}

void open_timer(World& world) {
    const int fd = keep(world, Kind::kTimerFd, call(SYS_timerfd_create, world.random.below(2), TFD_NONBLOCK));
    const itimerspec setting = {{0, (long)(1'000'000 + world.random.below(5'000'000))}, {0, 1000}};
    call(SYS_timerfd_settime, fd, 0, &setting, 0);
}

void open_memory(World& world) {
    const int fd = (int)call(SYS_memfd_create, "m", 2);
    call(SYS_ftruncate, fd, world.random.below(60000));
    if (world.random.below(3) == 0) call(SYS_fcntl, fd, F_ADD_SEALS, world.random.below(32));
    call(SYS_mmap, kFree + 4096 * world.random.below(64), 8192, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
}

void open_event(World& world) {
    const uint64_t signals = 1ULL << world.random.below(64);
    switch (world.random.below(5)) {
        case 0:
            call(SYS_eventfd2, world.random.below(3), EFD_NONBLOCK | (world.random.below(2) ? EFD_SEMAPHORE : 0));
            return;
        case 1: keep(world, Kind::kSignalFd, call(SYS_signalfd4, -1, &signals, 8, O_NONBLOCK)); return;
        case 2: keep(world, Kind::kPidFd, call(SYS_pidfd_open, call(SYS_getpid), 0)); return;
        case 3: keep(world, Kind::kPidFd, call(SYS_pidfd_open, random_pid(world), 0)); return;
        default: {
            const int fd = keep(world, Kind::kWatchFd, call(SYS_inotify_init1, O_NONBLOCK));
            call(SYS_inotify_add_watch, fd, ".", 0xfff);
            call(SYS_inotify_add_watch, fd, "/tmp", 0xfff);
        }
    }
}

void open_terminal(World& world) {
    const int master = open_file("/dev/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK), unlocked = 0;
    unsigned number = 0;
    call(SYS_ioctl, master, TIOCSPTLCK, &unlocked);
    call(SYS_ioctl, master, TIOCGPTN, &number);
    char path[32];
    sprintf(path, "/dev/pts/%u", number);
    open_file(path, O_RDWR | O_NONBLOCK | (world.random.below(2) ? O_NOCTTY : 0));
    call(SYS_write, master, kWork, world.random.below(200));
}

void open_queue(World& world) {
    static constexpr const char* kNames[] = {"q1", "q2", "q3"};
    keep(world, Kind::kQueueFd,
         call(SYS_mq_open, kNames[world.random.below(3)], O_RDWR | O_CREAT | O_NONBLOCK, 0666, 0));
}

// Only an admin gets the last of them.
void open_mount(World& world) {
    const int tree = keep(world, Kind::kMountFd,
                          call(SYS_open_tree, AT_FDCWD, world.random.below(2) ? "/tmp" : ".", world.random.below(2)));
    if (tree < 0 || world.random.below(2)) return;
    const int context = keep(world, Kind::kMountFd, call(SYS_fsopen, "tmpfs", 0));
    if (world.random.below(3) == 0) return;
    call(SYS_fsconfig, context, 6, 0, 0, 0);
    keep(world, Kind::kMountFd, call(SYS_fsmount, context, 0, 0));
}

void open_ipc(World& world) {
    const uint64_t key = 0x5000 + world.random.below(6);
    const long ids[3] = {call(SYS_shmget, key, 4096 * (1 + world.random.below(4)), 01666),
                         call(SYS_semget, key, 1 + world.random.below(20), 01666), call(SYS_msgget, key, 01666)};
    for (unsigned i = 0; i < 3; i++)
        if (ids[i] >= 0) world.ids[i] = ids[i];
    auto* context = (uint64_t*)take_room(world, 16);
    *context = 0;
    if (call(SYS_io_setup, 1 + world.random.below(20), context) == 0) world.ids[3] = *context;
}

void make_names(World& world) {
    char name[16], target[64];
    sprintf(name, "d%u", (unsigned)world.random.below(5));
    call(SYS_mkdir, name, 0777);
    sprintf(name, "m%u", (unsigned)world.random.below(3));
    call(SYS_mkdir, name, 0777);
    sprintf(name, "l%u", (unsigned)world.random.below(5));
    sprintf(target, world.random.below(3) ? "d%u" : "l%u", (unsigned)world.random.below(5));
    call(SYS_symlink, target, name);
    sprintf(name, "p%u", (unsigned)world.random.below(3));
    call(SYS_mknod, name, 010666, 0);
    open_file(name, O_RDWR | O_NONBLOCK);
}

constexpr void (*kOpeners[])(World&) = {open_own_file, open_own_file,    open_path,   open_special,    open_special,
                                        open_pipe,     open_socket_pair, open_socket, open_connection, open_epoll,
                                        open_timer,    open_memory,      open_event,  open_event,      open_terminal,
                                        open_queue,    open_mount,       open_ipc,    make_names};

}  // namespace

void open_some(World& world, unsigned count) {
    // Where the table is full, some go.
    if (call(SYS_fcntl, 58, F_GETFD) >= 0)
        for (unsigned i = 0; i < 20; i++) call(SYS_close, 3 + world.random.below(80));
    for (unsigned i = 0; i < count; i++) kOpeners[world.random.below(sizeof kOpeners / sizeof kOpeners[0])](world);
}

}  // namespace calls
