#include "oci/install.hpp"

#include <cstdio>

#include "common/host/exit_code.hpp"
#include "oci/cli/verbs.hpp"

namespace kvmsbx::oci::cli {
namespace {

struct InstallOptions {
    Registration registration;
    std::string config_file = kDockerConfig;
    bool dry_run = false, podman = false, containerd = false;
};

// Writes the new text, or prints it; says what is left to do.
Outcome<> apply(const InstallOptions& options, const std::string& before, const std::string& after,
                const std::string& done) {
    if (options.dry_run) {
        std::fputs(after.c_str(), stdout);
        return {};
    }
    if (before == after) {
        std::printf("%s: nothing to change\n", options.config_file.c_str());
        return {};
    }
    TRY(replace_config(options.config_file, after));
    std::printf("%s: %s; let dockerd read it again: kill -HUP $(pidof dockerd)\n", options.config_file.c_str(),
                done.c_str());
    return {};
}

Outcome<> install(InstallOptions options) {
    Registration& registration = options.registration;
    registration.path = TRY(own_path());
    const bool only_print = options.podman || options.containerd;
    if (only_print && !registration.runtime_args.empty())
        return Failure{"only Docker hands flags on; put them into /etc/kvmsbx.toml"};
    if (options.podman) std::fputs(podman_snippet(registration).c_str(), stdout);
    if (options.containerd) std::fputs(containerd_snippet(registration).c_str(), stdout);
    if (only_print) return {};
    const std::string before = TRY(read_config(options.config_file));
    const std::string after = TRY(register_runtime(before, options.config_file, registration));
    return apply(options, before, after, "runtime " + registration.name + " is " + registration.path);
}

Outcome<> uninstall(const InstallOptions& options) {
    const std::string before = TRY(read_config(options.config_file));
    const std::string after = TRY(unregister_runtime(before, options.config_file, options.registration.name));
    return apply(options, before, after, "runtime " + options.registration.name + " is removed");
}

std::shared_ptr<InstallOptions> add_common_options(CLI::App& verb) {
    auto options = std::make_shared<InstallOptions>();
    verb.add_option("--name", options->registration.name, "Name of the runtime")->capture_default_str();
    verb.add_option("--config-file", options->config_file, "Docker's configuration")
        ->type_name("FILE")
        ->capture_default_str();
    verb.add_flag("--dry-run", options->dry_run, "Print the new file instead of writing it");
    return options;
}

int report(const Outcome<>& outcome, Reporter& reporter) {
    if (outcome.is_ok()) return 0;
    reporter.error(outcome.error().message);
    return host::kExitOwnFailure;
}

}  // namespace

void add_install(const Verbs& verbs) {
    CLI::App* verb = verbs.add("install", kHostGroup, "Register this executable as a runtime of Docker");
    const auto options = add_common_options(*verb);
    verb->add_flag("--podman", options->podman, "Print what Podman needs instead; no file is changed");
    verb->add_flag("--containerd", options->containerd, "Print what containerd needs instead; no file is changed");
    verb->add_option("arguments", options->registration.runtime_args,
                     "After --: global flags that Docker gives with every call");
    verb->callback([verbs, options] {
        verbs.action = [options](Reporter& reporter) { return report(install(*options), reporter); };
    });
}

void add_uninstall(const Verbs& verbs) {
    CLI::App* verb = verbs.add("uninstall", kHostGroup, "Remove the registration that install made");
    const auto options = add_common_options(*verb);
    verb->callback([verbs, options] {
        verbs.action = [options](Reporter& reporter) { return report(uninstall(*options), reporter); };
    });
}

}  // namespace kvmsbx::oci::cli
