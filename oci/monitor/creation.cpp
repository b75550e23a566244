#include "oci/monitor/creation.hpp"

#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "oci/background.hpp"
#include "oci/capabilities.hpp"
#include "oci/container/access.hpp"
#include "oci/container/namespaces.hpp"
#include "oci/kvm_device.hpp"
#include "oci/monitor/console_socket.hpp"
#include "oci/monitor/listener.hpp"
#include "oci/mount_points.hpp"
#include "oci/timestamp.hpp"
#include "vmm/console.hpp"

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

// How many CPUs the user grants: by --cpus, or by the quota of config.json in whole CPUs, as many as there are. 0: all.
unsigned granted_cpus(const SandboxOptions& options, const ResourceLimits& limits) {
    if (options.cpus != 0 || limits.cpus() == 0) return options.cpus;
    cpu_set_t allowed;
    constexpr unsigned kMost = 64;  // as --cpus
    unsigned usable = 1;
    if (sched_getaffinity(0, sizeof allowed, &allowed) == 0) usable = static_cast<unsigned>(CPU_COUNT(&allowed));
    return std::min({limits.cpus(), usable, kMost});
}

// What a sandbox will most likely run on; `boot` finds out whether a guest really runs.
const char* expected_platform(const std::string& wanted) {
    if (wanted == "process" || (wanted == "auto" && open_kvm().is_error())) return "process";
    return "kvm";
}

std::string absolute(const std::string& path, const std::string& base) {
    return path[0] == '/' ? path : base + "/" + path;
}

}  // namespace

Creation::Creation(const SandboxOptions& sandbox, const CreateOptions& options, const Bundle& bundle,
                   const std::string& id, std::optional<RawTerminal>& terminal, Reporter& reporter)
    : sandbox_(sandbox),
      options_(options),
      bundle_(bundle),
      terminal_(terminal),
      reporter_(reporter),
      monitor_(folder_, record_, reporter) {
    record_.id = id;
    record_.bundle = bundle.path;
    record_.rootfs = absolute(bundle.spec.root_path, bundle.path);
    record_.monitor = ProcessIdentity::of(getpid());
    record_.created = rfc3339_now();
    record_.owner = geteuid();
    record_.platform = expected_platform(sandbox.platform);
    record_.cpus = granted_cpus(sandbox, bundle.spec.limits);
    record_.annotations = bundle.spec.annotations;
}

Outcome<> Creation::make_folder() {
    folder_ = TRY(ContainerFolder::create(sandbox_.root(), record_.id));
    TRY(folder_.write_config(bundle_.config_text));
    monitor_.set_listener(TRY(listen_for_control(folder_)));
    return folder_.write_record(record_);
}

Outcome<> Creation::open_terminal() {
    const ProcessSpec& process = bundle_.spec.process;
    if (!options_.console_socket.empty()) {
        if (!process.terminal) return Failure{"--console-socket: process.terminal is not true in config.json"};
        console_ = TRY(open_console(options_.console_socket, process.console_size.value_or(ConsoleSize{0, 0})));
        monitor_.set_console(host::Fd(fcntl(console_.get(), F_DUPFD_CLOEXEC, 3)));
        return {};
    }
    if (terminal_) monitor_.set_terminal(&*terminal_);
    return {};
}

Outcome<> Creation::enter_cgroup() {
    if (sandbox_.ignore_cgroups) return {};
    callers_cgroup_ = TRY(CgroupMembership::current());
    const CgroupRequest request{bundle_.spec.cgroups_path, record_.id, &bundle_.spec.resources,
                                sandbox_overhead(platform_of(record_), record_.cpus),
                                sandbox_.systemd_cgroup ? CgroupManager::kSystemd : CgroupManager::kCgroupfs};
    const uint64_t memory = bundle_.spec.limits.memory, least = least_memory_limit(platform_of(record_));
    cgroup_ = TRY(Cgroup::create(request, reporter_));
    if (memory != 0 && memory < least && !cgroup_->paths().empty())
        return Failure{"linux.resources.memory.limit: " + std::to_string(memory) + " bytes; the sandbox itself needs " +
                       std::to_string(least) + ", and --ignore-cgroups leaves the limit to the sandbox alone"};
    record_.cgroups = cgroup_->paths();
    record_.systemd_unit = cgroup_->systemd_unit();
    return cgroup_->enter();
}

HookContext Creation::hook_context() const {
    HookContext context;
    if (callers_network_.is_open()) context.namespaces.push_back(callers_network_.get());
    if (callers_cgroup_) context.cgroup = &*callers_cgroup_;
    return context;
}

// createContainer hooks run on the host, too: the mounts of a sandbox are the Sentry's.
Outcome<> Creation::run_create_hooks() {
    const HookSpecs& hooks = bundle_.spec.hooks;
    const std::string state = oci_state_json(record_, Status::kCreating);
    TRY(run_hooks(hooks.prestart, "prestart", state, hook_context()));
    TRY(run_hooks(hooks.create_runtime, "createRuntime", state, hook_context()));
    return run_hooks(hooks.create_container, "createContainer", state, hook_context());
}

