// start, kill, delete, pause, resume; checkpoint and restore, which are not there.
#include "oci/container/lifecycle.hpp"

#include <memory>

#include "common/host/exit_code.hpp"
#include "oci/cli/verbs.hpp"

namespace kvmsbx::oci::cli {
namespace {

using OnContainer = int (*)(const std::string& root, const std::string& id, Reporter& reporter);

void add_simple(const Verbs& verbs, const char* name, const char* description, OnContainer function) {
    CLI::App* verb = verbs.add(name, kLifeGroup, description);
    auto id = std::make_shared<std::string>();
    verb->add_option("id", *id, "The container's ID")->required()->type_name("ID");
    verb->callback([verbs, id, function] {
        verbs.action = [&global = verbs.options, id, function](Reporter& reporter) {
            return function(global.sandbox.root(), *id, reporter);
        };
    });
}

struct KillOptions {
    std::string id, signal = "TERM";
    bool all = false;
};

void add_kill(const Verbs& verbs) {
    CLI::App* verb = verbs.add("kill", kLifeGroup, "Send a signal to a container's first process");
    auto options = std::make_shared<KillOptions>();
    verb->add_option("id", options->id, "The container's ID")->required()->type_name("ID");
    verb->add_option("signal", options->signal, "Number or name (default: TERM)")->type_name("[SIGNAL]");
    verb->add_flag("-a,--all", options->all, "To all processes of the container");
    verb->callback([verbs, options] {
        verbs.action = [&global = verbs.options, options](Reporter& reporter) {
            return kill_container(global.sandbox.root(), options->id, options->signal, options->all, reporter);
        };
    });
}

struct DeleteOptions {
    std::string id;
    bool force = false;
};

void add_delete(const Verbs& verbs) {
    CLI::App* verb = verbs.add("delete", kLifeGroup, "Remove a container that has stopped");
    auto options = std::make_shared<DeleteOptions>();
    verb->add_option("id", options->id, "The container's ID")->required()->type_name("ID");
    verb->add_flag("-f,--force", options->force,
                   "End one that runs; remove what is left of a damaged one; an unknown ID is no failure");
    verb->callback([verbs, options] {
        verbs.action = [&global = verbs.options, options](Reporter& reporter) {
            return delete_container(global.sandbox.root(), options->id, options->force, reporter);
        };
    });
}

// runc's options of a verb that is refused are taken, so that the refusal is what the user reads.
void add_refused(const Verbs& verbs, const char* name) {
    CLI::App* verb = verbs.add(name, kLifeGroup, "Not there: a sandbox cannot be saved and restored yet");
    verb->allow_extras();
    verb->callback([verbs, name] {
        verbs.action = [name](Reporter& reporter) {
            reporter.error(std::string(name) +
                           ": a sandbox cannot be saved and restored yet; stop the container and start it anew");
            return host::kExitOwnFailure;
        };
    });
}

}  // namespace

void add_lifecycle(const Verbs& verbs) {
    add_simple(verbs, "start", "Start a container that was created", start_container);
    add_kill(verbs);
    add_delete(verbs);
    add_simple(verbs, "pause", "Stop all processes of a container for a while", pause_container);
    add_simple(verbs, "resume", "Let a paused container go on", resume_container);
    add_refused(verbs, "checkpoint");
    add_refused(verbs, "restore");
}

}  // namespace kvmsbx::oci::cli
