#pragma once
// The framework of the behaviour tests: small, no dependencies, quick to start, so that the same static binary runs
// natively and as the first process of a sandbox.
//
// A family is one program: its cases are TEST("name") { ... } bodies in any of its source files, and guest_main.cpp is
// linked in. Each case runs in a forked child that leads its own session; the parent gives it kCaseSeconds, kills what
// is left of its group and prints one line:
//     ok NAME | skip NAME: reason | FAIL NAME: file:line what
// A failed check ends the process that made it (exit code kFailed), wherever it was forked, and its message travels
// over one pipe to the parent; the first message wins, so that the innermost reason is shown. Checks may be used in
// children and threads of a case. Cases must pass natively as root in a chroot with /proc, /dev and a tmpfs on /tmp;
// pid 1 may be the family's program itself.
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <initializer_list>
#include <type_traits>

namespace guest {

inline constexpr int kFailed = 99;   // exit code of a process whose check failed
inline constexpr int kSkipped = 98;  // exit code of a case that called SKIP
inline constexpr unsigned kCaseSeconds = 20;

struct Case {
    const char* name;
    void (*body)();
    Case* next = nullptr;
    Case(const char* case_name, void (*case_body)());
};

// Sends the message to the parent and ends this process.
[[noreturn]] void fail(const char* file, int line, const char* format, ...) __attribute__((format(printf, 3, 4)));
[[noreturn]] void skip(const char* reason);
void check_equal_text(const char* file, int line, const char* expression_a, const char* a, const char* expression_b,
                      const char* b);

// Makes a fresh empty folder below $GUEST_DIR (default /tmp), mode 0777, and changes to it. Returns its path.
const char* scratch();

// Runs `body` in a forked child, which exits 0 if it returns. Gives the wait status.
template <typename Body>
int run_child(Body body) {
    pid_t pid = fork();
    if (pid < 0) fail(__FILE__, __LINE__, "fork: %s", strerror(errno));
    if (pid == 0) {
        body();
        _exit(0);
    }
    int status = 0;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR) fail(__FILE__, __LINE__, "waitpid: %s", strerror(errno));
    return status;
}

// What a fatal signal's handler saw.
struct Trap {
    int signo = 0;  // 0: the body returned without a signal
    int code = 0;
    uintptr_t addr = 0;
    uintptr_t rip = 0;
    uint64_t trapno = 0, error = 0;
};

// Runs `body(argument)` in a child with handlers for SIGSEGV, SIGBUS, SIGILL, SIGFPE and SIGTRAP on an alternate stack
// and reports the first signal.
Trap catch_trap(void (*body)(void*), void* argument);
template <typename Body>
Trap trap_of(Body body) {
    return catch_trap([](void* pointer) { (*static_cast<Body*>(pointer))(); }, &body);
}

// Sleeps by nanosleep, restarted after signals.
void sleep_ms(unsigned ms);
uint64_t now_ns();  // CLOCK_MONOTONIC
// Computes until this thread has had so much CPU time, which can take long on a busy machine.
void burn_ms(unsigned ms);
bool write_file(const char* path, const char* text, mode_t mode = 0644);
// Reads at most size-1 bytes of the file and ends them with NUL; -1 with errno.
ssize_t read_file(const char* path, char* buffer, size_t size);

namespace detail {
template <typename T>
long long number(const T& value) {
    if constexpr (std::is_null_pointer_v<T>)
        return 0;
    else if constexpr (std::is_pointer_v<T>)
        return static_cast<long long>(reinterpret_cast<intptr_t>(value));
    else
        return static_cast<long long>(value);
}
}  // namespace detail

}  // namespace guest

#define GUEST_CAT2(a, b) a##b
#define GUEST_CAT(a, b) GUEST_CAT2(a, b)
#define TEST(name)                                                                         \
    static void GUEST_CAT(case_, __LINE__)();                                              \
    static guest::Case GUEST_CAT(registered_, __LINE__){name, GUEST_CAT(case_, __LINE__)}; \
    static void GUEST_CAT(case_, __LINE__)()

#define CHECK(condition)                                                     \
    do {                                                                     \
        if (!(condition)) guest::fail(__FILE__, __LINE__, "%s", #condition); \
    } while (0)

#define GUEST_COMPARE(a, op, b)                                                                                 \
    do {                                                                                                        \
        auto guest_a = (a);                                                                                     \
        auto guest_b = (b);                                                                                     \
        long long guest_na = guest::detail::number(guest_a), guest_nb = guest::detail::number(guest_b);         \
        if (!(guest_na op guest_nb))                                                                            \
            guest::fail(__FILE__, __LINE__, "%s " #op " %s: %lld (0x%llx) and %lld (0x%llx)", #a, #b, guest_na, \
                        static_cast<unsigned long long>(guest_na), guest_nb,                                    \
                        static_cast<unsigned long long>(guest_nb));                                             \
    } while (0)
#define CHECK_EQ(a, b) GUEST_COMPARE(a, ==, b)
#define CHECK_NE(a, b) GUEST_COMPARE(a, !=, b)
#define CHECK_LT(a, b) GUEST_COMPARE(a, <, b)
#define CHECK_LE(a, b) GUEST_COMPARE(a, <=, b)
#define CHECK_GE(a, b) GUEST_COMPARE(a, >=, b)
#define CHECK_GT(a, b) GUEST_COMPARE(a, >, b)

// A function, so that temporaries live until the comparison.
#define CHECK_STREQ(a, b) guest::check_equal_text(__FILE__, __LINE__, #a, (a), #b, (b))

// The value of a call that must not fail: int fd = OK(open(...)).
#define OK(call)                                                               \
    ({                                                                         \
        errno = 0;                                                             \
        auto guest_value = (call);                                             \
        if (guest::detail::number(guest_value) == -1)                          \
            guest::fail(__FILE__, __LINE__, "%s: %s", #call, strerror(errno)); \
        guest_value;                                                           \
    })

// The call must return -1 (or MAP_FAILED) with this errno.
#define CHECK_ERRNO(call, expected)                                                                       \
    do {                                                                                                  \
        errno = 0;                                                                                        \
        long long guest_value = guest::detail::number(call);                                              \
        int guest_errno = errno;                                                                          \
        if (guest_value != -1)                                                                            \
            guest::fail(__FILE__, __LINE__, "%s gave %lld, expected " #expected, #call, guest_value);     \
        if (guest_errno != (expected))                                                                    \
            guest::fail(__FILE__, __LINE__, "%s: %s, expected " #expected, #call, strerror(guest_errno)); \
    } while (0)

// Wait statuses.
#define CHECK_EXITED(status, code)                                                                      \
    do {                                                                                                \
        int guest_status = (status);                                                                    \
        if (!WIFEXITED(guest_status) || WEXITSTATUS(guest_status) != (code))                            \
            guest::fail(__FILE__, __LINE__, "%s: status 0x%x, expected exit %d", #status, guest_status, \
                        static_cast<int>(code));                                                        \
    } while (0)
#define CHECK_SIGNALED(status, signal)                                                                    \
    do {                                                                                                  \
        int guest_status = (status);                                                                      \
        if (!WIFSIGNALED(guest_status) || WTERMSIG(guest_status) != (signal))                             \
            guest::fail(__FILE__, __LINE__, "%s: status 0x%x, expected signal %d", #status, guest_status, \
                        static_cast<int>(signal));                                                        \
    } while (0)
#define SKIP(reason) guest::skip(reason)