Outcome<LaunchPlan> Creation::make_plan() const {
    AppOptions app;
    app.terminal = console_.is_open() || terminal_.has_value();
    if (terminal_) app.console_size = terminal_->size();
    if (app.console_size.rows == 0 && bundle_.spec.process.console_size)
        app.console_size = *bundle_.spec.process.console_size;
    app.file_access = sandbox_.file_access;
    app.mounts_access = sandbox_.mounts_access;
    app.overlay = sandbox_.overlay;
    app.cpus = sandbox_.cpus;
    app.wait_for_start = true;
    app.made_places = made_places_;
    if (!bundle_.spec.hooks.start_container.empty()) app.hook_state = oci_state_json(record_, Status::kCreated);
    LaunchPlan plan;
    plan.bundle = bundle_.path;
    plan.config_text = bundle_.config_text;
    spec::SandboxSpec<wire::Owned> spec = TRY(make_sandbox_spec(bundle_.spec, app));
    if (cgroup_ && !cgroup_->paths().empty()) {
        spec.limits.memory = sentry_memory_limit(spec.limits.memory, platform_of(record_));
        spec.limits.host_counts_memory = true;
    }
    spec.process.more_streams = options_.listen_fds + options_.preserve_fds;
    plan.app_spec = wire::encode(spec);
    plan.namespaces = sandbox_.no_namespaces ? Namespaces::kNone : Namespaces::kOwn;
    plan.maps_ids = !bundle_.spec.uid_mappings.empty() || !bundle_.spec.gid_mappings.empty();
    if (console_.is_open()) plan.streams = {console_.get(), console_.get(), console_.get()};
    for (unsigned i = 0; i < options_.listen_fds + options_.preserve_fds; i++)
        plan.streams.push_back(3 + static_cast<int>(i));
    plan.boot_flags = {"--cpus=" + std::to_string(record_.cpus), "--memory=" + std::to_string(sandbox_.memory),
                       "--platform=" + sandbox_.platform, "--privilege=" + sandbox_.privilege};
    if (reporter_.is_debug()) {
        plan.boot_flags.emplace_back("--debug");
        plan.gofer_flags.emplace_back("--debug");
    }
    if (sandbox_.strace) plan.boot_flags.emplace_back("--strace");
    return plan;
}

Outcome<> Creation::create() {
    TRY(check_namespaces(bundle_));
    TRY(tell_unapplied(bundle_, sandbox_.strict, reporter_));
    if (sandbox_.no_namespaces) tell_of_owners(bundle_.spec, reporter_);
    TRY(make_folder());
    TRY(open_terminal());
    TRY(enter_cgroup());
    TRY(folder_.write_record(record_));
    callers_network_ = TRY(enter_network(bundle_, reporter_));
    TRY(run_create_hooks());
    made_places_ = make_mount_points(bundle_, reporter_);
    monitor_.set_crash(options_.crash);
    const LaunchPlan plan = TRY(make_plan());
    TRY(monitor_.launch_sandbox(plan, TRY(take_signals())));
    console_.reset();
    record_.status = Status::kCreated;
    TRY(folder_.write_record(record_));
    return write_pid_file(options_.pid_file, getpid());
}

Outcome<> Creation::start() {
    TRY(monitor_.start());
    return run_hooks(bundle_.spec.hooks.poststart, "poststart", oci_state_json(record_, Status::kRunning),
                     hook_context());
}

// As far as the caller may: nothing of kvmsbx needs it.
void Creation::enter_rootfs() {
    const char* root = record_.rootfs.c_str();
    const bool entered = unshare(CLONE_NEWNS) == 0 && mount(nullptr, "/", nullptr, MS_REC | MS_SLAVE, nullptr) == 0 &&
                         mount(root, root, nullptr, MS_BIND | MS_REC, nullptr) == 0 && chdir(root) == 0 &&
                         syscall(SYS_pivot_root, ".", ".") == 0 && umount2(".", MNT_DETACH) == 0 && chdir("/") == 0;
    if (!entered) reporter_.debug(std::string("the monitor keeps the host's root: ") + std::strerror(errno));
}

// The groups cannot go as long as this process is in them.
void Creation::return_to_caller() {
    if (!callers_cgroup_) return;
    if (const Outcome<> back = callers_cgroup_->enter(); back.is_error()) reporter_.debug(back.error().message);
}

void Creation::remove() {
    return_to_caller();
    if (cgroup_) {
        if (const Outcome<> removed = cgroup_->remove(Leftovers::kKill); removed.is_error())
            reporter_.warning(removed.error().message);
    }
    for (const Failure& failure : run_every_hook(bundle_.spec.hooks.poststop, "poststop",
                                                 oci_state_json(record_, Status::kStopped), hook_context()))
        reporter_.warning(failure.message);
    if (folder_.fd() < 0) return;
    if (const Outcome<> removed = folder_.remove(); removed.is_error()) reporter_.warning(removed.error().message);
}

int Creation::undo() {
    const int code = monitor_.abandon();
    return_to_caller();
    if (cgroup_) {
        if (const Outcome<> removed = cgroup_->remove(Leftovers::kKill); removed.is_error())
            reporter_.debug(removed.error().message);
    }
    if (folder_.fd() >= 0) {
        if (const Outcome<> removed = folder_.remove(); removed.is_error()) reporter_.debug(removed.error().message);
    }
    return code;
}

}  // namespace kvmsbx::oci
