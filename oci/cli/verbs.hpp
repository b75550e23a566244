#pragma once
// The verbs of the command line: options, parse, call the library. Each gives its exit code.
#include <CLI/CLI.hpp>
#include <functional>
#include <string>

#include "oci/monitor/create.hpp"
#include "oci/reporter.hpp"

namespace kvmsbx::oci::cli {

// Flags that stand before or after the verb.
struct GlobalOptions {
    Reporter::Options reporter;
    SandboxOptions sandbox;
    std::string network = "none";
    std::string file_access = "exclusive", mounts_access = "shared";
    std::string log_format = "text";
    // Descriptors from 3 on that the verb hands to the container; all others are closed.
    unsigned preserve_fds = 0;
};

// Each adds its verbs to the application; when the user gives one, `action` becomes what is to be done. The application
// is gone by then.
using Action = std::function<int(Reporter&)>;
struct Verbs {
    CLI::App& app;
    GlobalOptions& options;
    Action& action;

    // A verb whose options may stand among the global ones.
    CLI::App* add(const std::string& name, const std::string& group, const std::string& description) const;
};
void add_run(const Verbs& verbs);
void add_create(const Verbs& verbs);
void add_exec(const Verbs& verbs);
void add_lifecycle(const Verbs& verbs);
void add_queries(const Verbs& verbs);
void add_update(const Verbs& verbs);
void add_spec(const Verbs& verbs);
void add_doctor(const Verbs& verbs);
void add_features(const Verbs& verbs);
void add_install(const Verbs& verbs);
void add_uninstall(const Verbs& verbs);
void add_manual(const Verbs& verbs);

// "500ms", "5s", "2m"; none: not a time.
std::optional<unsigned> milliseconds_of(const std::string& text);

inline constexpr const char* kLifeGroup = "Containers";
inline constexpr const char* kQueryGroup = "What runs";
inline constexpr const char* kHostGroup = "This host";

}  // namespace kvmsbx::oci::cli
