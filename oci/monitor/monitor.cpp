#include "oci/monitor/monitor.hpp"

#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "common/host/code_pages.hpp"
#include "common/host/exit_code.hpp"
#include "oci/monitor/console_socket.hpp"

namespace kvmsbx::oci {
namespace {

constexpr std::array kForwarded = {SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGTERM};

int64_t now_ms() {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1'000'000;
}

std::string describe(const ChildEnd& end) {
    if (end.killed) return "was killed by signal " + std::to_string(end.value) + " (" + strsignal(end.value) + ")";
    return "ended with status " + std::to_string(end.value);
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

Outcome<> Monitor::launch_sandbox(const LaunchPlan& plan, host::Fd signals) {
    signals_ = std::move(signals);
    processes_ = TRY(launch(plan));
    launched_ = true;
    sandbox_ = ControlConnection(std::move(processes_.control), ControlConnection::Mode::kNonBlocking);
    record_.boot = ProcessIdentity::of(processes_.boot.pid);
    record_.gofer = ProcessIdentity::of(processes_.gofer.pid);
    reporter_.debug("started the sandbox process " + std::to_string(processes_.boot.pid) + " and the gofer " +
                    std::to_string(processes_.gofer.pid));
    if (terminal_) {
        terminal_->make_raw();
        reporter_.set_terminal_raw(true);
    }
    send_window_size();
    while (!ready_ && step(-1)) {}
    if (ready_) return {};
    return Failure{""};
}

Outcome<> Monitor::start() {
    send_window_size();  // a terminal may have been resized since it was made
    start_id_ = next_id_++;
    ignore(sandbox_.send(start_id_, control::Start{}), "a sandbox that is gone is seen by its pidfd");
    while (!running_ && step(-1)) {}
    if (running_) return {};
    return Failure{""};
}

int Monitor::serve() {
    while (step(-1)) {}
    return abandon();
}

// One turn of the loop; false: the sandbox has ended.
bool Monitor::step(int timeout_ms) {
    enum Slot : size_t { kBoot, kGofer, kLog, kSignals, kSandbox, kListener, kClients };
    std::vector<pollfd> polled(kClients);
    polled[kBoot] = {processes_.boot.pidfd.get(), POLLIN, 0};
    polled[kGofer] = {processes_.gofer.pidfd.get(), POLLIN, 0};
    polled[kLog] = {processes_.log.get(), POLLIN, 0};
    polled[kSignals] = {signals_.get(), POLLIN, 0};
    polled[kSandbox] = {sandbox_.fd(), static_cast<short>(POLLIN | (sandbox_.wants_to_send() ? POLLOUT : 0)), 0};
    polled[kListener] = {listener_.get(), POLLIN, 0};
    for (const Client& client : clients_)
        polled.push_back({client.connection.fd(),
                          static_cast<short>(POLLIN | (client.connection.wants_to_send() ? POLLOUT : 0)), 0});
    if (crash_.after_ms >= 0) timeout_ms = crash_.after_ms;
    if (kill_deadline_ms_) timeout_ms = static_cast<int>(std::max<int64_t>(*kill_deadline_ms_ - now_ms(), 0));
    const int ready = poll(polled.data(), polled.size(), timeout_ms);
    if (ready < 0) return true;  // EINTR
    if (ready == 0 && kill_deadline_ms_) kill_child(processes_.boot);
    if (ready == 0 && crash_.after_ms >= 0) {
        crash_.after_ms = -1;
        ignore(sandbox_.send(0, control::Crash{crash_.kind}), "a sandbox that is gone is seen by its pidfd");
    }
    if (polled[kLog].revents & POLLIN) drain_log();
    if (polled[kLog].revents & POLLHUP) processes_.log.reset();
    if (polled[kSignals].revents) take_signal();
    if (polled[kSandbox].revents) receive_from_sandbox();
    size_t slot = kClients;
    for (Client& client : clients_) {
        if (slot < polled.size() && polled[slot++].revents) receive_from(client);
    }
    if (polled[kListener].revents) accept_clients();
    sweep_clients();
    boot_ended_ = polled[kBoot].revents != 0;
    gofer_ended_ = polled[kGofer].revents != 0 && !boot_ended_;
    return !has_ended();
}

void Monitor::drain_log() {
    char buffer[8192];
    for (ssize_t n; processes_.log.is_open() && (n = read(processes_.log.get(), buffer, sizeof buffer)) > 0;)
        reporter_.child_output(std::string_view(buffer, static_cast<size_t>(n)));
}

void Monitor::take_signal() {
    signalfd_siginfo info{};
    if (read(signals_.get(), &info, sizeof info) != sizeof info) return;
    const auto number = static_cast<int>(info.ssi_signo);
    if (number == SIGWINCH) return send_window_size();
    if (number == SIGCONT) {  // the shell that stopped us has set its own modes meanwhile
        if (terminal_) terminal_->make_raw();
        return send_window_size();
    }
    // The terminal that an engine closes hangs up inside by itself.
    if (number == SIGHUP && console_.is_open()) return;
    reporter_.debug(std::string("forwarding signal ") + strsignal(number));
    tell_sandbox({0, info.ssi_signo, false, true});
}

void Monitor::tell_sandbox(const control::Signal& signal) {
    ignore(sandbox_.send(next_id_++, signal), "a sandbox that is gone is seen by its pidfd");
    constexpr int64_t kPatienceMs = 10'000;
    if (signal.target == 0 && signal.number == SIGKILL) kill_deadline_ms_ = now_ms() + kPatienceMs;
}

void Monitor::send_window_size() {
    const ConsoleSize size = terminal_ ? terminal_->size() : terminal_size(console_.get());
    if (size.rows == 0 && size.columns == 0) return;
    ignore(sandbox_.send(next_id_++, control::Resize{0, size.rows, size.columns}),
           "a sandbox that is gone is seen by its pidfd");
}

// Both processes are gone afterwards. How the sandbox process ended.
ChildEnd Monitor::reap() {
    if (!boot_ended_) {
        kill_child(processes_.boot);
        sandbox_.close();  // ends it where the host lets us send no signal to nobody's processes
    }
    const ChildEnd boot = wait_for(processes_.boot);
    receive_from_sandbox();  // its last words
    sandbox_.close();
    return boot;
}

int Monitor::abandon() {
    if (!launched_) return failure_code_ ? failure_code_ : host::kExitOwnFailure;
    launched_ = false;
    const ChildEnd boot = reap();
    processes_.lifeline.reset();
    kill_child(processes_.gofer);
    const ChildEnd gofer = wait_for(processes_.gofer);
    drain_log();
    if (terminal_) terminal_->restore();
    reporter_.set_terminal_raw(false);
    return explain(boot, gofer);
}

int Monitor::explain(ChildEnd boot, ChildEnd gofer) {
    if (failure_code_) return failure_code_;
    if (!has_ended()) return host::kExitOwnFailure;  // the caller knows why
    if (gofer_ended_) {
        if (!reporter_.child_reported())
            reporter_.error("the gofer (the sandbox's file server) " + describe(gofer) +
                            ", so the sandbox was ended; run with --debug for more");
        return host::kExitOwnFailure;
    }
    if (!boot.killed) return boot.value;
    if (boot_ended_ && kill_deadline_ms_) return 128 + SIGKILL;  // as it was told, if late
    if (!reporter_.child_reported())
        reporter_.error("the sandbox process " + describe(boot) +
                        ", so the sandbox has ended; run with --debug for more");
    return host::kExitOwnFailure;
}

void Monitor::receive_from_sandbox() {
    if (!sandbox_.is_open()) return;
    ignore(sandbox_.flush(), "a sandbox that is gone is seen by its pidfd");
    for (;;) {
        Result<std::optional<Frame>> frame = sandbox_.receive();
        if (frame.is_error()) {
            if (frame.error() != Errno::kPIPE) {
                reporter_.error("the sandbox does not speak the control protocol; it is ended");
                kill_child(processes_.boot);
            }
            return sandbox_.close();
        }
        if (!frame.value()) return;
        handle_sandbox_frame(*frame.value());
    }
}

void Monitor::remember_failure(const Frame& frame) {
    auto failed = frame.as<control::Failed<wire::Viewed>>();
    if (failed.is_error() || failure_code_) return;
    failure_code_ = static_cast<int>(std::clamp(failed->code, 1u, 255u));
    reporter_.error(std::string(failed->text));
}

// The Sentry is hostile: what is no answer to a question is dropped.
void Monitor::handle_sandbox_frame(const Frame& frame) {
    if (frame.header.id == 0) {
        if (frame.is<control::Ready>()) ready_ = true;
        if (frame.is<control::Failed<wire::Viewed>>()) remember_failure(frame);
        return;
    }
    if (frame.header.id == start_id_) {
        if (frame.is<control::Done>()) started();
        if (frame.is<control::Failed<wire::Viewed>>()) remember_failure(frame);
    }
    const auto found = pending_.find(frame.header.id);
    if (found == pending_.end()) return;
    const Pending pending = found->second;
    const bool more_follows = frame.is<control::Started>();
    if (!more_follows) pending_.erase(found);
    Client& client = *pending.client;
    if (client.exec == frame.header.id && !more_follows) client.exec = 0;
    if (client.connection.forward(frame, pending.id).is_error()) drop(client);
}

void Monitor::started() {
    running_ = true;
    set_status(Status::kRunning);
    host::let_go_of_code();
}

void Monitor::set_status(Status status) {
    record_.status = status;
    if (const Outcome<> written = folder_.write_record(record_); written.is_error())
        reporter_.warning(written.error().message);
}

}  // namespace kvmsbx::oci
