// run, create.
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <vector>

#include "common/host/exit_code.hpp"
#include "oci/cli/verbs.hpp"

namespace kvmsbx::oci::cli {
namespace {

bool is_folder(const std::string& path) {
    struct stat status {};
    return stat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode);
}

// [DIR] [ID], or [ID] alone with --bundle. One word alone is the bundle when it is a folder or looks like a path.
Outcome<> take_positionals(const std::vector<std::string>& words, CreateOptions& options) {
    const bool bundle_given = !options.bundle.empty();
    if (words.size() > (bundle_given ? 1 : 2))
        return Failure{"run: too many arguments; usage: kvmsbx run [--bundle DIR | DIR] [ID]"};
    if (words.empty()) return {};
    if (bundle_given) {
        options.id = words[0];
    } else if (words.size() == 2) {
        options.bundle = words[0];
        options.id = words[1];
    } else if (is_folder(words[0]) || words[0].find('/') != std::string::npos) {
        options.bundle = words[0];
    } else {
        options.id = words[0];
    }
    return {};
}

// The sockets that systemd's protocol hands to this process (sd_listen_fds(3)) go to the container.
unsigned listen_fds() {
    const char* pid = std::getenv("LISTEN_PID");
    const char* count = std::getenv("LISTEN_FDS");
    if (!pid || !count || std::atoi(pid) != getpid()) return 0;
    constexpr int kMost = 61;
    const int number = std::atoi(count);
    return number > 0 && number <= kMost ? static_cast<unsigned>(number) : 0;
}

void add_creation_options(CLI::App* verb, CreateOptions& options) {
    verb->add_option("-b,--bundle", options.bundle, "Folder with config.json (default: the current one)")
        ->type_name("DIR");
    verb->add_option("--pid-file", options.pid_file, "Write the PID of the container's process there")
        ->type_name("FILE");
    verb->add_option("--console-socket", options.console_socket, "Unix socket that gets the terminal's master")
        ->type_name("SOCKET");
    verb->add_option("--preserve-fds", options.preserve_fds, "Descriptors from 3 on that the container gets")
        ->check(CLI::Range(0, 61))
        ->type_name("N");
    verb->add_flag("--no-pivot")->description("Accepted for runc's sake: nothing is pivoted");
    verb->add_flag("--no-new-keyring")->description("Accepted for runc's sake: the sandbox has no keyrings");
}

int with_network(const GlobalOptions& options, Reporter& reporter, const std::function<int()>& then) {
    if (options.network != "host") return then();
    reporter.error("--network=host is not there yet; use --network=none (loopback only)");
    return host::kExitOwnFailure;
}

}  // namespace

void add_run(const Verbs& verbs) {
    CLI::App* verb =
        verbs.add("run", kLifeGroup, "Run a bundle in a sandbox, and exit with the application's exit code");
    auto words = std::make_shared<std::vector<std::string>>();
    auto options = std::make_shared<CreateOptions>();
    add_creation_options(verb, *options);
    verb->add_flag("-d,--detach", options->detach, "Leave the container running");
    verb->add_flag("--keep", options->keep, "Keep the stopped container until `delete`");
    verb->add_flag("--no-subreaper")->description("Accepted for runc's sake");
    verb->add_option("words", *words, "Bundle folder, container ID")->type_name("[DIR] [ID]");
    verb->add_option("--crash-after", options->crash.after_ms)->group("");  // hidden: tests
    verb->add_option("--crash-kind", options->crash.kind)->group("");
    verb->callback([verbs, options, words] {
        options->listen_fds = listen_fds();
        verbs.options.preserve_fds = options->preserve_fds + options->listen_fds;
        verbs.action = [&global = verbs.options, options, words](Reporter& reporter) {
            if (const Outcome<> taken = take_positionals(*words, *options); taken.is_error()) {
                reporter.error(taken.error().message);
                return host::kExitOwnFailure;
            }
            return with_network(global, reporter, [&] { return run_container(global.sandbox, *options, reporter); });
        };
    });
}

void add_create(const Verbs& verbs) {
    CLI::App* verb = verbs.add("create", kLifeGroup, "Make a container of a bundle, which waits for `start`");
    auto options = std::make_shared<CreateOptions>();
    add_creation_options(verb, *options);
    verb->add_option("id", options->id, "The container's ID")->required()->type_name("ID");
    verb->callback([verbs, options] {
        options->listen_fds = listen_fds();
        verbs.options.preserve_fds = options->preserve_fds + options->listen_fds;
        verbs.action = [&global = verbs.options, options](Reporter& reporter) {
            return with_network(global, reporter, [&] { return create_container(global.sandbox, *options, reporter); });
        };
    });
}

}  // namespace kvmsbx::oci::cli
