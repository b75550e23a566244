// One life of a worker: what it gives up, the arena, and then calls until it dies of one.
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstring>
#include <initializer_list>

#include "tests/fuzz/calls/calls.hpp"

namespace calls {

const char* only_calls;

namespace {

// Signals end a worker only where the default would end it at an instruction; a timer gets it out of most sleeps.
void nothing(int) {}

void ignore_signals() {
    struct sigaction action = {};
    action.sa_handler = SIG_IGN;
    for (int signal = 1; signal < 65; signal++)
        if (signal != SIGCHLD && signal != SIGSEGV && signal != SIGBUS && signal != SIGILL && signal != SIGFPE &&
            signal != SIGTRAP && signal != SIGSYS)
            sigaction(signal, &action, nullptr);
}

void arm_timer() {
    struct sigaction action = {};
    action.sa_handler = nothing;
    sigaction(SIGALRM, &action, nullptr);
    const itimerval every = {{0, 20000}, {0, 20000}};
    call(SYS_setitimer, ITIMER_REAL, &every, 0);
    const uint64_t none = 0;
    call(SYS_rt_sigprocmask, SIG_SETMASK, &none, 0, 8);
}

void make_arena() {
    const int file = memfd_create("arena", 0);
    if (file < 0 || ftruncate(file, kWorkSize) != 0) _exit(90);
    const auto map = [](uint64_t at, size_t size, int protection, int flags, int fd) {
        if (mmap((void*)at, size, protection, flags | MAP_FIXED, fd, 0) == MAP_FAILED) _exit(91);
    };
    map(kWork, kWorkSize, PROT_READ | PROT_WRITE, MAP_SHARED, file);
    map(kNoAccess, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    map(kReadOnly, kWorkSize, PROT_READ, MAP_SHARED, file);
    map(kBeyondEnd - 4096, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    if (mmap((void*)kBeyondEnd, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file, kWorkSize) == MAP_FAILED)
        _exit(92);
    map(kStacks, kStackSize * kStackCount, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    map(kFree, 16 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    close(file);
}

void set_limit(int resource, rlim_t value) {
    const rlimit limit = {value, value};
    setrlimit((__rlimit_resource)resource, &limit);
}

// Docker's default list.
constexpr uint64_t kUsualCapabilities =
    1ULL << CAP_CHOWN | 1ULL << CAP_DAC_OVERRIDE | 1ULL << CAP_FSETID | 1ULL << CAP_FOWNER | 1ULL << CAP_MKNOD |
    1ULL << CAP_NET_RAW | 1ULL << CAP_SETGID | 1ULL << CAP_SETUID | 1ULL << CAP_SETFCAP | 1ULL << CAP_SETPCAP |
    1ULL << CAP_NET_BIND_SERVICE | 1ULL << CAP_SYS_CHROOT | 1ULL << CAP_KILL | 1ULL << CAP_AUDIT_WRITE;

void keep_capabilities(uint64_t kept) {
    for (unsigned i = 0; i <= CAP_LAST_CAP; i++)
        if (!(kept >> i & 1)) prctl(PR_CAPBSET_DROP, i, 0, 0, 0);
    __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    __user_cap_data_struct old[2] = {}, data[2] = {};
    syscall(SYS_capget, &header, old);
    for (unsigned i = 0; i < 2; i++)
        data[i].effective = data[i].permitted = old[i].permitted & (uint32_t)(kept >> 32 * i);
    if (syscall(SYS_capset, &header, data) != 0) _exit(93);
}

void become(const World& world) {
    const uid_t user = 1000 + world.life.worker;
    switch (world.identity) {
        case Identity::kAdmin: keep_capabilities(~(1ULL << CAP_SYS_RESOURCE)); break;
        case Identity::kRoot: keep_capabilities(kUsualCapabilities); break;
        case Identity::kUser:
            if (syscall(SYS_setgroups, 0, nullptr) != 0 || setresgid(user, user, user) != 0 ||
                setresuid(user, user, user) != 0)
                _exit(94);
            break;
    }
    prctl(PR_SET_DUMPABLE, 1);
}

void take_place(World& world) {
    // Workers live far below the supervisor's folder. A worker with root's rights can reach the parents by ".." and
    // give them to users.
    static constexpr char kDeep[] = "/scratch/for/workers/alone";
    char folder[64];
    close_range(0, ~0U, 0);
    for (unsigned i = 0; i < 3; i++) open("/dev/null", O_RDWR);
    setsid();
    for (const unsigned length : {12, 20, 26}) {
        snprintf(folder, length + 1, "%s", kDeep);
        mkdir(folder, 0777);
        chmod(folder, 01777);
    }
    snprintf(folder, sizeof folder, "%s/w%u", world.random.below(2) ? kDeep : "/tmp", world.life.worker);
    mkdir(folder, 0777);
    chmod(folder, 0777);
    if (chdir(folder) != 0) _exit(95);
    umask(0);
    set_limit(RLIMIT_AS, 1 << 29);
    set_limit(RLIMIT_FSIZE, 1 << 23);
    set_limit(RLIMIT_NOFILE, 160);
    set_limit(RLIMIT_NPROC, 40);
    set_limit(RLIMIT_CORE, 0);
    set_limit(RLIMIT_MEMLOCK, 1 << 22);
    set_limit(RLIMIT_SIGPENDING, 64);
}

// Calls that would end this life, or spoil what is left of it: most times another is taken.
unsigned rarity(unsigned number) {
    switch (number) {
        case SYS_exit:
        case SYS_exit_group: return 60;
        case SYS_execve:
        case SYS_execveat: return 20;
        case SYS_seccomp:
        case SYS_chroot: return 20;
        case SYS_fork:
        case SYS_vfork:
        case SYS_clone:
        case SYS_clone3:
        case SYS_pause:
        case SYS_rt_sigsuspend:
        case SYS_close_range:
        case SYS_kill:
        case SYS_sync: return 8;
        case SYS_chdir:
        case SYS_fchdir: return 5;
        default: return 1;
    }
}

// Is the name in the list, whose words have commas between them?
bool is_listed(const char* list, const char* name) {
    const size_t length = strlen(name);
    for (const char* at = list; (at = strstr(at, name)); at += length)
        if ((at == list || at[-1] == ',') && (at[length] == 0 || at[length] == ',')) return true;
    return false;
}

const Call& choose(Random& random) {
    for (;;) {
        const Call& choice = kCalls[random.below(kCallCount)];
        if (only_calls && !is_listed(only_calls, choice.name)) continue;
        if (one_in(random, rarity(choice.number))) return choice;
    }
}

void short_life(World* world) {
    run_operations(*world, 16);
    for (;;) call(SYS_exit, 0);
}

void long_life(World* world) {
    for (;;) run_operations(*world, 1000);
}

// A task that shares any part of what its parent has.
void spawn_some(World& world, unsigned number) {
    static constexpr uint64_t kThread = CLONE_VM | CLONE_SIGHAND | CLONE_THREAD;
    uint64_t flags = make_value(world, Kind::kFlags) & ~0xffULL & ~CLONE_SETTLS;
    for (const uint64_t one :
         {CLONE_FS, CLONE_FILES, CLONE_SYSVSEM, CLONE_PARENT_SETTID, CLONE_CHILD_CLEARTID, CLONE_PIDFD, CLONE_PARENT})
        if (one_in(world.random, 3)) flags |= one;
    if (one_in(world.random, 3)) flags |= kThread;
    if (number == SYS_vfork) flags = CLONE_VM | CLONE_VFORK;
    spawn(world, flags | (one_in(world.random, 6) ? world.random.below(70) : SIGCHLD), short_life);
}

// Numbers that are no calls, mostly.
void run_any_number(World& world) {
    const uint64_t number = one_in(world.random, 2) ? 470 + world.random.below(60) : any_number(world.random);
    // The supervisor could be the tracee.
    if (number == SYS_ptrace && world.identity != Identity::kUser) return;
    raw_call(number, any_number(world.random), any_number(world.random));
}

void run_call(World& world, const Call& choice) {
    if (choice.number == SYS_clone || choice.number == SYS_vfork) return spawn_some(world, choice.number);
    // The one change of the mount tree that the supervisor could not take back.
    if (choice.number == SYS_pivot_root && world.identity == Identity::kAdmin) return;
    world.among_own = choice.number == SYS_symlink || choice.number == SYS_symlinkat;
    uint64_t arguments[6];
    for (unsigned i = 0; i < 6; i++) {
        const Kind kind = choice.arguments[i];
        arguments[i] = kind == Kind::kNone         ? 0
                       : one_in(world.random, 100) ? any_number(world.random)
                                                   : make_value(world, kind);
        // Who may do anything to the supervisor could stop it for ever, as ptrace(2) does.
        if (kind == Kind::kPid && (int)arguments[i] == 1 && world.identity != Identity::kUser) arguments[i] = 2;
    }
    world.slot->call = choice.number;
    const long result =
        raw_call(choice.number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4], arguments[5]);
    world.slot->calls++;
    if (result >= 0 || result < -4095) world.slot->succeeded++, world.slot->good[choice.number]++;
    if (result == 0 && (choice.number == SYS_fork || choice.number == SYS_clone3)) {
        world.depth++;
        world.random = Random(world.random.next() + call(SYS_getpid));
        if (world.depth < 4) run_operations(world, 16);
        for (;;) call(SYS_exit_group, 0);
    }
}

}  // namespace

void run_operations(World& world, unsigned count) {
    for (unsigned i = 0; i < count; i++) {
        if (i % 64 == 0) arm_timer();
        if (i % 32 == 0) open_some(world, world.depth ? 1 : 4);
        world.slot->operations++;
        world.filled = 16 * world.random.below(1000);
        if (!only_calls && one_in(world.random, 150))
            run_scenario(world);
        else if (!only_calls && one_in(world.random, 200))
            run_any_number(world);
        else
            run_call(world, choose(world.random));
    }
}

void live(const Life& life, Slot* slot, bool alone) {
    World world = {.random = Random(life.seed * 1000003 + life.round * 100003 + life.worker * 7919 + life.number),
                   .life = life,
                   .identity = Identity::kUser,
                   .slot = slot,
                   .pids = {},
                   .pid_count = 0,
                   .depth = 0,
                   .among_own = false,
                   .ids = {},
                   .filled = 0};
    world.random.next();
    static constexpr Identity kIdentities[] = {Identity::kUser, Identity::kUser, Identity::kRoot, Identity::kAdmin};
    world.identity = kIdentities[world.random.below(4)];
    const unsigned threads = world.random.below(3);
    take_place(world);
    become(world);
    make_arena();
    ignore_signals();
    open_some(world, 30);
    if (!alone)
        for (unsigned i = 0; i < threads; i++)
            spawn(world, CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM, long_life);
    long_life(&world);
    __builtin_unreachable();
}

}  // namespace calls
