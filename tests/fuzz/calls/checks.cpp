// What the supervisor knows of a sandbox that is whole, and how it makes it clean.
#include <dirent.h>
#include <fcntl.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/msg.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>

#include "tests/fuzz/calls/calls.hpp"

namespace calls {
namespace {

constexpr long kCaches = 1 << 10;  // KiB of half-used slabs and the like,
constexpr long kPerRound = 8;      // and what they may grow by
constexpr unsigned kMaxMounts = 64;
constexpr char kSecret[] = "nobody but the supervisor reads this\n";

// A mount of the start. An admin can move it, cover it or take it away: the copy takes its place then.
struct Mount {
    unsigned id;
    int copy;
    char point[4096];
};

uint64_t* memory;
uint64_t memory_sum;
Mount mounts[kMaxMounts];
unsigned mount_count;
int proc;  // a mount of proc that stands nowhere in the tree
unsigned open_files;
long first_available;
int root;

bool fault(const char* what, long is, long was) {
    printf("FAULT %s: %ld, expected %ld\n", what, is, was);
    return false;
}

uint64_t sum(const uint64_t* words, size_t count) {
    uint64_t value = 1;
    for (size_t i = 0; i < count; i++) value = (value ^ words[i]) * 0x100000001b3;
    return value;
}

long available_memory() {
    FILE* file = open_proc("meminfo");
    char line[128];
    long value = -1;
    while (file && fgets(line, sizeof line, file)) sscanf(line, "MemAvailable: %ld", &value);
    if (file) fclose(file);
    return value;
}

unsigned count_open_files() {
    unsigned count = 0;
    for (int fd = 0; fd < 1024; fd++) count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

// Calls `see` with the id and the point of each mount of the tree, until it answers true.
template <typename See>
bool any_mount(See see) {
    FILE* file = open_proc("self/mountinfo");
    static char line[8192], point[4096];
    bool found = false;
    for (unsigned id; !found && file && fgets(line, sizeof line, file);)
        found = sscanf(line, "%u %*u %*s %*s %4095s", &id, point) == 2 && see(id, point);
    if (file) fclose(file);
    return found;
}

bool is_of_start(unsigned id, const char* point) {
    for (unsigned i = 0; i < mount_count; i++)
        if (mounts[i].id == id) return strcmp(mounts[i].point, point) == 0;
    return false;
}

// -1 for the root, which none can take away.
int copy_of_mount(const char* point) {
    return strcmp(point, "/") == 0 ? -1 : open_tree(AT_FDCWD, point, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
}

// In mountinfo, a character that separates is a backslash and three octal digits.
void decode(const char* from, char* to) {
    for (; *from; from++)
        if (unsigned character; *from == '\\' && sscanf(from, "\\%3o", &character) == 1)
            *to++ = static_cast<char>(character), from += 3;
        else
            *to++ = *from;
    *to = 0;
}

// Takes away all that is not as it was at the start, the topmost first. False: none is left, or none can be removed.
bool remove_foreign_mounts() {
    constexpr unsigned kMost = 256;
    static char points[kMost][4096];
    unsigned count = 0, removed = 0;
    any_mount([&](unsigned id, const char* point) {
        // What covers the root is not in the way of anybody, and its path means the root itself.
        if (!is_of_start(id, point) && strcmp(point, "/") != 0) decode(point, points[count++ % kMost]);
        return false;
    });
    for (unsigned i = 0; i < count && i < kMost; i++)
        removed += umount2(points[(count - 1 - i) % kMost], MNT_DETACH) == 0;
    return removed > 0;
}

void put_back_mounts() {
    for (unsigned i = 0; i < mount_count; i++) {
        Mount& mount = mounts[i];
        // The number alone does not tell: one that was put back may have that of one that is missing.
        if (any_mount(
                [&](unsigned id, const char* point) { return id == mount.id && strcmp(point, mount.point) == 0; }))
            continue;
        move_mount(mount.copy, "", AT_FDCWD, mount.point, MOVE_MOUNT_F_EMPTY_PATH);
        any_mount([&](unsigned id, const char* point) {
            if (strcmp(point, mount.point) == 0) mount.id = id;
            return false;
        });
        close(mount.copy);
        mount.copy = copy_of_mount(mount.point);
    }
}

void remove_in(int folder, const char* kept) {
    DIR* list = fdopendir(folder);
    if (!list) return;
    while (const dirent* entry = readdir(list)) {
        const char* name = entry->d_name;
        if (!strcmp(name, ".") || !strcmp(name, "..") || (kept && !strcmp(name, kept))) continue;
        if (unlinkat(folder, name, 0) == 0) continue;
        const int inner = openat(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (inner >= 0) remove_in(inner, nullptr);
        unlinkat(folder, name, AT_REMOVEDIR);
    }
    closedir(list);
}

void remove_ipc() {
    shmid_ds segment;
    semid_ds set;
    msqid_ds queue;
    for (int i = 0; i < 4096; i++) {
        if (const int id = shmctl(i, SHM_STAT, &segment); id >= 0) shmctl(id, IPC_RMID, nullptr);
        if (const int id = semctl(i, 0, SEM_STAT, &set); id >= 0) semctl(id, 0, IPC_RMID);
        if (const int id = msgctl(i, MSG_STAT, &queue); id >= 0) msgctl(id, IPC_RMID, nullptr);
    }
}

// The cache of names is then full of these, and keeps nothing that workers looked up.
void fill_name_cache() {
    struct stat unused;
    char path[64];
    for (unsigned i = 0; i < 14'000; i++) {
        snprintf(path, sizeof path, "/tmp/no such name %u", i);
        stat(path, &unused);
    }
}

bool check_secret() {
    char text[100] = {};
    struct stat status = {};
    const int fd = open("/scratch/supervisor/secret", O_RDONLY | O_CLOEXEC);
    const ssize_t got = read(fd, text, sizeof text);
    fstat(fd, &status);
    close(fd);
    if (got < 0) perror("/scratch/supervisor/secret");
    if (got != sizeof kSecret - 1 || memcmp(text, kSecret, got) != 0)
        return fault("bytes of the secret file", got, sizeof kSecret - 1);
    if (status.st_uid != 0 || status.st_nlink != 1) return fault("owner of the secret file", status.st_uid, 0);
    return (status.st_mode & 07777) == 0600 || fault("mode of the secret file", status.st_mode & 07777, 0600);
}

bool check_self() {
    if (sum(memory, kPreciousSize / 8) != memory_sum) return fault("the supervisor's memory", 0, 1);
    if (getuid() != 0 || geteuid() != 0) return fault("uid", getuid(), 0);
    const long files = count_open_files();
    if (files != open_files) return fault("open files", files, open_files);
    rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    return limit.rlim_cur == 1024 || fault("limit of open files", limit.rlim_cur, 1024);
}

bool check_file(const char* path) {
    char bytes[9000], back[9000] = {};
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = i * 7 + i / 256;
    const int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    const ssize_t put = write(fd, bytes, sizeof bytes), got = pread(fd, back, sizeof back, 0);
    void* map = mmap(nullptr, sizeof bytes, PROT_READ, MAP_SHARED, fd, 0);
    const bool same =
        map != MAP_FAILED && memcmp(bytes, map, sizeof bytes) == 0 && memcmp(bytes, back, sizeof bytes) == 0;
    if (map != MAP_FAILED) munmap(map, sizeof bytes);
    close(fd);
    unlink(path);
    return same || fault(path, put, got);
}

// A child computes, and answers through a pipe.
bool check_child() {
    int ends[2];
    if (pipe(ends) != 0) return fault("pipe", -1, 0);
    const pid_t pid = fork();
    if (pid == 0) {
        double value = 0;
        for (int i = 1; i < 20000; i++) value += std::sqrt(double(i)) / i;
        const uint64_t answer = sum((const uint64_t*)kSecret, 4) + uint64_t(value * 1000);
        _exit(write(ends[1], &answer, 8) == 8 ? 7 : 8);
    }
    uint64_t answer = 0;
    int status = 0;
    if (pid < 0 || read(ends[0], &answer, 8) != 8 || waitpid(pid, &status, 0) != pid) return fault("child", pid, 0);
    close(ends[0]);
    close(ends[1]);
    double value = 0;
    for (int i = 1; i < 20000; i++) value += std::sqrt(double(i)) / i;
    if (answer != sum((const uint64_t*)kSecret, 4) + uint64_t(value * 1000))
        return fault("a child's computation", answer, 0);
    return status == 7 << 8 || fault("a child's exit status", status, 7 << 8);
}

bool check_memory(bool judge) {
    const long available = available_memory();
    printf("MemAvailable %ld KiB\n", available);
    if (!judge) first_available = available;
    static long rounds;
    return first_available - available <= kCaches + kPerRound * rounds++ ||
           fault("MemAvailable (KiB)", available, first_available);
}

}  // namespace

FILE* open_proc(const char* name) {
    const int fd = openat(proc, name, O_RDONLY | O_CLOEXEC);
    return fd < 0 ? nullptr : fdopen(fd, "r");
}

bool remember_sandbox() {
    mkdir("/scratch/supervisor", 0700);
    const int fd = open("/scratch/supervisor/secret", O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (write(fd, kSecret, sizeof kSecret - 1) != sizeof kSecret - 1)
        return perror("/scratch/supervisor/secret"), false;
    close(fd);
    root = open("/", O_PATH | O_CLOEXEC);
    memory = (uint64_t*)mmap((void*)kPrecious, kPreciousSize, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    Random random(7);
    for (size_t i = 0; i < kPreciousSize / 8; i++) memory[i] = random.next();
    memory_sum = sum(memory, kPreciousSize / 8);
    proc = open_tree(AT_FDCWD, "/proc", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    if (proc < 0) return perror("open_tree of /proc"), false;
    any_mount([](unsigned id, const char* point) {
        Mount& mount = mounts[mount_count++];
        mount.id = id;
        strcpy(mount.point, point);
        return mount_count == kMaxMounts;
    });
    for (unsigned i = 0; i < mount_count; i++) mounts[i].copy = copy_of_mount(mounts[i].point);
    printf("started\n");  // stdout has its buffer now
    open_files = count_open_files();
    return true;
}

bool check_sandbox(bool judge_memory) {
    return check_secret() && check_self() && check_file("/scratch/check") && check_file("/tmp/check") &&
           check_child() && check_memory(judge_memory);
}

void clean_sandbox() {
    for (unsigned i = 0; i < 2000 && remove_foreign_mounts(); i++) {}
    put_back_mounts();
    remove_in(open("/scratch", O_RDONLY | O_DIRECTORY), "supervisor");
    for (const char* folder : {"/tmp", "/dev/shm", "/dev/mqueue"})
        remove_in(open(folder, O_RDONLY | O_DIRECTORY), nullptr);
    remove_ipc();
    fill_name_cache();
}

}  // namespace calls
