#pragma once
// Runs a program in a child and gives what it printed.
#include <string>

#include "tests/guest/guest_test.hpp"

namespace guest {

struct Output {
    std::string text;
    int status = 0;
};

// `body` runs in a child whose stdout is the pipe that is read; it must exec or exit.
template <typename Body>
Output output_of(Body body) {
    int fds[2];
    OK(pipe(fds));
    pid_t pid = OK(fork());
    if (pid == 0) {
        OK(dup2(fds[1], 1));
        close(fds[0]);
        close(fds[1]);
        body();
        fail(__FILE__, __LINE__, "exec: %s", strerror(errno));
    }
    close(fds[1]);
    Output out;
    char block[4096];
    for (ssize_t n; (n = read(fds[0], block, sizeof(block))) > 0;) out.text.append(block, static_cast<size_t>(n));
    close(fds[0]);
    OK(waitpid(pid, &out.status, 0));
    return out;
}

inline constexpr const char* kStatic = "/bin/helper_static";
inline constexpr const char* kPie = "/bin/helper_pie";
inline constexpr const char* kDynamic = "/bin/helper_dynamic";

// The errno of execve(path), which must fail; 0 if it did not.
int exec_errno(const char* path, char* const argv[] = nullptr, char* const envp[] = nullptr);

}  // namespace guest
