#pragma once
// Programs that config.json has run at the stages of a container's life (runtime-spec, "POSIX-platform Hooks"). Those of
// startContainer are the Sentry's.
#include <string>
#include <vector>

#include "oci/container/cgroup_hierarchy.hpp"
#include "oci/outcome.hpp"
#include "oci/spec.hpp"

namespace kvmsbx::oci {

// Where a hook runs, if not where its caller is.
struct HookContext {
    const CgroupMembership* cgroup = nullptr;  // joined first
    std::vector<int> namespaces;               // open files of /proc/PID/ns, joined in that order; the path of the hook
                                               // is looked up after that
    std::string folder;                        // the working directory, as it is named before the namespaces; "": the
                                               // caller's
};

// Runs the hook and waits for its end. It gets args and env as they are, the state on stdin, no other descriptor, a
// process group of its own, default signals and umask 022. Its output is kept for the message of a failure. A hook that
// takes longer than its timeout is killed together with its process group.
// The failure names stage, path, what happened and the last line of output.
Outcome<> run_hook(const HookSpec& hook, const std::string& stage, const std::string& state_json,
                   const HookContext& context);

// One after the other, to the first that fails.
Outcome<> run_hooks(const std::vector<HookSpec>& hooks, const std::string& stage, const std::string& state_json,
                    const HookContext& context);

// Each of them, whatever the others do (poststop): all failures.
std::vector<Failure> run_every_hook(const std::vector<HookSpec>& hooks, const std::string& stage,
                                    const std::string& state_json, const HookContext& context);

}  // namespace kvmsbx::oci
