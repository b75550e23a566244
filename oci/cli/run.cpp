#include <sys/stat.h>

#include <memory>
#include <vector>

#include "common/host/exit_code.hpp"
#include "oci/cli/verbs.hpp"
#include "oci/supervise.hpp"

namespace kvmsbx::oci::cli {
namespace {

bool is_folder(const std::string& path) {
    struct stat status {};
    return stat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode);
}

// [DIR] [ID], or [ID] alone with --bundle. One word alone is the bundle when it is a folder or looks like a path.
Outcome<> take_positionals(const std::vector<std::string>& words, RunOptions& options) {
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

}  // namespace

void add_run(CLI::App& app, GlobalOptions& options, Action& action) {
    CLI::App* verb = app.add_subcommand("run", "Run a bundle in a sandbox, and exit with the application's exit code");
    auto words = std::make_shared<std::vector<std::string>>();
    verb->add_option("-b,--bundle", options.run.bundle, "Folder with config.json (default: the current one)")
        ->type_name("DIR");
    verb->add_option("words", *words, "Bundle folder, container ID")->type_name("[DIR] [ID]");
    verb->add_option("--crash-after", options.run.crash.after_ms)->group("");  // hidden: tests
    verb->add_option("--crash-kind", options.run.crash.kind)->group("");
    verb->callback([&options, &action, words] {
        action = [&options, words](Reporter& reporter) {
            if (options.network == "host") {
                reporter.error("--network=host is not there yet; use --network=none (loopback only)");
                return host::kExitOwnFailure;
            }
            options.run.file_access = options.file_access == "shared" ? FileAccess::kShared : FileAccess::kExclusive;
            if (const Outcome<> taken = take_positionals(*words, options.run); taken.is_error()) {
                reporter.error(taken.error().message);
                return host::kExitOwnFailure;
            }
            return run_container(options.run, reporter);
        };
    });
}

}  // namespace kvmsbx::oci::cli
