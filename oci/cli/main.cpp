// kvmsbx: the command line. `boot` and `gofer` are how `run` starts the sandbox's processes; they are dispatched before
// anything else is set up.
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <memory>
#include <optional>

#include "common/host/exit_code.hpp"
#include "gofer/main.hpp"
#include "oci/boot.hpp"
#include "oci/cli/configured.hpp"
#include "oci/cli/verbs.hpp"
#include "oci/container/store.hpp"
#include "oci/debug_log.hpp"
#include "oci/image/sentry_image.hpp"

namespace kvmsbx::oci::cli {
namespace {

constexpr const char* kVersionText = "kvmsbx version " KVMSBX_VERSION "\nspec: 1.2.1";

// Descriptors 0 to 2 are there from now on: a file opened later must not become one of them.
void open_missing_stdio() {
    for (int fd = 0; fd < 3; ++fd) {
        if (fcntl(fd, F_GETFD) < 0) open("/dev/null", O_RDWR);
    }
}

// What the caller has open beside the streams is nobody's business here, but what the container is to get.
void close_other_descriptors(unsigned preserve_fds) { close_range(3 + preserve_fds, ~0U, 0); }

void add_global_options(CLI::App& app, GlobalOptions& options) {
    SandboxOptions& run = options.sandbox;
    app.add_flag("--debug", options.reporter.debug, "Say on stderr what is being done");
    app.add_option("--debug-log", options.reporter.debug_log,
                   "Debug lines go to this file; %ID%, %COMMAND% and %TIMESTAMP% are filled in")
        ->type_name("FILE");
    app.add_option("--config")
        ->description("File with defaults of these options (default: " + std::string(kConfigFile) + ")")
        ->type_name("FILE");
    app.add_flag("--strace", run.strace, "Print each system call of the application");
    app.add_option("--log", options.reporter.log, "Errors go to this file, too, and warnings to it alone")
        ->type_name("FILE");
    app.add_option("--log-format", options.log_format, "Format of --log")
        ->check(CLI::IsMember({"text", "json"}))
        ->capture_default_str();
    app.add_option("--root", run.state_root,
                   "Folder for the state of containers (default: " + default_state_root() + ")")
        ->type_name("DIR");
    app.add_option("--cpus", run.cpus, "Virtual CPUs (default: all that the process may use, within the CPU quota)")
        ->check(CLI::Range(1, 64))
        ->type_name("N");
    app.add_option("--memory", run.memory,
                   "Guest memory, such as 512M or 4G (default: the host's; costs what is touched)")
        ->transform(CLI::AsSizeValue(false))
        ->check(CLI::Range(uint64_t{64} << 20, uint64_t{1} << 44, "64M to 16T"))
        ->type_name("SIZE");
    app.add_option("--platform", run.platform,
                   "What runs the sandbox: kvm, a virtual machine; process, confined processes of the host, which need "
                   "no /dev/kvm; auto: kvm where it works, else process")
        ->check(CLI::IsMember({"auto", "kvm", "process"}))
        ->capture_default_str();
    app.add_option("--privilege", run.privilege,
                   "Where the Sentry runs in the guest of the platform kvm; auto measures")
        ->check(CLI::IsMember({"auto", "ring0", "ring3"}))
        ->capture_default_str();
    app.add_option("--file-access", options.file_access,
                   "Of the root; shared: see what the host changes in it; exclusive: cache freely")
        ->check(CLI::IsMember({"exclusive", "shared"}))
        ->capture_default_str();
    app.add_option("--file-access-mounts", options.mounts_access, "The same of bind mounts")
        ->check(CLI::IsMember({"exclusive", "shared"}))
        ->capture_default_str();
    app.add_flag("--no-namespaces", run.no_namespaces,
                 "Start inside a container that forbids namespaces. Lost: process ids, network, IPC and mounts of the "
                 "sandbox's own; its processes then have an empty root, seccomp and Landlock as far as the host "
                 "has them");
    app.add_flag(
        "--overlay", run.overlay,
        "Writes to the root stay in memory; the host's files stay as they are (not in this version: an error)");
    app.add_option("--network", options.network, "Network of the sandbox")
        ->check(CLI::IsMember({"none", "host"}))
        ->capture_default_str();
    app.add_flag("--strict", run.strict, "Refuse a config.json with fields that are not applied");
    app.add_flag("--ignore-cgroups", run.ignore_cgroups,
                 "Leave the host's control groups alone; the sandbox itself keeps the limits of config.json");
    app.add_flag("--systemd-cgroup", run.systemd_cgroup, "Control groups are made by systemd");
    for (const char* name : {"--criu", "--rootless"})  // runc's
        app.add_option(name)->group("");
}

int fail_usage(Reporter& reporter, const CLI::App& app, const CLI::Error& error) {
    const std::vector<std::string> unknown = app.remaining();
    const std::string problem = unknown.empty() ? error.what() : "unknown word " + unknown.front();
    reporter.error(problem + " (kvmsbx --help lists verbs and options)");
    return host::kExitOwnFailure;
}

// CLI11 takes the words from the last to the first. The exit code of what is done already: --help, an error.
std::optional<int> parse_words(CLI::App& app, Reporter& reporter, std::vector<std::string> words) {
    std::reverse(words.begin(), words.end());
    try {
        app.parse(words);
    } catch (const CLI::Success& help_or_version) {
        return app.exit(help_or_version);
    } catch (const CLI::Error& error) { return fail_usage(reporter, app, error); }
    return std::nullopt;
}

// The command line, and before it what the configuration file and the bundle's annotations say.
std::optional<int> parse(CLI::App& app, Reporter& reporter, int argc, char** argv) {
    const auto fail = [&reporter](const Failure& failure) {
        reporter.error(failure.message);
        return host::kExitOwnFailure;
    };
    Outcome<FlagConfig> config = configured_flags(argc, argv);
    if (config.is_error()) return fail(config.error());
    std::vector<ConfiguredFlag> flags = config.value().flags;
    Outcome<std::vector<std::string>> words = with_flags(app, flags, argc, argv);
    if (words.is_error()) return fail(words.error());
    const std::optional<int> code = parse_words(app, reporter, words.value());
    if (code || !config.value().allow_annotations) return code;
    const Outcome<std::vector<ConfiguredFlag>> annotated = annotated_flags(app);
    if (annotated.is_error()) return fail(annotated.error());
    if (annotated.value().empty()) return std::nullopt;
    flags.insert(flags.end(), annotated.value().begin(), annotated.value().end());
    words = with_flags(app, flags, argc, argv);
    if (words.is_error()) return fail(words.error());
    return parse_words(app, reporter, words.value());
}

Outcome<> open_logs(const CLI::App& app, Reporter& reporter, Reporter::Options options) {
    if (!options.debug_log.empty()) {
        DebugLogNames names{container_of(app), app.get_subcommands().front()->get_name()};
        clock_gettime(CLOCK_REALTIME, &names.time);
        options.debug_log = TRY(prepare_debug_log(options.debug_log, names));
    }
    return reporter.open(options);
}

void describe(CLI::App& app, GlobalOptions& options, Action& action) {
    app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
    add_global_options(app, options);
    const Verbs verbs{app, options, action};
    for (auto* add : {add_run, add_create, add_exec, add_lifecycle, add_update, add_queries, add_spec, add_features,
                      add_install, add_uninstall, add_doctor, add_manual})
        add(verbs);
    app.set_version_flag("-v,--version", kVersionText);
    app.require_subcommand(1);
}

int cli_main(int argc, char** argv) {
    open_missing_stdio();
    signal(SIGPIPE, SIG_IGN);
    auto app =
        std::make_unique<CLI::App>("kvmsbx runs OCI containers in a sandbox with a kernel of its own.", "kvmsbx");
    GlobalOptions options;
    Action action;
    Reporter reporter;
    describe(*app, options, action);
    if (const std::optional<int> code = parse(*app, reporter, argc, argv)) return *code;
    options.reporter.log_format = options.log_format == "json" ? LogFormat::kJson : LogFormat::kText;
    options.reporter.stream_children = options.sandbox.strace;
    options.sandbox.file_access = options.file_access == "shared" ? FileAccess::kShared : FileAccess::kExclusive;
    options.sandbox.mounts_access = options.mounts_access == "shared" ? FileAccess::kShared : FileAccess::kExclusive;
    close_other_descriptors(options.preserve_fds);
    if (const Outcome<> opened = open_logs(*app, reporter, options.reporter); opened.is_error()) {
        reporter.error(opened.error().message);
        return host::kExitOwnFailure;
    }
    app.reset();  // a monitor that is left behind keeps what is there now
    return action(reporter);
}

}  // namespace

CLI::App* Verbs::add(const std::string& name, const std::string& group, const std::string& description) const {
    CLI::App* verb = app.add_subcommand(name, description);
    verb->group(group);
    verb->fallthrough();
    return verb;
}

}  // namespace kvmsbx::oci::cli

int main(int argc, char** argv) {
    if (argc > 1 && std::strcmp(argv[1], "boot") == 0)
        return kvmsbx::oci::boot_main(argc - 1, argv + 1, kvmsbx::oci::sentry_images());
    if (argc > 1 && std::strcmp(argv[1], "gofer") == 0) {
        prctl(PR_SET_NAME, "kvmsbx-gofer");
        return kvmsbx::gofer::gofer_main(argc - 1, argv + 1);
    }
    return kvmsbx::oci::cli::cli_main(argc, argv);
}
