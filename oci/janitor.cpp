#include "oci/janitor.hpp"

#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "oci/container/cgroup.hpp"
#include "oci/container/store.hpp"

namespace kvmsbx::oci {
namespace {

// Closes all descriptors but these (sorted in place).
void close_all_but(std::array<int, 2>& keep) {
    std::sort(keep.begin(), keep.end());
    unsigned first = 0;
    for (int fd : keep) {
        if (fd < 0) continue;
        const auto kept = static_cast<unsigned>(fd);
        if (kept > first) syscall(SYS_close_range, first, kept - 1, 0);
        first = kept + 1;
    }
    syscall(SYS_close_range, first, ~0u, 0);
}

// The lock may outlive the lifeline for a moment: a dying process closes one descriptor after the other, and a child
// has copies until its exec.
void remove_state(const std::string& root, const std::string& id) {
    constexpr timespec kPause{0, 5'000'000};
    Outcome<ContainerFolder> folder = ContainerFolder::open(root, id);
    if (folder.is_error()) return;
    for (int attempt = 0; attempt < 300 && folder.value().is_held(); ++attempt) nanosleep(&kPause, nullptr);
    const Outcome<ContainerRecord> record = folder.value().read_record();
    if (record.is_ok())
        ignore(Cgroup::from_paths(record.value().cgroups, record.value().systemd_unit).remove(Leftovers::kKill),
               "nobody is left who could be told");
    ignore(folder.value().remove(), "nobody is left who could be told");
}

[[noreturn]] void janitor_main(int lifeline, const std::string& root, const std::string& id,
                               std::optional<RawTerminal> terminal) {
    setsid();  // out of the reach of the terminal's signals and of kills by process group
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, nullptr);
    prctl(PR_SET_NAME, "kvmsbx-janitor");
    std::array<int, 2> keep{lifeline, terminal ? terminal->fd() : -1};
    close_all_but(keep);
    char byte;
    ssize_t n;
    do n = read(lifeline, &byte, 1);
    while (n < 0 && errno == EINTR);
    if (n == 0) {
        if (terminal) terminal->restore();
        remove_state(root, id);
    }
    _exit(0);
}

}  // namespace

Outcome<Janitor> Janitor::start(const std::string& state_root, const std::string& id,
                                const std::optional<RawTerminal>& terminal) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0) return errno_failure("cannot make a pipe", errno);
    const host::Fd reader(ends[0]);
    Janitor janitor;
    janitor.lifeline_ = host::Fd(ends[1]);
    janitor.pid_ = fork();
    if (janitor.pid_ < 0) return errno_failure("cannot start a process", errno);
    if (janitor.pid_ == 0) janitor_main(reader.get(), state_root, id, terminal);
    return janitor;
}

void Janitor::dismiss() {
    if (pid_ < 0) return;
    const char byte = 'q';
    if (write(lifeline_.get(), &byte, 1) != 1) kill(pid_, SIGKILL);
    while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {}
    pid_ = -1;
}

}  // namespace kvmsbx::oci
