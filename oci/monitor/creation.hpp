#pragma once
// The steps from a bundle to a created container, and back. The process that takes them is the container's monitor.
#include <optional>

#include "oci/bundle.hpp"
#include "oci/container/cgroup.hpp"
#include "oci/container/hooks.hpp"
#include "oci/monitor/create.hpp"

namespace kvmsbx::oci {

class Creation {
  public:
    // `terminal`: the caller's, of a container in the foreground; it may be empty, and outlives the creation.
    Creation(const SandboxOptions& sandbox, const CreateOptions& options, const Bundle& bundle, const std::string& id,
             std::optional<RawTerminal>& terminal, Reporter& reporter);

    // The container exists and waits for its start. A failure without a message was reported already.
    Outcome<> create();
    // The first process runs, and so have the poststart hooks.
    Outcome<> start();
    // The monitor's root becomes the container's, where engines look for it by the monitor's PID. Only for a monitor that
    // is left behind: another one has to get back to the host.
    void enter_rootfs();
    // Until the container's end: its exit code.
    int wait() { return monitor_.serve(); }
    // What `delete` does: poststop hooks, control groups, the folder.
    void remove();
    // After a failure: ends what was started and removes all of it. The exit code.
    int undo();

  private:
    Outcome<> make_folder();
    Outcome<> open_terminal();
    Outcome<> enter_cgroup();
    Outcome<> run_create_hooks();
    Outcome<LaunchPlan> make_plan() const;
    HookContext hook_context() const;
    void return_to_caller();

    const SandboxOptions& sandbox_;
    const CreateOptions& options_;
    const Bundle& bundle_;
    std::optional<RawTerminal>& terminal_;
    Reporter& reporter_;
    ContainerFolder folder_;
    ContainerRecord record_;
    std::optional<Cgroup> cgroup_;
    std::optional<CgroupMembership> callers_cgroup_;
    host::Fd callers_network_;  // none: it was not left
    host::Fd console_;
    std::vector<size_t> made_places_;  // indices of mounts
    Monitor monitor_;
};

}  // namespace kvmsbx::oci
