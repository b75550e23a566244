#include "oci/container/exec.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "oci/app_spec.hpp"
#include "oci/background.hpp"
#include "oci/container/access.hpp"
#include "oci/monitor/console_socket.hpp"
#include "oci/monitor/monitor.hpp"
#include "oci/names.hpp"
#include "vmm/console.hpp"

namespace kvmsbx::oci {
namespace {

constexpr uint64_t kExecId = 1, kOtherId = 2;
constexpr int kExitOwnFailure = 255;  // as runc's exec

Outcome<std::string> read_file(const std::string& path) {
    const std::ifstream file(path);
    std::ostringstream text;
    text << file.rdbuf();
    if (!file) return errno_failure("--process " + path, errno);
    return text.str();
}

Outcome<> apply_user(const std::string& user, ProcessSpec& process) {
    if (user.empty()) return {};
    char* end = nullptr;
    process.user.uid = static_cast<uint32_t>(std::strtoul(user.c_str(), &end, 10));
    process.user.gid = *end == ':' ? static_cast<uint32_t>(std::strtoul(end + 1, &end, 10)) : 0;
    if (*end != '\0' || user.find_first_not_of("0123456789:") != user.npos)
        return Failure{"--user " + user + ": expected UID or UID:GID, as numbers"};
    process.user.additional_gids.clear();
    return {};
}

Outcome<> add_capabilities(const std::vector<std::string>& names, ProcessSpec& process) {
    for (const std::string& name : names) {
        const std::optional<unsigned> number = capability_number(name);
        if (!number) return Failure{"--cap " + name + ": no Linux capability (they look like CAP_KILL)"};
        const uint64_t bit = uint64_t{1} << *number;
        process.capabilities.bounding |= bit;
        process.capabilities.effective |= bit;
        process.capabilities.permitted |= bit;
    }
    return {};
}

// A user that is not root keeps no effective capabilities over execve(2), whatever the file lists.
void drop_capabilities_of_users(ProcessSpec& process) {
    if (process.user.uid == 0) return;
    process.capabilities.effective = process.capabilities.ambient;
    process.capabilities.permitted = process.capabilities.ambient;
}

Outcome<ProcessSpec> process_of(const ExecOptions& options, const Spec& spec, Reporter& reporter) {
    if (!options.process_file.empty()) {
        std::vector<UnappliedField> unapplied;
        ProcessSpec process = TRY(parse_process(TRY(read_file(options.process_file)), options.process_file, unapplied));
        for (const UnappliedField& field : unapplied)
            reporter.debug(options.process_file + ": " + field.field + " is not applied: " + field.why);
        process.terminal |= options.tty;
        drop_capabilities_of_users(process);
        return process;
    }
    if (options.args.empty()) return Failure{"exec: nothing to run; give a command, or --process FILE"};
    ProcessSpec process = spec.process;
    process.args = options.args;
    process.terminal = options.tty;
    process.console_size.reset();
    process.env.insert(process.env.end(), options.env.begin(), options.env.end());
    if (!options.cwd.empty()) process.cwd = options.cwd;
    process.no_new_privileges |= options.no_new_privileges;
    TRY(apply_user(options.user, process));
    for (uint32_t gid : options.additional_gids) process.user.additional_gids.push_back(gid);
    TRY(add_capabilities(options.capabilities, process));
    drop_capabilities_of_users(process);
    return process;
}

// One process in the sandbox, from here: its connection, its terminal, its end.
class Exec {
  public:
    Exec(const ExecOptions& options, Reporter& reporter) : options_(options), reporter_(reporter) {}

    Outcome<> start(const std::string& root);
    // Until the process has ended. Its exit code.
    int wait();
    void leave_streams();

  private:
    Outcome<std::vector<int>> open_streams(bool terminal);
    void restore_terminal();
    void send_window_size();
    void take_signal();
    std::optional<int> take_exit_code(bool readable);

