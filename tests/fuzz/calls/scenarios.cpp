// What needs more than one call: tasks that share memory, tracers, forged signal frames, broken programs.
#include <elf.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <ucontext.h>

#include <cstring>
#include <initializer_list>

#include "tests/fuzz/calls/calls.hpp"
#include "tests/fuzz/calls/hostile_code.hpp"

namespace calls {
namespace {

[[noreturn]] void leave(int code) {
    for (;;) call(SYS_exit_group, code);
}

void note_task(World& world, int pid) {
    if (world.pid_count < 8) world.pid_count++;
    world.pids[one_in(world.random, 2) ? world.random.below(world.pid_count) : world.pid_count - 1] = pid;
}

// Forks; the child becomes a world of its own, which `body` ends.
int in_child(World& world, void (*body)(World&)) {
    const uint64_t seed = world.random.next();
    const int pid = (int)call(SYS_fork);
    if (pid == 0) {
        World mine = world;
        mine.random = Random(seed);
        mine.depth++;
        body(mine);
        leave(0);
    }
    if (pid > 0) note_task(world, pid);
    return pid;
}

void wait_a_little(int pid) {
    const timespec pause = {0, 2'000'000};
    for (unsigned i = 0; i < 5; i++) {
        if (call(SYS_wait4, pid, 0, WNOHANG, 0) != 0) return;
        call(SYS_nanosleep, &pause, 0);
    }
    call(SYS_kill, pid, SIGKILL);
    call(SYS_wait4, pid, 0, 0, 0);
}

void change_words(Random& random, void* bytes, size_t size, unsigned count) {
    for (unsigned i = 0; i < count; i++) {
        const uint64_t value = any_number(random);
        memcpy((char*)bytes + 8 * random.below(size / 8), &value, 8);
    }
}

// --- a signal frame that its handler has changed

World* frame_world;

void change_frame(int, siginfo_t*, void* context) {
    Random& random = frame_world->random;
    auto* frame = (ucontext_t*)context;
    if (random.below(2)) change_words(random, frame, sizeof *frame, 1 + random.below(4));
    if (random.below(2))
        change_words(random, frame->uc_mcontext.gregs, sizeof frame->uc_mcontext.gregs, 1 + random.below(3));
    if (auto* fpu = (char*)frame->uc_mcontext.fpregs; fpu && random.below(2))
        change_words(random, fpu, 512 + 64 + 256, 1 + random.below(20));
    if (one_in(random, 6)) frame->uc_mcontext.fpregs = (fpregset_t)bad_pointer(random);
}

void signal_frame(World& world) {
    frame_world = &world;
    struct sigaction action = {};
    action.sa_sigaction = change_frame;
    action.sa_flags = SA_SIGINFO | (int)(make_value(world, Kind::kFlags) & ~SA_RESETHAND);
    sigaction(SIGUSR1, &action, nullptr);
    if (world.random.below(3) == 0) {
        const stack_t stack = {(void*)make_value(world, Kind::kBuffer), (int)world.random.below(3),
                               one_in(world.random, 2) ? 2048UL : 60000UL};
        call(SYS_sigaltstack, &stack, 0);
    }
    for (unsigned i = 0; i < 10; i++) call(SYS_tgkill, call(SYS_getpid), call(SYS_gettid), SIGUSR1);
}

// rt_sigreturn with nothing but nonsense where the frame should be.
void forged_frame(World& world) {
    uint64_t frame[256];
    for (uint64_t& word : frame) word = world.random.below(3) ? 0 : any_number(world.random);
    sigreturn_at(one_in(world.random, 4) ? bad_pointer(world.random) : place(world, frame, sizeof frame));
}

// --- ptrace

void traced(World& world) {
    if (world.random.below(2)) call(SYS_ptrace, PTRACE_TRACEME, 0, 0, 0);
    call(SYS_kill, call(SYS_getpid), SIGSTOP);
    run_operations(world, 30);
}

void change_registers(World& world, int pid) {
    user_regs_struct registers;
    if (call(SYS_ptrace, PTRACE_GETREGS, pid, 0, &registers) != 0) return;
    change_words(world.random, &registers, sizeof registers, 1 + world.random.below(3));
    call(SYS_ptrace, PTRACE_SETREGS, pid, 0, &registers);
}

void change_vector_registers(World& world, int pid) {
    static uint8_t area[4096];
    iovec vector = {area, sizeof area};
    const int set = one_in(world.random, 3) ? NT_PRFPREG : NT_X86_XSTATE;
    if (call(SYS_ptrace, PTRACE_GETREGSET, pid, set, &vector) != 0) return;
    change_words(world.random, area, vector.iov_len, 1 + world.random.below(8));
    if (one_in(world.random, 6)) vector.iov_len = world.random.below(sizeof area);
    call(SYS_ptrace, PTRACE_SETREGSET, pid, set, &vector);
}

void trace(World& world, int pid) {
    call(SYS_ptrace, world.random.below(2) ? PTRACE_SEIZE : PTRACE_ATTACH, pid, 0, world.random.below(0x100));
    const timespec pause = {0, 300'000};
    for (unsigned i = 0; i < 30; i++) {
        if (call(SYS_wait4, pid, 0, WNOHANG | __WALL, 0) == 0) call(SYS_nanosleep, &pause, 0);
        switch (world.random.below(8)) {
            case 0: change_registers(world, pid); break;
            case 1: change_vector_registers(world, pid); break;
            case 2: call(SYS_ptrace, PTRACE_SETOPTIONS, pid, 0, make_value(world, Kind::kFlags)); break;
            case 3:
                call(SYS_ptrace, PTRACE_POKEUSER, pid, world.random.below(1000) & ~(one_in(world.random, 10) ? 0 : 7UL),
                     any_number(world.random));
                break;
            case 4:
                call(SYS_ptrace, make_value(world, Kind::kPtrace), pid, make_value(world, Kind::kAddress),
                     make_value(world, Kind::kWords));
                break;
            case 5: call(SYS_ptrace, PTRACE_SINGLESTEP, pid, 0, 0); break;
            case 6: call(SYS_ptrace, PTRACE_SYSCALL, pid, 0, 0); break;
            default: call(SYS_ptrace, PTRACE_CONT, pid, 0, one_in(world.random, 3) ? world.random.below(66) : 0); break;
        }
    }
}

void trace_child(World& world) {
    const int pid = in_child(world, traced);
    if (pid <= 0) return;
    trace(world, pid);
    call(SYS_kill, pid, SIGKILL);
    call(SYS_wait4, pid, 0, __WALL, 0);
}

// --- programs

void make_program(World& world, uint8_t* bytes, size_t size) {
    Random& random = world.random;
    memset(bytes, 0x90, size);
    auto* header = (Elf64_Ehdr*)bytes;
    *header = {};
    memcpy(header->e_ident, ELFMAG "\2\1\1", 7);
    header->e_type = random.below(2) ? ET_DYN : ET_EXEC;
    header->e_machine = EM_X86_64;
    header->e_version = 1;
    header->e_phoff = sizeof *header;
    header->e_ehsize = sizeof *header;
    header->e_phentsize = sizeof(Elf64_Phdr);
    header->e_phnum = 1 + random.below(6);
    header->e_entry = 0x400400;
    auto* segment = (Elf64_Phdr*)(header + 1);
    for (unsigned i = 0; i < header->e_phnum; i++) {
        static constexpr uint32_t kTypes[] = {PT_LOAD, PT_LOAD, PT_LOAD, PT_INTERP, PT_GNU_STACK, PT_TLS};
        segment[i] = {kTypes[i == 0 ? 0 : random.below(6)],
                      (uint32_t)random.below(8),
                      4096 * random.below(2),
                      0x400000 + 0x10000 * random.below(4),
                      0,
                      random.below(6000),
                      random.below(20000),
                      4096};
        if (one_in(random, 3)) change_words(random, &segment[i], sizeof segment[i], 1);
    }
    if (one_in(random, 4)) change_words(random, header, sizeof *header, 1);
}

void run_broken_program(World& world) {
    static uint8_t bytes[6000];
    make_program(world, bytes, sizeof bytes);
    if (one_in(world.random, 6)) memcpy(bytes, "#!f1 f2\n", 8);
    const int fd = (int)call(SYS_openat, AT_FDCWD, "f1", O_RDWR | O_CREAT | O_TRUNC, 0777);
    call(SYS_fchmod, fd, 0777);
    call(SYS_write, fd, bytes, sizeof bytes);
    call(SYS_close, fd);
    call(SYS_execve, "f1", make_value(world, Kind::kStrings), make_value(world, Kind::kStrings));
}

// --- mounts and handles

// Only an admin comes further than the first line. What stands is removed by the supervisor.
void mount_something(World& world) {
    static constexpr const char* kTypes[] = {"tmpfs", "proc", "mqueue", "devpts"};
    const long context = call(SYS_fsopen, kTypes[world.random.below(4)], 0);
    if (context < 0) return;
    for (unsigned i = 0; i < 3; i++)
        call(SYS_fsconfig, context, world.random.below(3), make_value(world, Kind::kName),
             make_value(world, Kind::kName), world.random.below(3));
    call(SYS_fsconfig, context, 6, 0, 0, 0);
    const long tree = one_in(world.random, 3) ? call(SYS_open_tree, AT_FDCWD, world.random.below(2) ? "." : "m0",
                                                     1 | (world.random.below(2) ? 0x8000 : 0))
                                              : call(SYS_fsmount, context, 0, make_value(world, Kind::kFlags) & 0x3f);
    call(SYS_mkdir, "m0", 0777);
    call(SYS_move_mount, tree, "", AT_FDCWD, world.random.below(3) ? "m0" : "m1", 4);
    call(SYS_mount, 0, "m0", 0, (1UL << (17 + world.random.below(4))) | (one_in(world.random, 3) ? 1 << 14 : 0), 0);
    if (one_in(world.random, 3)) call(SYS_mount, "m0", "m1", 0, world.random.below(2) ? 0x1000 : 0x2000, 0);
    run_operations(world, 40);
    call(SYS_umount2, "m0", world.random.below(16));
}

void forge_handle(World& world) {
    struct {
        uint32_t bytes;
        int32_t type;
        uint64_t words[16];
    } handle = {};
    int mount = 0;
    for (unsigned i = 0; i < 20; i++) {
        char path[8192];
        make_path(world, path);
        handle.bytes = 128;
        if (call(SYS_name_to_handle_at, AT_FDCWD, path, &handle, &mount, world.random.below(2) ? 0 : 0x200) != 0)
            continue;
        if (world.random.below(2)) change_words(world.random, handle.words, 32, 1);
        if (one_in(world.random, 4)) handle.bytes = world.random.below(140);
        const long fd =
            call(SYS_open_by_handle_at, random_fd(world.random), &handle, make_value(world, Kind::kOpenFlags));
        call(SYS_fstat, fd, kWork);
        call(SYS_close, fd);
    }
}

// --- the supervisor, which a worker that is not root may not touch

void harm_supervisor(World& world) {
    if (world.identity != Identity::kUser) return;
    const uint64_t at = kPrecious + world.random.below(kPreciousSize - 8), value = world.random.next(),
                   limits[2] = {7, 7};
    const iovec local = {(void*)&value, 8}, remote = {(void*)at, 8};
    call(SYS_process_vm_writev, 1, &local, 1, &remote, 1, 0);
    call(SYS_pwrite64, call(SYS_openat, AT_FDCWD, "/proc/1/mem", O_RDWR), &value, 8, at);
    if (call(SYS_ptrace, world.random.below(2) ? PTRACE_SEIZE : PTRACE_ATTACH, 1, 0, 0) == 0)
        call(SYS_ptrace, PTRACE_POKEDATA, 1, at & ~7UL, value);
    call(SYS_prlimit64, 1, RLIMIT_NOFILE, limits, 0);
    for (const char* path : {"/scratch/supervisor/secret", "/proc/1/root/scratch/supervisor/secret",
                             "/proc/1/cwd/scratch/supervisor/secret"}) {
        call(SYS_chmod, path, 0666);
        call(SYS_truncate, path, 3);
        call(SYS_write, call(SYS_openat, AT_FDCWD, path, O_RDWR), &value, 8);
        call(SYS_unlink, path);
    }
    call(SYS_rename, "/scratch/supervisor", "/scratch/elsewhere");
    const long itself = call(SYS_pidfd_open, 1, 0);
    for (int fd = 0; fd < 8; fd++) call(SYS_ftruncate, call(SYS_pidfd_getfd, itself, fd, 0), 0);
    call(SYS_pidfd_send_signal, itself, SIGKILL, 0, 0);
    for (int signal = 1; signal < 65; signal++) call(SYS_kill, 1, signal);
    call(SYS_sched_setaffinity, 1, 8, &value);
    call(SYS_setpriority, PRIO_PROCESS, 1, 19);
}

void run_hostile_code(World& world) { hostile_instructions(world); }
void write_shared_pages(World& world) { scribble_above_user_memory(world); }

constexpr void (*kChildren[])(World&) = {signal_frame,     forged_frame,       run_broken_program,
                                         run_hostile_code, write_shared_pages, trace_child,
                                         mount_something,  forge_handle,       harm_supervisor};

}  // namespace

void spawn(World& world, uint64_t flags, void (*body)(World*)) {
    const unsigned number = world.random.below(kStackCount);
    const uint64_t top = kStacks + (number + 1) * kStackSize - 512;
    static_assert(sizeof(World) < 512);
    auto* its = (World*)top;
    *its = world;
    its->random = Random(world.random.next());
    its->depth++;
    const long pid = clone_on_stack(flags, top, body, its);
    if (pid > 0) note_task(world, (int)pid);
}

void run_scenario(World& world) {
    if (world.depth > 2) return;
    const int pid = in_child(world, kChildren[world.random.below(sizeof kChildren / sizeof kChildren[0])]);
    if (pid > 0 && world.random.below(4)) wait_a_little(pid);
}

}  // namespace calls
