// The runner inside each family's program. See guest_test.hpp.
//   PROGRAM [--list] [--only NAME]... [--skip NAME]... [--after NAME] [--no-fork]
// --after continues behind a case (the outer runner uses it when a case took the whole sandbox down); --no-fork runs
// cases in this process (bring-up).
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <time.h>
#include <ucontext.h>
#include <cstdarg>
#include <cstdlib>

#include "tests/guest/guest_test.hpp"

namespace guest {
namespace {

Case* first_case = nullptr;
Case** last_case = &first_case;
const char* current_case = "";
int report_pipe[2] = {-1, -1};
volatile sig_atomic_t timed_out = 0;
pid_t running_case = 0;
int trap_pipe = -1;

void print(const char* format, ...) __attribute__((format(printf, 1, 2)));
void print(const char* format, ...) {
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    if (length > static_cast<int>(sizeof(text)) - 1) length = sizeof(text) - 1;
    for (int done = 0; done < length;) {
        ssize_t n = write(1, text + done, static_cast<size_t>(length - done));
        if (n <= 0) break;
        done += static_cast<int>(n);
    }
}

void on_time_out(int) {
    timed_out = 1;
    if (running_case > 0) kill(running_case, SIGKILL);
}

void open_report_pipe() {
    int fds[2];
    if (pipe(fds) != 0) return;
    // High numbers leave 3, 4, ... to the case, as in a fresh program.
    report_pipe[0] = fcntl(fds[0], F_DUPFD_CLOEXEC, 200);
    report_pipe[1] = fcntl(fds[1], F_DUPFD_CLOEXEC, 201);
    close(fds[0]);
    close(fds[1]);
    fcntl(report_pipe[0], F_SETFL, O_NONBLOCK);
    fcntl(report_pipe[1], F_SETFL, O_NONBLOCK);
}

void close_report_pipe() {
    close(report_pipe[0]);
    close(report_pipe[1]);
    report_pipe[0] = report_pipe[1] = -1;
}

// The first line that a failed check sent, or "".
void read_report(char* text, size_t size) {
    ssize_t n = read(report_pipe[0], text, size - 1);
    text[n > 0 ? n : 0] = 0;
    // A text that was compared may hold line ends itself; several messages come one after the other.
    for (char* end = text; (end = strchr(end, '\n')) != nullptr;) *end = end[1] != 0 ? '|' : 0;
}

enum class Outcome { kPassed, kFailed, kSkipped };

Outcome describe(const Case& one, int status) {
    char report[600];
    read_report(report, sizeof(report));
    if (timed_out) {
        print("FAIL %s: timed out after %u s%s%s\n", one.name, kCaseSeconds, *report ? "; " : "", report);
        return Outcome::kFailed;
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0 && !*report) {
        print("ok %s\n", one.name);
        return Outcome::kPassed;
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == kSkipped) {
        print("skip %s: %s\n", one.name, report);
        return Outcome::kSkipped;
    }
    if (*report)
        print("FAIL %s: %s\n", one.name, report);
    else if (WIFSIGNALED(status))
        print("FAIL %s: killed by signal %d\n", one.name, WTERMSIG(status));
    else
        print("FAIL %s: exit code %d\n", one.name, WEXITSTATUS(status));
    return Outcome::kFailed;
}

int wait_for_case(pid_t pid) {
    int status = 0;
    alarm(kCaseSeconds);
    // Also reaps orphans, should this process be pid 1.
    for (;;) {
        pid_t got = waitpid(-1, &status, 0);
        if (got == pid) break;
        if (got < 0 && errno != EINTR) {
            status = 0xff00;
            break;
        }
    }
    alarm(0);
    kill(-pid, SIGKILL);
    int ignored;
    while (waitpid(-1, &ignored, WNOHANG) > 0) {}
    return status;
}

Outcome run_case(const Case& one) {
    current_case = one.name;
    timed_out = 0;
    open_report_pipe();
    pid_t pid = fork();
    if (pid < 0) {
        print("FAIL %s: fork: %s\n", one.name, strerror(errno));
        close_report_pipe();
        return Outcome::kFailed;
    }
    if (pid == 0) {
        signal(SIGALRM, SIG_DFL);
        setsid();
        one.body();
        _exit(0);
    }
    running_case = pid;
    int status = wait_for_case(pid);
    running_case = 0;
    Outcome outcome = describe(one, status);
    close_report_pipe();
    return outcome;
}

void on_trap(int signo, siginfo_t* info, void* context) {
    const auto* user = static_cast<const ucontext_t*>(context);
    Trap trap;
    trap.signo = signo;
    trap.code = info->si_code;
    trap.addr = reinterpret_cast<uintptr_t>(info->si_addr);
    trap.rip = static_cast<uintptr_t>(user->uc_mcontext.gregs[REG_RIP]);
    trap.trapno = static_cast<uint64_t>(user->uc_mcontext.gregs[REG_TRAPNO]);
    trap.error = static_cast<uint64_t>(user->uc_mcontext.gregs[REG_ERR]);
    if (write(trap_pipe, &trap, sizeof(trap)) != sizeof(trap)) _exit(kFailed);
    _exit(0);
}

bool selected(const Case& one, int argc, char** argv) {
    bool any = false;
    for (int i = 1; i + 1 < argc; i++)
        if (strcmp(argv[i], "--skip") == 0 && strcmp(argv[i + 1], one.name) == 0) return false;
    for (int i = 1; i + 1 < argc; i++) {
        if (strcmp(argv[i], "--only") != 0) continue;
        any = true;
        if (strcmp(argv[i + 1], one.name) == 0) return true;
    }
    return !any;
}

}  // namespace

Case::Case(const char* case_name, void (*case_body)()) : name(case_name), body(case_body) {
    *last_case = this;
    last_case = &next;
}

void fail(const char* file, int line, const char* format, ...) {
    char text[500], message[600];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    const char* base = strstr(file, "tests/guest/");
    int length = snprintf(message, sizeof(message), "%s:%d %s\n",
                          base != nullptr ? base + strlen("tests/guest/") : file, line, text);
    if (length >= static_cast<int>(sizeof(message))) length = sizeof(message) - 1;
    if (report_pipe[1] < 0 || write(report_pipe[1], message, static_cast<size_t>(length)) < 0)
        print("FAIL %s: %s", current_case, message);
    _exit(kFailed);
}

void skip(const char* reason) {
    if (write(report_pipe[1], reason, strlen(reason)) < 0) print("skip %s: %s\n", current_case, reason);
    _exit(kSkipped);
}

void check_equal_text(const char* file, int line, const char* expression_a, const char* a, const char* expression_b,
                      const char* b) {
    if (strcmp(a, b) != 0) fail(file, line, "%s == %s: \"%.150s\" and \"%.150s\"", expression_a, expression_b, a, b);
}

const char* scratch() {
    static char path[256];
    const char* base = getenv("GUEST_DIR");
    snprintf(path, sizeof(path), "%s/caseXXXXXX", base != nullptr ? base : "/tmp");
    if (mkdtemp(path) == nullptr || chmod(path, 0777) != 0 || chdir(path) != 0)
        fail(__FILE__, __LINE__, "scratch folder %s: %s", path, strerror(errno));
    return path;
}

Trap catch_trap(void (*body)(void*), void* argument) {
    int fds[2];
    if (pipe(fds) != 0) fail(__FILE__, __LINE__, "pipe: %s", strerror(errno));
    pid_t pid = fork();
    if (pid < 0) fail(__FILE__, __LINE__, "fork: %s", strerror(errno));
    if (pid == 0) {
        close(fds[0]);
        trap_pipe = fds[1];
        static char stack[65536];
        stack_t alternate = {};
        alternate.ss_sp = stack;
        alternate.ss_size = sizeof(stack);
        sigaltstack(&alternate, nullptr);
        struct sigaction action = {};
        action.sa_sigaction = on_trap;
        action.sa_flags = SA_SIGINFO | SA_ONSTACK;
        for (int signo : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGSYS}) sigaction(signo, &action, nullptr);
        body(argument);
        _exit(0);
    }
    close(fds[1]);
    Trap trap;
    if (read(fds[0], &trap, sizeof(trap)) != sizeof(trap)) trap = Trap();
    close(fds[0]);
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {}
    if (WIFSIGNALED(status)) fail(__FILE__, __LINE__, "child killed by signal %d, no handler ran", WTERMSIG(status));
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        fail(__FILE__, __LINE__, "child ended with status 0x%x", status);
    return trap;
}

