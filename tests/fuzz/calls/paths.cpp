// Paths: of what exists, of what does not, and of what nobody should come by.
#include <cstdio>
#include <cstring>

#include "tests/fuzz/calls/calls.hpp"

namespace calls {
namespace {

constexpr const char* kFixed[] = {"/",
                                  ".",
                                  "..",
                                  "",
                                  "/bin/busybox",
                                  "/bin/sh",
                                  "/etc/passwd",
                                  "/etc",
                                  "/dev",
                                  "/dev/null",
                                  "/dev/zero",
                                  "/dev/full",
                                  "/dev/random",
                                  "/dev/urandom",
                                  "/dev/tty",
                                  "/dev/ptmx",
                                  "/dev/pts",
                                  "/dev/pts/0",
                                  "/dev/pts/1",
                                  "/dev/shm",
                                  "/dev/fd",
                                  "/dev/mqueue",
                                  "/tmp",
                                  "/proc",
                                  "/sys",
                                  "/sys/fs/cgroup",
                                  "/sys/devices/system/cpu",
                                  "/sys/devices/system/cpu/online",
                                  "/sys/class/net",
                                  "/sys/fs/cgroup/cgroup.procs",
                                  "/proc/self",
                                  "/proc/thread-self",
                                  "/proc/self/fd",
                                  "/proc/self/task",
                                  "/proc/meminfo",
                                  "/proc/stat",
                                  "/proc/cpuinfo",
                                  "/proc/mounts",
                                  "/proc/net/tcp",
                                  "/proc/net/unix",
                                  "/proc/net",
                                  "/proc/sys",
                                  "/proc/sysvipc/shm",
                                  "/proc/uptime",
                                  "/proc/loadavg",
                                  "/proc/interrupts",
                                  "/proc/filesystems",
                                  "/proc/version",
                                  "/proc/sys/kernel/hostname",
                                  "/proc/sys/fs/pipe-max-size",
                                  "/proc/self/ns/mnt",
                                  "/proc/kcore",
                                  "/proc/sys/vm/overcommit_memory",
                                  "/proc/sysrq-trigger",
                                  "/proc/kmsg",
                                  "/proc/keys",

                                  "/root",
                                  "/bin/call_fuzzer",
                                  "/missing",
                                  "/missing/x",
                                  "/etc/passwd/x",
                                  "/bin/../bin/./busybox",
                                  "//proc//self//",
                                  "/proc/self/root",
                                  "/proc/self/cwd",
                                  "/proc/self/exe",
                                  "/proc/self/root/proc/self/root"};

constexpr const char* kOfProcess[] = {
    "mem",         "maps",      "smaps",        "stat",       "status",    "cmdline",       "environ",
    "auxv",        "fd",        "fdinfo",       "task",       "exe",       "cwd",           "root",
    "limits",      "mountinfo", "mounts",       "comm",       "statm",     "wchan",         "stack",
    "syscall",     "pagemap",   "io",           "oom_adj",    "oom_score", "oom_score_adj", "ns",
    "ns/pid",      "cgroup",    "uid_map",      "gid_map",    "setgroups", "sched",         "schedstat",
    "timers",      "net",       "net/tcp",      "clear_refs", "loginuid",  "sessionid",     "coredump_filter",
    "personality", "attr",      "attr/current", "map_files",  "numa_maps", "autogroup",     "fd/0",
    "fd/1",        "fd/5",      "fdinfo/4",     "fd/999"};

// What belongs to the supervisor: root could change it, others must not.
constexpr const char* kForeign[] = {"/scratch/supervisor/secret",
                                    "/scratch/supervisor",
                                    "/scratch/supervisor/f1",
                                    "/proc/1/mem",
                                    "/proc/1/fd/1",
                                    "/proc/1/root/scratch/supervisor/secret",
                                    "/proc/1/cwd",
                                    "/proc/1/environ",
                                    "/bin/busybox",
                                    "/etc/passwd",
                                    "/etc/f1"};

bool may_be_foreign(const World& world) { return world.identity == Identity::kUser && !world.among_own; }

void make_foreign_path(Random& random, char* text) {
    strcpy(text, kForeign[random.below(sizeof kForeign / sizeof kForeign[0])]);
}

// One component many times, or one that is long.
void make_long_path(Random& random, char* text) {
    const unsigned length = random.below(2) ? 255 + random.below(3) : 4090 + random.below(20);
    memset(text, 'a', length);
    if (random.below(2))
        for (unsigned i = 0; i < length; i += 1 + random.below(60)) text[i] = "/."[random.below(2)];
    text[length] = 0;
}

}  // namespace

void make_own_path(World& world, char* text) {
    Random& random = world.random;
    const unsigned a = random.below(5), b = random.below(4);
    switch (random.below(14)) {
        case 0: sprintf(text, "d%u", a); return;
        case 1: sprintf(text, "d%u/f%u", a, b); return;
        case 2: sprintf(text, "d%u/d%u", a, b); return;
        case 3: sprintf(text, "l%u", a); return;
        case 4: sprintf(text, "d%u/../f%u", a, b); return;
        case 5: sprintf(text, "../w%u/f%u", b, a); return;
        case 6: sprintf(text, "f%u/", a); return;
        case 7: sprintf(text, "m%u/f%u", b % 3, a); return;
        case 8:
            if (one_in(random, 3)) return make_long_path(random, text);
            sprintf(text, "l%u/f%u", a, b);
            return;
        case 9:
            // Names that only the right user can change.
            if (may_be_foreign(world) && one_in(random, 2)) { return make_foreign_path(random, text); }
            sprintf(text, "/dev/shm/s%u", a);
            return;
        default: sprintf(text, "f%u", a); return;
    }
}

void make_path(World& world, char* text) {
    Random& random = world.random;
    switch (random.below(8)) {
        case 0:
        case 1: strcpy(text, kFixed[random.below(sizeof kFixed / sizeof kFixed[0])]); return;
        case 2: {
            const char* file = kOfProcess[random.below(sizeof kOfProcess / sizeof kOfProcess[0])];
            if (random.below(2))
                sprintf(text, "/proc/self/%s", file);
            else
                sprintf(text, "/proc/%d/%s", random_pid(world), file);
            return;
        }
        case 3:
            if (one_in(random, 6)) return make_long_path(random, text);
            if (may_be_foreign(world) && one_in(random, 3)) return make_foreign_path(random, text);
            sprintf(text, "/proc/self/fd/%u", (unsigned)(3 + random.below(130)));
            return;
        default: make_own_path(world, text); return;
    }
}

}  // namespace calls
