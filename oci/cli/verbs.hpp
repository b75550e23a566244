#pragma once
// The verbs of the command line: options, parse, call the library. Each gives its exit code.
#include <CLI/CLI.hpp>
#include <functional>
#include <string>

#include "oci/reporter.hpp"
#include "oci/run.hpp"

namespace kvmsbx::oci::cli {

// Flags that stand before or after the verb.
struct GlobalOptions {
    Reporter::Options reporter;
    RunOptions run;
    std::string network = "none";
    std::string file_access = "exclusive";
    std::string log_format = "text";
};

// Each adds its verb to the application; when the user gives it, `action` becomes what is to be done.
using Action = std::function<int(Reporter&)>;
void add_run(CLI::App& app, GlobalOptions& options, Action& action);
void add_spec(CLI::App& app, Action& action);
void add_doctor(CLI::App& app, Action& action);
void add_install(CLI::App& app, Action& action);
void add_uninstall(CLI::App& app, Action& action);

}  // namespace kvmsbx::oci::cli
