// Makes as many as it can of each thing that a kernel keeps for a process, one kind after the other; pid 1 of a sandbox
// with a memory limit. Each kind must end with an error or a kill, and give its memory back.
//   hoarder MILLISECONDS [KIND...]    how long a kind may go on
#include <fcntl.h>
#include <mqueue.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/msg.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <initializer_list>

namespace {

constexpr size_t kMiB = 1 << 20;
constexpr long kSlack = 3 * 1024;  // KiB that half-used slabs and the like may keep
char bytes[kMiB];
int64_t* made;  // shared with the parent

long now_ms() {
    timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000 + time.tv_nsec / 1'000'000;
}

const char* path_of(const char* folder, long number) {
    static char path[64];
    snprintf(path, sizeof path, "%s%ld", folder, number);
    return path;
}

sockaddr_in loopback;
bool bind_to_loopback(int fd) {
    loopback.sin_family = AF_INET;
    loopback.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    loopback.sin_port = 0;
    socklen_t size = sizeof loopback;
    return fd >= 0 && bind(fd, (sockaddr*)&loopback, size) == 0 && getsockname(fd, (sockaddr*)&loopback, &size) == 0;
}

// ---- one more of a kind, the number-th; false: there is none to be had

bool lock(long number) {
    static const int fd = open("/tmp/locked", O_RDWR | O_CREAT, 0600);
    struct flock range = {};
    range.l_type = F_WRLCK, range.l_start = number * 2, range.l_len = 1;
    return fcntl(fd, F_SETLK, &range) == 0;
}
bool eventfd_(long) { return eventfd(0, 0) >= 0; }
bool epoll_entry(long) {
    static const int epoll = epoll_create1(0), event = eventfd(0, 0);
    epoll_event wanted = {};
    const int fd = dup(event);
    return fd >= 0 && epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &wanted) == 0;
}
bool posix_timer(long) {
    timer_t timer;
    sigevent event = {};
    event.sigev_notify = SIGEV_NONE;
    return timer_create(CLOCK_MONOTONIC, &event, &timer) == 0;
}
bool timerfd(long) {
    const int fd = timerfd_create(CLOCK_MONOTONIC, 0);
    const itimerspec often = {{0, 1'000'000}, {0, 1'000'000}};
    return fd >= 0 && timerfd_settime(fd, 0, &often, nullptr) == 0;
}
bool full_pipe(long) {
    int ends[2];
    if (pipe2(ends, O_NONBLOCK) != 0) return false;
    fcntl(ends[1], F_SETPIPE_SZ, kMiB);
    return write(ends[1], bytes, sizeof bytes) > 0;
}
bool full_stream(long) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) != 0) return false;
    while (write(ends[1], bytes, 65536) > 0) {}
    return true;
}
bool small_datagrams(long) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, ends) != 0) return false;
    while (write(ends[1], bytes, 1) > 0) {}
    return true;
}
bool udp(long) {
    const int fd = socket(AF_INET, SOCK_DGRAM, 0);
    if (!bind_to_loopback(fd)) return false;
    for (int i = 0; i < 300; i++) sendto(fd, bytes, 1000, MSG_DONTWAIT, (sockaddr*)&loopback, sizeof loopback);
    return true;
}
bool tcp(long) {
    static const int listener = socket(AF_INET, SOCK_STREAM, 0);
    static const bool listens = bind_to_loopback(listener) && listen(listener, 4096) == 0;
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (!listens || fd < 0) return false;
    connect(fd, (sockaddr*)&loopback, sizeof loopback);
    while (send(fd, bytes, sizeof bytes, MSG_NOSIGNAL) > 0) {}
    return true;
}
bool descriptors_under_way(long) {
    int ends[2], files[10];
    if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, ends) != 0) return false;
    for (int i = 0; i < 100; i++) {
        for (int& file : files) file = eventfd(0, 0);
        char control[CMSG_SPACE(sizeof files)] = {};
        iovec one = {bytes, 1};
        msghdr message = {};
        message.msg_iov = &one, message.msg_iovlen = 1;
        message.msg_control = control, message.msg_controllen = sizeof control;
        cmsghdr* head = CMSG_FIRSTHDR(&message);
        head->cmsg_level = SOL_SOCKET, head->cmsg_type = SCM_RIGHTS, head->cmsg_len = CMSG_LEN(sizeof files);
        memcpy(CMSG_DATA(head), files, sizeof files);
        const bool sent = sendmsg(ends[0], &message, MSG_DONTWAIT) >= 0;
        for (int file : files) close(file);
        if (!sent) break;
    }
    return true;
}
bool inotify_event(long number) {
    static const int queue = inotify_init1(0);
    static const int watch = inotify_add_watch(queue, "/tmp", IN_ALL_EVENTS);
    return watch >= 0 && number < 100'000 && close(open(path_of("/tmp/e", number % 100), O_CREAT | O_RDWR, 0600)) == 0;
}
bool inotify_watch(long number) {
    static const int queue = inotify_init1(0);
    mkdir(path_of("/tmp/w", number), 0700);
    return inotify_add_watch(queue, path_of("/tmp/w", number), IN_ALL_EVENTS) >= 0;
}
bool sysv_queue(long) {
    const int queue = msgget(IPC_PRIVATE, 0600);
    struct {
        long type;
        char text[8000];
    } message = {1, {}};
    while (queue >= 0 && msgsnd(queue, &message, sizeof message.text, IPC_NOWAIT) == 0) {}
    return queue >= 0;
}
bool sysv_semaphores(long) { return semget(IPC_PRIVATE, 30'000, 0600) >= 0; }
bool sysv_undo(long) {
    const int set = semget(IPC_PRIVATE, 200, 0600);
    for (uint16_t i = 0; i < 200 && set >= 0; i++) {
        sembuf up = {i, 1, SEM_UNDO};
        semop(set, &up, 1);
    }
    return set >= 0;
}
bool sysv_segment(long) {
    const int segment = shmget(IPC_PRIVATE, kMiB, 0600);
    void* memory = segment < 0 ? MAP_FAILED : shmat(segment, nullptr, 0);
    if (memory == MAP_FAILED) return false;
    memset(memory, 1, kMiB);
    return true;
}
bool posix_queue(long number) {
    mq_attr limits = {};
    limits.mq_maxmsg = 10, limits.mq_msgsize = 8192;
    const mqd_t queue = mq_open(path_of("/q", number), O_CREAT | O_RDWR | O_NONBLOCK, 0600, &limits);
    while (queue >= 0 && mq_send(queue, bytes, 8000, 1) == 0) {}
    return queue >= 0;
}
bool tmpfs_file(long number) { return close(open(path_of("/tmp/f", number), O_CREAT | O_RDWR, 0600)) == 0; }
bool tmpfs_link(long number) {
    static char target[4000];
    memset(target, 'a', sizeof target - 1);
    return symlink(target, path_of("/tmp/s", number)) == 0;
}
bool tmpfs_xattr(long number) {
    close(open(path_of("/tmp/x", number / 50), O_CREAT | O_RDWR, 0600));
    char name[32];
    snprintf(name, sizeof name, "user.%ld", number % 50);
    return setxattr(path_of("/tmp/x", number / 50), name, bytes, 60'000, 0) == 0;
}
bool tmpfs_mount(long number) {
    const char* path = path_of("/tmp/m", number);
    return mkdir(path, 0700) == 0 && mount("some", path, "tmpfs", 0, nullptr) == 0;
}
bool missing_name(long number) { return access(path_of("/tmp/none", number), F_OK) != 0; }
bool missing_name_of_the_host(long number) { return access(path_of("/none", number), F_OK) != 0; }
bool deep_folder(long) {
    static const bool there = chdir("/tmp") == 0;
    return there && mkdir("deep", 0700) == 0 && chdir("deep") == 0;
}
bool mapping(long number) {
    const int protection = number & 1 ? PROT_READ : PROT_READ | PROT_WRITE;
    return mmap(nullptr, 8192, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED;
}
bool page_table(long number) {
    void* const wanted = (void*)(0x1000'0000'0000 + number * (1L << 30));
    void* page = mmap(wanted, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    if (page != MAP_FAILED) *(volatile char*)page = 1;
    return page != MAP_FAILED;
}
bool memfd(long) {
    const int fd = memfd_create("some", 0);
    return fd >= 0 && write(fd, bytes, 65536) > 0;
}
bool spliced_pages(long) {
    int ends[2];
    if (pipe2(ends, O_NONBLOCK) != 0) return false;
    fcntl(ends[1], F_SETPIPE_SZ, kMiB);
    iovec pages = {mmap(nullptr, kMiB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0),
                   kMiB};
    if (pages.iov_base == MAP_FAILED || vmsplice(ends[1], &pages, 1, SPLICE_F_NONBLOCK) <= 0) return false;
    munmap(pages.iov_base, kMiB);
    return true;
}
bool queued_signal(long) {
    static sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, nullptr);
    return sigqueue(getpid(), SIGRTMIN, {}) == 0;
}
bool thread(long) {
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 16384);
    pthread_t made_one;
    const auto sleep = [](void*) -> void* {
        pause();
        return nullptr;
    };
    return pthread_create(&made_one, &small, sleep, nullptr) == 0;
}
bool process(long) {
    const pid_t child = fork();
    if (child == 0) pause();
    return child > 0;
}
bool pseudo_terminal(long) {
    const int fd = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK);
    return fd >= 0 && write(fd, bytes, 4000) > 0;
}

struct Kind {
    const char* name;
    bool (*one_more)(long number);
};
constexpr Kind kKinds[] = {
    {"lock", lock},
    {"eventfd", eventfd_},
    {"epoll_entry", epoll_entry},
    {"posix_timer", posix_timer},
    {"timerfd", timerfd},
    {"full_pipe", full_pipe},
    {"full_stream", full_stream},
    {"small_datagrams", small_datagrams},
    {"udp", udp},
    {"tcp", tcp},
    {"descriptors_under_way", descriptors_under_way},
    {"inotify_event", inotify_event},
    {"inotify_watch", inotify_watch},
    {"sysv_queue", sysv_queue},
    {"sysv_semaphores", sysv_semaphores},
    {"sysv_undo", sysv_undo},
    {"sysv_segment", sysv_segment},
    {"posix_queue", posix_queue},
    {"tmpfs_file", tmpfs_file},
    {"tmpfs_link", tmpfs_link},
    {"tmpfs_xattr", tmpfs_xattr},
    {"tmpfs_mount", tmpfs_mount},
    {"missing_name", missing_name},
    {"missing_name_of_the_host", missing_name_of_the_host},
    {"deep_folder", deep_folder},
    {"mapping", mapping},
    {"page_table", page_table},
    {"memfd", memfd},
    {"spliced_pages", spliced_pages},
    {"queued_signal", queued_signal},
    {"thread", thread},
    {"process", process},
    {"pseudo_terminal", pseudo_terminal},
};

[[noreturn]] void hoard(const Kind& kind, long end) {
    setpgid(0, 0);
    while (now_ms() < end && kind.one_more(*made)) ++*made;
    _exit(0);
}

// What outlives a process, of so many.
void clean(int64_t count) {
    for (int i = 0; i <= count && i < 32'768; i++) {
        msqid_ds queue;
        shmid_ds segment;
        semid_ds set;
        if (const int id = msgctl(i, MSG_STAT, &queue); id >= 0) msgctl(id, IPC_RMID, nullptr);
        if (const int id = shmctl(i, SHM_STAT, &segment); id >= 0) shmctl(id, IPC_RMID, nullptr);
        if (const int id = semctl(i, 0, SEM_STAT, &set); id >= 0) semctl(id, 0, IPC_RMID);
    }
    for (long i = 0; i <= count && i < 10'000; i++) {
        umount2(path_of("/tmp/m", i), MNT_DETACH);
        mq_unlink(path_of("/q", i));
    }
    // Deeper than rm(1) can go.
    long depth = 0;
    for (bool there = chdir("/tmp") == 0; there && chdir("deep") == 0;) depth++;
    for (; depth > 0 && chdir("..") == 0; depth--) rmdir("deep");
    if (system("rm -rf /tmp/*") != 0) printf("cannot clean /tmp\n");
}

long available_memory() {
    FILE* file = fopen("/proc/meminfo", "r");
    char line[128];
    long value = -1;
    while (file && fgets(line, sizeof line, file)) sscanf(line, "MemAvailable: %ld", &value);
    if (file) fclose(file);
    return value;
}

bool try_kind(const Kind& kind, long milliseconds) {
    const long before = available_memory();
    *made = 0;
    const pid_t child = fork();
    if (child == 0) hoard(kind, now_ms() + milliseconds);
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) != child) return perror(kind.name), false;
    kill(-child, SIGKILL);
    while (waitpid(-1, nullptr, 0) > 0) {}
    clean(*made);
    const long lost = before - available_memory();
    const bool good = *made > 0 && lost < kSlack;
    printf("%s %s: %ld, %s %d, %ld KiB are missing\n", good ? "ok" : "FAIL", kind.name, (long)*made,
           WIFSIGNALED(status) ? "signal" : "exit code", WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status),
           lost);
    fflush(stdout);
    return good;
}

}  // namespace

int main(int count, char** words) {
    if (count < 2 || getpid() != 1)
        return fprintf(stderr, "hoarder MILLISECONDS [KIND...], as pid 1 of a sandbox\n"), 2;
    made = (int64_t*)mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    const rlimit all = {1'000'000, 1'000'000};
    for (const auto resource : {RLIMIT_NOFILE, RLIMIT_SIGPENDING, RLIMIT_MSGQUEUE}) setrlimit(resource, &all);
    clean(0);
    bool good = true;
    for (const Kind& kind : kKinds) {
        bool wanted = count == 2;
        for (int i = 2; i < count; i++) wanted |= !strcmp(words[i], kind.name);
        if (wanted) good &= try_kind(kind, atol(words[1]));
    }
    printf(good ? "all kinds end\n" : "some kinds failed\n");
    return good ? 0 : 1;
}
