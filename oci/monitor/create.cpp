#include "oci/monitor/create.hpp"

#include <fcntl.h>
#include <unistd.h>

#include "common/host/exit_code.hpp"
#include "oci/background.hpp"
#include "oci/janitor.hpp"
#include "oci/monitor/creation.hpp"

namespace kvmsbx::oci {
namespace {

struct Request {
    const SandboxOptions& sandbox;
    const CreateOptions& options;
    Bundle bundle;
    std::string id;
};

Outcome<Request> read_request(const SandboxOptions& sandbox, const CreateOptions& options, Reporter& reporter) {
    if (sandbox.overlay)
        return Failure{
            "--overlay: this version has no overlay file system; run without it, or on a copy of the bundle"};
    if (!options.id.empty()) TRY(validate_container_id(options.id));
    Request request{sandbox, options, TRY(load_bundle(options.bundle)), options.id};
    if (request.id.empty()) request.id = make_container_id(request.bundle.path);
    TRY(validate_container_id(request.id));
    if (options.listen_fds != 0) {
        std::vector<std::string>& env = request.bundle.spec.process.env;
        env.push_back("LISTEN_FDS=" + std::to_string(options.listen_fds));
        env.emplace_back("LISTEN_PID=1");
    }
    reporter.debug("container " + request.id + " of bundle " + request.bundle.path);
    return request;
}

std::optional<RawTerminal> choose_terminal(const Request& request, Reporter& reporter) {
    if (!request.bundle.spec.process.terminal || !request.options.console_socket.empty()) return std::nullopt;
    std::optional<RawTerminal> terminal = RawTerminal::of(0);
    if (!terminal)
        reporter.warning(
            "process.terminal is true, but standard input is no terminal: the application gets plain streams");
    return terminal;
}

void report(Reporter& reporter, const Failure& failure) {
    if (!failure.message.empty()) reporter.error(failure.message);
}

int run_in_foreground(const Request& request, Reporter& reporter) {
    std::optional<RawTerminal> terminal = choose_terminal(request, reporter);
    Outcome<Janitor> janitor = Janitor::start(request.sandbox.root(), request.id, terminal);
    if (janitor.is_error()) {
        reporter.error(janitor.error().message);
        return host::kExitOwnFailure;
    }
    Creation creation(request.sandbox, request.options, request.bundle, request.id, terminal, reporter);
    Outcome<> up = creation.create();
    if (up.is_ok()) up = creation.start();
    int code;
    if (up.is_ok()) {
        code = creation.wait();
        if (!request.options.keep) creation.remove();
    } else {
        report(reporter, up.error());
        code = creation.undo();
    }
    janitor.value().dismiss();
    return code;
}

// What the monitor holds of the caller's streams would keep their other ends waiting. Its messages still go to the
// container's stderr; with a terminal, stderr is the command's, and its reader waits for the end.
void leave_streams(bool has_terminal) {
    const host::Fd null(open("/dev/null", O_RDWR | O_CLOEXEC));
    if (!null.is_open()) return;
    dup2(null.get(), STDIN_FILENO);
    dup2(null.get(), STDOUT_FILENO);
    if (has_terminal) dup2(null.get(), STDERR_FILENO);
}

// 0: the monitor is there and goes on by itself.
int leave_monitor(const Request& request, bool start, Reporter& reporter) {
    if (request.bundle.spec.process.terminal && request.options.console_socket.empty()) {
        reporter.error(
            "process.terminal is true: a container in the background needs --console-socket, or terminal false");
        return host::kExitOwnFailure;
    }
    return leave_behind("kvmsbx-monitor", reporter, [&](const std::function<void()>& ready) {
        std::optional<RawTerminal> no_terminal;
        Creation creation(request.sandbox, request.options, request.bundle, request.id, no_terminal, reporter);
        Outcome<> up = creation.create();
        if (up.is_ok() && start) up = creation.start();
        if (up.is_error()) {
            report(reporter, up.error());
            return creation.undo();
        }
        leave_streams(!request.options.console_socket.empty());
        creation.enter_rootfs();
        ready();
        return creation.wait();
    });
}

}  // namespace

std::string SandboxOptions::root() const { return state_root.empty() ? default_state_root() : state_root; }

int run_container(const SandboxOptions& sandbox, const CreateOptions& options, Reporter& reporter) {
    const Outcome<Request> request = read_request(sandbox, options, reporter);
    if (request.is_error()) {
        reporter.error(request.error().message);
        return host::kExitOwnFailure;
    }
    if (options.detach) return leave_monitor(request.value(), true, reporter);
    return run_in_foreground(request.value(), reporter);
}

int create_container(const SandboxOptions& sandbox, const CreateOptions& options, Reporter& reporter) {
    if (const Outcome<> good = validate_container_id(options.id); good.is_error()) {
        reporter.error(good.error().message);
        return host::kExitOwnFailure;
    }
    const Outcome<Request> request = read_request(sandbox, options, reporter);
    if (request.is_error()) {
        reporter.error(request.error().message);
        return host::kExitOwnFailure;
    }
    return leave_monitor(request.value(), false, reporter);
}

}  // namespace kvmsbx::oci