    const ExecOptions& options_;
    Reporter& reporter_;
    ControlConnection monitor_;
    host::Fd signals_, console_;
    std::optional<RawTerminal> terminal_;
    std::vector<host::Fd> own_;
};

// A terminal is one stream, which must not block the sandbox process: on an open file description of its own.
Outcome<std::vector<int>> Exec::open_streams(bool terminal) {
    std::vector<int> streams{0, 1, 2};
    if (!options_.console_socket.empty()) {
        if (!terminal)
            return Failure{"--console-socket: the process has no terminal (--tty, or terminal in --process)"};
        console_ = TRY(open_console(options_.console_socket, {0, 0}));
    } else if (terminal) {
        if (options_.detach) return Failure{"exec --detach with a terminal needs --console-socket"};
        terminal_ = RawTerminal::of(0);
        if (!terminal_) reporter_.warning("exec --tty: standard input is no terminal; the process gets plain streams");
    }
    if (console_.is_open() || terminal_) {
        const int fd = console_.is_open() ? console_.get() : 0;
        const int again = vmm::open_terminal_again(fd);
        if (again != fd) own_.emplace_back(again);
        streams = {again};
    }
    for (unsigned i = 0; i < options_.preserve_fds; i++) streams.push_back(3 + static_cast<int>(i));
    return streams;
}

Outcome<> Exec::start(const std::string& root) {
    const Container container = TRY(find_container(root, options_.id));
    if (container.status == Status::kPaused) return Failure{"container " + options_.id + " is paused; resume it first"};
    if (container.status != Status::kRunning)
        return Failure{"cannot exec in container " + options_.id + " that is " + status_name(container.status)};
    const Spec spec = TRY(read_spec(container.folder));
    const ProcessSpec process = TRY(process_of(options_, spec, reporter_));
    const std::vector<int> streams = TRY(open_streams(process.terminal));
    control::Exec<wire::Owned> request;
    request.process = TRY(make_process_spec(process, spec.seccomp));
    request.process.first_affinity = spec.process.affinity.initial;
    request.process.affinity = spec.process.affinity.final;
    request.process.terminal = console_.is_open() || terminal_;
    request.process.more_streams = options_.preserve_fds;
    const ConsoleSize size = terminal_ ? terminal_->size() : terminal_size(console_.get());
    request.process.rows = size.rows;
    request.process.columns = size.columns;
    signals_ = TRY(take_signals());
    monitor_ = TRY(connect(container));
    TRY(ask(monitor_, request, streams));
    if (terminal_) {
        terminal_->make_raw();
        reporter_.set_terminal_raw(true);
    }
    return {};
}

void Exec::send_window_size() {
    const ConsoleSize size = terminal_ ? terminal_->size() : terminal_size(console_.get());
    ignore(monitor_.send(kOtherId, control::Resize{kExecId, size.rows, size.columns}), "a hang-up is seen by wait()");
}

void Exec::take_signal() {
    signalfd_siginfo info{};
    if (read(signals_.get(), &info, sizeof info) != sizeof info) return;
    const auto number = static_cast<int>(info.ssi_signo);
    if (number == SIGWINCH) return send_window_size();
    if (number == SIGCONT) {
        if (terminal_) terminal_->make_raw();
        return send_window_size();
    }
    if (number == SIGHUP && console_.is_open()) return;  // the terminal hangs up inside by itself
    ignore(monitor_.send(kOtherId, control::Signal{kExecId, info.ssi_signo, false, true}),
           "a hang-up is seen by wait()");
}

// Of a frame that says how the process ended; none for other frames.
std::optional<int> exit_code_in(const Frame& frame) {
    const Result<control::Exited> exited = frame.as<control::Exited>();
    if (exited.is_error()) return std::nullopt;
    const int status = exited.value().status;
    return (status & 0x7f) ? 128 + (status & 0x7f) : status >> 8 & 0xff;
}

// The exit code, once it has come. The container's end is the process's.
std::optional<int> Exec::take_exit_code(bool readable) {
    Result<std::optional<Frame>> received = readable ? monitor_.receive() : monitor_.take_frame();
    for (; received.is_ok() && received.value(); received = monitor_.take_frame())
        if (const std::optional<int> code = exit_code_in(*received.value())) return code;
    if (received.is_error()) return 128 + SIGKILL;
    return std::nullopt;
}

int Exec::wait() {
    std::optional<int> code = take_exit_code(false);
    while (!code) {
        pollfd polled[2] = {{monitor_.fd(), POLLIN, 0}, {signals_.get(), POLLIN, 0}};
        if (poll(polled, 2, -1) < 0) continue;
        if (polled[1].revents) take_signal();
        if (polled[0].revents) code = take_exit_code(true);
    }
    restore_terminal();
    return *code;
}

void Exec::restore_terminal() {
    if (terminal_) terminal_->restore();
    reporter_.set_terminal_raw(false);
}

// What a waiting process holds of the caller's streams would keep their other ends waiting.
void Exec::leave_streams() {
    own_.clear();
    const host::Fd null(open("/dev/null", O_RDWR | O_CLOEXEC));
    for (int fd = 0; fd < 3 && null.is_open(); fd++) dup2(null.get(), fd);
}

Outcome<> start(Exec& exec, const std::string& root, const ExecOptions& options) {
    TRY(exec.start(root));
    return write_pid_file(options.pid_file, getpid());
}

int exec_in_foreground(const std::string& root, const ExecOptions& options, Reporter& reporter) {
    Exec exec(options, reporter);
    const Outcome<> started = start(exec, root, options);
    if (started.is_ok()) return exec.wait();
    reporter.error(started.error().message);
    return kExitOwnFailure;
}

int exec_in_background(const std::string& root, const ExecOptions& options, Reporter& reporter) {
    return leave_behind("kvmsbx-exec", reporter, [&](const std::function<void()>& ready) {
        Exec exec(options, reporter);
        const Outcome<> started = start(exec, root, options);
        if (started.is_error()) {
            reporter.error(started.error().message);
            return kExitOwnFailure;
        }
        exec.leave_streams();
        ready();
        return exec.wait();
    });
}

}  // namespace

int exec_in_container(const std::string& root, const ExecOptions& options, Reporter& reporter) {
    return options.detach ? exec_in_background(root, options, reporter) : exec_in_foreground(root, options, reporter);
}

}  // namespace kvmsbx::oci
