#include "oci/run.hpp"

#include <linux/capability.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <optional>

#include "common/host/exit_code.hpp"
#include "oci/bundle.hpp"
#include "oci/capabilities.hpp"
#include "oci/janitor.hpp"
#include "oci/launch.hpp"
#include "oci/mount_points.hpp"
#include "oci/state.hpp"
#include "oci/supervise.hpp"
#include "oci/terminal.hpp"

namespace kvmsbx::oci {
namespace {

Outcome<> tell_unapplied(const Bundle& bundle, bool strict, Reporter& reporter) {
    for (const UnappliedField& field : bundle.spec.unapplied) {
        const std::string where = bundle.config_path + ": line " +
                                  std::to_string(find_line(bundle.config_text, field.field)) + ": " + field.field;
        if (strict)
            return Failure{where + ": not applied by kvmsbx (" + field.why + "); remove it, or run without --strict"};
        const std::string message = where + " is not applied: " + field.why;
        if (field.matters) {
            reporter.warning(message);
        } else {
            reporter.debug(message);
        }
    }
    return {};
}

// A user namespace would show the caller's files as root's; without one, only who may chown can make files for others.
void tell_of_owners(const Spec& spec, Reporter& reporter) {
    if (has_capability(CAP_CHOWN) || (spec.process.user.uid == geteuid() && spec.process.user.gid == getegid())) return;
    const std::string uid = std::to_string(geteuid()), gid = std::to_string(getegid());
    reporter.warning(
        "without namespaces and CAP_CHOWN the application can make files for your own user only; set "
        "process.user in config.json to uid " +
        uid + ", gid " + gid);
}

std::optional<RawTerminal> choose_terminal(const Spec& spec, Reporter& reporter) {
    if (!spec.process.terminal) return std::nullopt;
    std::optional<RawTerminal> terminal = RawTerminal::of(0);
    if (!terminal)
        reporter.warning(
            "process.terminal is true, but standard input is no terminal: the application gets plain streams");
    return terminal;
}

ConsoleSize console_size(const Spec& spec, const RawTerminal& terminal) {
    const ConsoleSize size = terminal.size();
    if (size.rows != 0 || !spec.process.console_size) return size;
    return *spec.process.console_size;
}

// How many CPUs the user grants: by --cpus, or by the quota of config.json in whole CPUs, as many as there are. 0: all.
unsigned granted_cpus(const RunOptions& options, const ResourceLimits& limits) {
    if (options.cpus != 0 || limits.cpus() == 0) return options.cpus;
    cpu_set_t allowed;
    constexpr unsigned kMost = 64;  // as --cpus
    unsigned usable = 1;
    if (sched_getaffinity(0, sizeof allowed, &allowed) == 0) usable = static_cast<unsigned>(CPU_COUNT(&allowed));
    return std::min({limits.cpus(), usable, kMost});
}

LaunchPlan make_plan(const Bundle& bundle, const RunOptions& options, const std::optional<RawTerminal>& terminal,
                     bool debug) {
    AppOptions app;
    app.terminal = terminal.has_value();
    if (terminal) app.console_size = console_size(bundle.spec, *terminal);
    app.file_access = options.file_access;
    app.overlay = options.overlay;
    app.cpus = options.cpus;
    LaunchPlan plan;
    plan.bundle = bundle.path;
    plan.config_text = bundle.config_text;
    plan.app_spec = wire::encode(make_sandbox_spec(bundle.spec, app));
    plan.namespaces = options.no_namespaces ? Namespaces::kNone : Namespaces::kOwn;
    plan.boot_flags = {"--cpus=" + std::to_string(granted_cpus(options, bundle.spec.limits)),
                       "--memory=" + std::to_string(options.memory), "--platform=" + options.platform,
                       "--privilege=" + options.privilege};
    if (debug) {
        plan.boot_flags.emplace_back("--debug");
        plan.gofer_flags.emplace_back("--debug");
    }
    if (options.strace) plan.boot_flags.emplace_back("--strace");
    return plan;
}

Outcome<int> run_in_sandbox(const LaunchPlan& plan, const Bundle& bundle, StateDirectory& state,
                            std::optional<RawTerminal>& terminal, CrashRequest crash, Reporter& reporter) {
    const host::Fd signals = TRY(take_signals());
    SandboxProcesses processes = TRY(launch(plan));
    reporter.debug("started the sandbox process " + std::to_string(processes.boot.pid) + " and the gofer " +
                   std::to_string(processes.gofer.pid));
    if (terminal) {
        terminal->make_raw();
        reporter.set_terminal_raw(true);
    }
    if (Outcome<> written = state.write_running(processes.boot.pid, bundle.path, bundle.spec); written.is_error()) {
        reporter.warning(written.error().message);
    }
    return supervise(processes, signals, terminal, crash, reporter);
}

Outcome<int> run(const RunOptions& options, Reporter& reporter) {
    if (options.overlay)
        return Failure{
            "--overlay: this version has no overlay file system; run without it, or on a copy of the bundle"};
    const Bundle bundle = TRY(load_bundle(options.bundle));
    const std::string id = options.id.empty() ? make_container_id(bundle.path) : options.id;
    TRY(validate_container_id(id));
    reporter.debug("container " + id + " of bundle " + bundle.path);
    TRY(tell_unapplied(bundle, options.strict, reporter));
    if (options.no_namespaces) tell_of_owners(bundle.spec, reporter);
    make_mount_points(bundle, reporter);
    std::optional<RawTerminal> terminal = choose_terminal(bundle.spec, reporter);
    const LaunchPlan plan = make_plan(bundle, options, terminal, reporter.is_debug());
    const std::string root = options.state_root.empty() ? default_state_root() : options.state_root;

    Janitor janitor = TRY(Janitor::start(root, id, terminal));
    Outcome<StateDirectory> state = StateDirectory::create(root, id);
    Outcome<int> code = state.is_ok() ? run_in_sandbox(plan, bundle, state.value(), terminal, options.crash, reporter)
                                      : Outcome<int>(state.error());
    if (state.is_ok()) state.value().remove();
    janitor.dismiss();
    return code;
}

}  // namespace

int run_container(const RunOptions& options, Reporter& reporter) {
    const Outcome<int> code = run(options, reporter);
    if (code.is_ok()) return code.value();
    reporter.error(code.error().message);
    return host::kExitOwnFailure;
}

}  // namespace kvmsbx::oci
