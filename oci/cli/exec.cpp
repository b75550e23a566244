#include "oci/container/exec.hpp"

#include <memory>

#include "oci/cli/verbs.hpp"

namespace kvmsbx::oci::cli {

void add_exec(const Verbs& verbs) {
    CLI::App* verb = verbs.add("exec", kLifeGroup, "Run one more process in a container that runs");
    auto options = std::make_shared<ExecOptions>();
    verb->fallthrough(false);
    verb->prefix_command();  // what follows the ID is the command, with options of its own
    verb->add_option("id", options->id, "The container's ID")->required()->type_name("ID");
    verb->add_option("-p,--process", options->process_file, "File with the process (config.json's `process`)")
        ->type_name("FILE");
    verb->add_option("--cwd", options->cwd, "Working directory")->type_name("DIR");
    verb->add_option("-e,--env", options->env, "A variable, besides those of config.json; may be repeated")
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
        ->expected(1)
        ->type_name("NAME=VALUE");
    verb->add_option("-u,--user", options->user, "Whom to run as")->type_name("UID[:GID]");
    verb->add_option("-g,--additional-gids", options->additional_gids, "Another group; may be repeated")
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
        ->expected(1)
        ->type_name("GID");
    verb->add_option("-c,--cap", options->capabilities, "A capability more; may be repeated")
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
        ->expected(1)
        ->type_name("CAP_NAME");
    verb->add_flag("-t,--tty", options->tty, "Give the process a terminal");
    verb->add_flag("-d,--detach", options->detach, "Do not wait for the process's end");
    verb->add_flag("--no-new-privs", options->no_new_privileges, "No privileges by set-user-ID programs");
    verb->add_flag("--ignore-paused", options->ignore_paused, "Accepted; a paused container runs nothing");
    verb->add_option("--pid-file", options->pid_file, "Write the PID of the process that waits there")
        ->type_name("FILE");
    verb->add_option("--console-socket", options->console_socket, "Unix socket that gets the terminal's master")
        ->type_name("SOCKET");
    verb->add_option("--preserve-fds", options->preserve_fds, "Descriptors from 3 on that the process gets")
        ->check(CLI::Range(0, 61))
        ->type_name("N");
    verb->add_option("--apparmor", "Accepted for runc's sake: the sandbox confines the process")->type_name("PROFILE");
    verb->add_option("--process-label", "Accepted for runc's sake: the sandbox confines the process")
        ->type_name("LABEL");
    verb->add_option("--cgroup", "Accepted for runc's sake: the process is in the container's group")
        ->type_name("PATH");
    verb->callback([verbs, options, verb] {
        options->args = verb->remaining();
        if (!options->args.empty() && options->args.front() == "--") options->args.erase(options->args.begin());
        verbs.options.preserve_fds = options->preserve_fds;
        verbs.action = [&global = verbs.options, options](Reporter& reporter) {
            return exec_in_container(global.sandbox.root(), *options, reporter);
        };
    });
}

}  // namespace kvmsbx::oci::cli