void sleep_ms(unsigned ms) {
    timespec left = {ms / 1000, static_cast<long>(ms % 1000) * 1000000};
    while (nanosleep(&left, &left) != 0 && errno == EINTR) {}
}

uint64_t now_ns() {
    timespec now = {};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<uint64_t>(now.tv_sec) * 1000000000u + static_cast<uint64_t>(now.tv_nsec);
}

void burn_ms(unsigned ms) {
    timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    const uint64_t end =
        static_cast<uint64_t>(t.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(t.tv_nsec) + ms * 1'000'000ULL;
    do clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    while (static_cast<uint64_t>(t.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(t.tv_nsec) < end);
}

bool write_file(const char* path, const char* text, mode_t mode) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, mode);
    if (fd < 0) return false;
    bool good = write(fd, text, strlen(text)) == static_cast<ssize_t>(strlen(text));
    good = fchmod(fd, mode) == 0 && good;
    close(fd);
    return good;
}

ssize_t read_file(const char* path, char* buffer, size_t size) {
    int fd = open(path, O_RDONLY);
    if (fd < 0) return -1;
    size_t total = 0;
    while (total < size - 1) {
        ssize_t n = read(fd, buffer + total, size - 1 - total);
        if (n <= 0) break;
        total += static_cast<size_t>(n);
    }
    close(fd);
    buffer[total] = 0;
    return static_cast<ssize_t>(total);
}

}  // namespace guest

int main(int argc, char** argv) {
    using namespace guest;
    const char* after = nullptr;
    bool in_this_process = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--list") == 0) {
            for (const Case* one = first_case; one != nullptr; one = one->next) print("%s\n", one->name);
            return 0;
        }
        if (strcmp(argv[i], "--after") == 0 && i + 1 < argc) after = argv[i + 1];
        if (strcmp(argv[i], "--no-fork") == 0) in_this_process = true;
    }
    struct sigaction action = {};
    action.sa_handler = on_time_out;
    sigaction(SIGALRM, &action, nullptr);
    unsigned counts[3] = {};
    for (const Case* one = first_case; one != nullptr; one = one->next) {
        if (after != nullptr) {
            if (strcmp(after, one->name) == 0) after = nullptr;
            continue;
        }
        if (!selected(*one, argc, argv)) continue;
        if (in_this_process) {
            current_case = one->name;
            one->body();
            print("ok %s\n", one->name);
            counts[0]++;
        } else {
            counts[static_cast<int>(run_case(*one))]++;
        }
    }
    print("%u passed, %u failed", counts[0], counts[1]);
    print(counts[2] != 0 ? ", %u skipped\n" : "\n", counts[2]);
    return counts[1] != 0 ? 1 : 0;
}
