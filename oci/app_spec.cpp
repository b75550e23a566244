#include "oci/app_spec.hpp"

#include <sys/mount.h>
#include <sys/utsname.h>

#include <string>

#include "oci/seccomp_profile.hpp"

namespace kvmsbx::oci {
namespace {

using Mount = spec::Mount<wire::Owned>;

constexpr uint64_t kCpuPeriod = 100'000;  // us, cgroup's default

Mount root_mount(const Spec& spec, bool shared) {
    Mount root;
    root.type = "9p";
    root.destination = "/";
    root.flags = spec.root_readonly ? MS_RDONLY : 0;
    root.shared_access = shared;
    return root;
}

Mount further_mount(const MountSpec& from, size_t index, bool shared) {
    Mount mount;
    mount.type = from.is_bind() ? "9p" : from.type;
    mount.source = from.is_bind() ? std::to_string(index) : from.source;
    mount.destination = from.destination;
    mount.data = from.data;
    mount.flags = from.flags;
    mount.shared_access = shared && from.is_bind();
    mount.recursive_readonly = from.recursive_readonly;
    mount.copy_up = from.copy_up;
    return mount;
}

// A tmpfs takes over the mode of the folder that it hides, but not of one that was made for it: as with runc, it has the
// kernel's default then.
void give_default_mode(Mount& mount) {
    if (mount.type != "tmpfs" || ("," + mount.data).find(",mode=") != std::string::npos) return;
    mount.data += mount.data.empty() ? "mode=1777" : ",mode=1777";
}

// A container that shares the host's UTS namespace begins with the host's name; "": the sandbox's own.
std::string host_name(const Spec& spec) {
    utsname host{};
    const bool shared = !spec.namespaces.empty() && !spec.find_namespace(NamespaceType::kUts);
    return shared && uname(&host) == 0 ? host.nodename : std::string();
}

spec::Limits make_limits(const ResourceLimits& from, uint32_t cpus) {
    spec::Limits limits;
    limits.memory = from.memory;
    limits.pids = from.pids;
    limits.cpu_shares = from.cpu_shares;
    limits.cpu_quota = cpus ? cpus * kCpuPeriod : from.cpu_quota;
    limits.cpu_period = cpus ? kCpuPeriod : from.cpu_period;
    return limits;
}

}  // namespace

Outcome<spec::ProcessSpec<wire::Owned>> make_process_spec(const ProcessSpec& process,
                                                          const std::optional<SeccompSpec>& seccomp) {
    spec::ProcessSpec<wire::Owned> made;
    made.args = process.args;
    made.env = process.env;
    made.cwd = process.cwd;
    made.uid = process.user.uid;
    made.gid = process.user.gid;
    made.umask = process.user.umask;
    made.groups = process.user.additional_gids;
    made.no_new_privileges = process.no_new_privileges;
    const CapabilitySets& sets = process.capabilities;
    made.capabilities = {sets.bounding, sets.effective, sets.inheritable, sets.permitted, sets.ambient};
    for (const RlimitSpec& limit : process.rlimits) made.rlimits.push_back({limit.resource, limit.soft, limit.hard});
    made.oom_score_adj = process.oom_score_adj.value_or(0);
    if (process.scheduler)
        made.scheduling = {process.scheduler->policy, process.scheduler->nice, process.scheduler->priority,
                           process.scheduler->reset_on_fork};
    made.io_priority = process.io_priority.value_or(0);
    if (seccomp) {
        SeccompProgram program = TRY(compile_seccomp(*seccomp));
        made.seccomp = std::move(program.instructions);
        made.seccomp_flags = program.flags;
    }
    return made;
}

Outcome<spec::SandboxSpec<wire::Owned>> make_sandbox_spec(const Spec& spec, const AppOptions& options) {
    const bool shared_root = options.file_access == FileAccess::kShared;
    const bool shared_mounts = options.mounts_access == FileAccess::kShared;
    spec::SandboxSpec<wire::Owned> made;
    made.hostname = spec.hostname.empty() ? host_name(spec) : spec.hostname;
    made.domainname = spec.domainname;
    for (const auto& [name, value] : spec.sysctl) made.sysctls.push_back({name, value});
    made.mounts.push_back(root_mount(spec, shared_root));
    for (size_t i = 0; i < spec.mounts.size(); ++i)
        made.mounts.push_back(further_mount(spec.mounts[i], i, shared_mounts));
    for (size_t index : options.made_places) give_default_mode(made.mounts[index + 1]);
    made.masked_paths = spec.masked_paths;
    made.readonly_paths = spec.readonly_paths;
    made.overlay = options.overlay;
    made.limits = make_limits(spec.limits, options.cpus);
    made.wait_for_start = options.wait_for_start;
    for (const DeviceSpec& device : spec.devices)
        made.devices.push_back(
            {device.path, device.type, device.major, device.minor, device.mode, device.uid, device.gid});
    made.monotonic_offset_ns = spec.time_offsets.monotonic_ns;
    made.boottime_offset_ns = spec.time_offsets.boottime_ns;
    for (const HookSpec& hook : spec.hooks.start_container)
        made.start_hooks.push_back({hook.path, hook.args, hook.env, hook.timeout_s.value_or(0)});
    made.hook_state = options.hook_state;
    made.process = TRY(make_process_spec(spec.process, spec.seccomp));
    made.process.personality = spec.personality;
    made.process.terminal = options.terminal;
    made.process.rows = options.console_size.rows;
    made.process.columns = options.console_size.columns;
    return made;
}

}  // namespace kvmsbx::oci
