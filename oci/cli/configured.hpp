#pragma once
// Global flags that do not stand on the command line: of the configuration file and of annotations.
#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "oci/config_file.hpp"

namespace kvmsbx::oci::cli {

// The configuration file's: --config's, else kConfigFile, which may be missing.
Outcome<FlagConfig> configured_flags(int argc, char** argv);
// The bundle's, for the verb that was parsed; none for verbs without a bundle.
Outcome<std::vector<ConfiguredFlag>> annotated_flags(const CLI::App& app);

// The command line with `flags` before it, where it wins over them. Fails for flags that `app` does not have.
Outcome<std::vector<std::string>> with_flags(const CLI::App& app, const std::vector<ConfiguredFlag>& flags, int argc,
                                             char** argv);

// The container that the parsed verb is about; "" where there is none.
std::string container_of(const CLI::App& app);

}  // namespace kvmsbx::oci::cli
