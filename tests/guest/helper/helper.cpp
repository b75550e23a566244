// The program that the exec family starts. Its first argument says what to print.
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <sys/auxv.h>
#include <sys/prctl.h>

#include <unistd.h>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>

extern char** environ;

namespace {
thread_local int thread_value = 5;

int print_arguments(int argc, char** argv) {
    for (int i = 0; i < argc; i++) printf("%s\n", argv[i]);
    return 0;
}

int print_environment() {
    for (char** entry = environ; *entry != nullptr; entry++) printf("%s\n", *entry);
    return 0;
}

int print_open_descriptors() {
    for (int fd = 0; fd < 300; fd++)
        if (fcntl(fd, F_GETFD) >= 0) printf("%d\n", fd);
    return 0;
}

int print_executable() {
    char path[4096];
    ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);
    if (n < 0) return 1;
    path[n] = 0;
    printf("%s\n", path);
    return 0;
}

int print_auxiliary() {
    for (unsigned long type : {AT_PAGESZ, AT_PHENT, AT_PHNUM, AT_UID, AT_EUID, AT_GID, AT_EGID, AT_SECURE, AT_CLKTCK})
        printf("%lu=%lu\n", type, getauxval(type));
    printf("execfn=%s\nplatform=%s\n", reinterpret_cast<const char*>(getauxval(AT_EXECFN)),
           reinterpret_cast<const char*>(getauxval(AT_PLATFORM)));
    printf("entry=%d phdr=%d random=%d vdso=%d base=%d\n", getauxval(AT_ENTRY) != 0, getauxval(AT_PHDR) != 0,
           getauxval(AT_RANDOM) != 0, getauxval(AT_SYSINFO_EHDR) != 0, getauxval(AT_BASE) != 0);
    return 0;
}

// The auxiliary vector as the stack has it must end argv and envp, and its program headers must be this program's.
int check_layout(char** argv) {
    char** after = argv;
    while (*after != nullptr) after++;
    if (after + 1 != environ) return 10;
    char** end = environ;
    while (*end != nullptr) end++;
    const auto* vector = reinterpret_cast<const ElfW(auxv_t)*>(end + 1);
    bool has_phdr = false;
    for (; vector->a_type != AT_NULL; vector++)
        if (vector->a_type == AT_PHDR) has_phdr = vector->a_un.a_val == getauxval(AT_PHDR);
    if (!has_phdr) return 11;
    const auto* header = reinterpret_cast<const ElfW(Phdr)*>(getauxval(AT_PHDR));
    for (unsigned long i = 0; i < getauxval(AT_PHNUM); i++)
        if (header[i].p_type == PT_LOAD) return (reinterpret_cast<uintptr_t>(argv[-1]) == 0) ? 12 : 0;
    return 13;
}

int check_random() {
    const auto* bytes = reinterpret_cast<const unsigned char*>(getauxval(AT_RANDOM));
    for (int i = 0; i < 16; i++) printf("%02x", bytes[i]);
    printf("\n");
    return 0;
}

int check_threads() {
    pthread_t thread;
    int value = 0;
    if (pthread_create(
            &thread, nullptr,
            [](void* out) -> void* {
                *static_cast<int*>(out) = thread_value;
                return nullptr;
            },
            &value) != 0)
        return 1;
    pthread_join(thread, nullptr);
    return value == 5 ? 0 : 2;
}

int print_signals() {
    sigset_t set;
    sigprocmask(SIG_BLOCK, nullptr, &set);
    printf("blocked=%d\n", sigismember(&set, SIGUSR1));
    for (int signo : {SIGUSR1, SIGUSR2, SIGTERM}) {
        struct sigaction action;
        sigaction(signo, nullptr, &action);
        printf("%d=%s\n", signo,
               action.sa_handler == SIG_DFL   ? "default"
               : action.sa_handler == SIG_IGN ? "ignored"
                                              : "handler");
    }
    sigpending(&set);
    printf("pending=%d\n", sigismember(&set, SIGUSR1));
    return 0;
}
}  // namespace

int main(int argc, char** argv) {
    const char* what = argc > 1 ? argv[1] : "args";
    if (strcmp(what, "env") == 0) return print_environment();
    if (strcmp(what, "fds") == 0) return print_open_descriptors();
    if (strcmp(what, "exe") == 0) return print_executable();
    if (strcmp(what, "auxv") == 0) return print_auxiliary();
    if (strcmp(what, "layout") == 0) return check_layout(argv);
    if (strcmp(what, "random") == 0) return check_random();
    if (strcmp(what, "threads") == 0) return check_threads();
    if (strcmp(what, "signals") == 0) return print_signals();
    if (strcmp(what, "exit") == 0) return atoi(argv[2]);
    if (strcmp(what, "pid") == 0) return printf("%d\n", getpid()) > 0 ? 0 : 1;
    if (strcmp(what, "dumpable") == 0) return prctl(PR_GET_DUMPABLE);
    if (strcmp(what, "ids") == 0) return printf("%d %d %d %d\n", getuid(), geteuid(), getgid(), getegid()) > 0 ? 0 : 1;
    if (strcmp(what, "argsize") == 0) return printf("%d %zu\n", argc, strlen(argv[argc - 1])) > 0 ? 0 : 1;
    return print_arguments(argc, argv);
}
