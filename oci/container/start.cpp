#include <signal.h>

#include "oci/container/access.hpp"
#include "oci/container/hooks.hpp"
#include "oci/container/lifecycle.hpp"

namespace kvmsbx::oci {
namespace {

Outcome<> start(const std::string& root, const std::string& id) {
    Container container = TRY(find_container(root, id));
    if (container.status != Status::kCreated)
        return Failure{"cannot start container " + id + ": it is " + status_name(container.status) + ", not created"};
    const Spec spec = TRY(read_spec(container.folder));
    ControlConnection monitor = TRY(connect(container));
    TRY(ask(monitor, control::Start{}));
    Outcome<> ran =
        run_hooks(spec.hooks.poststart, "poststart", oci_state_json(container.record, Status::kRunning), HookContext{});
    // A caller whose start failed may never delete the container.
    if (ran.is_error()) ignore(ask(monitor, control::Signal{0, SIGKILL, true, false}), "the hook's failure is told");
    return ran;
}

}  // namespace

int start_container(const std::string& root, const std::string& id, Reporter& reporter) {
    return finish(start(root, id), reporter);
}

}  // namespace kvmsbx::oci
