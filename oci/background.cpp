#include "oci/background.hpp"

#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "common/host/code_pages.hpp"
#include "common/host/exit_code.hpp"
#include "common/host/fd.hpp"
#include "common/host/write_all.hpp"

namespace kvmsbx::oci {
namespace {

// `told`: where the caller waits for one byte, 0 or the exit code of a failure.
[[noreturn]] void child_main(const char* name, pid_t caller, host::Fd told,
                             const std::function<int(const std::function<void()>& ready)>& body) {
    prctl(PR_SET_NAME, name);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != caller) _exit(host::kExitOwnFailure);
    setsid();
    const auto tell = [&told](int code) {
        const auto byte = static_cast<char>(code);
        const bool heard = write(told.get(), &byte, 1) == 1;
        told.reset();
        if (!heard) _exit(host::kExitOwnFailure);  // the caller is gone, and with it who knows of this process
    };
    bool is_ready = false;
    const int code = body([&] {
        malloc_trim(0);
        host::let_go_of_code();
        prctl(PR_SET_PDEATHSIG, 0);
        is_ready = true;
        tell(0);
    });
    if (!is_ready) tell(code);
    if (is_ready && code == 128 + SIGKILL) kill(getpid(), SIGKILL);
    _exit(code);
}

}  // namespace

int leave_behind(const char* name, Reporter& reporter,
                 const std::function<int(const std::function<void()>& ready)>& body) {
    int ends[2];
    const pid_t caller = getpid();
    const pid_t pid = pipe2(ends, O_CLOEXEC) < 0 ? -1 : fork();
    if (pid < 0) {
        reporter.error(errno_failure("cannot start a process", errno).message);
        return host::kExitOwnFailure;
    }
    const host::Fd reader(ends[0]);
    host::Fd writer(ends[1]);
    if (pid == 0) child_main(name, caller, std::move(writer), body);
    writer.reset();
    unsigned char code = host::kExitOwnFailure;
    ssize_t got;
    do got = read(reader.get(), &code, 1);
    while (got < 0 && errno == EINTR);
    if (got == 1 && code == 0) return 0;
    if (got != 1) reporter.error(std::string("the process ") + name + " ended before it was ready");
    while (waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {}
    return code;
}

Outcome<> write_pid_file(const std::string& path, int pid) {
    if (path.empty()) return {};
    const std::string temporary = path + ".tmp";
    const host::Fd file(open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
    if (file.is_open() && host::write_all(file.get(), std::to_string(pid)).is_ok() &&
        rename(temporary.c_str(), path.c_str()) == 0)
        return {};
    return errno_failure("cannot write --pid-file " + path, errno);
}

}  // namespace kvmsbx::oci
