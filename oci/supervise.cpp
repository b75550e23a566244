#include "oci/supervise.hpp"

#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "common/control/messages.hpp"
#include "common/host/exit_code.hpp"

namespace kvmsbx::oci {
namespace {

constexpr std::array kForwarded = {SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGTERM};

class Supervisor {
  public:
    Supervisor(SandboxProcesses& processes, const host::Fd& signals, std::optional<RawTerminal>& terminal,
               Reporter& reporter)
        : processes_(processes), signals_(signals), terminal_(terminal), reporter_(reporter) {}

    int run(CrashRequest crash);

  private:
    template <typename M>
    void send_message(const M& message);
    void send_window_size();
    void take_signal();
    void drain_log();
    ChildEnd end_boot();
    ChildEnd end_gofer();
    int explain(bool gofer_first, ChildEnd boot, ChildEnd gofer);

    SandboxProcesses& processes_;
    const host::Fd& signals_;
    std::optional<RawTerminal>& terminal_;
    Reporter& reporter_;
};

// The socket's buffer holds far more messages than anyone sends; if it is full the sandbox hangs anyway, and a dead one
// is seen by its pidfd.
template <typename M>
void Supervisor::send_message(const M& message) {
    std::array<uint8_t, 4096> answers;  // nobody waits for them
    while (recv(processes_.control.get(), answers.data(), answers.size(), MSG_DONTWAIT) > 0) continue;
    std::array<uint8_t, 64> frame;
    const size_t size = control::encode_frame(frame, 0, message);
    if (send(processes_.control.get(), frame.data(), size, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
        reporter_.debug(std::string("a message could not be sent to the sandbox process: ") + std::strerror(errno));
    }
}

void Supervisor::send_window_size() {
    if (!terminal_) return;
    const ConsoleSize size = terminal_->size();
    send_message(control::Resize{.rows = size.rows, .columns = size.columns});
}

void Supervisor::take_signal() {
    signalfd_siginfo info{};
    if (read(signals_.get(), &info, sizeof info) != sizeof info) return;
    const auto number = static_cast<int>(info.ssi_signo);
    if (number == SIGWINCH) {
        send_window_size();
    } else if (number == SIGCONT) {  // the shell that stopped us has set its own modes meanwhile
        if (terminal_) terminal_->make_raw();
        send_window_size();
    } else {
        reporter_.debug(std::string("forwarding signal ") + strsignal(number));
        send_message(control::Signal{.number = info.ssi_signo, .foreground = true});
    }
}

void Supervisor::drain_log() {
    char buffer[8192];
    for (ssize_t n; (n = read(processes_.log.get(), buffer, sizeof buffer)) > 0;) {
        reporter_.child_output(std::string_view(buffer, static_cast<size_t>(n)));
    }
}

ChildEnd Supervisor::end_boot() {
    const ChildEnd end = wait_for(processes_.boot);
    processes_.control.reset();
    return end;
}

ChildEnd Supervisor::end_gofer() {
    processes_.lifeline.reset();
    kill_child(processes_.gofer);
    return wait_for(processes_.gofer);
}

std::string describe(const ChildEnd& end) {
    if (end.killed) return "was killed by signal " + std::to_string(end.value) + " (" + strsignal(end.value) + ")";
    return "ended with status " + std::to_string(end.value);
}

int Supervisor::explain(bool gofer_first, ChildEnd boot, ChildEnd gofer) {
    if (gofer_first) {
        if (!reporter_.child_reported()) {
            reporter_.error("the gofer (the sandbox's file server) " + describe(gofer) +
                            ", so the sandbox was ended; run with --debug for more");
        }
        return host::kExitOwnFailure;
    }
    if (!boot.killed) return boot.value;
    if (!reporter_.child_reported()) {
        reporter_.error("the sandbox process " + describe(boot) +
                        ", so the sandbox has ended; run with --debug for more");
    }
    return host::kExitOwnFailure;
}

int Supervisor::run(CrashRequest crash) {
    send_window_size();
    std::array<pollfd, 4> fds{{{processes_.boot.pidfd.get(), POLLIN, 0},
                               {processes_.gofer.pidfd.get(), POLLIN, 0},
                               {processes_.log.get(), POLLIN, 0},
                               {signals_.get(), POLLIN, 0}}};
    while (!fds[0].revents && !fds[1].revents) {
        const int ready = poll(fds.data(), fds.size(), crash.after_ms);
        if (ready < 0) continue;  // EINTR
        if (ready == 0) {
            send_message(control::Crash{crash.kind});
            crash.after_ms = -1;
        }
        if (fds[2].revents & POLLIN) drain_log();
        if (fds[2].revents & POLLHUP) fds[2].fd = -1;
        if (fds[3].revents) take_signal();
    }
    const bool gofer_first = !fds[0].revents;
    if (gofer_first) {
        kill_child(processes_.boot);
        processes_.control.reset();  // ends it where the host lets us send no signal to nobody's processes
    }
    const ChildEnd boot = end_boot(), gofer = end_gofer();
    drain_log();
    if (terminal_) terminal_->restore();
    reporter_.set_terminal_raw(false);
    return explain(gofer_first, boot, gofer);
}

}  // namespace

Outcome<host::Fd> take_signals() {
    sigset_t set;
    sigemptyset(&set);
    for (int number : kForwarded) sigaddset(&set, number);
    sigaddset(&set, SIGWINCH);
    sigaddset(&set, SIGCONT);
    sigprocmask(SIG_BLOCK, &set, nullptr);
    host::Fd fd(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
    if (!fd.is_open()) return errno_failure("cannot make a signalfd", errno);
    return fd;
}

int supervise(SandboxProcesses& processes, const host::Fd& signals, std::optional<RawTerminal>& terminal,
              CrashRequest crash, Reporter& reporter) {
    return Supervisor(processes, signals, terminal, reporter).run(crash);
}

}  // namespace kvmsbx::oci
